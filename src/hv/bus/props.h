/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a device or back end is told about itself: named values, as vmproto's device dictionaries and the command line give them. Whoever takes one marks it
 * as taken; what nobody took is refused by name at the end, so nothing is ever silently ignored. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum prop_kind { PROP_STRING, PROP_NUMBER, PROP_BOOL, PROP_FDS, PROP_TABLE };

struct prop_entry {
        char *name;
        uint64_t value;
};

struct prop {
        char *name;
        enum prop_kind kind;
        bool taken;
        char *string;
        uint64_t number;           /* and PROP_BOOL */
        int *fds;                  /* owned until taken */
        struct prop_entry *table;
        size_t n;                  /* fds or entries */
};

struct props {
        struct prop *list;
        size_t n;
};

void props_finish(struct props *props);
/* These copy strings and take descriptors over, also on failure. -EEXIST, -ENOMEM. */
int props_add_string(struct props *props, const char *name, const char *value);
int props_add_number(struct props *props, const char *name, uint64_t value);
int props_add_bool(struct props *props, const char *name, bool value);
int props_add_fds(struct props *props, const char *name, const int *fds, size_t n);
int props_add_table(struct props *props, const char *name, const struct prop_entry *entries, size_t n);

bool props_has(const struct props *props, const char *name);
/* Each takes a property. 0: *ret is set; -ENOENT: there is none, *ret is unchanged (its default); -EINVAL: it is of another kind or beyond max. Strings stay the
 * props', descriptors become the caller's. */
int props_take_string(struct props *props, const char *name, const char **ret);
int props_take_number(struct props *props, const char *name, uint64_t max, uint64_t *ret);
int props_take_unsigned(struct props *props, const char *name, unsigned max, unsigned *ret);
int props_take_bool(struct props *props, const char *name, bool *ret);
/* Exactly one descriptor. */
int props_take_fd(struct props *props, const char *name, int *ret);
/* At most max; *ret_n says how many. */
int props_take_fds(struct props *props, const char *name, int *ret, size_t max, size_t *ret_n);
int props_take_table(struct props *props, const char *name, const struct prop_entry **ret, size_t *ret_n);
/* The first one that nobody took, or NULL. */
const char *props_left(const struct props *props);
