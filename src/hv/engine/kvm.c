/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The KVM engine (Documentation/virt/kvm/api.rst) with the split interrupt chip: local APICs in the kernel, everything else ours.
 *
 * A vCPU thread keeps the kick signal blocked; KVM_SET_SIGNAL_MASK opens it inside KVM_RUN only, so the signal interrupts the
 * guest without a handler, and is drained afterwards. */

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/macros.h"
#include "hv/engine/engine.h"
#include "hv/engine/kvm-cpuid.h"
#include "hv/engine/kvm-state.h"

#define SLOTS_MAX 32
#define IOAPIC_PINS 24
#define MSI_ADDRESS 0xfee00000u
#define MSI_DATA_NMI (4u << 8)
#define MSI_DATA_LEVEL (1u << 15)

/* Pages of guest physical address space that KVM keeps for itself on Intel hosts: unused by our PC. */
#define KVM_IDENTITY_MAP 0xfffbc000ull
#define KVM_TSS 0xfffbd000ull

struct slot {
        uint64_t gpa, size;
        void *host;
        uint32_t flags;
};

struct route {
        uint64_t addr;
        uint32_t data;
};

struct engine_vm {
        struct engine_config config;
        int fd;
        size_t run_size;
        struct slot slots[SLOTS_MAX];
        struct engine_vcpu *vcpus[ENGINE_CPUS_MAX];

        /* Level-triggered messages seen so far. KVM reports the EOI of vectors that its routing table has for the IOAPIC's pins; which
         * pin is which does not matter to it. */
        pthread_mutex_t routes_lock;
        struct route routes[IOAPIC_PINS];
        unsigned n_routes, next_route;

        _Atomic int extint_level;

        bool paused;
        struct kvm_clock_data clock; /* at pause(true) */
};

struct engine_vcpu {
        struct engine_vm *vm;
        unsigned index;
        int fd;
        struct kvm_run *run;
        _Atomic pid_t tid; /* of the thread inside vcpu_run, else 0 */
        pid_t prepared;    /* the thread whose signal mask KVM knows */
        _Atomic bool kick;
        uint64_t paused_tsc, paused_deadline;
};

/* --- VM ------------------------------------------------------------------------------------------------------ */

static int enable_split_irqchip(struct engine_vm *vm)
{
        struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = IOAPIC_PINS };

        return kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
}

static int setup_vm(struct engine_vm *vm)
{
        uint64_t identity = KVM_IDENTITY_MAP;
        int r;

        r = kvm_ioctl_value(vm->config.kvm_fd, KVM_CREATE_VM, 0);
        if (r < 0)
                return r;
        vm->fd = r;
        r = kvm_ioctl_value(vm->config.kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (r < 0)
                return r;
        vm->run_size = (size_t)r;
        if (vm->run_size < sizeof(struct kvm_run))
                return -EIO;
        r = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
        if (r == 0)
                r = kvm_ioctl_value(vm->fd, KVM_SET_TSS_ADDR, KVM_TSS);
        if (r == 0)
                r = enable_split_irqchip(vm);
        return r;
}

static void kvm_vm_free(struct engine_vm *vm)
{
        if (!vm)
                return;
        fd_close(vm->fd);
        pthread_mutex_destroy(&vm->routes_lock);
        free(vm);
}

static int kvm_vm_new(const struct engine_config *config, struct engine_vm **ret)
{
        struct engine_vm *vm;
        int r;

        if (config->cpus == 0 || config->cpus > ENGINE_CPUS_MAX)
                return -EINVAL;
        if (config->kvm_fd < 0)
                return -EBADF;
        vm = calloc(1, sizeof(*vm));
        if (!vm)
                return -ENOMEM;
        vm->config = *config;
        vm->fd = -1;
        pthread_mutex_init(&vm->routes_lock, NULL);
        r = setup_vm(vm);
        if (r < 0) {
                log_error("KVM refuses to make a virtual machine: error %d", -r);
                kvm_vm_free(vm);
                return r;
        }
        *ret = vm;
        return 0;
}

static int set_slot(struct engine_vm *vm, unsigned slot)
{
        const struct slot *s = &vm->slots[slot];
        struct kvm_userspace_memory_region region = { .slot = slot, .flags = s->flags, .guest_phys_addr = s->gpa,
                .memory_size = s->size, .userspace_addr = (uintptr_t)s->host };

        return kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int kvm_map(struct engine_vm *vm, unsigned slot, uint64_t gpa, uint64_t size, void *host, bool readonly)
{
        if (slot >= SLOTS_MAX || ((gpa | size | (uintptr_t)host) & 4095))
                return -EINVAL;
        vm->slots[slot] = (struct slot){ .gpa = gpa, .size = size, .host = host, .flags = readonly ? KVM_MEM_READONLY : 0 };
        return set_slot(vm, slot);
}

static int fetch_dirty(struct engine_vm *vm, unsigned slot, uint8_t *bitmap)
{
        size_t pages = vm->slots[slot].size / 4096;
        uint64_t *bits = calloc((pages + 63) / 64, 8); /* KVM writes whole words, the caller has bytes */
        struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bits };
        int r;

        if (!bits)
                return -ENOMEM;
        r = kvm_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);
        if (r == 0)
                memcpy(bitmap, bits, (pages + 7) / 8);
        free(bits);
        return r;
}

