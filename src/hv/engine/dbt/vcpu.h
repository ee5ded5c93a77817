/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One virtual CPU of the software engine, private to engine/dbt.
 *
 * Who owns what:
 *   decode.c, exec-*.c, block.c, run.c   decode cache, instruction handlers, the run loop
 *   native.c, fpu.c                      instructions run as re-encoded copies on the host; x87/SSE/AVX state, XSAVE family
 *   tlb.c, mmu-walk.c, mmu.c             software TLB, page walks, guest memory access
 *   seg.c, fault.c, sys-*.c              descriptors, far transfers, exception and interrupt delivery, system instructions, MSRs
 *   timer.c                              the LAPIC timer's deadline on the host
 *   vm.c                                 engine_ops, threads' requests, exclusive sections
 *
 * Fault discipline: a handler that cannot complete calls dbt_raise*(), which does not return: it unwinds (longjmp) to
 * the run loop, which delivers the exception with v->rip at the start of the instruction. So a handler does all that can
 * fault before it changes any register or memory, except where the architecture allows partial progress (rep, xsave, ...).
 *
 * Vector state: while v->fpu_live, the guest's x87/SSE/AVX registers and MXCSR are in the host's registers. All C on
 * the hot path is therefore compiled with -mgeneral-regs-only (meson does that for this folder), and dbt_fpu_save(v) comes before every call that
 * leaves the engine (device callbacks, libc, sleeping); fpu.c loads them again at the next vector instruction. */

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"
#include "hv/engine/engine.h"
#include "hv/x86/lapic.h"
#include "hv/x86/state.h"

struct dbt_vm;
struct dbt_block;
struct dbt_insn;
struct dbt_check;
struct tr_fault;

/* --- Software TLB ------------------------------------------------------------------------------------------ */

#define DBT_PAGE_SHIFT 12
#define DBT_PAGE_SIZE 4096ULL
#define DBT_PAGE_MASK (~(DBT_PAGE_SIZE - 1))
#define DBT_TLB_BITS 11
#define DBT_TLB_SIZE (1u << DBT_TLB_BITS)

/* Which permission view an access uses; each has its own TLB. */
enum dbt_mmu {
        DBT_MMU_KERNEL,      /* CPL < 3, user pages allowed for data (SMAP off or RFLAGS.AC set) */
        DBT_MMU_KERNEL_SMAP, /* CPL < 3, user pages fault for data */
        DBT_MMU_USER,        /* CPL 3 */
        DBT_NMMUS
};

/* What an access needs. linear ^ match is the offset in the page if that kind of access may go straight to memory, and otherwise a number
 * beyond it for every linear address of this slot: no permission known, MMIO, ROM on write, a page with cached code on write, A/D bit to
 * be set. linear + addend is the host address. Instruction fetches use the TLB of v->mmu, too; match_exec is set only for RAM and ROM. */
struct dbt_tlb_entry {
        uint64_t match_read, match_write, match_exec;
        uint64_t addend;
};

/* The rest of the entry with the same number. */
struct dbt_tlb_info {
        uint64_t gpa;   /* of the page; ~0: none */
        uint8_t shift;  /* log2 of the size of the guest's page that this is a part of: 12, 21, 22, 30 */
};

#define DBT_TLB_ENTRY_SHIFT 5
#define DBT_TLB_INFO_SHIFT 4
_Static_assert(sizeof(struct dbt_tlb_entry) == 1 << DBT_TLB_ENTRY_SHIFT, "translated code shifts");
_Static_assert(sizeof(struct dbt_tlb_info) == 1 << DBT_TLB_INFO_SHIFT, "translated code shifts");

/* Which entries of one view may hold something: words has a bit for each word that is not 0. */
struct dbt_tlb_used {
        uint64_t word[DBT_TLB_SIZE / 64];
        uint32_t words;
};
_Static_assert(DBT_TLB_SIZE / 64 <= 32, "bits of words");

/* Second level, see tlb.c. */
#define DBT_TLB2_BITS 10
#define DBT_TLB2_LARGE_BITS 5
#define DBT_TLB2_WAYS 4
#define DBT_TLB2_CONTEXTS 8

struct dbt_tlb2_entry {
        uint64_t tag;  /* 0: empty */
        uint64_t page; /* physical address, and enum dbt_rights */
};

struct dbt_tlb2 {
        struct dbt_tlb2_entry small[1 << DBT_TLB2_BITS][DBT_TLB2_WAYS];
        struct dbt_tlb2_entry large[1 << DBT_TLB2_LARGE_BITS][DBT_TLB2_WAYS];
        struct {
                uint32_t number; /* 0: nothing is cached for the PCID */
                uint16_t pcid;
        } known[DBT_TLB2_CONTEXTS];
        uint32_t context, global, last; /* the present one, that of global pages, the number given out last */
        uint32_t shifts;                /* bit per page size that may be found */
        uint16_t pcid;                  /* the present one */
        uint8_t next, victim;
};

