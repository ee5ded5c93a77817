/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The translator of 64-bit code, and of 32-bit code with flat segments: hot blocks of the cache become host code, in which most instructions
 * are themselves with other register numbers and a check before a memory operand; all others call their handlers. Private to tr-*.c, block.c
 * and run.c.
 *
 * Convention inside translated code:
 *   RAX, RCX     scratch
 *   RSP          the stack of the mode's calls, see tr-call.c
 *   the others   hold the guest registers of tr_home[]; those without a home are in v->gpr, but within straight code RAX and RCX may have
 *                newer values of theirs, see tr-scratch.c
 *   vector registers are the guest's while v->fpu_live, as everywhere in the engine
 *   v->tr_page   linear address of the page that the block lies in, unless it is bound to it (tr-bound.c); translated code that is not bound does not depend on it
 *   v->tr_flags  the guest's arithmetic flags (AH as lahf, AL = OF) at each entry, exit and call of a handler. In between they may
 *                be in RFLAGS only: whatever changes RFLAGS or can fault stores them first. Flags that are dead, because all code that can follow
 *                overwrites them before it reads them, are not kept: an exception's frame may show older ones. With
 *                vm->config.exact_flags no flag counts as dead.
 *   v->rip       is only written before a handler is called and when translated code is left
 *
 * No guest register has changed when a lookup misses: the instruction's handler then does all of it. So every fault, MMIO access and
 * write to a page with code is the executor's.
 *
 * Code of DBT_MODE_MIRROR has the guest's memory operands as they are, see mirror.c. Where the host faults in one, a table tells what the handler has to do, see struct tr_fault: it has the last place at or before the
 * fault from which on nothing else can fault. Whatever such code calls or jumps to that needs more than the first parts of struct dbt_vcpu is one of t->ways[1].
 *
 * Jumps within a page are linked: the owner patches the jump of the exit when the successor is translated. Returns, indirect jumps, those to
 * other pages, and those to the last bytes of a page, where an instruction may begin that goes on in the next page, go through the jump cache, which maps
 * linear addresses to code, a table for each mode. Jumps to other pages, but not to their last bytes, are linked, too, in code that is bound to its own page.
 *
 * A block's straight code is in one place; its ways out to handlers and the exits that are not linked, which are run seldom, are in another, with those of
 * other blocks, so that the host's caches and TLBs hold what runs. In the first translation of a block, small counts for more: most blocks are not run often, and large programs have so many that
 * all of them do not fit into the cache.
 *
 * The entry of a block looks at v->request, or in code that is not known to run often has a routine count down v->tr_budget, which dbt_ask takes away; links that lead forward in the page skip that, as no loop is made of them alone, if they do not have to be counted. A block that is dropped, by
 * whichever vCPU, sets DBT_REQ_CODE, so that its owner leaves translated code, at the latest at the next look, and takes the links to it away. Only
 * the owner writes code and links. After each call of a handler the block looks whether it, or another one, has been dropped.
 *
 * Code of DBT_MODE_MIRROR is translated when it is first met, by tr-quick.c, which knows most of what compilers make and leaves the rest to the others. Its blocks have no copy of the bytes: they are those
 * in the guest's memory.
 *
 * Blocks are translated in stages (enum tr_stage). At first all memory operands are looked up in the TLB and the entry counts down v->tr_budget, to
 * find out what runs often: blocks that are met when it is used up. Their second translation has memory sites, and their third only those sites that
 * proved right. */

#include <signal.h>

#include "hv/engine/dbt/block.h"
#include "hv/engine/dbt/tr-site.h"

/* Room for the longest block. */
#define TR_CODE_RESERVE KiB(32)
#define TR_SITE_RESERVE (2 * DBT_BLOCK_MAX)
#define DBT_TR_RESERVE \
        (TR_CODE_RESERVE + TR_COLD_SIZE + TR_SITE_RESERVE * sizeof(struct tr_site) + \
        TR_FAULTS_FRESH * sizeof(struct tr_fault))
/* For the common routines, in front of the first segment. */
#define TR_ROUTINES_SIZE KiB(20)
#define TR_NO_HOME 0xff
/* Where the entries of blocks that often run are; others are packed. */
#define TR_CODE_ALIGN 16
/* Seldom run code of several blocks is in a piece of this size. */
#define TR_COLD_SIZE KiB(4)
/* In front of a block's entry, and how far from there: the block's place (dbt_block_place), and the exits linked to it (32 bits each); in
 * front of that in mirrored code that reads flags a call of t->save_flags and a short jump to the entry, and in code that runs often, which has room for those in any case, a call of ways->leave_asked. */
