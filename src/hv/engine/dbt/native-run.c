/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Handlers that run stubs: memory operands, the x87 environment, and faults of the host in the copy. */

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "hv/engine/dbt/mirror.h"
#include "hv/engine/dbt/native.h"
#include "hv/engine/dbt/tr.h"
#include "hv/engine/dbt/vm.h"

/* --- Host faults --------------------------------------------------------------------------------------------- */

/* What this thread runs, for the signal handler, which gets no argument of ours. */
static __thread struct dbt_vcpu *native_self __attribute__((tls_model("initial-exec")));

void dbt_native_thread(struct dbt_vcpu *v)
{
        native_self = v;
}

/* Where to go on after a fault at pc; NULL: it is not a guest's. */
static const void *fault_exit(struct dbt_vcpu *v, uint64_t pc, unsigned vector)
{
        struct dbt_native *n = v->native;

        if (pc - (uintptr_t)n->exec >= NATIVE_BUFFER_SIZE)
                return v->translator ? dbt_tr_fault_exit(v, pc) : NULL;
        if (!n->current)
                return NULL;
        n->fault_vector = vector;
        return n->current->code + n->current->fault_offset;
}

/* A fault in the copied instruction goes on at the fault exit of the stub or the translated block: sigreturn, unlike a jump out of the handler,
 * brings the guest's vector registers back. Any other one is a bug here and ends the process as it would have. */
static __attribute__((used)) void on_fault(int sig, siginfo_t *info, void *context)
{
        ucontext_t *uc = context;
        greg_t *regs = uc->uc_mcontext.gregs;
        const void *to = NULL;
        uint64_t rsp;

        if (native_self && regs[REG_TRAPNO] == X86_PF && (rsp = dbt_tr_calls_full(native_self, (uintptr_t)info->si_addr))) {
                regs[REG_RSP] = (greg_t)rsp;
                return;
        }
        if (native_self && regs[REG_TRAPNO] == X86_PF && (to = dbt_tr_miss_exit(native_self, (uint64_t)regs[REG_RIP])))
                mirror_note_miss(native_self, (uint64_t)(uintptr_t)info->si_addr, regs[REG_ERR] >> 1 & 1);
        if (native_self && regs[REG_TRAPNO] != X86_PF)
                to = fault_exit(native_self, (uint64_t)regs[REG_RIP], (unsigned)regs[REG_TRAPNO]);
        if (!to) {
                signal(sig, SIG_DFL);
                return;
        }
        regs[REG_RIP] = (greg_t)(uintptr_t)to;
}

MIRROR_HANDLER(on_fault_mirrored, "on_fault")

int native_install_signals(bool mirrored)
{
        struct sigaction sa;

        memset(&sa, 0, sizeof(sa));
        sa.sa_sigaction = mirrored ? on_fault_mirrored : on_fault;
        sa.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
        sigemptyset(&sa.sa_mask);
        if (sigaction(SIGFPE, &sa, NULL) < 0 || sigaction(SIGILL, &sa, NULL) < 0 || sigaction(SIGSEGV, &sa, NULL) < 0)
                return -errno;
        return 0;
}

static _Noreturn void raise_host_fault(struct dbt_vcpu *v)
{
        unsigned vector = v->native->fault_vector;

        switch (vector) {
        case X86_DE:
        case X86_MF:
                dbt_raise(v, vector);
        case X86_GP:
                dbt_raise_gp0(v);
        case X86_XM:
                if (v->cr4 & X86_CR4_OSXMMEXCPT)
                        dbt_raise(v, X86_XM);
                dbt_raise_ud(v);
        default:
                dbt_raise_ud(v);
        }
}

void native_call(struct dbt_vcpu *v, const struct native_stub *s, void *mem)
{
        native_self = v;
        v->native->current = s;
        if (unlikely(((native_code)(uintptr_t)s->code)(v, mem)))
                raise_host_fault(v);
}

/* --- Checks before vector instructions (Intel SDM vol. 3, 2.5 and 13.1) ----------------------------------------- */

