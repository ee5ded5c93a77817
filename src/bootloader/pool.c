/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bootloader/pool.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pool_chunk {
        struct pool_chunk *next;
        alignas(max_align_t) char data[];
};

void *pool_alloc(struct pool *p, size_t n)
{
        static const char message[] = "out of memory: the image asks for too much\n";
        struct pool_chunk *c = n < SIZE_MAX / 2 ? calloc(1, sizeof(*c) + n) : NULL;

        if (!c) {
                if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0) {
                        /* There is nowhere left to say so. */
                }
                _exit(1);
        }
        c->next = p->chunks;
        p->chunks = c;
        return c->data;
}

char *pool_strndup(struct pool *p, const char *s, size_t n)
{
        char *copy = pool_alloc(p, n + 1);

        memcpy(copy, s, n);
        return copy;
}

char *pool_strdup(struct pool *p, const char *s)
{
        return pool_strndup(p, s, strlen(s));
}

void pool_finish(struct pool *p)
{
        while (p->chunks) {
                struct pool_chunk *c = p->chunks;

                p->chunks = c->next;
                free(c);
        }
}

void text_add(struct text *t, const char *s, size_t n)
{
        if (n >= t->size - t->len || !t->s) {
                size_t size = t->size ? t->size : 64;
                char *grown;

                while (n >= size - t->len)
                        size *= 2;
                grown = pool_alloc(t->pool, size);
                if (t->len)
                        memcpy(grown, t->s, t->len);
                t->s = grown;
                t->size = size;
        }
        memcpy(t->s + t->len, s, n);
        t->len += n;
        t->s[t->len] = 0;
}

void text_add_str(struct text *t, const char *s)
{
        text_add(t, s, strlen(s));
}

const char *text_get(const struct text *t)
{
        return t->s ? t->s : "";
}