#define TR_HEADER_BLOCK 4
#define TR_HEADER_LINKS 8
#define TR_HEADER_SAVE (TR_HEADER_LINKS + TR_CALL_SIZE + 2)
#define TR_HEADER_LEAVE (TR_HEADER_SAVE + TR_CALL_SIZE)
/* Block entries until the run loop samples what runs, see dbt_tr_sample. */
#define TR_BUDGET 1024
/* Samples, one each time that the budget is used up, until a block counts as often run; and until its sites are judged. */
#define TR_SAMPLES 10
#define TR_TRIAL_SAMPLES 4
/* Accesses that t->check knows have up to 1 << (TR_SPANS - 1) bytes. */
#define TR_SPANS 10
/* A power of two: times that handlers run groups until it is asked how long that took. */
#define TR_CLOSURES 64

enum { TR_RAX, TR_RCX, TR_RDX, TR_RBX, TR_RSP, TR_RBP, TR_RSI, TR_RDI };

/* A direct exit, of which a jump is patched when the successor is known. It lies behind a call of ways->exit. That is in the seldom run code, where the block's jump leads while it is not
 * linked, or, where code that seldom runs always goes on, is the jump itself, which then becomes one. If the block leaves with flags that are not stored, there is a tail behind its straight code, or
 * in front of the call: a call of t->save_flags and a jump, which is on the way to a successor that reads them. The kinds from TR_LINK_NEAR on, which only mirrored code has, have no tail: their successors can be entered with
 * flags that are to be stored, see TR_HEADER_SAVE.
 * The exits within the page that lead to one block are in a list, which begins in front of its entry. Cells of lists are named by their offsets in the code. */
struct tr_link {
        uint16_t offset : 12;  /* in the page: where it leads */
        uint16_t forward : 1;  /* in the page, or in bound code: the successor need not look at v->request, as no loop is made of such exits alone */
        uint16_t kind : 3;     /* enum tr_link_kind */
        uint32_t next;         /* the next link, or, with TR_LIST, the cell where the list begins; to another page: its number; 0: it is not linked */
        union {
                struct {
                        int32_t to_entry;   /* from here back to the block's entry */
                        uint16_t jump : 15; /* distance of the 32-bit displacement of the block's jump or conditional jump from the entry */
                        uint16_t back : 1;  /* the same from here back */
                        union {
                                uint16_t tail; /* TR_LINK_TAIL: from the entry to that of the tail's jump */
                                int32_t lin;   /* TR_LINK_FAR: linear address where it leads */
                        } __attribute__((packed));
                } __attribute__((packed));
                uint16_t to_entry_near;     /* TR_LINK_HERE */
                struct {                    /* TR_LINK_NEAR: as above */
                        int32_t near_to_entry : 22;
                        uint32_t near_jump : 10;
                } __attribute__((packed));
        } __attribute__((packed));
} __attribute__((packed));
enum tr_link_kind {
        TR_LINK_PLAIN,      /* without a tail */
        TR_LINK_TAIL,
        TR_LINK_TAIL_FRONT, /* the tail is in front of the call */
        TR_LINK_HERE,       /* the call is the jump */
        TR_LINK_NEAR, TR_LINK_NEAR_SAVING, /* of tr-quick.c; with flags that are not stored, and a call of ways->exit_saving */
        TR_LINK_FAR, TR_LINK_FAR_SAVING,   /* to another page, see tr-bound.c; the same */
};
#define TR_LINK_NEAR_SIZE (offsetof(struct tr_link, to_entry) + sizeof(uint32_t))
#define TR_LINK_FAR_SIZE (offsetof(struct tr_link, lin) + sizeof(int32_t))
/* What its fields can hold. */
#define TR_LINK_NEAR_ENTRY (1u << 21)
#define TR_LINK_NEAR_JUMP (1u << 10)
#define TR_LINK_JUMP (1u << 15)
/* dbt_block_exits: distances from what is seldom run, or with this from the entry. */
#define TR_EXIT_NEAR 0x8000u
#define TR_LIST 0x80000000u
#define TR_OPCODE_CALL 0xe8
#define TR_OPCODE_JMP 0xe9
#define TR_CALL_SIZE 5
/* Of a tail, to the displacement. */
#define TR_TAIL_SIZE (TR_CALL_SIZE + 1)

/* A host instruction that may fault, or the return address of a call of t->check, and what comes then: handlers run the guest's instruction and, if that is in a group, what it takes to come to the
 * group's end. Most need no code of their own: all is told here, as in tr-out.c's records. */
#define TR_FAULT_BITS 12
struct tr_fault {
        uint32_t pc : TR_FAULT_BITS; /* lower bits of the offset in the segment's code */
        uint32_t own : 1;         /* there is code for it: exit; what else is told does not count */
        uint32_t store : 1;       /* the flags have to be stored before */
        uint32_t fpu : 2;         /* enum gen_fpu: what must hold to go on */
        uint32_t n : 6;           /* instructions; of mirrored code, where that is 1: TR_KEPT_* */
        int32_t rsp_before : 7;   /* to be added to RSP before the handlers, in units of 8; */
        int32_t rsp_sum : 3;      /* this and what is to be added behind them */
        union {
                struct {
                        uint32_t offset : 12;   /* in the page, of the first instruction */
                        uint32_t to_entry : 12; /* from pc back to the block's entry */
                        uint32_t behind : 8;    /* from pc to where to go on */
                };
                uint32_t exit;    /* offset in the code */
        };
};
_Static_assert(sizeof(struct tr_fault) == 8, "there are many");
/* What RAX and, TR_KEPT_BITS above, RCX hold where mirrored code faults and where it goes on: 1 + the place in tr_kept[] of a guest register, or 0, and whether it has a newer value than v->gpr. */
#define TR_KEPT_BITS 3
#define TR_KEPT_REG 3u
#define TR_KEPT_DIRTY 4u
#define TR_KEPT_MAX 3
#define TR_FAULTS_FRESH (4 * DBT_BLOCK_MAX)