void native_check(struct dbt_vcpu *v, enum native_class class)
{
        bool em = v->cr0 & X86_CR0_EM, ts = v->cr0 & X86_CR0_TS;

        switch (class) {
        case NATIVE_GPR:
                return;
        case NATIVE_FWAIT:
                if (ts && (v->cr0 & X86_CR0_MP))
                        dbt_raise(v, X86_NM);
                return;
        case NATIVE_X87:
                if (em || ts)
                        dbt_raise(v, X86_NM);
                return;
        case NATIVE_MMX:
                if (em)
                        dbt_raise_ud(v);
                break;
        case NATIVE_SSE:
                if (em || !(v->cr4 & X86_CR4_OSFXSR))
                        dbt_raise_ud(v);
                break;
        case NATIVE_AVX:
                if (!(v->cr4 & X86_CR4_OSXSAVE) ||
                        (v->xcr0 & (X86_XCR0_SSE | X86_XCR0_AVX)) != (X86_XCR0_SSE | X86_XCR0_AVX))
                        dbt_raise_ud(v);
                break;
        }
        if (ts)
                dbt_raise(v, X86_NM);
}

/* --- Plain instructions -------------------------------------------------------------------------------------- */

static uint64_t operand_linear(struct dbt_vcpu *v, const struct dbt_insn *i, const struct native_stub *s)
{
        uint64_t lin;

        if (!i->mem.fast)
                native_check_pending(v, s);
        lin = dbt_mem_linear(v, i, s->mem_size, s->access & NATIVE_WRITE ? DBT_WRITE : DBT_READ);
        if (unlikely(lin & s->align_mask)) {
                native_check_pending(v, s);
                dbt_raise_gp0(v);
        }
        return lin;
}

static bool cached(struct dbt_vcpu *v, const struct native_stub *s, uint64_t lin)
{
        struct dbt_tlb_entry *e = dbt_tlb_slot(v, v->mmu, lin);

        return (lin ^ (s->access & NATIVE_WRITE ? e->match_write : e->match_read)) <= DBT_PAGE_SIZE - s->mem_size;
}

static void *operand_pointer(struct dbt_vcpu *v, const struct native_stub *s, uint64_t lin)
{
        if (likely(cached(v, s, lin)))
                return (void *)(lin + dbt_tlb_slot(v, v->mmu, lin)->addend);
        native_check_pending(v, s);
        return dbt_host_ptr(v, lin, s->mem_size, s->access & NATIVE_WRITE ? DBT_WRITE : DBT_READ, v->mmu);
}

/* On a copy of the operand: it crosses a page end, or the page wants its writes (or reads) to be seen. Nothing has been written when
 * this faults. */
static void run_bounced(struct dbt_vcpu *v, const struct native_stub *s, uint64_t lin)
{
        uint8_t *bounce = v->native->bounce;

        if (s->lock)
                dbt_exclusive_begin(v);
        if (s->access & NATIVE_WRITE)
                dbt_probe(v, lin, s->mem_size, DBT_WRITE, v->mmu);
        /* x87 does not store at all if it raises an unmasked exception. */
        if ((s->access & NATIVE_READ) || s->class == NATIVE_X87)
                dbt_read_bytes(v, lin, bounce, s->mem_size, v->mmu);
        native_enter(v, s); /* a device's callback may have taken the vector registers */
        native_call(v, s, bounce);
        if (s->access & NATIVE_WRITE)
                dbt_write_bytes(v, lin, bounce, s->mem_size, v->mmu);
        if (s->lock)
                dbt_exclusive_end(v);
}

void native_run_reg(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;

        native_enter(v, s);
        native_call(v, s, NULL);
}

void native_run_mem(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        uint64_t lin;
        void *p;

        native_enter(v, s);
        lin = operand_linear(v, i, s);
        p = operand_pointer(v, s, lin);
        if (likely(p)) {
                native_enter(v, s);
                native_call(v, s, p);
        } else {
                run_bounced(v, s, lin);
        }
}

