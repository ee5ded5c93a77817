/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The KVM engine's operations one by one, with a few bytes of real-mode code; whole systems are in tests/guest and tests/kvm. Works
 * with an emulating /dev/kvm, too. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/engine/engine.h"

#define RAM_SIZE 0x10000u
#define ROM_GPA 0x10000u
#define CODE 0x1000u
#define SKIP 77

#define CHECK(cond)                                                                                         \
        do {                                                                                                \
                if (!(cond)) {                                                                              \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                          \
                        exit(1);                                                                            \
                }                                                                                           \
        } while (0)

struct access {
        char kind; /* i, o: port; r, w: memory */
        uint64_t addr, value;
        unsigned size;
};

struct test {
        struct engine_vm *vm;
        struct engine_vcpu *vcpu;
        uint8_t *ram, *rom;
        struct access log[16];
        unsigned n;
        struct x86_state *state;
};

static void note(struct test *t, char kind, uint64_t addr, unsigned size, uint64_t value)
{
        CHECK(t->n < 16);
        t->log[t->n++] = (struct access){ kind, addr, value, size };
        if (kind == 'o' && addr == 0xf0) /* the code's end */
                engine_kvm.vcpu_kick(t->vcpu);
}

static uint64_t on_pio_read(void *opaque, uint16_t port, unsigned size)
{
        note(opaque, 'i', port, size, 0);
        return 0x1122334455667788;
}

static void on_pio_write(void *opaque, uint16_t port, unsigned size, uint64_t value)
{
        note(opaque, 'o', port, size, value);
}

static uint64_t on_mmio_read(void *opaque, uint64_t gpa, unsigned size)
{
        note(opaque, 'r', gpa, size, 0);
        return 0x99aabbccddeeff00 | gpa % 16;
}

static void on_mmio_write(void *opaque, uint64_t gpa, unsigned size, uint64_t value)
{
        note(opaque, 'w', gpa, size, value);
}

static void on_eoi(void *opaque, uint8_t vector)
{
}

static int on_extint_ack(void *opaque)
{
        return -1;
}

static const struct engine_callbacks callbacks = { on_pio_read, on_pio_write, on_mmio_read, on_mmio_write, on_eoi, on_extint_ack };

static void *pages(size_t n)
{
        void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        CHECK(p != MAP_FAILED);
        return p;
}

static void start(struct test *t, int kvm_fd)
{
        struct engine_config config = { .cpus = 1, .callbacks = &callbacks, .opaque = t, .kvm_fd = kvm_fd };
        struct cpuid_table *cpuid = calloc(1, sizeof(*cpuid));
        struct cpuid_topology topo = { .cpus = 1 };
        uint32_t pv;

        *t = (struct test){ .ram = pages(RAM_SIZE), .rom = pages(4096) };
        t->state = aligned_alloc(_Alignof(struct x86_state), sizeof(*t->state));
        CHECK(engine_kvm.vm_new(&config, &t->vm) == 0);
        CHECK(engine_kvm.map(t->vm, 0, 0, RAM_SIZE, t->ram, false) == 0);
        CHECK(engine_kvm.map(t->vm, 1, ROM_GPA, 4096, t->rom, true) == 0);
        CHECK(engine_kvm.map(t->vm, 2, 1, 4096, t->rom, true) == -EINVAL);
        CHECK(engine_kvm.cpuid_supported(t->vm, cpuid, &pv) == 0 && cpuid->n > 5);
        CHECK(pv & KVM_PV_CLOCKSOURCE2);
        cpuid_finish(cpuid, &topo, pv, 0);
        CHECK(engine_kvm.vcpu_new(t->vm, 0, cpuid, &t->vcpu) == 0);
        free(cpuid);
}

static void stop(struct test *t)
{
        engine_kvm.vcpu_free(t->vcpu);
        engine_kvm.vm_free(t->vm);
        munmap(t->ram, RAM_SIZE);
        munmap(t->rom, 4096);
        free(t->state);
}

/* Runs real-mode code at CODE, which ends by itself with out %al, $0xf0. */
static void run_code(struct test *t, const uint8_t *code, size_t n)
{
        static const uint8_t end[] = { 0xe6, 0xf0, 0xeb, 0xfe }; /* out %al, $0xf0; jmp . */

        memcpy(t->ram + CODE, code, n);
        memcpy(t->ram + CODE + n, end, sizeof(end));
        x86_state_reset(t->state, 0, true);
        t->state->seg[X86_CS].selector = 0;
        t->state->seg[X86_CS].base = 0;
        t->state->rip = CODE;
        t->state->gpr[X86_RBX] = 0x2000;
        t->state->seg[X86_ES].selector = 0xb800;
        t->state->seg[X86_ES].base = 0xb8000;
        t->state->seg[X86_FS].selector = ROM_GPA >> 4;
        t->state->seg[X86_FS].base = ROM_GPA;
        t->n = 0;
        CHECK(engine_kvm.vcpu_set_state(t->vcpu, t->state) == 0);
        CHECK(engine_kvm.vcpu_run(t->vcpu) == ENGINE_EXIT_KICK);
        CHECK(t->n > 0 && t->log[t->n - 1].addr == 0xf0);
        t->n--;
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, t->state) == 0);
}

