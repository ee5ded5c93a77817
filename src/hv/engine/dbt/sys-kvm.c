/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The KVM paravirtual interface: clock MSRs and hypercalls (Linux Documentation/virt/kvm/x86/{msr,hypercalls,cpuid}.rst). */

#include <sched.h>
#include <time.h>

#include "hv/engine/dbt/sys.h"

enum {
        MSR_KVM_WALL_CLOCK_NEW = 0x4b564d00,
        MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01,
};

enum { KVM_HC_KICK_CPU = 5, KVM_HC_SEND_IPI = 10, KVM_HC_SCHED_YIELD = 11 };
enum { KVM_EPERM = 1, KVM_ENOSYS = 1000 };

#define NS_PER_S 1000000000ULL

/* As the guest reads them; naturally aligned. */
struct pvclock_wall {
        uint32_t version, sec, nsec;
};

struct pvclock_vcpu {
        uint32_t version, pad0;
        uint64_t tsc_timestamp, system_time;
        uint32_t tsc_to_system_mul;
        int8_t tsc_shift;
        uint8_t flags;
        uint8_t pad[2];
};
_Static_assert(sizeof(struct pvclock_vcpu) == 32, "pvclock_vcpu_time_info");

enum { PVCLOCK_TSC_STABLE = 1 << 0 };

/* --- Clock --------------------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t id)
{
        struct timespec ts;

        clock_gettime(id, &ts);
        return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

void dbt_clock_init(struct dbt_vm *vm)
{
        vm->clock_tsc = dbt_host_tsc();
        vm->clock_ns = clock_ns(CLOCK_MONOTONIC);
        vm->time_offset_ns = -(int64_t)vm->clock_ns; /* the guest's clock starts at 0 */
}

void dbt_clock_mark(struct dbt_vm *vm)
{
        vm->clock_tsc = vm->pause_tsc ? vm->pause_tsc : dbt_host_tsc();
        vm->clock_ns = vm->pause_tsc ? vm->pause_ns : clock_ns(CLOCK_MONOTONIC);
}

/* ns = (ticks << shift) * mul >> 32 for a counter of the given frequency. */
static void clock_scale(uint64_t hz, uint32_t *mul, int8_t *shift)
{
        int s = 0;

        for (; hz > 2 * NS_PER_S; s--)
                hz >>= 1;
        for (; hz && hz <= NS_PER_S; s++)
                hz <<= 1;
        *mul = hz ? (uint32_t)((NS_PER_S << 32) / hz) : 0;
        *shift = (int8_t)s;
}

/* Writers make version odd first: readers retry. */
static uint32_t version_begin(uint32_t *version)
{
        uint32_t next = (*version | 1) + 1;

        *(volatile uint32_t *)version = next - 1;
        atomic_thread_fence(memory_order_release);
        return next;
}

static void version_end(uint32_t *version, uint32_t next)
{
        atomic_thread_fence(memory_order_release);
        *(volatile uint32_t *)version = next;
}

static bool write_wall_clock(struct dbt_vcpu *v, uint64_t gpa)
{
        uint64_t boot = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC) - (uint64_t)v->vm->time_offset_ns;
        struct pvclock_wall *w;
        void *host;
        uint32_t next;

        if ((gpa & 3) || !dbt_guest_phys(v, gpa, sizeof(*w), &host))
                return false;
        w = host;
        next = version_begin(&w->version);
        w->sec = (uint32_t)(boot / NS_PER_S);
        w->nsec = (uint32_t)(boot % NS_PER_S);
        version_end(&w->version, next);
        return true;
}

/* All vCPUs get the same line through (clock_tsc, clock_ns), so that their clocks agree. A pause moves the TSC offset and the time
 * offset alike: what is written here stays right. */
