/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The CPUID table: lookup rules, and what depends on the virtual machine rather than on the engine (Intel SDM vol. 2, CPUID;
 * AMD APM vol. 3, appendix E; Linux Documentation/virt/kvm/x86/cpuid.rst). */

#include "base/macros.h"
#include "hv/x86/cpuid.h"

enum { LEAF_KVM = 0x40000000, LEAF_KVM_FEATURES = 0x40000001, LEAF_FREQUENCY = 0x40000010 };

#define VENDOR_AMD_EBX 0x68747541u   /* "Auth" */
#define VENDOR_HYGON_EBX 0x6f677948u /* "Hygo" */

/* --- The table ----------------------------------------------------------------------------------------------- */

static struct cpuid_entry *find(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
        for (unsigned i = 0; i < t->n; i++)
                if (t->e[i].leaf == leaf && (!t->e[i].has_subleaf || t->e[i].subleaf == subleaf))
                        return &t->e[i];
        return NULL;
}

const struct cpuid_entry *cpuid_find(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
        return find((struct cpuid_table *)t, leaf, subleaf);
}

void cpuid_set(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, bool has_subleaf, struct cpuid_regs r)
{
        struct cpuid_entry *e = find(t, leaf, subleaf);

        if (!e) {
                if (t->n == CPUID_ENTRIES_MAX)
                        return;
                e = &t->e[t->n++];
        }
        *e = (struct cpuid_entry){ .leaf = leaf, .subleaf = has_subleaf ? subleaf : 0, .has_subleaf = has_subleaf, .r = r };
}

static struct cpuid_regs get(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
        const struct cpuid_entry *e = cpuid_find(t, leaf, subleaf);

        return e ? e->r : (struct cpuid_regs){ 0 };
}

static bool is_amd(const struct cpuid_table *t)
{
        uint32_t vendor = get(t, 0, 0).ebx;

        return vendor == VENDOR_AMD_EBX || vendor == VENDOR_HYGON_EBX;
}

/* Beyond its range's last leaf Intel's processors answer as for the last basic leaf, AMD's with zeros. */
static uint32_t effective_leaf(const struct cpuid_table *t, uint32_t leaf)
{
        uint32_t range = leaf & 0xf0000000;

        if (range == LEAF_KVM || is_amd(t))
                return leaf;
        if ((range == 0 || range == 0x80000000) && leaf <= get(t, range, 0).eax)
                return leaf;
        return get(t, 0, 0).eax;
}

struct cpuid_regs cpuid_query(const struct cpuid_table *t, uint32_t leaf, uint32_t subleaf)
{
        const struct cpuid_entry *e;

        leaf = effective_leaf(t, leaf);
        e = cpuid_find(t, leaf, subleaf);
        if (e)
                return e->r;
        /* The x2APIC id and the subleaf are valid in every subleaf of the topology leaf. */
        if (leaf == 0xb)
                return (struct cpuid_regs){ .ecx = subleaf & 0xff, .edx = get(t, leaf, 0).edx };
        return (struct cpuid_regs){ 0 };
}

/* --- Finishing ----------------------------------------------------------------------------------------------- */

/* Bits of an APIC id that number the cores. */
static unsigned core_bits(unsigned cpus)
{
        return cpus > 1 ? 32 - (unsigned)__builtin_clz(cpus - 1) : 0;
}

static void finish_features(struct cpuid_table *t, const struct cpuid_topology *topo)
{
        struct cpuid_regs r = get(t, 1, 0);
        uint32_t count = topo->cpus < 255 ? topo->cpus : 255;

        r.ebx = (r.ebx & 0x0000ff00) | count << 16 | topo->index << 24;
        r.ecx |= 1u << 21 | 1u << 24 | 1u << 31; /* x2APIC, TSC deadline, hypervisor */
        r.edx = (r.edx & ~(1u << 28)) | 1u << 9 | (topo->cpus > 1 ? 1u << 28 : 0);
        cpuid_set(t, 1, 0, false, r);
}