#define DBT_TLB_CODE_WORDS 128

/* Where translated code goes on at a linear address, in one mode: in one of the ways of a set, which is a line of the host's cache. The first way is for what
 * is often looked for. An entry of a wrong set stands for none. */
#define DBT_JUMP_BITS 14
#define DBT_JUMPS (1u << DBT_JUMP_BITS)
#define DBT_MIRROR_JUMP_BITS 15 /* of DBT_MODE_MIRROR, which is for programs that run for long and may be large */
#define DBT_MIRROR_JUMPS (1u << DBT_MIRROR_JUMP_BITS)
#define DBT_JUMP_WAYS_BITS 2
#define DBT_JUMP_WAYS (1u << DBT_JUMP_WAYS_BITS)
#define DBT_JUMP_SHIFT 4
#define DBT_JUMP_PART_BITS 6
#define DBT_JUMP_MODES 6
#define DBT_JUMP_MIRROR (DBT_JUMP_MODES - 1) /* that of DBT_MODE_MIRROR */
#define DBT_JUMP_HASH 0x9e3779b1u
/* Groups of memory accesses in one block of translated code. */
#define DBT_GROUPS 12

struct dbt_jump {
        uint64_t rip;
        const void *code;
};

struct dbt_jumps {
        struct dbt_jump slot[DBT_JUMPS]; /* that of DBT_JUMP_MIRROR is elsewhere, see tr_jump_slots */
        uint8_t used[DBT_MIRROR_JUMPS >> DBT_JUMP_PART_BITS]; /* parts of the table that have to be cleared to forget all */
        uint32_t mode; /* enum dbt_mode_bits, 0: not used yet */
} __attribute__((aligned(4096)));

/* --- The CPU ---------------------------------------------------------------------------------------------- */

/* What of the CPU's mode changes how bytes decode; part of the key of every cached block. */
enum dbt_mode_bits {
        DBT_MODE_CS32 = 1 << 0,  /* CS.D: default operand and address size 32 */
        DBT_MODE_CS64 = 1 << 1,  /* 64-bit mode */
        DBT_MODE_PE = 1 << 2,    /* protected mode */
        DBT_MODE_VM86 = 1 << 3,
        DBT_MODE_CPL3 = 1 << 4,
        DBT_MODE_SS32 = 1 << 5,  /* SS.B: stack size 32 */
        DBT_MODE_SMAP = 1 << 7,  /* the view is DBT_MMU_KERNEL_SMAP: so the mode says which view it is */
        DBT_MODE_MIRROR = 1 << 7, /* with CPL3: memory is reached as mirror.c mapped it */
        DBT_MODE_FLAT = 1 << 6,  /* 32-bit: DS, ES, SS, CS have base 0 and limit 4 GiB: no segment checks needed */
};

/* Set from any thread in v->request; the run loop looks at it before every block. */
enum dbt_request {
        DBT_REQ_KICK = 1 << 0,       /* vcpu_kick: leave vcpu_run */
        DBT_REQ_INTR = 1 << 1,       /* LAPIC, ExtINT or NMI state changed: look for something to deliver */
        DBT_REQ_TLB_FLUSH = 1 << 2,  /* drop all TLBs and the block lookup cache */
        DBT_REQ_EXCLUSIVE = 1 << 4,  /* another vCPU runs an exclusive section: wait */
        DBT_REQ_TIMER = 1 << 5,      /* LAPIC timer was programmed or is due: the run loop calls lapic_timer_poll. Set by whoever wrote
                                      * a timer register or IA32_TSC_DEADLINE, and by timer.c */
        DBT_REQ_INIT = 1 << 6,       /* INIT or SIPI from lapic */
        DBT_REQ_CONVERT = 1 << 8,    /* a block is to be translated anew */
        DBT_REQ_CODE = 1 << 7,       /* a translated block was dropped: take away the links to it. Set with vm->code_lock held */
};

/* Standard-format image for XSAVE/XRSTOR; the guest's registers when !fpu_live. */
struct dbt_fpu {
        uint8_t xsave[X86_XSAVE_MAX] __attribute__((aligned(64)));
};