struct tr_faults {
        struct tr_fault *fault;   /* max for each segment, there in ascending order */
        uint32_t *ends;           /* pages for each segment, n_ends of which count: how many faults are in the first pages of its code */
        unsigned max, pages, n[DBT_SEGMENTS], n_ends[DBT_SEGMENTS];
        /* Those of the code that is being made; n_fresh of them, and where. */
        struct tr_fault fresh[TR_FAULTS_FRESH];
        uint32_t fresh_at[TR_FAULTS_FRESH]; /* offset in the code */
        unsigned n_fresh;
};

/* What all translations so far took, in bytes unless said otherwise. */
struct tr_stats {
        uint64_t blocks, often, insns; /* how many; often: of the blocks */
        uint64_t straight, outs, exits; /* code */
        uint64_t sites, faults, copies;
};

/* Of code of DBT_MODE_MIRROR, from where it is known that an instruction of the guest's accesses memory to where it does, at most. */
#define TR_MISS_WITHIN 64

/* An instruction of a translated block that a handler has run. */
#define TR_DECODED 512
struct tr_decoded {
        const struct dbt_block *block; /* NULL: none */
        unsigned at;                   /* offset of its bytes */
        struct dbt_insn insn;
};

/* Common routines that leave a block. */
struct tr_ways {
        const uint8_t *leave_jump, *call, *out, *exit;
        const uint8_t *exit_saving; /* mirrored code: stores the flags before */
        const uint8_t *leave_asked, *leave_counted; /* called: in front of the header; at the entry */
        const uint8_t *missed[2]; /* v->tr_fault says what comes; [1]: the flags are stored before */
        const uint8_t *count;    /* called at the entry: counts v->tr_budget down, and leaves if that is used up */
        const uint8_t *jump;     /* to the address in RAX, any mode */
        const uint8_t *jump_rip; /* to v->rip */
};

/* A segment that is being filled. */
struct tr_fill {
        size_t used;              /* of its code */
        uint8_t *cold, *cold_end; /* the rest of the piece for seldom run code, in the writable view; NULL: there is none */
};

struct dbt_tr {
        uint8_t *write, *exec; /* the two views of the code */
        unsigned index_bits;   /* of the blocks' index */
        struct tr_sites sites; /* behind the executable view, so that RIP-relative addresses reach them */
        /* The code of a segment of the hot ring, its sites and faults have a segment here, too; see cache.c. */
        size_t segment;           /* bytes of room for code; the same for each of the others */
        unsigned current;
        struct tr_fill fills[DBT_KINDS], *fill; /* fill: of the current one */
        struct tr_bound *bound;   /* see tr-bound.c */
        struct tr_far *far;       /* see tr-far.c; n_far of them */
        unsigned n_far;
        bool far_linked;          /* those that can be are */
        uint64_t far_since;       /* host TSC when they were linked again */
        uint8_t *stacks;          /* of calls, and one for signals */
        stack_t signals;          /* the thread's while v does not run */
        struct tr_faults faults;  /* behind the sites. Read by the signal handler */
        struct tr_stats stats;
        struct tr_decoded decoded[TR_DECODED];
        /* Common routines. */
        const uint8_t *enter, *leave, *leave_at;
        struct tr_ways ways[2];               /* [1]: of blocks of DBT_MODE_MIRROR, that begin by making all memory accessible */
        const uint8_t *missed[TR_MISSES];     /* RAX: address, RCX: site; NE: try again. TR_MISS_TLB_*: see tr-out.c */
        const uint8_t *missed_stack[DBT_NMMUS];
        const uint8_t *check[DBT_NMMUS][2][TR_SPANS]; /* [1] writes. RAX: address of 1 << n bytes, which is kept. To RCX the host's; or goes to the fault's exit */
        const uint8_t *save_flags;
        const uint8_t *rep_movs, *rep_stos;   /* EAX the size; of code that is not mirrored */
        const uint8_t *returned[DBT_JUMP_MODES]; /* from a call to the address in RAX, which is not the one that the stack of calls tells */
        const uint8_t *to_cached[DBT_JUMP_MODES]; /* called: RCX is the slot in the jump cache of the address in RAX, or goes on there */
        const uint8_t *to_far[DBT_JUMP_MODES];    /* the same for the offset EAX from the page, in 64-bit code */
        const uint8_t *jump_in[DBT_JUMP_MODES];   /* to the address in RAX, within a mode, if the first way of the jump cache, at RCX, does not have it */
        const uint8_t *jump_find[DBT_JUMP_MODES]; /* the same if it does not have it at all; enters it there */
};

