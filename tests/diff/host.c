/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Runs a sequence on this CPU, in a process of its own: the engine has memory at low addresses, which sequences would find. An INT3 in C code makes a signal frame; the handler exchanges its registers for the sequence's, so
 * that sigreturn starts it with all state loaded. The next signal, be it the marker's or a fault's, holds the
 * result, and the handler puts C's registers back. */

#include <asm/hwcap2.h>
#include <asm/ldt.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "diff.h"

#define FP_IMAGE_MAX 8192
#define FP_SW_RESERVED 464 /* struct _fpx_sw_bytes in the frame's legacy region: magic1, size */

enum phase { IDLE, START, RUNNING };

/* What goes to the process that runs sequences, and comes back. */
struct order {
        struct sequence seq;
        uint8_t mem[DATA_SIZE];
        struct cpu out;
        uint64_t seed, run;
};

static struct {
        struct order *order;
        int to_child, from_child;
        volatile enum phase phase;
        const struct sequence *seq;
        struct cpu *out;
        gregset_t c_regs;
        uint8_t c_fp[FP_IMAGE_MAX];
        size_t fp_size;
        struct sigaction other[NSIG];
        uint8_t *data, *code;
        bool writable;
        uint64_t alarm_run;  /* what ran when the timer last went off, */
        unsigned alarms;     /* and how often it has since then */
} host;

/* Segment bases: C code needs its own FS. Not static: used by the assembly below. */
uint64_t host_c_fs, host_seq_fs, host_seq_gs;
int host_signal(int sig, siginfo_t *info, void *context);
void host_signal_entry(int sig, siginfo_t *info, void *context);

__asm__(".text\n"
        "host_signal_entry:\n"
        "       rdfsbase %rax\n"
        "       mov %rax, host_seq_fs(%rip)\n"
        "       rdgsbase %rax\n"
        "       mov %rax, host_seq_gs(%rip)\n"
        "       mov host_c_fs(%rip), %rax\n"
        "       wrfsbase %rax\n"
        "       sub $8, %rsp\n"
        "       call host_signal\n"
        "       add $8, %rsp\n"
        "       test %eax, %eax\n"
        "       jz 1f\n"
        "       mov host_seq_fs(%rip), %rax\n"
        "       wrfsbase %rax\n"
        "       mov host_seq_gs(%rip), %rax\n"
        "       wrgsbase %rax\n"
        "1:     ret\n");

/* Where enum x86_gpr is in a gregset_t. */
static const int greg_of[X86_NGPRS] = {
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15
};

static size_t frame_fp_size(const uint8_t *fp)
{
        uint32_t size;

        memcpy(&size, fp + FP_SW_RESERVED + 16, 4); /* xstate_size */
        return size && size <= FP_IMAGE_MAX ? size : 512;
}

/* CS in bits 0..15, SS in bits 48..63. */
static void set_selectors(greg_t *regs)
{
        uint64_t cs = host.seq->bits == 64 ? 0x33 : 0x23, ss = 0x2b;

        if (host.seq->bits == 16) {
                cs = SELECTOR_CODE16;
                ss = SELECTOR_DATA16;
        }
        regs[REG_CSGSFS] = (greg_t)(((uint64_t)regs[REG_CSGSFS] & 0x0000ffffffff0000) | cs | ss << 48);
}

static void start(ucontext_t *uc)
{
        greg_t *regs = uc->uc_mcontext.gregs;
        uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
        const struct cpu *in = &host.seq->in;
        uint64_t bv;

        memcpy(host.c_regs, regs, sizeof(gregset_t));
        host.fp_size = frame_fp_size(fp);
        memcpy(host.c_fp, fp, host.fp_size);

        for (unsigned r = 0; r < X86_NGPRS; r++)
                regs[greg_of[r]] = (greg_t)in->gpr[r];
        regs[REG_RIP] = (greg_t)in->rip;
        regs[REG_EFL] = (greg_t)in->rflags;
        set_selectors(regs);
        memcpy(fp, in->xsave, FP_SW_RESERVED - 48);
        memcpy(&bv, fp + 512, 8);
        bv = (bv & ~0xffULL) | 7; /* AVX-512 state in its initial configuration */
        memcpy(fp + 512, &bv, 8);
        memcpy(fp + 576, in->xsave + 576, 256);
        host_seq_fs = in->fs_base;
        host_seq_gs = in->gs_base;
        host.phase = RUNNING;
}

