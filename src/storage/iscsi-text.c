/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/iscsi.h"

#include <stdlib.h>
#include <string.h>

#include "model/pool-def.h"

#define DEFAULT_PORT 3260

char *iscsi_portal(const char *host, unsigned port)
{
        bool v6 = strchr(host, ':');

        return g_strdup_printf(v6 ? "[%s]:%u" : "%s:%u", host, port ? port : DEFAULT_PORT);
}

unsigned iscsi_unit_of(const char *volume)
{
        const char *last = strrchr(volume, ':');

        return last ? (unsigned)strtoul(last + 1, NULL, 10) : 0;
}

/* The words of a line; NULL-terminated. */
static char **words_of(const char *line)
{
        return g_strsplit(line, " ", -1);
}

int iscsi_find_session(const char *text, const char *target)
{
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        for (char **l = lines; *l; l++) {
                g_auto(GStrv) words = words_of(*l);

                if (g_strv_length(words) >= 4 && words[1][0] == '[' && strcmp(words[3], target) == 0)
                        return atoi(words[1] + 1);
        }
        return -1;
}

static const char *target_of(char **words)
{
        return g_strv_length(words) >= 2 ? words[1] : NULL;
}

bool iscsi_has_target(const char *text, const char *target)
{
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

        for (char **l = lines; *l; l++) {
                g_auto(GStrv) words = words_of(*l);

                if (g_strcmp0(target_of(words), target) == 0)
                        return true;
        }
        return false;
}

void iscsi_append_sources(const char *text, const char *host, GString *out)
{
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

        for (char **l = lines; *l; l++) {
                g_auto(GStrv) words = words_of(*l);
                const char *target = target_of(words), *devices[] = { target, NULL };
                DomusPoolSource source = { .host = host, .devices = devices };

                /* One may be there by several portals. */
                if (target && g_hash_table_add(seen, g_strdup(target)))
                        domus_pool_source_append(out, &source);
        }
}