static bool logged(const struct test *t, unsigned i, char kind, uint64_t addr, unsigned size, uint64_t value)
{
        const struct access *a = &t->log[i];

        return i < t->n && a->kind == kind && a->addr == addr && a->size == size && a->value == value;
}

static void test_ports(struct test *t)
{
        static const uint8_t code[] = {
                0xb0, 0x55,       /* mov $0x55, %al */
                0xe6, 0x80,       /* out %al, $0x80 */
                0x66, 0xe5, 0x84, /* in $0x84, %eax */
                0x66, 0x89, 0x07, /* mov %eax, (%bx) */
                0xe5, 0x88,       /* in $0x88, %ax */
        };

        run_code(t, code, sizeof(code));
        CHECK(t->n == 3 && logged(t, 0, 'o', 0x80, 1, 0x55) && logged(t, 1, 'i', 0x84, 4, 0) && logged(t, 2, 'i', 0x88, 2, 0));
        CHECK(memcmp(t->ram + 0x2000, "\x88\x77\x66\x55", 4) == 0);
        CHECK((t->state->gpr[X86_RAX] & 0xffffffff) == 0x55667788); /* the last read has been completed */
}

static void test_mmio(struct test *t)
{
        static const uint8_t code[] = {
                0xb8, 0x34, 0x12,       /* mov $0x1234, %ax */
                0x26, 0xa3, 0x10, 0x00, /* mov %ax, %es:0x10 */
                0x26, 0x66, 0xa1, 0x14, 0x00, /* mov %es:0x14, %eax */
                0x64, 0xa2, 0x02, 0x00, /* mov %al, %fs:2: the ROM */
                0x64, 0x8a, 0x1e, 0x03, 0x00, /* mov %fs:3, %bl */
        };

        t->rom[3] = 0x77;
        run_code(t, code, sizeof(code));
        CHECK(t->n == 3 && logged(t, 0, 'w', 0xb8010, 2, 0x1234) && logged(t, 1, 'r', 0xb8014, 4, 0));
        CHECK(logged(t, 2, 'w', ROM_GPA + 2, 1, 0x04));
        CHECK(t->rom[2] == 0 && (t->state->gpr[X86_RBX] & 0xff) == 0x77);
        CHECK((t->state->gpr[X86_RAX] & 0xffffffff) == 0xddeeff04);
}

static void test_dirty_log(struct test *t)
{
        static const uint8_t code[] = { 0xb0, 0x01, 0x88, 0x07 }; /* mov $1, %al; mov %al, (%bx) */
        uint8_t bits[RAM_SIZE / 4096 / 8];

        CHECK(engine_kvm.dirty_log(t->vm, 0, true, bits) == 0 && bits[0] == 0);
        run_code(t, code, sizeof(code));
        CHECK(engine_kvm.dirty_log(t->vm, 0, true, bits) == 0);
        CHECK(bits[0] == 1 << 2 && bits[1] == 0);
        CHECK(engine_kvm.dirty_log(t->vm, 0, true, bits) == 0 && bits[0] == 0);
        CHECK(engine_kvm.dirty_log(t->vm, 0, false, NULL) == 0);
        CHECK(engine_kvm.dirty_log(t->vm, 5, true, NULL) == -EINVAL);
}

static void *kick_later(void *opaque)
{
        struct test *t = opaque;

        usleep(20000);
        engine_kvm.vcpu_kick(t->vcpu);
        return NULL;
}

/* Kicked before it runs, while it spins, and while it sleeps. */
static void test_kick(struct test *t)
{
        pthread_t thread;

        CHECK(engine_kvm.vcpu_set_state(t->vcpu, t->state) == 0);
        engine_kvm.vcpu_kick(t->vcpu);
        CHECK(engine_kvm.vcpu_run(t->vcpu) == ENGINE_EXIT_KICK);
        CHECK(pthread_create(&thread, NULL, kick_later, t) == 0);
        CHECK(engine_kvm.vcpu_run(t->vcpu) == ENGINE_EXIT_KICK);
        pthread_join(thread, NULL);
        t->state->mp_state = X86_MP_HALTED;
        CHECK(engine_kvm.vcpu_set_state(t->vcpu, t->state) == 0);
        CHECK(pthread_create(&thread, NULL, kick_later, t) == 0);
        CHECK(engine_kvm.vcpu_run(t->vcpu) == ENGINE_EXIT_KICK);
        pthread_join(thread, NULL);
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, t->state) == 0 && t->state->mp_state == X86_MP_HALTED);
}

