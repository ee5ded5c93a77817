/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One VM of the software engine: memory slots and what its vCPUs share. Private to engine/dbt. */

#include <pthread.h>

#include "hv/engine/dbt/vcpu.h"

#define DBT_SLOTS_MAX 8

struct dbt_slot {
        uint64_t gpa, size;
        uint8_t *host;
        bool readonly;
        int fd;                        /* of the file that is mapped there, -1: none */
        uint64_t offset;               /* in it */
        _Atomic uint64_t *code_pages;  /* bit per page: some vCPU has cached code from it */
        _Atomic uint64_t *dirty_pages; /* bit per page, NULL while not logging */
};

struct dbt_vm {
        struct engine_config config;
        struct dbt_slot slots[DBT_SLOTS_MAX];
        unsigned n_slots;
        struct dbt_vcpu *vcpus[ENGINE_CPUS_MAX];
        unsigned n_vcpus;
        pthread_mutex_t exclusive_lock;
        pthread_cond_t exclusive_cond;
        unsigned exclusive_running; /* vCPUs inside guest code, see vm.c */
        bool exclusive_active;      /* one vCPU is in an exclusive section or waits for the others to stop */
        unsigned exclusive_count;   /* sections so far */
        uint64_t exclusive_ns;      /* spent waiting for them to begin */
        pthread_mutex_t code_lock;  /* code_pages and every vCPU's index of blocks by page, see block.c */
        _Atomic int extint_level;
        struct lapic_bus *apics;
        bool trace;                 /* log every block and exception: DOMUS_DBT_TRACE with DOMUS_DEBUG */
        unsigned translate_after;   /* runs of a block, or ENGINE_NEVER_TRANSLATE */
        size_t code_cache;          /* bytes for each vCPU */
        uint64_t tsc_khz;
        uint64_t pause_tsc, pause_ns;  /* host clocks at pause(true) */
        int64_t time_offset_ns;        /* kvm-clock = CLOCK_MONOTONIC + this */
        uint64_t clock_tsc, clock_ns;  /* host clocks at one moment: the line that kvm-clock follows; set at vCPU 0's reset */
};

/* The slot holding gpa, or NULL (MMIO). */
static inline struct dbt_slot *dbt_slot_find(struct dbt_vm *vm, uint64_t gpa)
{
        for (unsigned i = 0; i < vm->n_slots; i++)
                if (gpa - vm->slots[i].gpa < vm->slots[i].size)
                        return &vm->slots[i];
        return NULL;
}

/* Runs nothing else of this VM's guest code until dbt_exclusive_end: all other vCPUs wait at a block boundary, sleep, or
 * are in a callback (and cannot come back meanwhile). Not inside callbacks, not with other locks held. A vCPU that waits here for its turn counts as
 * stopped: pointers from before the call may be stale after it. For split locked accesses and for code pages. */
void dbt_exclusive_begin(struct dbt_vcpu *v);
void dbt_exclusive_end(struct dbt_vcpu *v);
/* Around everything that leaves guest execution for long (callbacks, sleeping). */
void dbt_leave_guest(struct dbt_vcpu *v);
void dbt_enter_guest(struct dbt_vcpu *v);
