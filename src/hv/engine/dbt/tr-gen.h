/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Code for one block: what the files of the generator share. Private to tr-*.c. See tr.h for the convention. */

#include "hv/engine/dbt/tr.h"

/* Fixed homes that instructions with implicit operands need. */
#define HOME_RAX 10
#define HOME_RCX 11
#define HOME_RSP 15
/* Groups of one block. */
#define GEN_GROUPS DBT_GROUPS
/* Ways out of one instruction: checks of the vector state, of memory operands, and a fault. */
#define GEN_WAYS 8

/* Accesses relative to the same registers, see tr-group.c. */
struct gen_group {
        uint8_t base, index, scale;  /* as in struct dbt_mem */
        uint8_t first, last, members; /* of gen->insns */
        bool write;                  /* one of them does */
        int32_t lo, hi;              /* from the base's value at the first: what they cover */
        struct tr_site *site;        /* holds the addend; NULL: v->tr_addends[number] does */
};

/* A memory access that may be in a group. */
struct gen_access {
        bool valid, write;
        uint8_t base, index, scale;
        uint16_t size;
        int32_t disp;
};

/* x87 pointers that v->x87 lacks: those of an instruction, and the selector of a data pointer. */
struct gen_x87 {
        bool insn, data;
        uint8_t k, seg;        /* of gen->insns; enum x86_sreg */
};

/* What is known of the vector state. */
enum gen_fpu {
        GEN_FPU_UNKNOWN,
        GEN_FPU_LIVE,          /* and nothing but AVX may be trapped */
        GEN_FPU_AVX,           /* nothing is trapped */
};

/* One instruction of the block, looked at before code is made. */
struct gen_insn {
        struct tr_insn t;
        struct tr_use use;
        const struct dbt_insn *i;
        const uint8_t *bytes;
        uint16_t offset;       /* in the page */
        uint8_t live_in, live_out; /* arithmetic flags that are alive before and after it */
        uint8_t valid;         /* flags in RFLAGS behind its code */
        struct gen_x87 x87;    /* before it */
        uint8_t fpu;           /* behind its code: enum gen_fpu */
        const uint8_t *behind; /* end of its code, in the executable view */
        struct gen_access access;
        int8_t group;          /* of gen->groups, or -1 */
        uint8_t last;          /* if it needs its handler, this and all instructions up to that one do */
        bool resumes;          /* ways out return to behind it */
        int32_t rsp, rsp_behind; /* gen->rsp before and behind it */
};

/* What RAX or RCX holds, see tr-scratch.c. */
struct gen_scratch {
        bool used, dirty;      /* dirty: v->gpr has an older value */
        uint8_t reg;           /* without a home */
        unsigned age;          /* the instruction that used it last */
};

/* Code that a jump in the block's straight part leads to: runs the instruction by its handler and goes on behind it. The guest's registers are as before
 * the instruction, its flags are stored. */
struct gen_out {
        uint8_t *jump;         /* NULL: a fault of the host */
        const uint8_t *fault;  /* at this address */
        bool store;            /* fault: the flags have to be stored */
        uint8_t k;             /* of gen->insns */
        uint8_t how;           /* enum tr_miss: what is tried first; TR_MISSES: nothing */
        bool keyed, apart;     /* apart: gen->apart */
        bool told;             /* all of it by the table of faults: there is no code for it */
        bool count;            /* fault: of a repeated instruction, of which RCX has the count that is left */
        uint8_t kept;          /* fault: TR_KEPT_* */
        const uint8_t *retry;  /* where the check begins, in the executable view */
        struct tr_site *site;
        unsigned span;         /* TR_MISS_TLB_* */
        int32_t disp;          /* keyed: linear - key */
};

/* An exit to an address that is known relative to the page. */
struct gen_exit {
        uint8_t *jump;         /* that leads to it */
        uint8_t *tail;         /* the jump of its tail, or NULL */
        int64_t offset;        /* from the page's start */
        bool dirty;            /* the flags have to be stored */
        bool cached;           /* leads to another page, by the jump cache */
        bool forward;          /* from the branch */
};