/* dbt_block's stage: how its code is made. */
enum tr_stage {
        TR_SELDOM, /* all memory operands by the TLB */
        TR_TRIAL,  /* user code that is not mirrored: all by sites */
        TR_OFTEN,  /* by sites but for those of which this turned out to be worse */
};

/* What tr_enter returns. */
enum tr_exit {
        TR_EXIT_JUMP,   /* the block at v->rip comes next, unless dbt_must_stop */
        TR_EXIT_ASKED,  /* v->request or v->tr_budget */
};

/* --- tr-source.c --- */

#define TR_PARTS 5
/* Instructions that are to be translated: those of consecutive blocks. */
struct tr_source {
        struct dbt_block *block;
        struct dbt_block *part[TR_PARTS];
        uint16_t size[TR_PARTS]; /* bytes that are taken of it */
        unsigned n_parts;
        uint64_t by_tlb;       /* memory operands, bit per instruction, that are not to have a site */
        uint64_t room[DBT_BLOCK_RESERVE / sizeof(uint64_t) + 1];
};

/* Of the block b and what it mostly goes on with. Decodes them; to be given back. */
void tr_source_get(struct dbt_vcpu *v, struct dbt_block *b, struct tr_source *ret);
void tr_source_put(struct dbt_vcpu *v, struct tr_source *s);

/* --- low.c --- */

/* Zeroed memory at a random address in the lowest 2 GiB, page-aligned, to be given back by munmap. MAP_FAILED: there is no room. */
void *tr_low_map(size_t size);

/* --- tr-emit.c --- */

struct tr_emit {
        uint8_t *p, *end; /* in the writable view */
        ptrdiff_t to_exec;
        bool overflow;
        int32_t vcpu; /* its address */
};

/* A memory operand of host code. base, index: host register or TR_NO_HOME; vcpu: relative to the vCPU. */
struct tr_mem {
        uint8_t base, index, scale;
        bool vcpu;
        int32_t disp;
};

/* An instruction to be encoded, all but its operands. */
struct tr_op {
        uint8_t opcode, rep; /* rep: F2, F3 or 0 */
        bool map0f, op16, w, lock, byte; /* byte: operands may be byte registers, none of AH..BH */
        uint8_t ends; /* 1 + bytes of the immediate that follows the operands; 0: not told */
};

void tr_put(struct tr_emit *e, unsigned byte);
void tr_put32(struct tr_emit *e, uint32_t value);
void tr_put64(struct tr_emit *e, uint64_t value);
void tr_put_bytes(struct tr_emit *e, const uint8_t *bytes, unsigned n);
#define TR_CODE(e, ...) tr_put_bytes(e, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))
void tr_op_reg(struct tr_emit *e, const struct tr_op *op, unsigned reg, unsigned rm);
void tr_op_mem(struct tr_emit *e, const struct tr_op *op, unsigned reg, const struct tr_mem *m);
/* Only ModRM, SIB and displacement, without the prefixes that m needs. */
void tr_operand(struct tr_emit *e, unsigned reg, const struct tr_mem *m);
/* Memory at target, which lies within 2 GiB of the code; the instruction has no immediate. */
void tr_op_rip(struct tr_emit *e, const struct tr_op *op, unsigned reg, const void *target);
void tr_mov(struct tr_emit *e, unsigned dst, unsigned src);
void tr_load(struct tr_emit *e, unsigned dst, const struct tr_mem *m);
void tr_store(struct tr_emit *e, const struct tr_mem *m, unsigned src);
void tr_lea(struct tr_emit *e, unsigned dst, const struct tr_mem *m);
void tr_mov_imm(struct tr_emit *e, unsigned dst, uint64_t value);
/* A field of struct dbt_vcpu. */
struct tr_mem tr_field(size_t offset);
/* op reg, [vCPU + offset], without an immediate */
void tr_with_field(struct tr_emit *e, unsigned opcode, bool w, unsigned reg, size_t offset);
/* jmp, call, jcc (cond 0..15) to an address in the executable view. */
void tr_jmp(struct tr_emit *e, const void *target);
void tr_call(struct tr_emit *e, const void *target);
void tr_jcc_to(struct tr_emit *e, unsigned cond, const void *target);
/* A conditional jump forward, to be set later. */
uint8_t *tr_jcc(struct tr_emit *e, unsigned cond);
/* The same for a call. */
uint8_t *tr_call_later(struct tr_emit *e);
void tr_set_jump(struct tr_emit *e, uint8_t *jump);
const uint8_t *tr_here(const struct tr_emit *e);

#define TR_ALWAYS 16
enum { TR_CC_B = 2, TR_CC_AE = 3, TR_CC_E = 4, TR_CC_NE = 5, TR_CC_BE = 6, TR_CC_A = 7, TR_CC_S = 8 };

/* --- tr-decode.c: what an instruction needs --- */

