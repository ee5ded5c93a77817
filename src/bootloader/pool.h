/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Memory that lives until all of it is given back. */

#include <stddef.h>

struct pool {
        struct pool_chunk *chunks;
};

/* Zeroed bytes, aligned for anything. Ends the process if there are none: its limits are how this program bounds its memory. */
void *pool_alloc(struct pool *p, size_t n);
/* A copy of n bytes with a NUL behind them. */
char *pool_strndup(struct pool *p, const char *s, size_t n);
char *pool_strdup(struct pool *p, const char *s);
void pool_finish(struct pool *p);

/* A string that grows, in the pool. s is NULL while it is empty. */
struct text {
        struct pool *pool;
        char *s;
        size_t len, size;
};

void text_add(struct text *t, const char *s, size_t n);
void text_add_str(struct text *t, const char *s);
/* Never NULL. */
const char *text_get(const struct text *t);