struct gen {
        struct dbt_vcpu *v;
        struct tr_emit *e;     /* one of the next two, which may be the same */
        struct tr_emit *straight, *seldom;
        const struct dbt_block *source; /* has the instructions */
        struct dbt_block *b;   /* the translated one */
        uint64_t by_tlb;       /* see struct tr_source */
        const uint8_t *entry, *cold; /* where straight and seldom run code begin */
        struct gen_insn insns[DBT_BLOCK_MAX + 1];
        unsigned n;
        int jumps;             /* tr_jump_mode of the block's mode */
        /* The present instruction. */
        unsigned k;            /* of insns */
        const uint8_t *bytes;
        unsigned offset;       /* in the page */
        uint8_t live;          /* flags alive before it, or after it once it is done */
        uint8_t need, written; /* flags that have to be in RFLAGS before its operation; those it writes */
        bool in_place;         /* its registers without a home are in scratch registers, which keep what they hold, though it accesses memory */
        bool apart;            /* a group's instructions are made for a second time, each with a check of its own */
        int8_t held;           /* the group whose addend RCX holds, or -1 */
        struct gen_scratch scratch[2]; /* RAX, RCX */
        int32_t rsp;           /* see tr-frame.c */
        /* Flags, see tr-flags.c. */
        uint8_t valid;         /* those in RFLAGS */
        bool dirty;            /* and v->tr_flags is older */
        struct gen_x87 x87;
        uint8_t fpu;           /* enum gen_fpu */
        struct gen_group groups[GEN_GROUPS];
        unsigned n_groups;
        struct gen_out outs[4 * DBT_BLOCK_MAX];
        struct gen_exit exits[2 * DBT_EXITS]; /* far ones may have another each */
        unsigned n_outs, n_exits, n_links;
        uint16_t links[2 * DBT_EXITS]; /* the block's dbt_block_exits */
};

/* The block's mode: enum dbt_mode_bits. */
static inline unsigned gen_mode(const struct gen *g)
{
        return (unsigned)(g->b->key >> 56);
}

/* enum dbt_mmu of the block's data accesses. */
static inline unsigned gen_view(const struct gen *g)
{
        if (gen_mode(g) & DBT_MODE_CPL3)
                return DBT_MMU_USER;
        return gen_mode(g) & DBT_MODE_SMAP ? DBT_MMU_KERNEL_SMAP : DBT_MMU_KERNEL;
}

/* The mode that stac, clac lead to. */
static inline uint32_t gen_mode_with_ac(const struct gen *g, bool ac)
{
        return ac ? gen_mode(g) & ~(unsigned)DBT_MODE_SMAP : gen_mode(g) | DBT_MODE_SMAP;
}

/* Are its memory operands addresses of the host, too? */
static inline bool gen_mirrored(const struct gen *g)
{
        return tr_is_mirrored(gen_mode(g));
}

static inline const struct tr_ways *gen_ways(const struct gen *g)
{
        return &g->v->translator->ways[gen_mirrored(g)];
}

/* 64-bit code; else 32-bit code with flat segments, in which all addresses wrap at 4 GiB. */
static inline bool gen_64(const struct gen *g)
{
        return gen_mode(g) & DBT_MODE_CS64;
}

/* Of addresses and of what is pushed. */
static inline unsigned gen_word(const struct gen *g)
{
        return gen_64(g) ? 8 : 4;
}

/* --- tr-gen.c --- */

struct tr_mem gen_at(unsigned base, int32_t disp);
void gen_load_field(struct gen *g, unsigned dst, size_t offset);
/* The linear address of the block's page. */
void gen_load_page(struct gen *g, unsigned dst);
/* Of gen_word size. */
void gen_load_word(struct gen *g, unsigned dst, const struct tr_mem *m);
void gen_store_word(struct gen *g, const struct tr_mem *m, unsigned src);
/* An address to dst. */
void gen_lea(struct gen *g, unsigned dst, const struct tr_mem *m);
void gen_store_field(struct gen *g, size_t offset, unsigned src);
/* The host register that has the guest register's value: its home, or scratch after loading it. */
unsigned gen_source(struct gen *g, unsigned reg, unsigned scratch);
/* The register to write to: its home, or scratch, to be written back. */
unsigned gen_target(unsigned reg, unsigned scratch);
/* After scratch was written in place of a register without a home. */
void gen_write_back(struct gen *g, unsigned reg, unsigned scratch);

/* --- tr-flags.c: all of this uses RAX --- */

