/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Memory of programs of the guest at its own addresses, see mirror.c. Of a vCPU without v->mirror, nothing happens in any of these. */

#include "hv/engine/dbt/vm.h"

/* A signal handler that runs name, with all memory accessible: as it begins, PKRU is that of a new program, not of mirrored code, and sigreturn(2) brings the latter back. The stack is not
 * accessible before. Only where there are protection keys. */
#define MIRROR_HANDLER(entry, name)                                                                    \
        static __attribute__((naked)) void entry(int sig, siginfo_t *info, void *context)               \
        {                                                                                               \
                __asm__("mov %rdx, %r8; xor %eax, %eax; xor %ecx, %ecx; xor %edx, %edx; wrpkru; mov %r8, %rdx; jmp " name); \
        }

/* May programs of this VM be mirrored on this host? */
bool mirror_possible(const struct engine_config *config);
/* Makes v->mirror, or leaves it NULL. Before its first instruction, on the thread that creates the vCPU's threads, which inherit its access to the keys. */
void mirror_init(struct dbt_vcpu *v);
void mirror_finish(struct dbt_vcpu *v);
/* Memory that mirrored code writes besides the guest's. 0, or negative errno. */
int mirror_give(struct dbt_vcpu *v, void *memory, size_t size);
/* The thread is about to run v: the kernel must not write to memory of the thread whenever it likes. */
void mirror_thread(const struct dbt_vcpu *v);

/* CPL or what else v->mode shows has changed: is code of DBT_MODE_MIRROR next? */
void mirror_mode(struct dbt_vcpu *v);

/* At moments that have nothing to do with what runs: which program is worth it? */
void mirror_sample(struct dbt_vcpu *v);

/* A host instruction of mirrored code had no access there. Called by the signal handler. */
void mirror_note_miss(struct dbt_vcpu *v, uint64_t address, bool write);
/* Before and after the handler of the guest's instruction. The first returns what the second wants, which is not called if the handler raises; 0: there was no miss. */
uint64_t mirror_begin_miss(struct dbt_vcpu *v);
void mirror_end_miss(struct dbt_vcpu *v, uint64_t missed);

/* What the TLB had may not be used any more: all of it, but global pages (a CR3 load without, INVPCID of, the present or another PCID), one page. */
void mirror_flush(struct dbt_vcpu *v);
void mirror_flush_present(struct dbt_vcpu *v);
void mirror_flush_page(struct dbt_vcpu *v, uint64_t lin);
/* The page has code now: it cannot be written directly. Returns which pages of its aligned group of DBT_CODE_GROUP may be, a bit for each. */
uint32_t mirror_protect(struct dbt_vcpu *v, uint64_t gpa);
/* Slots have changed. */
void mirror_drop(struct dbt_vcpu *v);
