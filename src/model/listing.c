/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "model/listing.h"

#include <stdbool.h>
#include <string.h>

static bool matches(const DomusListing *listing, unsigned have, unsigned flags)
{
        for (size_t i = 0; i < listing->n_groups; i++)
                if (flags & listing->groups[i] && !(flags & listing->groups[i] & have))
                        return false;
        return true;
}

GPtrArray *domus_listing_make(const DomusListing *listing, GHashTable *by_name, unsigned flags)
{
        GPtrArray *list = g_ptr_array_new_with_free_func(listing->unref);
        GList *names = g_list_sort(g_hash_table_get_keys(by_name), (GCompareFunc)strcmp);

        for (GList *n = names; n; n = n->next) {
                gpointer object = g_hash_table_lookup(by_name, n->data);

                if (matches(listing, listing->traits(object), flags))
                        g_ptr_array_add(list, listing->ref(object));
        }
        g_list_free(names);
        return list;
}
