/* SPDX-License-Identifier: GPL-2.0-or-later */

/* System instructions: operands are fetched here, sys-*.c and seg.c do the work. Everything that can change the mode, the
 * mapping or what interrupts may be delivered ends the block. */

#include <sched.h>

#include "hv/engine/dbt/exec.h"

/* --- mov to and from segment, control and debug registers ------------------------------------------------------- */

static void mov_from_seg(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint16_t selector = v->seg[i->reg[1]].selector;

        if (i->flags & DBT_INSN_MEM)
                dbt_mem_set16(v, i, selector);
        else
                dbt_set_reg(v, i->reg[0], selector, i->op_size);
}

static void mov_to_seg(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_load_seg(v, i->reg[0], (uint16_t)dbt_operand_get(v, i, 1, 2));
        if (i->reg[0] == X86_SS)
                v->interrupt_shadow = true;
}

/* n: which operand is the segment register */
bool dbt_setup_mov_seg(struct dbt_decoding *d, unsigned n)
{
        if (n == 0 && d->i->reg[0] == X86_CS)
                return false;
        d->i->fn = n == 0 ? mov_to_seg : mov_from_seg;
        /* In 64-bit mode loads of the data segments change nothing that decoding or addressing in advance rests on. */
        if (n == 0 && (!d->mode64 || d->i->reg[0] == X86_SS))
                d->i->flags |= DBT_INSN_ENDS_BLOCK;
        return true;
}

static unsigned control_size(const struct dbt_vcpu *v)
{
        return v->mode & DBT_MODE_CS64 ? 8 : 4;
}

static void mov_from_cr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t value = dbt_mov_from_cr(v, i->reg[1]);

        dbt_set_reg(v, i->reg[0], value, control_size(v));
}

static void mov_to_cr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_mov_to_cr(v, i->reg[0], dbt_truncate(v->gpr[i->reg[1]], control_size(v)));
}

static void mov_from_dr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t value = dbt_mov_from_dr(v, i->reg[1]);

        dbt_set_reg(v, i->reg[0], value, control_size(v));
}

static void mov_to_dr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_mov_to_dr(v, i->reg[0], dbt_truncate(v->gpr[i->reg[1]], control_size(v)));
}

bool dbt_setup_mov_control(struct dbt_decoding *d, unsigned n)
{
        bool debug = ZydisRegisterGetClass(d->ops[n].reg.value) == ZYDIS_REGCLASS_DEBUG;

        if (n == 0) {
                d->i->fn = debug ? mov_to_dr : mov_to_cr;
                d->i->flags |= DBT_INSN_ENDS_BLOCK;
        } else {
                d->i->fn = debug ? mov_from_dr : mov_from_cr;
        }
        return true;
}

/* lds, les, lss, lfs, lgs */
static void exec_load_far(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin = dbt_mem_linear(v, i, i->op_size + 2u, DBT_READ);
        uint64_t offset = dbt_load(v, lin, i->op_size);

        dbt_load_seg(v, i->aux, dbt_load16(v, lin + i->op_size, v->mmu));
        dbt_set_reg(v, i->reg[0], offset, i->op_size);
}

bool dbt_setup_load_far(struct dbt_decoding *d, unsigned seg)
{
        d->i->aux = seg;
        d->i->flags |= DBT_INSN_ENDS_BLOCK;
        d->i->fn = exec_load_far;
        return true;
}

/* --- Descriptor tables ------------------------------------------------------------------------------------------ */

static void load_table(struct dbt_vcpu *v, const struct dbt_insn *i,
                       void (*load)(struct dbt_vcpu *v, uint64_t base, uint16_t limit))
{
        unsigned n = control_size(v);
        uint64_t lin = dbt_mem_linear(v, i, 2 + n, DBT_READ);
        uint16_t limit = dbt_load16(v, lin, v->mmu);
        uint64_t base = dbt_load(v, lin + 2, n);

        if (n == 4 && i->op_size == 2)
                base &= 0xffffff;
        load(v, base, limit);
}