/* VCVTPS2PH to memory: on Intel's CPUs, exceptions of the conversion, masked ones too, come before faults of the operand, on AMD's afterwards. */
void native_run_convert(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;

        if (!v->sys.amd) {
                native_enter(v, s);
                native_call(v, s, v->native->bounce);
        }
        native_run_mem(v, i);
}

/* --- x87 ----------------------------------------------------------------------------------------------------- */

/* A store that raises an unmasked exception but for precision leaves memory alone. Intel's CPUs find that out before they look at the
 * operand's address, AMD's afterwards. */
static bool may_store_nothing(struct dbt_vcpu *v, const struct native_stub *s)
{
        uint16_t fcw;

        if (v->sys.amd || !s->tracks || s->access != NATIVE_WRITE)
                return false;
        native_enter(v, s);
        __asm__ volatile("fnstcw %0" : "=m"(fcw));
        return (fcw & NATIVE_X87_EXCEPTIONS) != NATIVE_X87_EXCEPTIONS;
}

/* Runs the store on a copy of its operand. False: nothing was done, as it would store. */
static bool stores_nothing(struct dbt_vcpu *v, const struct native_stub *s)
{
        struct {
                uint8_t area[576];
        } before __attribute__((aligned(64)));
        uint16_t fcw, fsw;

        native_zero(before.area + 512, 64);
        __asm__ volatile("xsave64 %0" : "+m"(before) : "a"(1), "d"(0));
        native_call(v, s, v->native->bounce);
        __asm__ volatile("fnstcw %0; fnstsw %1" : "=m"(fcw), "=m"(fsw));
        if (fsw & ~fcw & NATIVE_X87_EXCEPTIONS & ~NATIVE_X87_PRECISION)
                return true;
        __asm__ volatile("xrstor64 %0" : : "m"(before), "a"(1), "d"(0));
        return false;
}

void native_run_x87(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        struct dbt_x87 *x = &v->x87;
        uint64_t fdp = 0;

        if (s->mem_size && s->tracks)
                fdp = dbt_mem_offset(v, i);
        if (!s->mem_size)
                native_run_reg(v, i);
        else if (!may_store_nothing(v, s) || !stores_nothing(v, s))
                native_run_mem(v, i);
        if (!s->tracks)
                return;
        x->fip = v->rip;
        x->fop = s->fop & 0x7ff;
        x->fcs = v->seg[X86_CS].selector;
        if (s->mem_size) {
                x->fdp = fdp;
                x->fds = v->seg[i->mem.seg].selector;
        } else if (v->sys.fdp_of_exceptions) {
                x->fds = DBT_X87_NONE;
        }
}

/* FNCLEX and FLDCW: what they do to the exception summary says nothing about the last instruction. */
void native_run_settled(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        uint16_t fsw;

        native_enter(v, s);
        __asm__ volatile("fnstsw %0" : "=a"(fsw));
        native_settle(v, fsw);
        if (s->mem_size)
                native_run_mem(v, i);
        else
                native_run_reg(v, i);
}

static void put_le(uint8_t *p, uint64_t value, unsigned size)
{
        for (unsigned k = 0; k < size; k++)
                p[k] = (uint8_t)(value >> (8 * k));
}

static uint32_t get_le(const uint8_t *p, unsigned size)
{
        uint32_t value = 0;

        for (unsigned k = 0; k < size; k++)
                value |= (uint32_t)p[k] << (8 * k);
        return value;
}

/* Real-mode environments hold linear addresses, the others offsets and selectors. */
static bool has_real_format(const struct dbt_vcpu *v)
{
        return !(v->mode & DBT_MODE_PE) || (v->mode & DBT_MODE_VM86);
}

/* The words after the tag word: instruction pointer, its selector and opcode, data pointer, its selector (Intel SDM vol. 1,
 * figures 8-9 to 8-12). field: 2 or 4 bytes each. */