/* x87 last instruction and data pointer while fpu_live; in the XSAVE image otherwise. The host's own would be those of the copies. */
struct dbt_x87 {
        uint64_t fip, fdp;
        uint32_t fop, fcs, fds;    /* 11 and 16 bits; so wide because translated code writes them */
        /* fop, fds and fdp are what the last instructions make of them if they count, which native_settle finds out; these are what they are. */
        uint64_t known_fdp;
        uint32_t known_fop, known_fds;
};
#define DBT_X87_NONE (~0u) /* fop: settled; fds: it and fdp are */

/* State of sys-*.c that engine-neutral state has no place for. dbt_vcpu_reset sets it up. */
struct dbt_sys {
        uint64_t phys_mask;        /* valid bits of a physical address */
        bool amd;                  /* the guest's CPUID shows AMD or Hygon: their sysret, sysenter and far transfer rules */
        bool no_x87_selectors;     /* CPUID.7.EBX[13]: the x87 instruction and data pointers are saved without their selectors */
        bool fdp_of_exceptions;    /* CPUID.7.EBX[6]: the x87 data pointer is that of the last unmasked exception */
        uint64_t tsc_adjust;
        uint64_t mtrr_var[16], mtrr_fix[11];
        uint64_t bios_sign, syscfg, hwcr, de_cfg, spec_ctrl;
        uint8_t breaks, watch;     /* DR0..3 that are enabled as instruction, as data breakpoints */
        uint8_t hits;              /* data breakpoints that the current instruction met */
        bool task_gate_logged;
        _Atomic bool pv_kick;      /* KVM_HC_KICK_CPU: ends one HLT whatever IF says */
};

/* The host's timer, owned by timer.c. */
struct dbt_timer {
        int id, thread;         /* the kernel's id, and the thread that is signalled; 0: none yet */
        _Atomic uint64_t armed; /* host TSC at which it goes off; UINT64_MAX: it does not */
        uint64_t expired;       /* host TSC when the LAPIC's timer last fired */
};

/* Programs whose memory is mirrored (mirror.c) reach what lies in the first part with their own pointers, and can read the second: nothing there is trusted to be what it was when such code ran, but for
 * what a routine has just stored. All else is out of their reach. */
#define DBT_PART __attribute__((aligned(4096)))

struct dbt_vcpu {
        /* --- Written by translated code between routines --- */

        union {
                struct { /* see tr.h */
                        uint64_t tr_page, tr_target;
                        uint32_t tr_flags;
                        _Atomic int32_t tr_budget; /* entries of blocks that are not known to run often, until translated code is left; below 0 also after dbt_ask */
                        struct dbt_x87 x87;
                        uint64_t tr_saved[16];     /* host registers while a routine calls C */
                        uint64_t tr_keys[3];       /* and while it changes PKRU */
                        uint64_t tr_return;        /* where the routine that calls C goes on */
                        int32_t tr_jump_turn;      /* see tr-routine.c */
                };
                uint8_t tr_part[4096 - (X86_NGPRS + 2) * sizeof(uint64_t)];
        };
        /* Guest-visible, hot. rip is that of the instruction being executed whenever a handler runs or raises. At the end of the part, as DBT_SEG_BASE wants it. */
        union {
                uint64_t gpr[X86_NGPRS];
                uint64_t regs[X86_NGPRS + 2]; /* what a memory operand's base and index choose from: DBT_REG_* of insn.h */
                struct {
                        uint64_t gpr_[X86_NGPRS];
                        uint64_t zero; /* always 0 */
                        uint64_t rip;
                };
        };

        /* --- Read by it --- */

        struct x86_segment seg[X86_NSREGS] DBT_PART;
        uint64_t rflags;           /* always complete (no lazy flags outside of exec-*.c's own handlers) */
        _Atomic uint32_t request;  /* enum dbt_request */
        bool fpu_live;
        bool fpu_trap;             /* CR0.EM or TS, CR4.OSFXSR off: native_check comes before a vector or x87 instruction */
        bool avx_trap;             /* that, or CR4.OSXSAVE or bits of XCR0 are off: the same for AVX */

        /* --- All else --- */

        uint32_t mode DBT_PART;    /* enum dbt_mode_bits; dbt_mode_update() after CR0, EFER, CS, SS, RFLAGS.VM or CPL changed */
        uint8_t cpl;
        uint8_t mmu;               /* enum dbt_mmu for data; dbt_mode_update() after CPL, CR0, CR4, RFLAGS.AC changed */
        bool interrupt_shadow;     /* sti, mov ss: no interrupt before the next instruction is done */
        bool nmi_blocked;
        bool intr_waiting;         /* dbt_poll_events found an interrupt that IF or the shadow holds back: the run loop calls
                                    * it again as soon as both allow. One held back by the TPR needs DBT_REQ_INTR when TPR or ISR change. */
        bool exclusive;            /* inside dbt_exclusive_begin/end; an unwind ends the section */
        bool raise_pending;        /* v->raised came with the state that was set: deliver it first */
        _Atomic bool sleeping;     /* in the futex of dbt_request */