static void exec_lgdt(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        load_table(v, i, dbt_lgdt);
}

static void exec_lidt(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        load_table(v, i, dbt_lidt);
}

static void store_table(struct dbt_vcpu *v, const struct dbt_insn *i, const struct x86_table *t)
{
        unsigned n = control_size(v);
        uint64_t lin;

        dbt_check_umip(v);
        lin = dbt_mem_linear(v, i, 2 + n, DBT_WRITE);
        dbt_probe(v, lin, 2 + n, DBT_WRITE, v->mmu);
        dbt_store16(v, lin, t->limit, v->mmu);
        dbt_store(v, lin + 2, t->base, n);
}

static void exec_sgdt(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        store_table(v, i, &v->gdtr);
}

static void exec_sidt(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        store_table(v, i, &v->idtr);
}

/* --- Selectors and the machine status word ------------------------------------------------------------------------ */

static uint16_t word_operand(struct dbt_vcpu *v, const struct dbt_insn *i, unsigned n)
{
        return (uint16_t)dbt_operand_get(v, i, n, 2);
}

/* sldt, str, smsw: all of a register, but 16 bits of memory. */
static void put_word(struct dbt_vcpu *v, const struct dbt_insn *i, uint64_t value)
{
        dbt_check_umip(v);
        if (i->flags & DBT_INSN_MEM)
                dbt_mem_set16(v, i, (uint16_t)value);
        else
                dbt_set_reg(v, i->reg[0], value, i->op_size);
}

/* lldt, ltr, sldt, str, lar, lsl, verr, verw, arpl exist in protected mode only. */
static void check_protected(struct dbt_vcpu *v)
{
        if (!(v->mode & DBT_MODE_PE) || (v->mode & DBT_MODE_VM86))
                dbt_raise_ud(v);
}

static void exec_sldt(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_protected(v);
        put_word(v, i, v->ldtr.selector);
}

static void exec_str(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_protected(v);
        put_word(v, i, v->tr.selector);
}

static void exec_smsw(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        put_word(v, i, v->cr0);
}

/* Privilege comes before the operand: a fault of the load would tell. */
static void check_kernel(struct dbt_vcpu *v)
{
        if (v->cpl)
                dbt_raise_gp0(v);
}

static void exec_lldt(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_protected(v);
        check_kernel(v);
        dbt_lldt(v, word_operand(v, i, 0));
}

static void exec_ltr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_protected(v);
        check_kernel(v);
        dbt_ltr(v, word_operand(v, i, 0));
}

static void exec_lmsw(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_kernel(v);
        dbt_lmsw(v, word_operand(v, i, 0));
}

static void set_zf(struct dbt_vcpu *v, bool on)
{
        v->rflags = on ? v->rflags | X86_FLAG_ZF : v->rflags & ~(uint64_t)X86_FLAG_ZF;
}

static void lar_lsl(struct dbt_vcpu *v, const struct dbt_insn *i,
                    bool (*get)(struct dbt_vcpu *v, uint16_t selector, uint32_t *ret))
{
        uint32_t value;
        bool ok;

        check_protected(v);
        ok = get(v, word_operand(v, i, 1), &value);
        if (ok)
                dbt_set_reg(v, i->reg[0], value, i->op_size);
        set_zf(v, ok);
}

static void exec_lar(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        lar_lsl(v, i, dbt_lar);
}

static void exec_lsl(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        lar_lsl(v, i, dbt_lsl);
}

static void exec_verr(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_protected(v);
        set_zf(v, dbt_verify(v, word_operand(v, i, 0), false));
}

static void exec_verw(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_protected(v);
        set_zf(v, dbt_verify(v, word_operand(v, i, 0), true));
}

static void exec_arpl(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint16_t dst, src = (uint16_t)v->gpr[i->reg[1]];
        bool raise;

        check_protected(v);
        dst = word_operand(v, i, 0);
        raise = (dst & 3) < (src & 3);
        dst = (uint16_t)((dst & ~3) | (src & 3));
        if (raise && (i->flags & DBT_INSN_MEM))
                dbt_mem_set16(v, i, dst);
        else if (raise)
                dbt_set_reg16(v, i->reg[0], dst);
        set_zf(v, raise);
}