static void put_pointers(const struct dbt_vcpu *v, uint8_t *env, unsigned field)
{
        const struct dbt_x87 *x = &v->x87;
        uint8_t *p = env + 3 * field;

        if (has_real_format(v)) {
                uint64_t fip = x->fip + v->seg[X86_CS].base, fdp = x->known_fdp + v->seg[X86_DS].base;

                put_le(p, fip & 0xffff, field);
                put_le(p + field, (fip >> 16 << 12 & (field == 2 ? 0xf000 : 0x0ffff000)) | x->known_fop, field);
                put_le(p + 2 * field, fdp & 0xffff, field);
                put_le(p + 3 * field, fdp >> 16 << 12 & (field == 2 ? 0xf000 : 0x0ffff000), field);
                return;
        }
        put_le(p, x->fip, field);
        put_le(p + field, x->fcs | x->known_fop << 16, field);
        put_le(p + 2 * field, x->known_fdp, field);
        put_le(p + 3 * field, x->known_fds, 2);
}

static void get_pointers(struct dbt_vcpu *v, const uint8_t *env, unsigned field)
{
        struct dbt_x87 *x = &v->x87;
        const uint8_t *p = env + 3 * field;

        x->fop = x->fds = DBT_X87_NONE;
        x->fip = get_le(p, field);
        x->known_fdp = get_le(p + 2 * field, field);
        x->fcs = (uint16_t)get_le(p + field, 2);
        x->known_fds = (uint16_t)get_le(p + 3 * field, 2);
        x->known_fop = field == 4 ? get_le(p + field, 4) >> 16 & 0x7ff : 0;
        if (has_real_format(v)) {
                x->known_fop = get_le(p + field, field) & 0x7ff;
                x->fip = (x->fip & 0xffff) | (get_le(p + field, field) >> 12 << 16);
                x->known_fdp = (x->known_fdp & 0xffff) | (get_le(p + 3 * field, field) >> 12 << 16);
                x->fip -= v->seg[X86_CS].base;
                x->known_fdp -= v->seg[X86_DS].base;
        }
        if (v->sys.no_x87_selectors)
                x->fcs = x->known_fds = 0;
}

static unsigned env_field(const struct native_stub *s)
{
        return s->mem_size == 14 || s->mem_size == 94 ? 2 : 4;
}

/* FNSTENV, FNSAVE. */
void native_run_save_env(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        struct dbt_native *n = v->native;
        uint64_t lin;

        native_enter(v, s);
        lin = operand_linear(v, i, s);
        dbt_probe(v, lin, s->mem_size, DBT_WRITE, v->mmu);
        native_enter(v, s);
        native_call(v, s, n->bounce);
        native_settle(v, (uint16_t)get_le(n->bounce + env_field(s), 2));
        put_pointers(v, n->bounce, env_field(s));
        if (s->mem_size >= 94)
                native_clear_pointers(v);
        dbt_write_bytes(v, lin, n->bounce, s->mem_size, v->mmu);
}

/* FLDENV, FRSTOR. */
void native_run_load_env(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        struct dbt_native *n = v->native;
        uint64_t lin;

        native_enter(v, s);
        lin = operand_linear(v, i, s);
        native_check_pending(v, s);
        dbt_read_bytes(v, lin, n->bounce, s->mem_size, v->mmu);
        native_enter(v, s);
        native_call(v, s, n->bounce);
        get_pointers(v, n->bounce, env_field(s));
}

void native_run_fninit(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        native_run_reg(v, i);
        native_clear_pointers(v);
}

/* --- Others -------------------------------------------------------------------------------------------------- */

void native_run_ldmxcsr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        const struct native_stub *s = i->native;
        uint32_t value;

        native_enter(v, s);
        value = dbt_load32(v, operand_linear(v, i, s), v->mmu);
        if (value & ~NATIVE_MXCSR_MASK)
                dbt_raise_gp0(v);
        native_enter(v, s);
        put_le(v->native->bounce, value, 4);
        native_call(v, s, v->native->bounce);
}

void native_run_nop(struct dbt_vcpu *v, const struct dbt_insn *i)
{
}

/* CLFLUSH and its kin: what they do to caches nobody sees, what they check is that of a byte read. */
void native_run_cache_line(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_probe(v, dbt_mem_linear(v, i, 1, DBT_READ), 1, DBT_READ, v->mmu);
}