enum tr_kind {
        TR_HANDLER, /* everything that has no kind of its own */
        TR_NOTHING,
        TR_COPY,    /* the bytes themselves: no operands */
        TR_MOV_IMM, /* rm, from dbt_insn's imm */
        TR_PLAIN,   /* reg and rm operands as described */
        TR_LEA,
        TR_BSWAP,
        TR_MOV_FROM_SEG, /* rm, from dbt_insn's reg */
        TR_SHIFT_CL, TR_SHIFTD_CL,
        TR_BIT_STRING,   /* bt and the like: bit number reg of a string that begins at the memory operand */
        TR_MUL, TR_DIV, TR_IDIV,
        TR_CMPXCHG_WIDE, TR_CMPXCHG,
        TR_PUSH_MEM,
        TR_CDQE, TR_CDQ,
        TR_PUSH_REG, TR_PUSH_IMM, TR_POP, TR_LEAVE,
        TR_NATIVE,  /* as native.c's stub describes it */
        TR_PUSHF, TR_LAHF, TR_SAHF,
        TR_CLI, TR_CLD, TR_STD,
        TR_SWAPGS,
        TR_RDTSC,        /* and rdtscp */
        TR_STRING,       /* movs, stos, lods */
        TR_STI, TR_CLAC, TR_STAC, TR_REP_STRING, /* the block ends behind these */
        TR_JCC, TR_JRCXZ, TR_LOOP, TR_JMP, TR_CALL, TR_RET,
        TR_JMP_RM, TR_CALL_RM,
};

enum { TR_R = 1, TR_W = 2, TR_RW = 3 };

struct tr_insn {
        uint8_t kind;
        uint8_t reg, rm;            /* guest registers; reg may be an opcode extension */
        uint8_t reg_use, rm_use;    /* TR_R | TR_W; 0 for reg: an extension */
        uint8_t flags;              /* TR_W: changes arithmetic flags; TR_R: needs or keeps earlier ones */
        uint8_t size;               /* bytes of the memory operand, or of the operation */
        uint8_t n_imm;              /* bytes at the end to be copied */
        bool mem;
        bool high_reg, high_rm;     /* the byte above: AH..BH; reg, rm name the register that it is part of */
        struct tr_op op;
};

/* Can the memory operand be translated? In 32-bit code the segments DS, ES and SS are flat. A write to CS raises. */
static inline bool tr_is_plain_memory(const struct dbt_insn *i, bool mode64)
{
        return mode64 ? i->mem.fast : i->mem.addr_size == 4 && i->mem.seg != X86_CS;
}

/* mode64: else 32-bit code with flat segments */
void tr_decode(const struct dbt_insn *i, const uint8_t *bytes, bool mode64, struct tr_insn *ret);

/* --- tr-use.c: what an instruction does to registers and flags --- */

/* Arithmetic flags as a set. */
enum { TR_CF = 1, TR_PF = 2, TR_AF = 4, TR_ZF = 8, TR_SF = 16, TR_OF = 32, TR_ALL_FLAGS = 63 };

struct tr_use {
        uint8_t flags_read;
        uint8_t flags_written; /* whatever the operands are */
        bool flags_touched;    /* RFLAGS changes; flags that are not in flags_written may keep their values */
        uint16_t writes;       /* guest registers, bit per enum x86_gpr */
};

void tr_use(const struct dbt_insn *i, const struct tr_insn *t, struct tr_use *ret);

/* --- tr-vec.c --- */

/* tr_decode for what native.c prepared. False: it has to be run by its handler. */
bool tr_decode_native(const struct dbt_insn *i, bool mode64, struct tr_insn *ret);

/* --- tr-string.c --- */

void tr_emit_string_routines(struct dbt_tr *t, struct tr_emit *e);

/* --- tr-lookup.c --- */

/* To RCX: where the entry of the address in RAX is in a TLB, in bytes. */
void tr_tlb_slot(struct tr_emit *e);
/* op reg, [entry of the view's TLB at RCX + offset], 64 bits */
void tr_with_entry(struct tr_emit *e, unsigned opcode, unsigned reg, unsigned view, size_t offset);
void tr_emit_lookups(struct dbt_tr *t, struct tr_emit *e);
/* Called by translated code: what are the bytes, and in bit 16 whether they are written; at is the return address of the call of t->check. Returns where
 * to go on. */
const uint8_t *tr_check_missed(struct dbt_vcpu *v, uint64_t lin, uint32_t what, const uint8_t *at);

/* --- tr-block.c --- */

extern const uint8_t tr_home[X86_NGPRS];
/* The guest registers without a home. */
extern const uint8_t tr_kept[TR_KEPT_MAX];

/* Emits the code of b, which is to do what source does, and fills b; NULL if there was no room. seldom: for what is seldom run, or straight. */
const uint8_t *tr_emit_block(struct dbt_vcpu *v, struct tr_emit *straight, struct tr_emit *seldom, const struct tr_source *source, struct dbt_block *b);

/* --- tr-out.c --- */

