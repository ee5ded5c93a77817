/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Lists of domains, networks and pools, as clients ask for them by flags (virConnectListAllDomains and its like). */

#include <glib.h>
#include <stddef.h>

typedef struct {
        const unsigned *groups; /* flags of one group are alternatives; groups are conditions that must all hold */
        size_t n_groups;
        unsigned (*traits)(gconstpointer object); /* what holds for it, as flags */
        gpointer (*ref)(gpointer object);
        GDestroyNotify unref;
} DomusListing;

/* The objects of a table by name that suit the flags, in the order of their names. The list (g_ptr_array_unref) has references. */
GPtrArray *domus_listing_make(const DomusListing *listing, GHashTable *by_name, unsigned flags);