/* --- With implicit operands ----------------------------------------------------------------------------------------- */

#define SIMPLE(name, call) \
        static void exec_##name(struct dbt_vcpu *v, const struct dbt_insn *i) { call; }
SIMPLE(cli, dbt_cli(v))
SIMPLE(sti, dbt_sti(v))
SIMPLE(hlt, dbt_hlt(v))
SIMPLE(clts, dbt_clts(v))
SIMPLE(wbinvd, dbt_wbinvd(v))
SIMPLE(rdmsr, dbt_rdmsr(v))
SIMPLE(wrmsr, dbt_wrmsr(v))
SIMPLE(rdtsc, dbt_rdtsc(v, false))
SIMPLE(rdtscp, dbt_rdtsc(v, true))
SIMPLE(rdpmc, dbt_rdpmc(v))
SIMPLE(cpuid, dbt_cpuid(v))
SIMPLE(xgetbv, dbt_xgetbv(v))
SIMPLE(xsetbv, dbt_xsetbv(v))
SIMPLE(swapgs, dbt_swapgs(v))
SIMPLE(vmcall, dbt_vmcall(v))
SIMPLE(syscall, dbt_syscall(v, v->rip + i->length))
SIMPLE(sysret, dbt_sysret(v, i->op_size))
SIMPLE(sysenter, dbt_sysenter(v))
SIMPLE(sysexit, dbt_sysexit(v, i->op_size))

/* Orders every access before it; a locked access of the host does the same and needs no vector unit. Also sfence: non-temporal stores run as they are. */
static void exec_mfence(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        atomic_thread_fence(memory_order_seq_cst);
}

/* Everybody who spins gives the host's processor away now and then: whoever is waited for may not have one. */
static void exec_pause(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        if (++v->pauses % 64)
                return;
        dbt_leave_guest(v);
        sched_yield();
        dbt_enter_guest(v);
}

/* --- With operands ---------------------------------------------------------------------------------------------------- */

static void exec_invlpg(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_kernel(v);
        /* no segment limit applies */
        dbt_invlpg(v, i->mem.fast ? dbt_mem_linear(v, i, 1, DBT_READ) :
                           (uint32_t)(v->seg[i->mem.seg].base + dbt_mem_offset(v, i)));
}

static void exec_invpcid(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t lin, pcid;

        check_kernel(v);
        lin = dbt_mem_linear(v, i, 16, DBT_READ);
        pcid = dbt_load64(v, lin, v->mmu);
        dbt_invpcid(v, dbt_truncate(v->gpr[i->reg[0]], control_size(v)), pcid, dbt_load64(v, lin + 8, v->mmu));
}

/* Counts as a transfer to what follows: the view is part of a block's key. */
static void set_ac(struct dbt_vcpu *v, const struct dbt_insn *i, bool on)
{
        if (v->cpl || !(v->cr4 & X86_CR4_SMAP))
                dbt_raise_ud(v);
        v->rflags = on ? v->rflags | X86_FLAG_AC : v->rflags & ~(uint64_t)X86_FLAG_AC;
        dbt_set_view(v, on ? DBT_MMU_KERNEL : DBT_MMU_KERNEL_SMAP);
        v->mode = on ? v->mode & ~(uint32_t)DBT_MODE_SMAP : v->mode | DBT_MODE_SMAP;
        v->rip += i->length;
}

static void exec_stac(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        set_ac(v, i, true);
}

static void exec_clac(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        set_ac(v, i, false);
}

static void exec_rdpid(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        dbt_set_reg(v, i->reg[0], v->msr[X86_MSR_TSC_AUX], control_size(v));
}

/* aux: X86_FS or X86_GS */
static void check_fsgsbase(struct dbt_vcpu *v)
{
        if (!(v->cr4 & X86_CR4_FSGSBASE))
                dbt_raise_ud(v);
}