        bool seg_open[2];          /* 32-bit code: FS, GS allow reads and writes at any offset */

        struct dbt_tlb_entry *tlb_now; /* tlb[mmu], by dbt_set_view */
        struct dbt_tlb_info *tlb_info_now;
        struct dbt_vcpu *self;
        uint64_t tr_shadow;        /* address behind the last sti: no interrupt before that instruction is done */
        const struct tr_fault *tr_fault; /* where translated code has just faulted, */
        const uint8_t *tr_fault_pc; /* and its address */
        const uint8_t *tr_link;    /* the exit last taken, in the code, if it can be linked */
        struct dbt_stack_page {
                uint64_t match;    /* linear address; TR_SITE_INVALID: none */
                uint64_t addend;   /* linear + addend is the host address */
        } tr_stack[DBT_NMMUS];     /* the page of the stack that can be read and written directly, see tr-site.h */
        uint64_t tr_addends[DBT_GROUPS];
        uint64_t tr_c_stack;       /* RSP of who entered translated code */
        uint64_t tr_calls_top;     /* RSP of translated code while C runs: the top of calls[tr_calls_of] */
        struct dbt_calls {
                uint64_t top, base;
        } calls[DBT_JUMP_MODES + 1]; /* of each mode with a jump cache, and of all others */
        uint8_t tr_calls_of;
        uint32_t tr_pkru;          /* PKRU while code of the present mode runs; 0: all may be reached */
        uint32_t tr_closures;      /* times that handlers ran a group, */
        uint64_t tr_closure_ticks, tr_closures_since; /* how long that took, and since when; TSC */
        struct mirror *mirror;     /* owned by mirror.c; NULL: there is none */
        struct dbt_jumps jumps[DBT_JUMP_MODES];
        struct dbt_jump mirror_jumps[DBT_MIRROR_JUMPS] DBT_PART;
        struct dbt_tlb_entry tlb[DBT_NMMUS][DBT_TLB_SIZE] __attribute__((aligned(128)));
        struct dbt_tlb_info tlb_info[DBT_NMMUS][DBT_TLB_SIZE];
        struct dbt_tlb_used tlb_used[2][DBT_NMMUS]; /* [1] global pages */
        uint64_t tlb_large[2][2];  /* tlb.c: filters of the ranges with entries from large pages */
        uint64_t tlb_code[2][DBT_TLB_CODE_WORDS]; /* tlb.c: filters of the pages that may have been executed */
        bool tlb_local_code;       /* supervisor code may have come from pages that are not global */
        bool tlb_low_code;         /* the lower half may have code of supervisor mode or in global pages */
        struct dbt_tlb2 tlb2;

        struct x86_segment ldtr, tr;
        struct x86_table gdtr, idtr;
        uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
        uint64_t dr[4], dr6, dr7;
        uint64_t msr[X86_NMSRS];
        int64_t tsc_offset;        /* guest TSC = host TSC + tsc_offset */
        struct dbt_sys sys;
        struct dbt_timer timer;

        /* Exception being raised, filled by dbt_raise*. */
        sigjmp_buf unwind;         /* set without the signal mask; siglongjmp(v->unwind, 1) */
        struct {
                uint8_t vector;
                bool has_error;
                uint32_t error;
                bool software;     /* int n, int3, into: rip already advanced, DPL checked */
        } raised;
        int delivering;            /* vector being delivered, -1: none; for #DF and triple fault */

        _Atomic bool nmi_pending;
        enum x86_mp_state mp_state;

        struct lapic *lapic;
        struct cpuid_table cpuid;
        struct dbt_fpu fpu;

        struct dbt_vm *vm;
        unsigned index;
        unsigned translate_after;  /* runs of a block: vm->translate_after, or more while the cache is too small */
        unsigned pauses;           /* pause instructions so far */
        struct dbt_decode *decode; /* decode cache, owned by block.c */
        const void *code_index;    /* decode's, for translated code */
        struct dbt_check *check;   /* --engine-check: owned by check.c; else NULL */
        struct dbt_tr *translator;         /* translated code, owned by tr-run.c; NULL: nothing is translated */
        struct dbt_native *native; /* code buffer for re-encoded instructions, owned by native.c */
};

/* --- mmu.c, tlb.c: guest memory by linear address ------------------------------------------------------------------ */

enum dbt_access { DBT_READ, DBT_WRITE, DBT_EXEC };

