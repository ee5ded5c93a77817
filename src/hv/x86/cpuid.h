/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the CPUID instruction answers: a table built once per vCPU from what the engine can do, then constant. */

#include <stdbool.h>
#include <stdint.h>

struct cpuid_regs {
        uint32_t eax, ebx, ecx, edx;
};

struct cpuid_entry {
        uint32_t leaf, subleaf;
        bool has_subleaf; /* subleaf is significant */
        struct cpuid_regs r;
};

#define CPUID_ENTRIES_MAX 128

struct cpuid_table {
        struct cpuid_entry e[CPUID_ENTRIES_MAX];
        unsigned n;
};

struct cpuid_topology {
        unsigned cpus; /* one socket, cpus cores, one thread each; the APIC id is the index */
        unsigned index;
};

/* The Linux paravirtual leaf 0x40000001 EAX bits, Documentation/virt/kvm/x86/cpuid.rst. */
#define KVM_PV_CLOCKSOURCE (1u << 0)
#define KVM_PV_CLOCKSOURCE2 (1u << 3)
#define KVM_PV_EOI_BIT (1u << 6)
#define KVM_PV_UNHALT (1u << 7)
#define KVM_PV_TLB_FLUSH (1u << 9)
#define KVM_PV_SEND_IPI (1u << 11)
#define KVM_PV_CLOCKSOURCE_STABLE (1u << 24)

/* Replaces or adds an entry; drops it silently when the table is full (cannot happen with our leaves: asserted by tests). */
void cpuid_set(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, bool has_subleaf, struct cpuid_regs r);
const struct cpuid_entry *cpuid_find(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf);
/* What the instruction returns, with the rules for out-of-range leaves (Intel SDM vol. 2, CPUID). */
struct cpuid_regs cpuid_query(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf);

/* Finishes a table of engine-supported leaves for one vCPU: topology and APIC ids, x2APIC, TSC deadline, hypervisor bit,
 * the KVM signature leaf with the given pv feature bits, TSC frequency in kHz (leaves 0x15/0x16 or 0x40000010),
 * physical address bits. */
void cpuid_finish(struct cpuid_table *t, const struct cpuid_topology *topo, uint32_t pv_features, uint32_t tsc_khz);