/* The operand size prefix means nothing to these. */
static unsigned base_size(const struct dbt_insn *i)
{
        return i->op_size == 8 ? 8 : 4;
}

static void exec_rdbase(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        check_fsgsbase(v);
        dbt_set_reg(v, i->reg[0], v->seg[i->aux].base, base_size(i));
}

static void exec_wrbase(struct dbt_vcpu *v, const struct dbt_insn *i)
{
        uint64_t base = dbt_truncate(v->gpr[i->reg[0]], base_size(i));

        check_fsgsbase(v);
        if ((uint64_t)((int64_t)(base << 16) >> 16) != base)
                dbt_raise_gp0(v);
        v->seg[i->aux].base = base;
}

/* --- Choice ------------------------------------------------------------------------------------------------------------ */

enum { ENDS = DBT_INSN_ENDS_BLOCK, TRANSFERS = DBT_INSN_ENDS_BLOCK | DBT_INSN_TRANSFER };

static const struct {
        ZydisMnemonic mnemonic;
        dbt_handler fn;
        unsigned flags;
        unsigned aux;
} system_insns[] = {
        { ZYDIS_MNEMONIC_CLI, exec_cli, 0, 0 },
        { ZYDIS_MNEMONIC_STI, exec_sti, ENDS, 0 },
        { ZYDIS_MNEMONIC_HLT, exec_hlt, ENDS, 0 },
        { ZYDIS_MNEMONIC_CLTS, exec_clts, ENDS, 0 },
        { ZYDIS_MNEMONIC_WBINVD, exec_wbinvd, 0, 0 },
        { ZYDIS_MNEMONIC_INVD, exec_wbinvd, 0, 0 },
        { ZYDIS_MNEMONIC_RDMSR, exec_rdmsr, 0, 0 },
        { ZYDIS_MNEMONIC_WRMSR, exec_wrmsr, ENDS, 0 },
        { ZYDIS_MNEMONIC_RDTSC, exec_rdtsc, 0, 0 },
        { ZYDIS_MNEMONIC_RDTSCP, exec_rdtscp, 0, 0 },
        { ZYDIS_MNEMONIC_RDPMC, exec_rdpmc, 0, 0 },
        { ZYDIS_MNEMONIC_CPUID, exec_cpuid, 0, 0 },
        { ZYDIS_MNEMONIC_XGETBV, exec_xgetbv, 0, 0 },
        { ZYDIS_MNEMONIC_XSETBV, exec_xsetbv, ENDS, 0 },
        { ZYDIS_MNEMONIC_SWAPGS, exec_swapgs, 0, 0 },
        { ZYDIS_MNEMONIC_VMCALL, exec_vmcall, ENDS, 0 },
        { ZYDIS_MNEMONIC_VMMCALL, exec_vmcall, ENDS, 0 },
        { ZYDIS_MNEMONIC_SYSCALL, exec_syscall, TRANSFERS, 0 },
        { ZYDIS_MNEMONIC_SYSRET, exec_sysret, TRANSFERS, 0 },
        { ZYDIS_MNEMONIC_SYSENTER, exec_sysenter, TRANSFERS, 0 },
        { ZYDIS_MNEMONIC_SYSEXIT, exec_sysexit, TRANSFERS, 0 },
        { ZYDIS_MNEMONIC_MFENCE, exec_mfence, 0, 0 },
        { ZYDIS_MNEMONIC_SFENCE, exec_mfence, 0, 0 },
        { ZYDIS_MNEMONIC_PAUSE, exec_pause, 0, 0 },
        { ZYDIS_MNEMONIC_LGDT, exec_lgdt, 0, 0 },
        { ZYDIS_MNEMONIC_LIDT, exec_lidt, 0, 0 },
        { ZYDIS_MNEMONIC_SGDT, exec_sgdt, 0, 0 },
        { ZYDIS_MNEMONIC_SIDT, exec_sidt, 0, 0 },
        { ZYDIS_MNEMONIC_SLDT, exec_sldt, 0, 0 },
        { ZYDIS_MNEMONIC_STR, exec_str, 0, 0 },
        { ZYDIS_MNEMONIC_SMSW, exec_smsw, 0, 0 },
        { ZYDIS_MNEMONIC_LLDT, exec_lldt, 0, 0 },
        { ZYDIS_MNEMONIC_LTR, exec_ltr, 0, 0 },
        { ZYDIS_MNEMONIC_LMSW, exec_lmsw, ENDS, 0 },
        { ZYDIS_MNEMONIC_LAR, exec_lar, 0, 0 },
        { ZYDIS_MNEMONIC_LSL, exec_lsl, 0, 0 },
        { ZYDIS_MNEMONIC_VERR, exec_verr, 0, 0 },
        { ZYDIS_MNEMONIC_VERW, exec_verw, 0, 0 },
        { ZYDIS_MNEMONIC_ARPL, exec_arpl, 0, 0 },
        { ZYDIS_MNEMONIC_INVLPG, exec_invlpg, ENDS, 0 },
        { ZYDIS_MNEMONIC_INVPCID, exec_invpcid, ENDS, 0 },
        { ZYDIS_MNEMONIC_STAC, exec_stac, DBT_INSN_TRANSFER, 0 },
        { ZYDIS_MNEMONIC_CLAC, exec_clac, DBT_INSN_TRANSFER, 0 },
        { ZYDIS_MNEMONIC_RDPID, exec_rdpid, 0, 0 },
        { ZYDIS_MNEMONIC_RDFSBASE, exec_rdbase, 0, X86_FS },
        { ZYDIS_MNEMONIC_RDGSBASE, exec_rdbase, 0, X86_GS },
        { ZYDIS_MNEMONIC_WRFSBASE, exec_wrbase, 0, X86_FS },
        { ZYDIS_MNEMONIC_WRGSBASE, exec_wrbase, 0, X86_GS },
        { ZYDIS_MNEMONIC_FXSAVE, dbt_fxsave, 0, 0 },
        { ZYDIS_MNEMONIC_FXSAVE64, dbt_fxsave, 0, 0 },
        { ZYDIS_MNEMONIC_FXRSTOR, dbt_fxrstor, 0, 0 },
        { ZYDIS_MNEMONIC_FXRSTOR64, dbt_fxrstor, 0, 0 },
        { ZYDIS_MNEMONIC_XSAVE, dbt_xsave, 0, 0 },
        { ZYDIS_MNEMONIC_XSAVE64, dbt_xsave, 0, 0 },
        { ZYDIS_MNEMONIC_XSAVEOPT, dbt_xsave, 0, 0 },
        { ZYDIS_MNEMONIC_XSAVEOPT64, dbt_xsave, 0, 0 },
        { ZYDIS_MNEMONIC_XSAVEC, dbt_xsavec, 0, 0 },
        { ZYDIS_MNEMONIC_XSAVEC64, dbt_xsavec, 0, 0 },
        { ZYDIS_MNEMONIC_XRSTOR, dbt_xrstor, 0, 0 },
        { ZYDIS_MNEMONIC_XRSTOR64, dbt_xrstor, 0, 0 },
};

/* Is it an instruction that means something else with REX.W? Their operand size is 8 with it, else 4. */
static bool depends_on_rex_w(const struct dbt_decoding *d)
{
        dbt_handler fn = d->i->fn;

        return fn == exec_sysret || fn == exec_sysexit || fn == dbt_fxsave || fn == dbt_fxrstor || fn == dbt_xsave ||
                fn == dbt_xsavec || fn == dbt_xrstor;
}

bool dbt_setup_system(struct dbt_decoding *d, unsigned arg)
{
        for (unsigned k = 0; k < ARRAY_SIZE(system_insns); k++) {
                if (system_insns[k].mnemonic != d->z->mnemonic)
                        continue;
                d->i->fn = system_insns[k].fn;
                d->i->flags |= (uint8_t)system_insns[k].flags;
                d->i->aux = system_insns[k].aux;
                if (depends_on_rex_w(d))
                        d->i->op_size = d->z->raw.rex.W ? 8 : 4;
                return true;
        }
        return false;
}