static int kvm_dirty_log(struct engine_vm *vm, unsigned slot, bool enable, uint8_t *bitmap)
{
        struct slot *s;
        int r = 0;

        if (slot >= SLOTS_MAX || vm->slots[slot].size == 0)
                return -EINVAL;
        s = &vm->slots[slot];
        if (bitmap) {
                if (s->flags & KVM_MEM_LOG_DIRTY_PAGES)
                        r = fetch_dirty(vm, slot, bitmap);
                else
                        memset(bitmap, 0, (s->size / 4096 + 7) / 8);
        }
        if (r == 0 && enable != !!(s->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
                s->flags ^= KVM_MEM_LOG_DIRTY_PAGES;
                r = set_slot(vm, slot);
        }
        return r;
}

/* --- CPUID --------------------------------------------------------------------------------------------------- */

static const uint32_t offered_pv = KVM_PV_CLOCKSOURCE | KVM_PV_CLOCKSOURCE2 | KVM_PV_EOI_BIT | KVM_PV_UNHALT |
                                   KVM_PV_TLB_FLUSH | KVM_PV_SEND_IPI | KVM_PV_CLOCKSOURCE_STABLE;

static void take_leaf(const struct kvm_cpuid_entry2 *k, struct cpuid_table *ret, uint32_t *ret_pv)
{
        struct cpuid_entry e = { .leaf = k->function, .subleaf = k->index,
                .has_subleaf = k->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                .r = { .eax = k->eax, .ebx = k->ebx, .ecx = k->ecx, .edx = k->edx } };

        if (e.leaf == 0x40000001)
                *ret_pv = e.r.eax & offered_pv;
        if (e.leaf >= 0x40000000 && e.leaf < 0x50000000)
                return;
        if (kvm_cpuid_filter(&e))
                cpuid_set(ret, e.leaf, e.subleaf, e.has_subleaf, e.r);
}

static int kvm_cpuid_supported(struct engine_vm *vm, struct cpuid_table *ret, uint32_t *ret_pv)
{
        const unsigned max = 256;
        struct kvm_cpuid2 *k = calloc(1, sizeof(*k) + max * sizeof(k->entries[0]));
        int r;

        if (!k)
                return -ENOMEM;
        k->nent = max;
        *ret = (struct cpuid_table){ 0 };
        *ret_pv = 0;
        r = kvm_ioctl(vm->config.kvm_fd, KVM_GET_SUPPORTED_CPUID, k);
        for (unsigned i = 0; r == 0 && i < k->nent; i++)
                take_leaf(&k->entries[i], ret, ret_pv);
        free(k);
        return r;
}

static int set_cpuid(struct engine_vcpu *v, const struct cpuid_table *cpuid)
{
        struct kvm_cpuid2 *k = calloc(1, sizeof(*k) + CPUID_ENTRIES_MAX * sizeof(k->entries[0]));
        int r;

        if (!k)
                return -ENOMEM;
        for (unsigned i = 0; i < cpuid->n && i < CPUID_ENTRIES_MAX; i++) {
                const struct cpuid_entry *e = &cpuid->e[i];

                k->entries[k->nent++] = (struct kvm_cpuid_entry2){ .function = e->leaf, .index = e->subleaf,
                        .flags = e->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                        .eax = e->r.eax, .ebx = e->r.ebx, .ecx = e->r.ecx, .edx = e->r.edx };
        }
        r = kvm_ioctl(v->fd, KVM_SET_CPUID2, k);
        free(k);
        return r;
}

/* --- vCPU ---------------------------------------------------------------------------------------------------- */

static int kick_signal(void)
{
        return SIGRTMIN + 3;
}

static void kvm_vcpu_free(struct engine_vcpu *v)
{
        if (!v)
                return;
        if (v->vm->vcpus[v->index] == v)
                v->vm->vcpus[v->index] = NULL;
        if (v->run)
                munmap(v->run, v->vm->run_size);
        fd_close(v->fd);
        free(v);
}

static int setup_vcpu(struct engine_vcpu *v, const struct cpuid_table *cpuid)
{
        void *run;
        int r;

        r = kvm_ioctl_value(v->vm->fd, KVM_CREATE_VCPU, v->index);
        if (r < 0)
                return r;
        v->fd = r;
        run = mmap(NULL, v->vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
        if (run == MAP_FAILED)
                return -errno;
        v->run = run;
        r = set_cpuid(v, cpuid);
        if (r < 0)
                return r;
        if (v->vm->config.tsc_khz)
                r = kvm_ioctl_value(v->fd, KVM_SET_TSC_KHZ, (unsigned long)v->vm->config.tsc_khz);
        return r;
}

static int kvm_vcpu_new(struct engine_vm *vm, unsigned index, const struct cpuid_table *cpuid, struct engine_vcpu **ret)
{
        struct engine_vcpu *v;
        int r;

        if (index >= vm->config.cpus || vm->vcpus[index])
                return -EINVAL;
        v = calloc(1, sizeof(*v));
        if (!v)
                return -ENOMEM;
        v->vm = vm;
        v->index = index;
        v->fd = -1;
        r = setup_vcpu(v, cpuid);
        if (r < 0) {
                log_error("KVM refuses to make CPU %u: error %d", index, -r);
                kvm_vcpu_free(v);
                return r;
        }
        vm->vcpus[index] = v;
        *ret = v;
        return 0;
}

/* Blocks the kick signal in this thread and lets KVM_RUN open it. */
static int prepare_thread(struct engine_vcpu *v, pid_t tid)
{
        struct {
                struct kvm_signal_mask head;
                uint64_t set; /* the kernel's sigset_t */
        } __attribute__((packed)) mask = { .head.len = sizeof(mask.set) };
        sigset_t block, old;
        int r;

        sigemptyset(&block);
        sigaddset(&block, kick_signal());
        r = pthread_sigmask(SIG_BLOCK, &block, &old);
        if (r != 0)
                return -r;
        sigdelset(&old, kick_signal());
        memcpy(&mask.set, &old, sizeof(mask.set));
        r = kvm_ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask);
        if (r == 0)
                v->prepared = tid;
        return r;
}

static void drain_signal(void)
{
        const struct timespec now = { 0 };
        sigset_t set;

        sigemptyset(&set);
        sigaddset(&set, kick_signal());
        while (sigtimedwait(&set, NULL, &now) > 0)
                ;
}

/* Makes KVM_RUN return soon, whether it has been entered or not. Async-signal-safe. */
static void interrupt_run(struct engine_vcpu *v)
{
        pid_t tid;

        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        tid = atomic_load(&v->tid);
        if (tid != 0 && tid != gettid())
                tgkill(getpid(), tid, kick_signal());
}

static void kvm_vcpu_kick(struct engine_vcpu *v)
{
        atomic_store(&v->kick, true);
        interrupt_run(v);
}

/* The 8259s' output goes to LINT0 of CPU 0. KVM says when it would take an interrupt; until then, ask for the window. */
static int offer_extint(struct engine_vcpu *v)
{
        const struct engine_config *c = &v->vm->config;
        struct kvm_interrupt intr;
        int vector, r = 0;

        if (atomic_load(&v->vm->extint_level) && v->run->ready_for_interrupt_injection) {
                v->run->ready_for_interrupt_injection = 0; /* said once, used once */
                vector = c->callbacks->extint_ack(c->opaque);
                if (vector >= 0) {
                        intr.irq = (uint32_t)vector;
                        r = kvm_ioctl(v->fd, KVM_INTERRUPT, &intr);
                }
        }
        v->run->request_interrupt_window = atomic_load(&v->vm->extint_level) != 0;
        return r;
}

static void handle_pio(struct engine_vcpu *v)
{
        const struct engine_config *c = &v->vm->config;
        const uint32_t count = v->run->io.count, size = v->run->io.size;
        uint8_t *data = (uint8_t *)v->run + v->run->io.data_offset;

        for (uint32_t i = 0; i < count; i++, data += size) {
                uint64_t value = 0;

                if (v->run->io.direction == KVM_EXIT_IO_OUT) {
                        memcpy(&value, data, size);
                        c->callbacks->pio_write(c->opaque, v->run->io.port, size, value);
                } else {
                        value = c->callbacks->pio_read(c->opaque, v->run->io.port, size);
                        memcpy(data, &value, size);
                }
        }
}

/* KVM's length can be anything up to 8 where an access crosses pages: split it into powers of two. */
static void handle_mmio(struct engine_vcpu *v)
{
        const struct engine_config *c = &v->vm->config;
        uint64_t gpa = v->run->mmio.phys_addr;
        unsigned left = v->run->mmio.len <= 8 ? v->run->mmio.len : 8;
        uint8_t *data = v->run->mmio.data;

        while (left > 0) {
                unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
                uint64_t value = 0;

                if (v->run->mmio.is_write) {
                        memcpy(&value, data, size);
                        c->callbacks->mmio_write(c->opaque, gpa, size, value);
                } else {
                        value = c->callbacks->mmio_read(c->opaque, gpa, size);
                        memcpy(data, &value, size);
                }
                gpa += size;
                data += size;
                left -= size;
        }
}

static void log_internal_error(struct engine_vcpu *v)
{
        struct kvm_regs regs = { 0 };

        kvm_ioctl(v->fd, KVM_GET_REGS, &regs);
        log_error("CPU %u: KVM cannot go on at %#llx: internal error %u%s", v->index, (unsigned long long)regs.rip,
                v->run->internal.suberror,
                v->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? ", an instruction it cannot emulate" : "");
}

/* -1: go on running; else an enum engine_exit. */
static int handle_exit(struct engine_vcpu *v)
{
        const struct engine_config *c = &v->vm->config;

        switch (v->run->exit_reason) {
        case KVM_EXIT_IO:
                handle_pio(v);
                return -1;
        case KVM_EXIT_MMIO:
                handle_mmio(v);
                return -1;
        case KVM_EXIT_IOAPIC_EOI:
                c->callbacks->eoi(c->opaque, v->run->eoi.vector);
                return -1;
        case KVM_EXIT_IRQ_WINDOW_OPEN:
        case KVM_EXIT_INTR:
        case KVM_EXIT_HLT:
                return -1;
        case KVM_EXIT_SHUTDOWN:
                return ENGINE_EXIT_SHUTDOWN;
        case KVM_EXIT_FAIL_ENTRY:
                log_error("CPU %u: the processor refuses to enter the guest: reason %#llx", v->index,
                        (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
                return ENGINE_EXIT_ERROR;
        case KVM_EXIT_INTERNAL_ERROR:
                log_internal_error(v);
                return ENGINE_EXIT_ERROR;
        default:
                log_error("CPU %u: KVM stopped for the unknown reason %u", v->index, v->run->exit_reason);
                return ENGINE_EXIT_ERROR;
        }
}

/* After KVM_RUN was interrupted; also what KVM_RUN itself completes (a port read's result) is done by then. */
static bool take_kick(struct engine_vcpu *v)
{
        drain_signal();
        __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        return atomic_exchange(&v->kick, false);
}

static int run_loop(struct engine_vcpu *v)
{
        for (;;) {
                int r = v->index == 0 ? offer_extint(v) : 0;

                if (r < 0) {
                        log_error("CPU %u: KVM refuses an interrupt: error %d", v->index, -r);
                        return ENGINE_EXIT_ERROR;
                }
                if (ioctl(v->fd, KVM_RUN, 0) < 0) {
                        if (errno != EINTR && errno != EAGAIN) {
                                log_error("CPU %u: KVM refuses to run it: error %d", v->index, errno);
                                return ENGINE_EXIT_ERROR;
                        }
                        if (take_kick(v))
                                return ENGINE_EXIT_KICK;
                        continue;
                }
                r = handle_exit(v);
                if (r >= 0)
                        return r;
        }
}

static int kvm_vcpu_run(struct engine_vcpu *v)
{
        pid_t tid = gettid();
        int r;

        if (v->prepared != tid) {
                r = prepare_thread(v, tid);
                if (r < 0)
                        return r;
        }
        atomic_store(&v->tid, tid);
        r = run_loop(v);
        atomic_store(&v->tid, 0);
        return r;
}

/* --- State --------------------------------------------------------------------------------------------------- */

static int kvm_vcpu_get_state(struct engine_vcpu *v, struct x86_state *s)
{
        return kvm_get_state(v->fd, s);
}

static int kvm_vcpu_set_state(struct engine_vcpu *v, const struct x86_state *s)
{
        const char *what;
        int r = kvm_set_state(v->fd, s, &what);

        v->run->ready_for_interrupt_injection = 0; /* was said of the old state */
        if (r < 0)
                log_error("CPU %u: KVM does not take its %s: error %d", v->index, what, -r);
        return r;
}

/* --- Interrupts ---------------------------------------------------------------------------------------------- */

static bool has_route(const struct engine_vm *vm, uint64_t addr, uint32_t data)
{
        for (unsigned i = 0; i < vm->n_routes; i++)
                if (vm->routes[i].addr == addr && vm->routes[i].data == data)
                        return true;
        return false;
}

static int set_routes(struct engine_vm *vm)
{
        struct {
                struct kvm_irq_routing head;
                struct kvm_irq_routing_entry e[IOAPIC_PINS];
        } table = { .head.nr = vm->n_routes };

        for (unsigned i = 0; i < vm->n_routes; i++)
                table.e[i] = (struct kvm_irq_routing_entry){ .gsi = i, .type = KVM_IRQ_ROUTING_MSI,
                        .u.msi = { .address_lo = (uint32_t)vm->routes[i].addr,
                                .address_hi = (uint32_t)(vm->routes[i].addr >> 32), .data = vm->routes[i].data } };
        return kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, &table);
}

/* Teaches KVM a level-triggered message before it is first sent. There are no more than pins at a time; when a guest has used
 * more in its life, the oldest gives way and would come back at its next use. */
static int learn_route(struct engine_vm *vm, uint64_t addr, uint32_t data)
{
        int r = 0;

        pthread_mutex_lock(&vm->routes_lock);
        if (!has_route(vm, addr, data)) {
                vm->routes[vm->next_route] = (struct route){ addr, data };
                vm->next_route = (vm->next_route + 1) % IOAPIC_PINS;
                if (vm->n_routes < IOAPIC_PINS)
                        vm->n_routes++;
                r = set_routes(vm);
        }
        pthread_mutex_unlock(&vm->routes_lock);
        return r;
}

static int kvm_msi(struct engine_vm *vm, uint64_t addr, uint32_t data)
{
        struct kvm_msi msi = { .address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data };
        int r = data & MSI_DATA_LEVEL ? learn_route(vm, addr, data) : 0;

        if (r == 0)
                r = kvm_ioctl(vm->fd, KVM_SIGNAL_MSI, &msi);
        return r < 0 ? r : 0;
}

static void kvm_extint(struct engine_vm *vm, int level)
{
        atomic_store(&vm->extint_level, level);
        if (level && vm->vcpus[0])
                interrupt_run(vm->vcpus[0]);
}

/* KVM_NMI would wait for the vCPU's thread to leave the guest. */
static int kvm_nmi(struct engine_vcpu *v)
{
        return kvm_msi(v->vm, MSI_ADDRESS | v->index << 12, MSI_DATA_NMI);
}

/* --- Time ---------------------------------------------------------------------------------------------------- */

static void stop_time(struct engine_vm *vm)
{
        vm->clock = (struct kvm_clock_data){ 0 };
        kvm_ioctl(vm->fd, KVM_GET_CLOCK, &vm->clock);
        for (unsigned i = 0; i < vm->config.cpus; i++) {
                if (!vm->vcpus[i])
                        continue;
                kvm_get_msr(vm->vcpus[i]->fd, KVM_MSR_TSC, &vm->vcpus[i]->paused_tsc);
                kvm_get_msr(vm->vcpus[i]->fd, KVM_MSR_TSC_DEADLINE, &vm->vcpus[i]->paused_deadline);
        }
}

static int tsc_offset(struct engine_vcpu *v, unsigned long request, uint64_t *value)
{
        struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)value };

        return kvm_ioctl(v->fd, request, &attr);
}

