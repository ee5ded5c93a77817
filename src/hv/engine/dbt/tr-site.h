/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Memory sites: what a place in translated code knows of the page it accessed last. Private to tr-*.c.
 *
 * A valid site says that linear addresses in one page may be accessed directly, for reading or, if the code at the site writes, for writing. It
 * is in the list of that page's number, and whatever takes away the TLB's permission takes away the site's, too. A site that met a second page is roaming: it
 * is in one list with all of these, which any flush empties, so that it can go from page to page without changing lists. A keyed site is for
 * an address at a constant distance from something that seldom changes, such as a segment's base, and holds the operand's host address. */

#include "hv/engine/dbt/block.h"

/* In the hole between canonical addresses, so that neither a page nor a key is it. A guest that uses an address in this very page
 * reads and writes a page of no use instead of getting its exception. */
#define TR_SITE_INVALID 0x80005a3c1f279000ULL

#define TR_SITE_LISTS 256
#define TR_SITE_KEYED 0x80
#define TR_SITE_ROAMING 0x40
#define TR_SITE_INSN 0x3f
/* A power of two; after so many misses the TLB is looked up. */
#define TR_SITE_MISSES_MAX (1u << 24)

struct tr_site {
        uint64_t match;           /* the page's linear address, or the key */
        uint64_t addend;          /* linear + addend is the host address; keyed: the host address */
        struct tr_site *next, **prev; /* in its list; prev NULL: not valid */
        struct dbt_block *block;
        union {
                uint32_t misses;  /* not keyed: so far */
                int32_t disp;     /* keyed: linear - key */
        };
        uint16_t limit;           /* greatest offset in a page where an access may begin */
        uint8_t k;                /* instruction in the block; TR_SITE_KEYED, TR_SITE_ROAMING */
};

struct tr_sites {
        struct tr_site *lists[2][TR_SITE_LISTS]; /* [1]: global pages */
        struct tr_site *roaming;
        uint64_t used[2][TR_SITE_LISTS / 64];    /* lists that may have something */
        struct tr_site *site;                    /* all, beside the code: max for each segment */
        unsigned max, current, n[DBT_SEGMENTS];
        struct dbt_block *convert;               /* to be translated anew: a site misses too often */
};

enum tr_miss { TR_MISS_READ, TR_MISS_WRITE, TR_MISS_TLB_READ, TR_MISS_TLB_WRITE, TR_MISS_STACK, TR_MISSES };

/* Called by translated code: makes the site fit for the address. False: the access has to be done by the handler. */
bool tr_site_missed(struct dbt_vcpu *v, struct tr_site *site, uint64_t lin, enum tr_miss how);
/* The block has run about so many times: notes in by_tlb which of its sites missed too often. */
void tr_sites_judge(struct dbt_vcpu *v, struct dbt_block *b, unsigned runs);
/* Code keeps to one page of its stack for a while: all accesses relative to RSP of 64-bit code that runs often share v->tr_stack of their view. Makes it fit for the address,
 * if its page can be read and written directly. False: the access, which is a write or not, has to be done by the handler: so do reads of a page that was not written yet. */
bool tr_stack_missed(struct dbt_vcpu *v, uint64_t lin, unsigned span, bool write);
void tr_stacks_forget(struct dbt_vcpu *v);
/* The TLB's entry for the access, filled if need be; NULL if it needs its handler. */
const struct dbt_tlb_entry *tr_tlb_entry(struct dbt_vcpu *v, uint64_t lin, unsigned span, bool write);

struct tr_site *tr_site_new(struct tr_sites *sites, struct dbt_block *b, unsigned k, unsigned span);
/* Those of a segment are gone. */
void tr_sites_evict(struct dbt_vcpu *v, unsigned segment);
/* All sites are gone. */
void tr_sites_flush(struct dbt_vcpu *v);