static void finish_topology(struct cpuid_table *t, const struct cpuid_topology *topo)
{
        struct cpuid_regs smt = { .ebx = 1, .ecx = 1 << 8, .edx = topo->index };
        struct cpuid_regs core = {
                .eax = core_bits(topo->cpus), .ebx = topo->cpus, .ecx = 2 << 8 | 1, .edx = topo->index
        };

        cpuid_set(t, 0xb, 0, true, smt);
        cpuid_set(t, 0xb, 1, true, core);
}

/* Who shares a cache (EAX 25..14): the last level all cores, the others one. Leaf 4 also has the cores per package in 31..26. */
static void finish_caches(struct cpuid_table *t, uint32_t leaf, const struct cpuid_topology *topo, bool cores)
{
        uint32_t ids = 1u << core_bits(topo->cpus);

        for (unsigned i = 0; i < t->n; i++) {
                struct cpuid_regs *r = &t->e[i].r;

                if (t->e[i].leaf != leaf || !(r->eax & 0x1f))
                        continue;
                r->eax &= 0x3fff;
                if ((r->eax >> 5 & 7) >= 3)
                        r->eax |= (leaf == 4 ? ids - 1 : topo->cpus - 1) << 14;
                if (cores)
                        r->eax |= ((ids - 1) & 0x3f) << 26;
        }
}

static void finish_amd(struct cpuid_table *t, const struct cpuid_topology *topo)
{
        struct cpuid_regs r = get(t, 0x80000001, 0);

        r.ecx = (r.ecx & ~2u) | (topo->cpus > 1 ? 2 : 0); /* CMP_LEGACY */
        cpuid_set(t, 0x80000001, 0, false, r);
        r = get(t, 0x80000008, 0);
        r.ecx = (topo->cpus - 1) | core_bits(topo->cpus) << 12;
        cpuid_set(t, 0x80000008, 0, false, r);
        finish_caches(t, 0x8000001d, topo, false);
        if (cpuid_find(t, 0x8000001e, 0))
                cpuid_set(t, 0x8000001e, 0, false,
                        (struct cpuid_regs){ .eax = topo->index, .ebx = topo->index & 0xff });
}

/* TSC and crystal frequency where Intel has them, and core frequency. */
static void finish_intel(struct cpuid_table *t, const struct cpuid_topology *topo, uint32_t tsc_khz)
{
        struct cpuid_regs r = get(t, 0, 0);
        uint32_t mhz = tsc_khz / 1000;

        finish_caches(t, 4, topo, true);
        /* The kernel takes the APIC timer's frequency from the crystal: ours is 1 GHz. It multiplies kHz by the numerator in 32 bits. */
        cpuid_set(t, 0x15, 0, false, (struct cpuid_regs){ .eax = 1000, .ebx = mhz, .ecx = 1000000000 });
        cpuid_set(t, 0x16, 0, false, (struct cpuid_regs){ .eax = mhz, .ebx = mhz, .ecx = 100 });
        if (r.eax < 0x16)
                r.eax = 0x16;
        cpuid_set(t, 0, 0, false, r);
}

static void finish_paravirtual(struct cpuid_table *t, uint32_t pv_features, uint32_t tsc_khz)
{
        cpuid_set(t, LEAF_KVM, 0, false, /* "KVMKVMKVM" */
                (struct cpuid_regs){ .eax = LEAF_FREQUENCY, .ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d });
        cpuid_set(t, LEAF_KVM_FEATURES, 0, false, (struct cpuid_regs){ .eax = pv_features });
        cpuid_set(t, LEAF_FREQUENCY, 0, false, (struct cpuid_regs){ .eax = tsc_khz, .ebx = 1000000 });
}

void cpuid_finish(struct cpuid_table *t, const struct cpuid_topology *topo, uint32_t pv_features, uint32_t tsc_khz)
{
        struct cpuid_regs r;

        finish_features(t, topo);
        finish_topology(t, topo);
        if (is_amd(t))
                finish_amd(t, topo);
        else
                finish_intel(t, topo, tsc_khz);
        r = get(t, 0, 0);
        if (r.eax < 0xb) {
                r.eax = 0xb;
                cpuid_set(t, 0, 0, false, r);
        }
        finish_paravirtual(t, pv_features, tsc_khz);
}
