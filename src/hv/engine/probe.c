/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs a short 64-bit loop on KVM and the same loop natively, and compares. A real virtual machine runs it as fast as the host
 * within a few percent, plus some tens of microseconds for entry and exit; an emulating /dev/kvm is hundreds of times slower. */

#include "hv/engine/probe.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/macros.h"

#define GUEST_SIZE 0x10000u
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define CODE 0x4000u

/* Turns of the loop, two instructions each. The short run shows what entry, exit and first page faults cost; the middle one is where
 * an emulator runs into the limit; the long one is the verdict. */
#define SHORT_TURNS 1000u
#define MIDDLE_TURNS 20000u
#define LONG_TURNS 1000000u
#define LIMIT_NS 25000000u /* per run */
#define TOTAL_NS 120000000u /* no run begins later */
#define TOO_SLOW 10u       /* times the native duration */
#define NOISE_NS 200000u

struct probe {
        int vm, vcpu;
        uint8_t *memory;
        struct kvm_run *run;
        size_t run_size;
        uint64_t start;
        struct engine_probe *ret;
};

static const struct {
        int cap;
        const char *name;
} needed[] = {
        { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
        { KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM" },
        { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
        { KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },
        { KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
        { KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
        { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
        { KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
        { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
        { KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
        { KVM_CAP_XCRS, "KVM_CAP_XCRS" },
        { KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS" },
        { KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK" },
        { KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER" },
};

#define SAY(p, ...) snprintf((p)->ret->reason, sizeof((p)->ret->reason), __VA_ARGS__)

static uint64_t now_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static bool check_capabilities(struct probe *p, int kvm_fd)
{
        int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

        if (version != KVM_API_VERSION) {
                SAY(p, "/dev/kvm is not the KVM interface: it answers version %d", version);
                return false;
        }
        for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
                if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
                        SAY(p, "/dev/kvm lacks %s", needed[i].name);
                        return false;
                }
        }
        return true;
}

/* mov $turns, %ecx; 1: dec %ecx; jnz 1b; hlt. Before it, the first 2 MiB mapped to themselves. */
static void write_guest(struct probe *p, uint32_t turns)
{
        static const uint8_t loop[] = { 0xff, 0xc9, 0x75, 0xfc, 0xf4 };
        uint8_t *code = p->memory + CODE;

        le64_store(p->memory + PML4, PDPT | 3);
        le64_store(p->memory + PDPT, PD | 3);
        le64_store(p->memory + PD, 0x83);
        code[0] = 0xb9;
        le32_store(code + 1, turns);
        memcpy(code + 5, loop, sizeof(loop));
}

static int set_registers(struct probe *p)
{
        struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .type = 0xb, .present = 1, .s = 1, .l = 1, .g = 1 };
        struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 0x3, .present = 1, .s = 1, .db = 1, .g = 1 };
        struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
        struct kvm_sregs sregs;

        if (ioctl(p->vcpu, KVM_GET_SREGS, &sregs) < 0)
                return -errno;
        sregs.cs = code;
        sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
        sregs.cr0 = 0x80000011;
        sregs.cr3 = PML4;
        sregs.cr4 = 0x20;
        sregs.efer = 0x500;
        if (ioctl(p->vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(p->vcpu, KVM_SET_REGS, &regs) < 0)
                return -errno;
        return 0;
}

static int make_vm(struct probe *p, int kvm_fd)
{
        struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };
        uint64_t identity = 0xfffbc000;
        void *m;

        m = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (m == MAP_FAILED)
                return -errno;
        p->memory = m;
        p->vm = ioctl(kvm_fd, KVM_CREATE_VM, 0);
        if (p->vm < 0)
                return -errno;
        if (ioctl(p->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 || ioctl(p->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul) < 0)
                return -errno;
        region.userspace_addr = (uintptr_t)p->memory;
        if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                return -errno;
        p->vcpu = ioctl(p->vm, KVM_CREATE_VCPU, 0);
        if (p->vcpu < 0)
                return -errno;
        p->run_size = (size_t)ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
        m = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
        if (m == MAP_FAILED)
                return -errno;
        p->run = m;
        return 0;
}

/* A new VM without CPUID leaves may not know long mode: give it the host's. */
static int set_cpuid(struct probe *p, int kvm_fd)
{
        struct {
                struct kvm_cpuid2 head;
                struct kvm_cpuid_entry2 e[256];
        } table = { .head.nent = 256 };

        if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &table) < 0 || ioctl(p->vcpu, KVM_SET_CPUID2, &table) < 0)
                return -errno;
        return 0;
}

/* The limit's signal is blocked but inside KVM_RUN, so no handler is needed; what is left of it is taken afterwards. */
struct limit {
        timer_t timer;
        sigset_t signals, old;
};

static int limit_start(struct probe *p, struct limit *l)
{
        struct {
                struct kvm_signal_mask head;
                uint64_t set;
        } __attribute__((packed)) mask = { .head.len = sizeof(mask.set) };
        struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 3 };
        sigset_t inside;

        ev._sigev_un._tid = gettid();
        sigemptyset(&l->signals);
        sigaddset(&l->signals, ev.sigev_signo);
        pthread_sigmask(SIG_BLOCK, &l->signals, &l->old);
        inside = l->old;
        sigdelset(&inside, ev.sigev_signo);
        memcpy(&mask.set, &inside, sizeof(mask.set));
        if (ioctl(p->vcpu, KVM_SET_SIGNAL_MASK, &mask) == 0 && timer_create(CLOCK_MONOTONIC, &ev, &l->timer) == 0)
                return 0;
        pthread_sigmask(SIG_SETMASK, &l->old, NULL);
        return -errno;
}

static void limit_set(struct limit *l, uint64_t ns)
{
        struct itimerspec t = { .it_value.tv_nsec = (long)ns };

        timer_settime(l->timer, 0, &t, NULL);
}

static void limit_finish(struct limit *l)
{
        const struct timespec now = { 0 };

        timer_delete(l->timer);
        while (sigtimedwait(&l->signals, NULL, &now) > 0)
                ;
        pthread_sigmask(SIG_SETMASK, &l->old, NULL);
}

/* Runs the loop to its hlt: 0 with the duration, -ETIME, or another error with the reason said. */
static int run_guest(struct probe *p, struct limit *l, uint32_t turns, uint64_t *ret_ns)
{
        uint64_t start, end;
        int r;

        write_guest(p, turns);
        r = set_registers(p);
        if (r < 0) {
                SAY(p, "/dev/kvm does not start a 64-bit guest: %s", strerror(-r));
                return r;
        }
        limit_set(l, LIMIT_NS);
        start = now_ns();
        do
                r = ioctl(p->vcpu, KVM_RUN, 0);
        while (r < 0 && errno == EINTR && now_ns() - start < LIMIT_NS);
        r = r < 0 ? -errno : 0;
        end = now_ns();
        limit_set(l, 0);
        *ret_ns = end - start;
        if (r == -EINTR)
                return -ETIME;
        if (r == 0 && p->run->exit_reason == KVM_EXIT_HLT)
                return 0;
        SAY(p, "/dev/kvm does not run a 64-bit loop: %s %u", r < 0 ? strerror(-r) : "it stopped for reason",
                p->run->exit_reason);
        return r < 0 ? r : -EIO;
}

static uint64_t run_native(uint32_t turns)
{
        uint64_t best = UINT64_MAX;

        for (unsigned i = 0; i < 3; i++) {
                uint64_t start = now_ns(), ns;
                uint32_t n = turns;

                asm volatile("1: decl %0; jnz 1b" : "+r"(n) : : "cc");
                ns = now_ns() - start;
                if (ns < best)
                        best = ns;
        }
        return best;
}

/* Says how many times slower the guest was. */
static void say_slow(struct probe *p, uint64_t native_ns, uint64_t guest_ns, bool unfinished)
{
        SAY(p, "/dev/kvm runs a 64-bit loop %s%llu times slower than the host CPU: emulated, not hardware",
                unfinished ? "more than " : "", (unsigned long long)(guest_ns / (native_ns ? native_ns : 1)));
}

/* Best of some tries, as another process may have had the CPU; one is enough if it takes no longer than good_ns. Says why not and
 * returns false if the loop fails or always runs into the limit. */
static bool measure(struct probe *p, struct limit *l, uint32_t turns, unsigned tries, uint64_t good_ns, uint64_t *ret_ns)
{
        *ret_ns = UINT64_MAX;
        for (unsigned i = 0; i < tries && *ret_ns > good_ns && (i == 0 || now_ns() - p->start < TOTAL_NS); i++) {
                uint64_t ns = 0;
                int r = run_guest(p, l, turns, &ns);

                if (r < 0 && r != -ETIME)
                        return false;
                if (r == 0 && ns < *ret_ns)
                        *ret_ns = ns;
        }
        if (*ret_ns == UINT64_MAX)
                say_slow(p, run_native(turns), LIMIT_NS, true);
        return *ret_ns != UINT64_MAX;
}

static void run_probe(struct probe *p, struct limit *l)
{
        uint64_t native = run_native(LONG_TURNS), overhead, guest, good;
        int r;

        p->start = now_ns();
        /* The first entry can cost milliseconds of preparation inside KVM: it does not count. */
        r = run_guest(p, l, 1, &guest);
        if (r < 0 && r != -ETIME)
                return;
        if (!measure(p, l, SHORT_TURNS, 3, NOISE_NS, &overhead) || !measure(p, l, MIDDLE_TURNS, 2, UINT64_MAX - 1, &guest))
                return;
        good = overhead + native * TOO_SLOW + NOISE_NS;
        if (!measure(p, l, LONG_TURNS, 5, good, &guest))
                return;
        if (guest > good) {
                say_slow(p, native, guest - overhead, false);
                return;
        }
        p->ret->kvm = true;
        SAY(p, "/dev/kvm runs a 64-bit loop in %llu us, the host CPU in %llu us: hardware",
                (unsigned long long)(guest / 1000), (unsigned long long)(native / 1000));
}

static void finish(struct probe *p)
{
        if (p->run)
                munmap(p->run, p->run_size);
        fd_close(p->vcpu);
        fd_close(p->vm);
        if (p->memory)
                munmap(p->memory, GUEST_SIZE);
}

void engine_probe_kvm(int kvm_fd, struct engine_probe *ret)
{
        struct probe p = { .vm = -1, .vcpu = -1, .ret = ret };
        struct limit limit;
        int r;

        *ret = (struct engine_probe){ 0 };
        if (kvm_fd < 0) {
                SAY(&p, "/dev/kvm cannot be opened: %s", strerror(-kvm_fd));
                return;
        }
        if (!check_capabilities(&p, kvm_fd))
                return;
        r = make_vm(&p, kvm_fd);
        if (r == 0)
                r = set_cpuid(&p, kvm_fd);
        if (r == 0)
                r = limit_start(&p, &limit);
        if (r == 0) {
                run_probe(&p, &limit);
                limit_finish(&limit);
        } else {
                SAY(&p, "/dev/kvm does not make a virtual machine: %s", strerror(-r));
        }
        finish(&p);
}