/* What is set is what is got. */
static void test_state(struct test *t)
{
        struct x86_state *a = t->state, *b = aligned_alloc(_Alignof(struct x86_state), sizeof(*b));

        x86_state_reset(a, 0, true);
        for (unsigned i = 0; i < X86_NGPRS; i++)
                a->gpr[i] = 0x1111111111111111ull * i;
        a->rip = 0x1234;
        a->rflags = 0x246;
        a->cr2 = 0xabcdef;
        a->gdtr = (struct x86_table){ 0x5000, 0x7f };
        a->idtr = (struct x86_table){ 0x6000, 0xfff };
        a->dr[1] = 0x4444;
        a->msr[X86_MSR_LSTAR] = 0xffffffff81000000;
        a->msr[X86_MSR_KERNEL_GS_BASE] = 0x7000;
        a->msr[X86_MSR_PAT] = 0x0007010600070106;
        a->interrupt_shadow = true;
        a->nmi_blocked = true;
        CHECK(engine_kvm.vcpu_set_state(t->vcpu, a) == 0);
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, b) == 0);
        CHECK(memcmp(a->gpr, b->gpr, sizeof(a->gpr)) == 0 && a->rip == b->rip && a->rflags == b->rflags);
        for (unsigned i = 0; i < X86_NSREGS; i++)
                CHECK(a->seg[i].base == b->seg[i].base && a->seg[i].limit == b->seg[i].limit &&
                        a->seg[i].selector == b->seg[i].selector && a->seg[i].attr == b->seg[i].attr);
        CHECK(memcmp(&a->gdtr, &b->gdtr, sizeof(a->gdtr)) == 0 || (a->gdtr.base == b->gdtr.base && a->gdtr.limit == b->gdtr.limit));
        CHECK(a->idtr.base == b->idtr.base && a->idtr.limit == b->idtr.limit);
        CHECK(a->cr0 == b->cr0 && a->cr2 == b->cr2 && a->cr3 == b->cr3 && a->cr4 == b->cr4 && a->efer == b->efer);
        CHECK(a->dr[1] == b->dr[1] && a->apic_base == b->apic_base && a->xcr0 == b->xcr0);
        CHECK(a->msr[X86_MSR_LSTAR] == b->msr[X86_MSR_LSTAR] && a->msr[X86_MSR_PAT] == b->msr[X86_MSR_PAT]);
        CHECK(a->msr[X86_MSR_KERNEL_GS_BASE] == b->msr[X86_MSR_KERNEL_GS_BASE]);
        CHECK(b->interrupt_shadow && b->nmi_blocked && !b->nmi_pending && !b->exception_pending);
        CHECK(b->mp_state == X86_MP_RUNNABLE);

        a->mp_state = X86_MP_WAIT_SIPI;
        CHECK(engine_kvm.vcpu_set_state(t->vcpu, a) == 0 && engine_kvm.vcpu_get_state(t->vcpu, b) == 0);
        CHECK(b->mp_state == X86_MP_WAIT_SIPI);
        free(b);
}

/* The guest's clocks stand still. */
static void test_pause(struct test *t)
{
        const uint64_t far = 1ull << 60;
        uint64_t before, khz;

        t->state->tsc = far;
        CHECK(engine_kvm.vcpu_set_state(t->vcpu, t->state) == 0);
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, t->state) == 0);
        if (t->state->tsc < far) {
                printf("the guest's TSC is the host's on this emulating KVM: pauses are not tested\n");
                engine_kvm.pause(t->vm, true);
                engine_kvm.pause(t->vm, false);
                return;
        }
        before = t->state->tsc;
        usleep(20000);
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, t->state) == 0);
        khz = (t->state->tsc - before) / 20; /* a little more than that */
        before = t->state->tsc;
        engine_kvm.pause(t->vm, true);
        usleep(200000);
        engine_kvm.pause(t->vm, false);
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, t->state) == 0);
        CHECK(t->state->tsc >= before && t->state->tsc - before < khz * 150);
}

static void test_messages(struct test *t)
{
        /* More level-triggered vectors than pins: the oldest are forgotten, none is refused. */
        for (unsigned i = 0; i < 60; i++)
                CHECK(engine_kvm.msi(t->vm, 0xfee00000, 0x8000 | (0x40 + i)) == 0);
        CHECK(engine_kvm.msi(t->vm, 0xfee05000, 0x50) == 0); /* to nobody */
        CHECK(engine_kvm.nmi(t->vcpu) == 0);
        CHECK(engine_kvm.vcpu_get_state(t->vcpu, t->state) == 0);
}

int main(void)
{
        int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        struct engine_config none = { .cpus = 1, .kvm_fd = -1 };
        struct engine_vm *vm;
        struct test t;

        CHECK(engine_kvm.vm_new(&none, &vm) == -EBADF);
        none.cpus = 0;
        CHECK(engine_kvm.vm_new(&none, &vm) == -EINVAL);
        if (fd < 0) {
                printf("SKIP: /dev/kvm: %s\n", strerror(errno));
                return SKIP;
        }
        start(&t, fd);
        test_ports(&t);
        test_mmio(&t);
        test_dirty_log(&t);
        test_kick(&t);
        test_state(&t);
        test_pause(&t);
        test_messages(&t);
        stop(&t);
        close(fd);
        return 0;
}