/* Behind a call of ways->out. to_entry: from here back to the block's entry; behind: where to go on, from there. */
struct tr_out_record {
        uint16_t offset : 12;  /* in the page, of the first instruction */
        uint16_t fpu : 2;      /* enum gen_fpu: what must hold to go on */
        uint16_t moved : 1;    /* struct tr_out_rsp follows */
        uint8_t n;             /* instructions */
        int32_t to_entry;
        uint16_t behind;
} __attribute__((packed));

/* What is to be added to RSP before and behind the handlers. */
struct tr_out_rsp {
        int32_t before, behind;
} __attribute__((packed));

/* Returns the end of what was written at p. */
uint8_t *tr_put_out_record(uint8_t *p, const struct tr_out_record *o, const struct tr_out_rsp *rsp);
/* What the block was made of. */
const uint8_t *tr_block_bytes(const struct dbt_vcpu *v, const struct dbt_block *b);
/* Called by translated code, with the address of a record: returns where to go on. */
const uint8_t *tr_out(struct dbt_vcpu *v, const uint8_t *at);
/* The same for v->tr_fault. */
const uint8_t *tr_out_missed(struct dbt_vcpu *v, const uint8_t *at);
/* difference: of the address from the match in the entry at that offset of the TLB */
const uint8_t *tr_tlb_missed(struct dbt_vcpu *v, uint64_t difference, uint64_t entry, const uint8_t *at, enum tr_miss how);
/* The instruction at that offset of the translated block's bytes. Good until the next call. */
const struct dbt_insn *dbt_tr_insn(struct dbt_vcpu *v, const struct dbt_block *b, unsigned at);
/* Decodes the instruction at that offset of a translated block's bytes, which has been decoded before. */
void tr_decode_known(struct dbt_vcpu *v, const struct dbt_block *b, unsigned at, struct dbt_insn *ret);
/* Blocks are about to be evicted. */
void dbt_tr_forget_decoded(struct dbt_vcpu *v);

/* --- tr-routine.c --- */

/* Behind a call of t->missed[TR_MISS_TLB_*] or t->missed_stack. back: from here to where the check begins. */
#define TR_SPAN_WRITE 0x8000u
struct tr_miss_record {
        uint16_t span; /* bytes; t->missed_stack: and whether they are written */
        int32_t back;
} __attribute__((packed)); /* it lies in the code */

void tr_emit_routines(struct dbt_vcpu *v, struct tr_emit *e);

/* --- tr-quick.c --- */

/* Is code of the present mode translated at once? */
bool tr_quick_can(struct dbt_vcpu *v);
/* A translation of what is at gpa, for the present mode, in the segment of DBT_KIND_NEW, in which there is room; not known to anybody yet. NULL: its first instruction is not for
 * tr-quick.c. */
struct dbt_block *tr_quick(struct dbt_vcpu *v, uint64_t gpa, const uint8_t *bytes);

/* --- tr-keys.c --- */

/* Between code of DBT_MODE_MIRROR and what needs more memory than that. Keep all registers and RFLAGS. */
void tr_open(struct tr_emit *e);
/* As v->mode wants it; if it may be no mirrored one. */
void tr_close(struct tr_emit *e);

static inline uint32_t tr_mode(const struct dbt_block *b)
{
        return (uint32_t)(b->key >> 56);
}

static inline bool tr_is_mirrored(uint32_t mode)
{
        return (mode & (DBT_MODE_CPL3 | DBT_MODE_MIRROR)) == (DBT_MODE_CPL3 | DBT_MODE_MIRROR);
}

/* --- tr-call.c --- */

/* In a routine that was called: leave and come back to translated code's stack, around a call of C. Keep the flags; tr_c_end's is followed by ret. */
void tr_c_begin(struct tr_emit *e);
void tr_c_end(struct tr_emit *e);
/* Registers to v->tr_saved and back, a bit for each. Keep the flags. */
void tr_save(struct tr_emit *e, unsigned regs);
void tr_restore(struct tr_emit *e, unsigned regs);
#define TR_VOLATILE (1u << TR_RDX | 1u << TR_RSI | 1u << TR_RDI | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11)
void tr_emit_call_routines(struct dbt_vcpu *v, struct tr_emit *e);
int tr_calls_init(struct dbt_vcpu *v);
void tr_calls_free(struct dbt_vcpu *v);
/* The calling thread runs v: signals have a stack of their own. */
int tr_signals_enter(struct dbt_vcpu *v);
void tr_signals_leave(struct dbt_vcpu *v);
/* The mode has changed: translated code goes on with its stack of calls. */
void tr_calls_follow(struct dbt_vcpu *v);
/* The addresses that calls go back to may have changed, those in supervisor modes only if kernel. */
void tr_calls_forget(struct dbt_vcpu *v, bool kernel);

/* --- tr-far.c --- */