/* Slow paths: walk, fill the TLB, do the access (page crossing, MMIO, ROM, code pages included); raise #PF. mmu: enum
 * dbt_mmu (descriptor-table and TSS accesses use DBT_MMU_KERNEL whatever the CPL: implicit supervisor accesses). */
uint64_t dbt_load_slow(struct dbt_vcpu *v, uint64_t lin, unsigned size, unsigned mmu);
void dbt_store_slow(struct dbt_vcpu *v, uint64_t lin, uint64_t value, unsigned size, unsigned mmu);
/* Any length; faults before the first byte is copied. */
void dbt_read_bytes(struct dbt_vcpu *v, uint64_t lin, void *buf, unsigned n, unsigned mmu);
void dbt_write_bytes(struct dbt_vcpu *v, uint64_t lin, const void *buf, unsigned n, unsigned mmu);
/* Host address for [lin, lin+n) if it lies in one page of RAM and the access is allowed; NULL if it crosses a page, is MMIO or
 * ROM, or (DBT_WRITE) has cached code or is being logged: the caller then uses dbt_load and dbt_store, inside an exclusive section if the access must be
 * atomic. Raises #PF. The pointer is good until the current instruction ends or leaves the guest. */
void *dbt_host_ptr(struct dbt_vcpu *v, uint64_t lin, unsigned n, enum dbt_access access, unsigned mmu);
/* Physical page and host address for an instruction fetch; raises #PF (instruction fetch). *ret_gpa is the physical address of
 * lin. NULL: not RAM or ROM (executing MMIO: the caller raises a machine stop). */
const uint8_t *dbt_fetch_ptr(struct dbt_vcpu *v, uint64_t lin, uint64_t *ret_gpa);
/* Would the access fault? No side effects but A/D bits; for probes before partial writes. Raises if so. */
void dbt_probe(struct dbt_vcpu *v, uint64_t lin, unsigned n, enum dbt_access access, unsigned mmu);

void dbt_tlb_flush(struct dbt_vcpu *v);           /* everything */
void dbt_tlb_flush_nonglobal(struct dbt_vcpu *v); /* of all contexts */
void dbt_tlb_flush_page(struct dbt_vcpu *v, uint64_t lin);
/* Fills the slot of lin, from the second level or by a walk that updates A and D. True: that kind of access may go straight to memory now. Never
 * raises, unwinds or uses a vector register; what it refuses is left to the handler, which does all of it again. */
bool dbt_tlb_refill(struct dbt_vcpu *v, uint64_t lin, unsigned mmu, enum dbt_access access);
/* Writes through the entry take the slow path until it is filled again. */
void dbt_tlb_forbid_write(struct dbt_vcpu *v, unsigned mmu, unsigned slot);
/* Takes direct writes from every entry for the physical page, and all sites from its aligned group of DBT_CODE_GROUP pages. Returns to which pages of
 * the group direct writes were possible by entries, a bit for each: to that page no longer, to others still. */
#define DBT_CODE_GROUP 16
uint32_t dbt_tlb_protect_code(struct dbt_vcpu *v, uint64_t gpa_page);

/* block.c: has code of the page at v->rip been translated for a mirrored program? */
bool dbt_code_was_mirrored(struct dbt_vcpu *v);

static inline unsigned dbt_tlb_index(uint64_t lin)
{
        return (unsigned)(lin >> DBT_PAGE_SHIFT) & (DBT_TLB_SIZE - 1);
}

/* Is the entry in the slot of lin, in the present view, from a global page? */
static inline bool dbt_tlb_is_global(const struct dbt_vcpu *v, uint64_t lin)
{
        unsigned n = dbt_tlb_index(lin);

        return v->tlb_used[1][v->mmu].word[n / 64] >> (n % 64) & 1;
}

static inline struct dbt_tlb_entry *dbt_tlb_slot(struct dbt_vcpu *v, unsigned mmu, uint64_t lin)
{
        return &v->tlb[mmu][dbt_tlb_index(lin)];
}

/* Does the view allow that kind of access to the byte without more ado? */
static inline bool dbt_tlb_allows(struct dbt_vcpu *v, uint64_t lin, enum dbt_access access, unsigned mmu)
{
        const struct dbt_tlb_entry *e = dbt_tlb_slot(v, mmu, lin);
        uint64_t match = access == DBT_READ ? e->match_read : access == DBT_WRITE ? e->match_write : e->match_exec;

        return match == (lin & DBT_PAGE_MASK);
}

static inline void dbt_set_view(struct dbt_vcpu *v, enum dbt_mmu mmu)
{
        v->mmu = (uint8_t)mmu;
        v->tlb_now = v->tlb[mmu];
        v->tlb_info_now = v->tlb_info[mmu];
}