static void finish(ucontext_t *uc)
{
        greg_t *regs = uc->uc_mcontext.gregs;
        uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
        struct cpu *out = host.out;

        for (unsigned r = 0; r < X86_NGPRS; r++)
                out->gpr[r] = (uint64_t)regs[greg_of[r]];
        out->rip = (uint64_t)regs[REG_RIP];
        out->rflags = (uint64_t)regs[REG_EFL];
        out->vector = (unsigned)regs[REG_TRAPNO];
        out->error = (uint64_t)regs[REG_ERR];
        out->cr2 = (uint64_t)regs[REG_CR2];
        out->fs_base = host_seq_fs;
        out->gs_base = host_seq_gs;
        memcpy(out->xsave, fp, XSAVE_SIZE);

        memcpy(regs, host.c_regs, sizeof(gregset_t));
        memcpy(fp, host.c_fp, host.fp_size);
        host.phase = IDLE;
}

static void foreign_signal(int sig, siginfo_t *info, void *context)
{
        const ucontext_t *uc = context;

        if ((host.other[sig].sa_flags & SA_SIGINFO) && host.other[sig].sa_sigaction) {
                host.other[sig].sa_sigaction(sig, info, context);
                return;
        }
        fprintf(stderr, "signal %d (vector %d) outside of a sequence, at %llx, seed %llu\n", sig,
                (int)uc->uc_mcontext.gregs[REG_TRAPNO], (unsigned long long)uc->uc_mcontext.gregs[REG_RIP],
                (unsigned long long)current_seed);
        signal(sig, SIG_DFL);
}

/* Times that the timer goes off in the guest's run: it takes longer than the host's, which has ended. */
#define GUEST_PATIENCE 20

/* Returns 1 if the sequence's segment bases are to be loaded. */
int host_signal(int sig, siginfo_t *info, void *context)
{
        if (sig == SIGPROF) {
                if (host.phase == RUNNING && current_run == host.alarm_run) {
                        finish(context); /* runs for ever */
                        host.out->vector = VECTOR_TIMEOUT;
                        return 0;
                }
                if (host.phase == RUNNING) {
                        host.alarm_run = current_run;
                        return 1;
                }
                host.alarms = current_run == host.alarm_run ? host.alarms + 1 : 0;
                if (host.alarms >= GUEST_PATIENCE)
                        guest_kick();
                host.alarm_run = current_run;
                return 0;
        }
        switch (host.phase) {
        case START:
                start(context);
                return 1;
        case RUNNING:
                finish(context);
                return 0;
        default:
                foreign_signal(sig, info, context);
                return 0;
        }
}

void host_take_signals(void)
{
        static const int signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
        struct sigaction sa, old;

        memset(&sa, 0, sizeof(sa));
        sa.sa_sigaction = host_signal_entry;
        sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        sigfillset(&sa.sa_mask);
        for (unsigned k = 0; k < sizeof(signals) / sizeof(signals[0]); k++) {
                sigaction(signals[k], &sa, &old);
                if (old.sa_sigaction != host_signal_entry)
                        host.other[signals[k]] = old;
        }
}