int tr_far_init(struct dbt_tr *t);
void tr_far_free(struct dbt_tr *t);
/* Where supervisor code lies may have changed, or its blocks. */
void tr_far_forget(struct dbt_vcpu *v);
/* The code from start to end, offsets, is evicted. */
void tr_far_evict(struct dbt_vcpu *v, uint32_t start, uint32_t end);
/* Before code of a supervisor mode is entered while they are not linked. */
void tr_far_again(struct dbt_vcpu *v);

/* --- tr-bound.c --- */

int tr_bound_init(struct dbt_tr *t);
void tr_bound_free(struct dbt_tr *t);
/* All blocks are gone. */
void tr_bound_flush(struct dbt_tr *t);
/* Binds b, a translation that is about to be made of source, if it can be. */
void tr_bind(struct dbt_vcpu *v, const struct dbt_block *source, struct dbt_block *b);
/* The linear address at the offset from the block's page, as a constant that is sign-extended. False: it is not bound, or there is none. */
bool tr_linear_of(const struct dbt_block *b, int64_t offset, int32_t *ret);
/* The same, if an exit to there, in another page, can be linked. */
bool tr_links_to(const struct dbt_block *b, int64_t offset, int32_t *ret);
/* The exit at that offset of the code, which leads to another page and has just been taken, leads to b, which is at v->rip. */
void tr_bound_link(struct dbt_vcpu *v, uint32_t at, struct dbt_block *b);
/* The same for an exit of the present program that has not been taken, if the block where it leads is known. */
void tr_bound_link_ready(struct dbt_vcpu *v, uint32_t at);
/* Takes that link away. */
void tr_bound_remove(struct dbt_vcpu *v, uint32_t at);
/* Takes those away that lead to the block, which is mirrored. */
void tr_bound_unlink(struct dbt_vcpu *v, struct dbt_block *b);
/* They lead to another translation of the same code. */
void tr_bound_move(struct dbt_vcpu *v, struct dbt_block *from, struct dbt_block *to);
/* Before a mirrored program runs: do links still lead to what is mapped? */
void dbt_tr_look_again(struct dbt_vcpu *v);
/* What linear addresses of user code stand for may have changed: that of one page, or all. */
void dbt_tr_code_changed(struct dbt_vcpu *v, bool one, uint64_t lin);

/* --- tr-fault.c --- */

int tr_faults_init(struct dbt_tr *t);
void tr_faults_free(struct dbt_tr *t);
/* For the code that is being made: what comes is to be filled in. */
struct tr_fault *tr_fault_new(struct dbt_tr *t, const uint8_t *pc);
/* That code is kept. */
void tr_faults_keep(struct dbt_tr *t);
/* Those of a segment are gone. */
void tr_faults_evict(struct dbt_tr *t, unsigned segment);
/* Where to go on when the host faults at pc, at once, or NULL. Called by the signal handler, with translated code of v->mode running. */
const void *dbt_tr_fault_exit(struct dbt_vcpu *v, uint64_t pc);
/* The same for a page fault in code of DBT_MODE_MIRROR. */
const void *dbt_tr_miss_exit(struct dbt_vcpu *v, uint64_t pc);

/* --- tr-link.c --- */

static inline bool tr_link_is_near(const struct tr_link *link)
{
        return link->kind == TR_LINK_NEAR || link->kind == TR_LINK_NEAR_SAVING;
}

static inline bool tr_link_is_far(const struct tr_link *link)
{
        return link->kind >= TR_LINK_FAR;
}

/* Makes an exit of one of the kinds from TR_LINK_NEAR on lead to b, or to where translated code is left. */
void tr_link_set(struct dbt_vcpu *v, uint32_t at, const struct dbt_block *b);
void tr_link_clear(struct dbt_tr *t, uint32_t at);
/* v->rip is where the exit that the last dbt_tr_run took leads to, which bound code does not tell. */
void tr_link_left(struct dbt_vcpu *v);
/* The exit that the last dbt_tr_run took leads to b: the next time without coming back here. */
void dbt_tr_link(struct dbt_vcpu *v, struct dbt_block *b);
/* Links the exits of a new block of tr-quick.c, of the present program, that lead to blocks that are known. */
void dbt_tr_link_ready(struct dbt_vcpu *v, const struct dbt_block *b);
/* Takes away the links to b, which was dropped. */
void dbt_tr_unlink(struct dbt_vcpu *v, struct dbt_block *b);
/* The block is about to be evicted: takes away the links to it and from it. */
void dbt_tr_detach(struct dbt_vcpu *v, struct dbt_block *b);

/* --- tr-jump.c --- */

/* Of the jump cache with that number: it has 1 << bits slots; where in the vCPU the first one is. */
static inline unsigned tr_jump_bits(unsigned k)
{
        return k == DBT_JUMP_MIRROR ? DBT_MIRROR_JUMP_BITS : DBT_JUMP_BITS;
}

static inline size_t tr_jump_slots(unsigned k)
{
        return k == DBT_JUMP_MIRROR ? offsetof(struct dbt_vcpu, mirror_jumps) : offsetof(struct dbt_vcpu, jumps) + k * sizeof(struct dbt_jumps) + offsetof(struct dbt_jumps, slot);
}

