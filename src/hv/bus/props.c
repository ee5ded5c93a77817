/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hv/bus/props.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

static void close_all(int *fds, size_t n)
{
        for (size_t i = 0; i < n; i++)
                fds[i] = fd_close(fds[i]);
}

static void prop_finish(struct prop *p)
{
        if (p->fds)
                close_all(p->fds, p->n);
        if (p->table)
                for (size_t i = 0; i < p->n; i++)
                        free(p->table[i].name);
        free(p->fds);
        free(p->table);
        free(p->string);
        free(p->name);
}

void props_finish(struct props *props)
{
        for (size_t i = 0; i < props->n; i++)
                prop_finish(&props->list[i]);
        free(props->list);
        *props = (struct props){ 0 };
}

static struct prop *find(const struct props *props, const char *name)
{
        for (size_t i = 0; i < props->n; i++)
                if (strcmp(props->list[i].name, name) == 0)
                        return &props->list[i];
        return NULL;
}

/* A new last property, to be filled in. */
static int add(struct props *props, const char *name, enum prop_kind kind, struct prop **ret)
{
        struct prop *list;
        char *copy;

        if (find(props, name))
                return -EEXIST;
        list = realloc(props->list, (props->n + 1) * sizeof(*list));
        if (!list)
                return -ENOMEM;
        props->list = list;
        copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        list[props->n] = (struct prop){ .name = copy, .kind = kind };
        *ret = &list[props->n++];
        return 0;
}

int props_add_string(struct props *props, const char *name, const char *value)
{
        struct prop *p;
        int r = add(props, name, PROP_STRING, &p);

        if (r < 0)
                return r;
        p->string = strdup(value);
        return p->string ? 0 : -ENOMEM;
}

int props_add_number(struct props *props, const char *name, uint64_t value)
{
        struct prop *p;
        int r = add(props, name, PROP_NUMBER, &p);

        if (r == 0)
                p->number = value;
        return r;
}

int props_add_bool(struct props *props, const char *name, bool value)
{
        struct prop *p;
        int r = add(props, name, PROP_BOOL, &p);

        if (r == 0)
                p->number = value;
        return r;
}

int props_add_fds(struct props *props, const char *name, const int *fds, size_t n)
{
        int *copy = malloc((n ? n : 1) * sizeof(*copy));
        struct prop *p;
        int r = copy ? add(props, name, PROP_FDS, &p) : -ENOMEM;

        if (r < 0) {
                for (size_t i = 0; i < n; i++)
                        fd_close(fds[i]);
                free(copy);
                return r;
        }
        if (n)
                memcpy(copy, fds, n * sizeof(*copy));
        p->fds = copy;
        p->n = n;
        return 0;
}

int props_add_table(struct props *props, const char *name, const struct prop_entry *entries, size_t n)
{
        struct prop *p;
        int r = add(props, name, PROP_TABLE, &p);

        if (r < 0)
                return r;
        p->table = calloc(n ? n : 1, sizeof(*p->table));
        if (!p->table)
                return -ENOMEM;
        for (; p->n < n; p->n++) {
                p->table[p->n] = (struct prop_entry){ .name = strdup(entries[p->n].name), .value = entries[p->n].value };
                if (!p->table[p->n].name)
                        return -ENOMEM;
        }
        return 0;
}

bool props_has(const struct props *props, const char *name)
{
        return find(props, name);
}

static int take(struct props *props, const char *name, enum prop_kind kind, struct prop **ret)
{
        struct prop *p = find(props, name);

        if (!p)
                return -ENOENT;
        p->taken = true;
        *ret = p;
        return p->kind == kind ? 0 : -EINVAL;
}

int props_take_string(struct props *props, const char *name, const char **ret)
{
        struct prop *p;
        int r = take(props, name, PROP_STRING, &p);

        if (r == 0)
                *ret = p->string;
        return r;
}

int props_take_number(struct props *props, const char *name, uint64_t max, uint64_t *ret)
{
        struct prop *p;
        int r = take(props, name, PROP_NUMBER, &p);

        if (r == 0 && p->number > max)
                r = -EINVAL;
        if (r == 0)
                *ret = p->number;
        return r;
}

int props_take_unsigned(struct props *props, const char *name, unsigned max, unsigned *ret)
{
        uint64_t value;
        int r = props_take_number(props, name, max, &value);

        if (r == 0)
                *ret = (unsigned)value;
        return r;
}

int props_take_bool(struct props *props, const char *name, bool *ret)
{
        struct prop *p;
        int r = take(props, name, PROP_BOOL, &p);

        if (r == 0)
                *ret = p->number;
        return r;
}

int props_take_fd(struct props *props, const char *name, int *ret)
{
        struct prop *p;
        int r = take(props, name, PROP_FDS, &p);

        if (r == 0 && p->n != 1)
                r = -EINVAL;
        if (r == 0)
                *ret = fd_steal(&p->fds[0]);
        return r;
}

int props_take_fds(struct props *props, const char *name, int *ret, size_t max, size_t *ret_n)
{
        struct prop *p;
        int r = take(props, name, PROP_FDS, &p);

        if (r == 0 && p->n > max)
                r = -EINVAL;
        if (r < 0)
                return r;
        for (size_t i = 0; i < p->n; i++)
                ret[i] = fd_steal(&p->fds[i]);
        *ret_n = p->n;
        return 0;
}

int props_take_table(struct props *props, const char *name, const struct prop_entry **ret, size_t *ret_n)
{
        struct prop *p;
        int r = take(props, name, PROP_TABLE, &p);

        if (r == 0) {
                *ret = p->table;
                *ret_n = p->n;
        }
        return r;
}

const char *props_left(const struct props *props)
{
        for (size_t i = 0; i < props->n; i++)
                if (!props->list[i].taken)
                        return props->list[i].name;
        return NULL;
}