/* By the offset, the same distance for every CPU: a value written to the MSR that is less than a second away from what KVM expects
 * counts as an attempt to synchronize CPUs and changes nothing. Before Linux 5.16 there is only the MSR. */
static void move_tsc(struct engine_vcpu *v, uint64_t distance)
{
        uint64_t offset;

        if (tsc_offset(v, KVM_GET_DEVICE_ATTR, &offset) == 0) {
                offset -= distance;
                if (tsc_offset(v, KVM_SET_DEVICE_ATTR, &offset) == 0)
                        return;
        }
        kvm_set_msr(v->fd, KVM_MSR_TSC, v->paused_tsc);
}

static void start_time(struct engine_vm *vm)
{
        struct kvm_clock_data clock = { .clock = vm->clock.clock };
        uint64_t now = 0, distance = 0;

        for (unsigned i = 0; i < vm->config.cpus; i++) {
                if (!vm->vcpus[i])
                        continue;
                if (distance == 0 && kvm_get_msr(vm->vcpus[i]->fd, KVM_MSR_TSC, &now) == 1)
                        distance = now - vm->vcpus[i]->paused_tsc;
                move_tsc(vm->vcpus[i], distance);
        }
        kvm_ioctl(vm->fd, KVM_SET_CLOCK, &clock);
        for (unsigned i = 0; i < vm->config.cpus; i++) {
                if (!vm->vcpus[i])
                        continue;
                if (vm->vcpus[i]->paused_deadline)
                        kvm_set_msr(vm->vcpus[i]->fd, KVM_MSR_TSC_DEADLINE, vm->vcpus[i]->paused_deadline);
                kvm_ioctl_value(vm->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, 0); /* fails where the guest uses no kvm-clock */
        }
}

static void kvm_pause(struct engine_vm *vm, bool paused)
{
        if (paused == vm->paused)
                return;
        vm->paused = paused;
        if (paused)
                stop_time(vm);
        else
                start_time(vm);
}

const struct engine_ops engine_kvm = {
        .name = "kvm",
        .vm_new = kvm_vm_new,
        .vm_free = kvm_vm_free,
        .map = kvm_map,
        .dirty_log = kvm_dirty_log,
        .cpuid_supported = kvm_cpuid_supported,
        .vcpu_new = kvm_vcpu_new,
        .vcpu_free = kvm_vcpu_free,
        .vcpu_run = kvm_vcpu_run,
        .vcpu_kick = kvm_vcpu_kick,
        .vcpu_get_state = kvm_vcpu_get_state,
        .vcpu_set_state = kvm_vcpu_set_state,
        .msi = kvm_msi,
        .extint = kvm_extint,
        .nmi = kvm_nmi,
        .pause = kvm_pause,
};
