/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Lockstep of executor and translator, see check.c. What the other files call is inline here: it does nothing unless v->check is set. */

#include "hv/engine/dbt/vcpu.h"

#define CHECK_WRITES 1024u
#define CHECK_BYTES KiB(64)
#define CHECK_LINE 128u /* bytes around a write that are compared */
#define CHECK_LINES 512u
#define CHECK_GRANTS 256u

struct dbt_block;

/* Bytes of guest memory that the executor is about to write. */
struct check_write {
        uint64_t lin;
        uint8_t *host;
        uint32_t n, at; /* at: in old and after */
        uint8_t mmu;
};

struct check_line {
        uint8_t *host;
        uint8_t expected[CHECK_LINE], before[CHECK_LINE];
};

/* What a block may change but for memory. */
struct check_state {
        uint64_t regs[X86_NGPRS + 2], rflags, cr2;
        struct x86_segment seg[X86_NSREGS];
        struct dbt_fpu fpu;
        bool fpu_live, has_fpu;
        bool raised;
        uint8_t vector;
        uint32_t error;
};

struct dbt_check {
        bool recording;
        bool vectors;     /* the vector registers may change in this block */
        bool once;        /* it did something that cannot be done twice: a device, code that changes, too much memory */
        uint32_t requests; /* taken from v->request for the time being */
        unsigned n_writes, n_bytes, n_grants, n_lines;
        struct check_write write[CHECK_WRITES];
        uint8_t old[CHECK_BYTES], after[CHECK_BYTES]; /* before and after the executor */
        struct {
                uint16_t slot;
                uint8_t mmu;
        } grant[CHECK_GRANTS]; /* TLB entries that may allow writes */
        struct check_line line[CHECK_LINES];
        struct check_state before, executed, translated;
        uint64_t n_checked, n_alone;
};

/* An entry of the TLB was filled. Returns whether it may allow writes. */
static inline bool check_grant(struct dbt_vcpu *v, unsigned mmu, unsigned slot)
{
        struct dbt_check *c = v->check;

        if (likely(!c))
                return true;
        if (c->recording || c->n_grants == CHECK_GRANTS)
                return false;
        c->grant[c->n_grants].slot = (uint16_t)slot;
        c->grant[c->n_grants++].mmu = (uint8_t)mmu;
        return true;
}

static inline void check_once(struct dbt_vcpu *v)
{
        if (unlikely(v->check))
                v->check->once = true;
}

/* n bytes at host are about to be written. */
static inline void check_write(struct dbt_vcpu *v, uint64_t lin, uint8_t *host, unsigned n, unsigned mmu)
{
        struct dbt_check *c = v->check;
        uint8_t *to;

        if (likely(!c) || !c->recording || !host)
                return;
        if (c->n_writes == CHECK_WRITES || CHECK_BYTES - c->n_bytes < n) {
                c->once = true;
                return;
        }
        c->write[c->n_writes++] = (struct check_write){ .lin = lin, .host = host, .n = n, .at = c->n_bytes, .mmu = (uint8_t)mmu };
        to = c->old + c->n_bytes;
        c->n_bytes += n;
        for (unsigned k = 0; k < n; k++)
                *(volatile uint8_t *)(to + k) = host[k];
}

int dbt_check_new(struct dbt_vcpu *v);
/* Runs the block at v->rip, which has a translation, both ways. Returns as run_translated in run.c does. */
struct dbt_block *dbt_check_block(struct dbt_vcpu *v, struct dbt_block *b);