/* Between RFLAGS and v->tr_flags, without more ado. */
void gen_flags_save(struct gen *g);
void gen_flags_load(struct gen *g);
/* Brings v->tr_flags up to date where flags are alive. */
void gen_flags_store(struct gen *g);
/* Before an instruction that reads the flags. */
void gen_flags_need(struct gen *g);
/* Before code that changes RFLAGS but is not the guest's. */
void gen_flags_clobber(struct gen *g);
/* After an instruction of the guest that changed them. */
void gen_flags_changed(struct gen *g);

/* --- tr-mem.c --- */

/* The operand's address as a host operand without segment; RAX and RCX stand for registers without a home. */
struct tr_mem gen_offset_of(struct gen *g, const struct dbt_mem *m);
/* The same with gen_scratch; not relative to RIP, or a constant then. If the operand is accessed, gen_access comes before that. */
struct tr_mem gen_in_place(struct gen *g, const struct dbt_mem *m);
/* The operand's linear address to RAX. The flags are clobbered. */
void gen_linear(struct gen *g, const struct dbt_mem *m);
/* An operand at the linear address in RAX, checked; retry: where the code that made it begins. RCX alone; RAX is free. The flags are clobbered. */
struct tr_mem gen_checked(struct gen *g, const uint8_t *retry, unsigned size, bool write);
/* The instruction's memory operand, checked. Uses RAX and RCX; what is returned uses RCX. Flags may be clobbered. */
struct tr_mem gen_operand(struct gen *g, const struct dbt_insn *i, unsigned size, bool write);
/* A word at disp from the stack pointer. */
struct tr_mem gen_stack(struct gen *g, int32_t disp, bool write);
/* 8 bytes at RBP, to be read. */
struct tr_mem gen_frame(struct gen *g);
/* jump leads to a gen_out of the present instruction. */
void gen_add_out(struct gen *g, uint8_t *jump);
/* The code behind the block for a check that failed, up to where the handler is called. Falls through to there. */
void gen_miss(struct gen *g, const struct gen_out *o);

/* --- tr-out.c --- */

/* Looks the page up; falls through if there is no way around the handler. */
void gen_miss_tlb(struct gen *g, const struct gen_out *o);
void gen_emit_outs(struct gen *g);

/* --- tr-group.c --- */

void gen_plan_groups(struct gen *g);
/* Does the instruction change the register by a constant only? */
bool gen_moves_by(const struct gen_insn *n, unsigned reg, int64_t *ret);

/* --- tr-frame.c --- */

void gen_move_rsp(struct gen *g, int32_t by);
/* At once, whatever has been put off. */
void gen_add_rsp(struct gen *g, int32_t by);
/* Does what has been put off. Keeps the flags. */
void gen_settle_rsp(struct gen *g);
/* Need RSP not be settled before it? */
bool gen_bears_moved_rsp(const struct gen_insn *n);
/* Is that all it does, as nobody reads its flags? */
bool gen_only_moves_rsp(const struct gen *g, const struct gen_insn *n, int32_t *ret);

/* --- tr-scratch.c --- */

/* The host register that has the guest register's value, or shall get it: its home, or RAX or RCX, but not keep, which may be TR_NO_HOME. load: the
 * present value matters. For instructions of which gen_scratch_uses holds, and those in place. */
unsigned gen_scratch(struct gen *g, unsigned reg, bool load, unsigned keep);
/* The register that gen_scratch returned was written. */
void gen_scratch_changed(struct gen *g, unsigned reg);
/* which: a set of TR_RAX and TR_RCX, bit for each, that are needed for something else. Keeps the flags. */
void gen_scratch_settle(struct gen *g, unsigned which);
/* TR_KEPT_*. */
unsigned gen_scratch_kept(const struct gen *g);
/* Does it get all registers without a home from gen_scratch? */
bool gen_scratch_uses(const struct gen_insn *n);
/* Before and behind the code of instruction k. */
void gen_scratch_before(struct gen *g, unsigned k);
void gen_scratch_behind(struct gen *g, unsigned k);
void gen_plan_scratch(struct gen *g);

/* --- tr-vec.c --- */

