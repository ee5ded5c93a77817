/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Intrusive circular doubly linked list. A head and an unlinked node both point at themselves. */

#include <stdbool.h>

#include "base/macros.h"

struct list {
        struct list *prev, *next;
};

#define LIST_INIT(name) { &(name), &(name) }

static inline void list_init(struct list *l)
{
        l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
        return l->next == l;
}

/* Links node at the tail of head. */
static inline void list_append(struct list *head, struct list *node)
{
        node->prev = head->prev;
        node->next = head;
        head->prev->next = node;
        head->prev = node;
}

/* Unlinks node and leaves it initialised; harmless on an unlinked node. */
static inline void list_remove(struct list *node)
{
        node->prev->next = node->next;
        node->next->prev = node->prev;
        list_init(node);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_foreach(pos, head) for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
/* Allows removing pos inside the loop. */
#define list_foreach_safe(pos, tmp, head)                                                                   \
        for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)