/* Guest data in host memory: any alignment, one access. */
typedef uint8_t dbt_guest8 __attribute__((may_alias));
typedef uint16_t dbt_guest16 __attribute__((aligned(1), may_alias));
typedef uint32_t dbt_guest32 __attribute__((aligned(1), may_alias));
typedef uint64_t dbt_guest64 __attribute__((aligned(1), may_alias));

/* Does the entry of lin's slot allow the access of n bytes, by the match for its kind, without more ado? One that crosses the page end does
 * not. */
#define DBT_TLB_HIT(e, match, lin, n) likely(((lin) ^ (e)->match) <= DBT_PAGE_SIZE - (n))
#define DBT_HOST(e, lin, bits) (*(volatile dbt_guest##bits *)((lin) + (e)->addend))

/* The fast paths: aligned or not, as long as the access stays in its page. */
#define DBT_ACCESSORS(bits)                                                                                 \
        static inline uint##bits##_t dbt_load##bits(struct dbt_vcpu *v, uint64_t lin, unsigned mmu)         \
        {                                                                                                   \
                struct dbt_tlb_entry *e = dbt_tlb_slot(v, mmu, lin);                                        \
                if (DBT_TLB_HIT(e, match_read, lin, bits / 8))                                                \
                        return DBT_HOST(e, lin, bits);                                                      \
                return (uint##bits##_t)dbt_load_slow(v, lin, bits / 8, mmu);                                \
        }                                                                                                   \
        static inline void dbt_store##bits(struct dbt_vcpu *v, uint64_t lin, uint##bits##_t val, unsigned mmu) \
        {                                                                                                   \
                struct dbt_tlb_entry *e = dbt_tlb_slot(v, mmu, lin);                                        \
                if (DBT_TLB_HIT(e, match_write, lin, bits / 8))                                               \
                        DBT_HOST(e, lin, bits) = val;                                                       \
                else                                                                                        \
                        dbt_store_slow(v, lin, val, bits / 8, mmu);                                         \
        }
DBT_ACCESSORS(8)
DBT_ACCESSORS(16)
DBT_ACCESSORS(32)
DBT_ACCESSORS(64)
#undef DBT_ACCESSORS

/* --- fault.c ----------------------------------------------------------------------------------------------- */

_Noreturn void dbt_raise(struct dbt_vcpu *v, unsigned vector);                        /* no error code */
_Noreturn void dbt_raise_error(struct dbt_vcpu *v, unsigned vector, uint32_t error);
_Noreturn void dbt_raise_pf(struct dbt_vcpu *v, uint64_t lin, uint32_t error);        /* sets CR2 */
#define dbt_raise_gp0(v) dbt_raise_error(v, X86_GP, 0)
#define dbt_raise_ud(v) dbt_raise(v, X86_UD)

/* Delivers v->raised (run loop, after the unwind): pushes the frame, loads CS:RIP; escalates to #DF. Returns false on
 * triple fault. May itself unwind to v->unwind with the nested fault in v->raised, which the run loop delivers next. */
bool dbt_deliver_raised(struct dbt_vcpu *v);
/* icebp (0xf1): #DB as hardware raises it, without the gate's privilege check, and with nothing in DR6. */
void dbt_icebp(struct dbt_vcpu *v, uint64_t next_rip);
/* int n (0xcd), int3, into: software interrupt with the return address next_rip. Does not return normally to the
 * handler's caller semantics other than v->rip set to the handler's entry. */
void dbt_software_interrupt(struct dbt_vcpu *v, unsigned vector, uint64_t next_rip);
/* External interrupt or NMI delivery, between instructions; same rules as dbt_deliver_raised. */
bool dbt_deliver_interrupt(struct dbt_vcpu *v, unsigned vector);

/* --- seg.c ------------------------------------------------------------------------------------------------- */

/* Loads a segment register by mov, pop, lds...: real, vm86 and protected rules; raises #GP, #NP, #SS. */
void dbt_load_seg(struct dbt_vcpu *v, enum x86_sreg reg, uint16_t selector);
/* Far jmp, call, ret, iret: set CS:RIP (and SS:RSP) and all that follows from the mode. next_rip: of the following instruction. opsize 2, 4, 8. */
void dbt_far_jump(struct dbt_vcpu *v, uint16_t selector, uint64_t offset, unsigned opsize);
void dbt_far_call(struct dbt_vcpu *v, uint16_t selector, uint64_t offset, unsigned opsize, uint64_t next_rip);
void dbt_far_return(struct dbt_vcpu *v, unsigned opsize, unsigned pop_bytes);
void dbt_iret(struct dbt_vcpu *v, unsigned opsize);
/* Linear address of seg:offset for an access of n bytes with limit and type checks (not 64-bit flat segments); raises. */
uint64_t dbt_seg_linear(struct dbt_vcpu *v, enum x86_sreg reg, uint64_t offset, unsigned n, enum dbt_access access);
/* Recomputes v->mode, v->cpl, v->mmu, v->fpu_trap, v->avx_trap. */
void dbt_mode_update(struct dbt_vcpu *v);
/* popf, iret and friends: which bits may change at this CPL; updates mode for AC and VM. */
void dbt_set_rflags(struct dbt_vcpu *v, uint64_t value, uint64_t may_change);

/* sys-debug.c: before an instruction, while v->sys.breaks or v->sys.watch is set: raises #DB for an instruction breakpoint at v->rip. */
void dbt_debug_before(struct dbt_vcpu *v);
/* After it; single_step: RFLAGS.TF was set. Raises #DB if there is reason to. */
void dbt_debug_after(struct dbt_vcpu *v, bool single_step);

/* --- sys-*.c: one function per system instruction group, called by handlers -------------------------------- */

/* All check CPL themselves and raise. They leave v->rip alone unless the name says a transfer. */
uint64_t dbt_mov_from_cr(struct dbt_vcpu *v, unsigned cr);
void dbt_mov_to_cr(struct dbt_vcpu *v, unsigned cr, uint64_t value);
uint64_t dbt_mov_from_dr(struct dbt_vcpu *v, unsigned dr);
void dbt_mov_to_dr(struct dbt_vcpu *v, unsigned dr, uint64_t value);
void dbt_rdmsr(struct dbt_vcpu *v);
void dbt_wrmsr(struct dbt_vcpu *v);
void dbt_rdtsc(struct dbt_vcpu *v, bool with_aux); /* rdtsc, rdtscp */
void dbt_rdpmc(struct dbt_vcpu *v);
void dbt_cpuid(struct dbt_vcpu *v);
void dbt_xgetbv(struct dbt_vcpu *v);
void dbt_xsetbv(struct dbt_vcpu *v);
void dbt_syscall(struct dbt_vcpu *v, uint64_t next_rip);  /* transfer */
void dbt_sysret(struct dbt_vcpu *v, unsigned opsize);     /* transfer */
void dbt_sysenter(struct dbt_vcpu *v);                    /* transfer */
void dbt_sysexit(struct dbt_vcpu *v, unsigned opsize);    /* transfer */
void dbt_swapgs(struct dbt_vcpu *v);
void dbt_lgdt(struct dbt_vcpu *v, uint64_t base, uint16_t limit);
void dbt_lidt(struct dbt_vcpu *v, uint64_t base, uint16_t limit);
void dbt_lldt(struct dbt_vcpu *v, uint16_t selector);
void dbt_ltr(struct dbt_vcpu *v, uint16_t selector);
void dbt_lmsw(struct dbt_vcpu *v, uint16_t value);
void dbt_clts(struct dbt_vcpu *v);
void dbt_invlpg(struct dbt_vcpu *v, uint64_t lin);
void dbt_invpcid(struct dbt_vcpu *v, uint64_t type, uint64_t pcid, uint64_t lin);
void dbt_wbinvd(struct dbt_vcpu *v);                      /* also invd: only the CPL check */
void dbt_hlt(struct dbt_vcpu *v);                         /* CPL check; sets mp_state HALTED, the run loop sleeps */
void dbt_vmcall(struct dbt_vcpu *v);                      /* KVM hypercalls: kick, send IPI, sched yield */
void dbt_check_umip(struct dbt_vcpu *v);                  /* sgdt, sidt, sldt, str, smsw at CPL 3 */
/* lar, lsl, verr, verw, arpl: result in *ret; false clears ZF. */
bool dbt_lar(struct dbt_vcpu *v, uint16_t selector, uint32_t *ret);
bool dbt_lsl(struct dbt_vcpu *v, uint16_t selector, uint32_t *ret);
bool dbt_verify(struct dbt_vcpu *v, uint16_t selector, bool write);
/* in, out, ins, outs: IOPL and TSS bitmap check, then the callback (with the vector state saved). */
void dbt_io_check(struct dbt_vcpu *v, uint16_t port, unsigned size);
uint64_t dbt_io_in(struct dbt_vcpu *v, uint16_t port, unsigned size);
void dbt_io_out(struct dbt_vcpu *v, uint16_t port, unsigned size, uint64_t value);
/* cli, sti, popf, iret: after IF or the shadow changed. */
void dbt_cli(struct dbt_vcpu *v);
void dbt_sti(struct dbt_vcpu *v);

/* Between blocks, when v->request has INTR or INIT bits (which it clears) or intr_waiting says so: delivers what is due. Returns false on
 * triple fault. */
bool dbt_poll_events(struct dbt_vcpu *v);
/* Is there anything that ends HLT now (pending and deliverable interrupt, NMI, INIT, SIPI)? */
bool dbt_has_wakeup(struct dbt_vcpu *v);
/* RESET and INIT state. vcpu_new calls it with init false once cpuid, lapic, vm and index are set; that also makes the TLB and v->sys valid. */
void dbt_vcpu_reset(struct dbt_vcpu *v, bool init);
/* vcpu_get_state and vcpu_set_state; exceptions count as not raised: the run loop delivers one before it returns. */
void dbt_get_state(struct dbt_vcpu *v, struct x86_state *ret);
void dbt_set_state(struct dbt_vcpu *v, const struct x86_state *state);
/* What this engine can run on this host; *ret_pv: KVM_PV_* bits. */
void dbt_cpuid_supported(struct cpuid_table *ret, uint32_t *ret_pv);

/* --- fpu.c, native.c --------------------------------------------------------------------------------------- */

void dbt_fpu_save(struct dbt_vcpu *v); /* host registers -> v->fpu, fpu_live = false; cheap if not live */
void dbt_fpu_load(struct dbt_vcpu *v); /* v->fpu -> host registers */

/* --- timer.c ------------------------------------------------------------------------------------------------------- */

int dbt_timer_install_signal(bool mirrored);
/* Begin and end of what the vCPU's thread does in dbt_vcpu_run. The first asks the run loop to look at the LAPIC's timer. */
int dbt_timer_enter(struct dbt_vcpu *v);
void dbt_timer_leave(void);
/* Answers DBT_REQ_TIMER: the LAPIC's timer fires if it is due. The request comes again when the next expiry is due; perhaps earlier, too, but to a
 * vCPU that sleeps from now on not much. */
void dbt_timer_refresh(struct dbt_vcpu *v, bool sleeps);
void dbt_timer_free(struct dbt_vcpu *v);

/* --- run.c, block.c, vm.c ------------------------------------------------------------------------------------ */

int dbt_vcpu_run(struct dbt_vcpu *v);
/* Sets request bits of a vCPU that is known to be awake. Code that is not known to run often looks at tr_budget only: what another thread stores there is
 * lost if the vCPU counts down just then, and it looks when the count is used up. Any thread, async-signal-safe. */
#define DBT_BUDGET_ASKED (INT32_MIN / 2)
static inline void dbt_ask(struct dbt_vcpu *v, uint32_t bits)
{
        atomic_fetch_or(&v->request, bits);
        atomic_store_explicit(&v->tr_budget, DBT_BUDGET_ASKED, memory_order_relaxed);
}
/* The same, and wakes the vCPU if it sleeps. */
void dbt_request(struct dbt_vcpu *v, uint32_t bits);
/* The guest has written [gpa, gpa+n), in one page for which dbt_code_page_test holds: drops what overlaps in all vCPUs and, when no code of the page is left,
 * clears the page's mark. Call it after the bytes are in memory. The running block ends after this instruction if it was hit. */
void dbt_code_written(struct dbt_vcpu *v, uint64_t gpa, unsigned n);
/* Does some vCPU have cached code from the page? Then no TLB entry may get match_write for it. */
bool dbt_code_page_test(struct dbt_vm *vm, uint64_t gpa_page);
/* Called by tlb.c when the TLB's entries for the page of lin, all that are not global, or all were dropped: what else is keyed by linear address must be
 * forgotten. code: whether instructions may have been fetched there. On the own thread or while v is stopped; every instruction that can do
 * this has DBT_INSN_ENDS_BLOCK. */
enum dbt_change { DBT_CHANGE_PAGE, DBT_CHANGE_LOCAL, DBT_CHANGE_ALL };
enum dbt_code_change { DBT_CODE_NONE, DBT_CODE_USER, DBT_CODE_ALL };
void dbt_mapping_changed(struct dbt_vcpu *v, enum dbt_change change, uint64_t lin, enum dbt_code_change code);
/* After the present block the run loop looks at interrupts and at the LAPIC's timer: some of its registers changed. Own vCPU only. */
void dbt_end_block(struct dbt_vcpu *v);

/* --- tr-site.c ----------------------------------------------------------------------------------------------------- */

/* Direct writes to that memory of the host are no longer allowed. */
void dbt_tr_forget_host(struct dbt_vcpu *v, uintptr_t start, uint64_t size);