static int map_arena(void)
{
        int fd = memfd_create("diff-code", MFD_CLOEXEC);
        int fixed = MAP_FIXED_NOREPLACE;
        void *alias = (void *)ALIAS_ADDR;

        host.data = mmap((void *)DATA_ADDR, DATA_SIZE, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE | fixed, -1, 0);
        if (host.data != (void *)DATA_ADDR || fd < 0 || ftruncate(fd, CODE_SIZE) < 0)
                return -1;
        host.code = mmap(alias, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE | fixed, fd, 0);
        if (mmap((void *)CODE_ADDR, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_POPULATE | fixed, fd, 0) !=
                (void *)CODE_ADDR)
                return -1;
        close(fd);
        return host.code == alias ? 0 : -1;
}

static int make_ldt(void)
{
        struct user_desc code = {.entry_number = 0, .base_addr = CODE_ADDR, .limit = 0xffff, .contents = MODIFY_LDT_CONTENTS_CODE};
        struct user_desc data = {.entry_number = 1, .base_addr = DATA_ADDR, .limit = 0xffff, .seg_32bit = 1};

        return syscall(SYS_modify_ldt, 1, &code, sizeof(code)) < 0 || syscall(SYS_modify_ldt, 1, &data, sizeof(data)) < 0 ? -1 : 0;
}

static void run_here(const struct sequence *s, const uint8_t *mem, struct cpu *out)
{
        uint8_t *last = host.data + DATA_PAGES * 4096;

        mprotect(last, 4096, PROT_READ | PROT_WRITE);
        memcpy(host.data, mem, DATA_SIZE);
        mprotect(last, 4096, PROT_READ);
        memset(host.code, 0xcc, CODE_SIZE);
        memcpy(host.code, s->code, s->length);
        if (s->writable != host.writable)
                mprotect((void *)CODE_ADDR, CODE_SIZE, PROT_READ | PROT_EXEC | (s->writable ? PROT_WRITE : 0));
        host.writable = s->writable;
        host.seq = s;
        host.out = out;
        /* Not a part of signal frames, and unused by 64-bit code. */
        __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(s->bits == 16 ? SELECTOR_DATA16 : 0x2b));
        host.phase = START;
        __asm__ volatile("int3" : : : "memory");
}

/* --- The process -------------------------------------------------------------------------------------------------- */

static _Noreturn void serve(int in, int out)
{
        static const struct itimerval watch = {{0, 50000}, {0, 50000}} /* of CPU time */;
        struct order *o = host.order;
        char byte;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setitimer(ITIMER_PROF, &watch, NULL);
        while (read(in, &byte, 1) == 1) {
                current_seed = o->seed;
                current_run = o->run;
                run_here(&o->seq, o->mem, &o->out);
                if (write(out, &byte, 1) != 1)
                        break;
        }
        _exit(0);
}

static int start_process(void)
{
        int to[2], from[2];
        pid_t pid;

        host.order = mmap(NULL, sizeof(*host.order), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (host.order == MAP_FAILED || pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
                return -errno;
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                close(to[1]);
                close(from[0]);
                serve(to[0], from[1]);
        }
        close(to[0]);
        close(from[1]);
        host.to_child = to[1];
        host.from_child = from[0];
        return 0;
}

int host_init(void)
{
        static uint8_t stack[65536];
        stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};

        if (!(getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) || make_ldt() < 0)
                return -EOPNOTSUPP;
        __asm__ volatile("rdfsbase %0" : "=r"(host_c_fs));
        if (sigaltstack(&ss, NULL) < 0 || map_arena() < 0)
                return -errno;
        host_take_signals();
        return start_process();
}

/* The other process has already said why, if it is gone. */
void host_run(const struct sequence *s, const uint8_t *mem, struct cpu *out)
{
        struct order *o = host.order;
        char byte = 0;

        o->seq = *s;
        memcpy(o->mem, mem, DATA_SIZE);
        memset(&o->out, 0, sizeof(o->out));
        o->seed = current_seed;
        o->run = current_run;
        if (write(host.to_child, &byte, 1) != 1 || read(host.from_child, &byte, 1) != 1)
                exit(1);
        *out = o->out;
}

const uint8_t *host_memory(void)
{
        return host.data;
}

const uint8_t *host_code(void)
{
        return host.code;
}