/* Is there a way to give the general registers host registers? */
bool gen_native_supported(const struct dbt_insn *i, const uint8_t *bytes);
/* Leaves it RCX alone, but for its memory operand? And RAX, too? */
bool gen_native_keeps_rcx(const struct dbt_insn *i);
bool gen_native_keeps_scratch(const struct dbt_insn *i);
/* Instructions of the kind TR_NATIVE. */
void gen_native(struct gen *g, const struct dbt_insn *i);
/* The next host instruction may fault. */
void gen_add_fault(struct gen *g);
/* The next host instruction has the memory operand. */
void gen_access(struct gen *g);

/* --- tr-x87.c: uses RAX, keeps RFLAGS --- */

/* Brings v->x87 up to date. */
void gen_x87_store(struct gen *g, const struct gen_x87 *x);
void gen_x87_flush(struct gen *g);
/* After the present instruction's copy. Uses RCX, too. */
void gen_x87_ran(struct gen *g, const struct dbt_insn *i);

/* --- tr-block.c --- */

/* Code for instruction k of gen->insns, which is none for handlers. */
void gen_emit_insn(struct gen *g, unsigned k);

/* --- tr-far.c --- */

/* A jump to the offset from the page's start, without the jump cache. The flags are stored. Returns the jump to where that has to be done with it, NULL if no code
 * was made. */
uint8_t *gen_jump_far(struct gen *g, int64_t offset);

/* --- tr-exit.c --- */

/* Can what begins at the offset be linked? */
bool gen_is_within_page(int64_t offset);
void gen_entry(struct gen *g);
/* Goes on at an offset from the page's start: in the block's mode if that is in another page. */
void gen_exit_to(struct gen *g, int64_t offset);
/* Has it no tail, or is it known to lead to where nobody reads the flags, so that the tail is not a part of what runs? */
bool gen_skips_tail(const struct gen *g, const struct gen_exit *x);
/* Its tail, if it has one and it is not there yet. */
void gen_emit_tail(struct gen *g, struct gen_exit *x);
/* The rest of the code for it, which comes last. */
void gen_emit_exit(struct gen *g, struct gen_exit *x);
/* Goes on at the linear address in RAX, in the same mode. The flags are stored. */
void gen_jump_rax(struct gen *g);
/* Goes on with the stack of calls of the mode with that jump cache. */
void gen_calls_of(struct gen *g, int jumps);
int64_t gen_branch_target(const struct gen *g, const struct dbt_insn *i);
/* Instructions of the kinds TR_JCC to TR_CALL_RM. */
void gen_branch(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);

/* --- tr-int.c --- */

/* Instructions of the kinds TR_NOTHING to TR_REP_STRING. */
void gen_integer(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
/* Pushes v->tr_target. */
void gen_push_target(struct gen *g);
/* What of the instruction is copied: t->n_imm bytes. */
void gen_copy_imm(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);

/* --- tr-high.c: AH..BH, which no host instruction with a REX prefix can name --- */

void gen_high(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_high_imm(struct gen *g, const struct tr_insn *t, unsigned imm);
/* A byte register of the guest as one that needs no REX prefix: its home, or scratch (RAX or RCX) after copying it there. high: returns the number of
 * the byte above, 4..7. */
unsigned gen_byte_source(struct gen *g, unsigned reg, bool high, unsigned scratch);

/* --- tr-arith.c: multiplication, division, shifts by CL, bit strings, compare and exchange --- */

void gen_shift_cl(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_shiftd_cl(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_bit_string(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_mul(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_div(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_cmpxchg(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
void gen_cmpxchg_wide(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);

/* --- tr-string.c --- */

void gen_string(struct gen *g, const struct tr_insn *t);
void gen_rep_string(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);

/* --- tr-state.c: what reads or changes more than registers and arithmetic flags --- */

void gen_pushf(struct gen *g);
void gen_lahf(struct gen *g, const struct tr_insn *t);
/* cli, cld, std */
void gen_flag_bit(struct gen *g, const struct tr_insn *t);
void gen_sti(struct gen *g, const struct dbt_insn *i);
/* clac, stac */
void gen_set_ac(struct gen *g, const struct tr_insn *t);
void gen_swapgs(struct gen *g);
void gen_rdtsc(struct gen *g, const struct tr_insn *t);
void gen_mov_from_seg(struct gen *g, const struct dbt_insn *i, const struct tr_insn *t);
