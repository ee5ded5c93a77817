/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/menu.h"

#include <stdlib.h>
#include <string.h>

struct menu_entry *menu_add(struct menu *m, const char *title, int parent)
{
        struct menu_entry *e = &m->entries[m->n];

        if (m->n == MENU_ENTRIES_MAX)
                return NULL;
        *e = (struct menu_entry){ .title = pool_strdup(m->pool, title), .args = "", .parent = parent };
        m->n++;
        return e;
}

static bool is(const char *name, const char *s, size_t n)
{
        return name && strlen(name) == n && memcmp(name, s, n) == 0;
}

/* One part of a spec, among the entries of one submenu, or with any among all. */
static int find_part(const struct menu *m, int parent, bool any, const char *s, size_t n)
{
        char *end;
        unsigned long index = strtoul(s, &end, 10), i = 0;
        bool number = n && end == s + n && strspn(s, "0123456789") == n;

        for (unsigned e = 0; e < m->n; e++) {
                if (!any && m->entries[e].parent != parent)
                        continue;
                if (is(m->entries[e].id, s, n) || is(m->entries[e].title, s, n))
                        return (int)e;
        }
        for (unsigned e = 0; number && !any && e < m->n; e++) {
                if (m->entries[e].parent == parent && i++ == index)
                        return (int)e;
        }
        return -1;
}

/* Submenus come before what is in them, so that this ends. */
static int first_within(const struct menu *m, int at)
{
        while (at >= 0 && m->entries[at].submenu) {
                int child = -1;

                for (unsigned e = (unsigned)at + 1; child < 0 && e < m->n; e++) {
                        if (m->entries[e].parent == at)
                                child = (int)e;
                }
                at = child;
        }
        return at;
}

int menu_find(const struct menu *m, const char *spec)
{
        int whole = find_part(m, -1, true, spec, strlen(spec)), at = -1;
        const char *s = spec;

        for (;;) {
                size_t n = strcspn(s, ">");

                at = find_part(m, at, false, s, n);
                if (at < 0 || s[n] == 0)
                        break;
                s += n + 1;
        }
        return first_within(m, at >= 0 ? at : whole);
}

int menu_default(const struct menu *m)
{
        int at = m->chosen && *m->chosen ? menu_find(m, m->chosen) : -1;

        for (unsigned e = 0; at < 0 && e < m->n; e++)
                at = first_within(m, (int)e);
        return at;
}