/* Number of the mode's jump cache, -1: it has none. Own vCPU only. */
int tr_jump_mode(struct dbt_vcpu *v, uint32_t mode);
/* At lin, code of that mode goes on at code. */
void tr_jump_enter(struct dbt_vcpu *v, unsigned mode, uint64_t lin, const void *code);
/* The same, if the cache has another place for lin. */
void tr_jump_replace(struct dbt_vcpu *v, unsigned mode, uint64_t lin, const void *code);
/* What linear addresses in the jump caches stand for may have changed; kernel: also those of supervisor modes. Without a translator nothing happens. */
void dbt_tr_forget_jumps(struct dbt_vcpu *v, bool kernel);
/* The code from start to end, offsets, is evicted. */
void tr_jumps_evict(struct dbt_vcpu *v, uint32_t start, uint32_t end);

/* --- tr-run.c --- */

/* Where the block's translation begins. */
static inline const uint8_t *tr_code(const struct dbt_tr *t, const struct dbt_block *b)
{
        return t->exec + b->code;
}

/* Where the code of the current segment begins, in the writable view. */
static inline uint8_t *tr_segment_code(const struct dbt_tr *t)
{
        return t->write + TR_ROUTINES_SIZE + t->current * t->segment;
}

static inline uint32_t tr_code_offset(const struct dbt_tr *t, const void *code)
{
        return (uint32_t)((const uint8_t *)code - t->exec);
}

/* Makes the jump or call whose displacement is at offset at lead to target, also an offset. */
static inline void tr_patch(struct dbt_tr *t, uint32_t at, uint32_t target)
{
        *(volatile dbt_guest32 *)(t->write + at) = target - (at + 4);
}

/* The block whose entry is there. */
static inline struct dbt_block *tr_block_at(const struct dbt_vcpu *v, const uint8_t *entry)
{
        return dbt_block_at(v->decode, *(const dbt_guest32 *)(entry - TR_HEADER_BLOCK));
}

/* There is room for so much seldom run code in the piece for it, at most max bytes from what is made next. */
void tr_reserve_cold(struct dbt_tr *t, size_t size, size_t max);
/* Called by translated code: runs n instructions from i by their handlers; the first is at offset in the page. True: translated code
 * is to be left as the block was dropped or dbt_must_stop; v->rip is right. */
bool tr_handlers(struct dbt_vcpu *v, const struct dbt_insn *i, uint32_t offset, uint32_t n);

/* 0, or negative errno. v->translator stays NULL where code is not to be translated. */
int dbt_tr_init(struct dbt_vcpu *v);
void dbt_tr_finish(struct dbt_vcpu *v);
/* On the vCPU's thread, around all dbt_tr_run. 0, or negative errno. */
int dbt_tr_begin(struct dbt_vcpu *v);
void dbt_tr_end(struct dbt_vcpu *v);
/* Is code of the mode translated? 64-bit code, and 32-bit code with flat segments. */
static inline bool dbt_tr_can(uint32_t mode)
{
        const uint32_t flat = DBT_MODE_CS32 | DBT_MODE_SS32 | DBT_MODE_FLAT;

        return (mode & DBT_MODE_CS64) || (mode & flat) == flat;
}

/* Bytes of the current segment that are in use: code, sites and faults. */
size_t dbt_tr_used(const struct dbt_vcpu *v);
/* A segment of the hot ring is evicted, its blocks are detached: takes away its sites. */
void dbt_tr_evict(struct dbt_vcpu *v, unsigned segment);
/* The next block goes into the segment of the kind that is being filled. */
void dbt_tr_select(struct dbt_vcpu *v, enum dbt_kind kind);
/* The same; it is another one now, and empty. */
void dbt_tr_begin_segment(struct dbt_vcpu *v, enum dbt_kind kind);
/* Translates b; a copy of it takes its place. May evict other blocks. */
void dbt_tr_translate(struct dbt_vcpu *v, struct dbt_block *b);
/* Runs b, which has code, and others, and leaves the next address in v->rip. */
enum tr_exit dbt_tr_run(struct dbt_vcpu *v, const struct dbt_block *b);
/* The host found no memory at address while it ran translated code: the RSP with which it may try again, 0 if that is not the end of a stack of calls.
 * Called by the signal handler. */
uint64_t dbt_tr_calls_full(const struct dbt_vcpu *v, uint64_t address);
/* What linear addresses in sites stand for may have changed: all but those for global pages, or all; those for one page of 4 KiB. */
void dbt_tr_forget_sites(struct dbt_vcpu *v, bool global);
void dbt_tr_forget_page(struct dbt_vcpu *v, uint64_t lin);
/* b comes next at a moment that has nothing to do with it. What is met so several times gets better code. */
void dbt_tr_sample(struct dbt_vcpu *v, struct dbt_block *b);
/* Answers DBT_REQ_CONVERT. */
void dbt_tr_convert(struct dbt_vcpu *v);
/* With code_lock held: all blocks are gone. */
void dbt_tr_flush(struct dbt_vcpu *v);