static bool write_system_time(struct dbt_vcpu *v, uint64_t value)
{
        uint64_t gpa = value & ~1ULL;
        struct dbt_vm *vm = v->vm;
        struct pvclock_vcpu *c;
        void *host;
        uint32_t next;

        if (!(value & 1))
                return true;
        if ((gpa & 3) || !dbt_guest_phys(v, gpa, sizeof(*c), &host))
                return false;
        c = host;
        next = version_begin(&c->version);
        c->tsc_timestamp = vm->clock_tsc + (uint64_t)v->tsc_offset;
        c->system_time = vm->clock_ns + (uint64_t)vm->time_offset_ns;
        clock_scale(vm->tsc_khz * 1000, &c->tsc_to_system_mul, &c->tsc_shift);
        c->flags = PVCLOCK_TSC_STABLE;
        version_end(&c->version, next);
        return true;
}

bool dbt_kvm_msr_read(struct dbt_vcpu *v, uint32_t msr, uint64_t *ret)
{
        if (msr == MSR_KVM_WALL_CLOCK_NEW)
                *ret = v->msr[X86_MSR_KVM_WALL_CLOCK];
        else if (msr == MSR_KVM_SYSTEM_TIME_NEW)
                *ret = v->msr[X86_MSR_KVM_SYSTEM_TIME];
        else
                return false;
        return true;
}

bool dbt_kvm_msr_write(struct dbt_vcpu *v, uint32_t msr, uint64_t value)
{
        dbt_fpu_save(v);
        if (msr == MSR_KVM_WALL_CLOCK_NEW) {
                v->msr[X86_MSR_KVM_WALL_CLOCK] = value;
                return write_wall_clock(v, value);
        }
        if (msr == MSR_KVM_SYSTEM_TIME_NEW) {
                v->msr[X86_MSR_KVM_SYSTEM_TIME] = value;
                return write_system_time(v, value);
        }
        return false;
}

/* --- Hypercalls ---------------------------------------------------------------------------------------------- */

static uint64_t kick_cpu(struct dbt_vcpu *v, uint64_t apic_id)
{
        if (apic_id < v->vm->n_vcpus && v->vm->vcpus[apic_id]) {
                struct dbt_vcpu *target = v->vm->vcpus[apic_id];

                atomic_store(&target->sys.pv_kick, true);
                dbt_request(target, DBT_REQ_INTR);
        }
        return 0;
}

/* Sends to the APIC ids min + n for every bit n of the two words; returns how many there were. */
static uint64_t send_ipi(struct dbt_vcpu *v, uint64_t low, uint64_t high, uint32_t min, uint32_t icr)
{
        uint64_t words[2] = { low, high }, sent = 0;

        for (unsigned i = 0; i < 128; i++) {
                uint64_t id = (uint64_t)min + i;

                if (!(words[i / 64] >> (i % 64) & 1) || id >= v->vm->n_vcpus)
                        continue;
                lapic_msr_write(v->lapic, 0x830, id << 32 | (icr & 0x7ff));
                sent++;
        }
        return sent;
}

/* The guest waits for a vCPU that may not have a processor of the host. */
static uint64_t yield_cpu(struct dbt_vcpu *v)
{
        dbt_leave_guest(v);
        sched_yield();
        dbt_enter_guest(v);
        return 0;
}

static uint64_t hypercall(struct dbt_vcpu *v)
{
        const uint64_t *r = v->gpr;

        switch (r[X86_RAX]) {
        case KVM_HC_KICK_CPU:
                return kick_cpu(v, r[X86_RCX]);
        case KVM_HC_SEND_IPI:
                if (!(lapic_base_msr(v->lapic) & 0x400)) /* x2APIC mode only: ids are 32 bits wide there */
                        return (uint64_t)-KVM_ENOSYS;
                return send_ipi(v, r[X86_RBX], r[X86_RCX], (uint32_t)r[X86_RDX], (uint32_t)r[X86_RSI]);
        case KVM_HC_SCHED_YIELD:
                return yield_cpu(v);
        default:
                return (uint64_t)-KVM_ENOSYS;
        }
}

void dbt_vmcall(struct dbt_vcpu *v)
{
        uint64_t result = (uint64_t)-KVM_EPERM;

        dbt_fpu_save(v);
        if (v->cpl == 0)
                result = hypercall(v);
        v->gpr[X86_RAX] = v->mode & DBT_MODE_CS64 ? result : (uint32_t)result;
}
