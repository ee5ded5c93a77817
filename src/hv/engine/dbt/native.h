/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the native*.c files and fpu.c share. Private to them and, for the stubs' descriptions, tr-vec.c.
 *
 * A stub is a piece of host code made for one guest instruction: it loads the guest's general registers and arithmetic
 * flags that the instruction uses, runs a copy of the instruction whose memory operand is [host pointer], and stores what
 * changed. Vector and x87 registers are in place (v->fpu_live). Stubs lie in a bounded buffer that is mapped twice, once
 * writable and once executable. */

#include "hv/engine/dbt/insn.h"

#define NATIVE_BUFFER_SIZE MiB(1)
#define NATIVE_CODE_MAX 224
/* Stubs take multiples of this. */
#define NATIVE_STUB_UNIT 64
#define NATIVE_STUB_UNITS_MAX 5
#define NATIVE_STUB_BUCKETS 2048
/* dbt_native_full says yes when there is less room than this many units: enough for two of the longest blocks. */
#define NATIVE_RESERVE 512
/* Largest memory operand: FNSAVE in 32-bit format. */
#define NATIVE_BOUNCE_SIZE 128

#define NATIVE_FLAGS (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF | X86_FLAG_OF)

/* MXCSR bits that exist for the guest. AMD's misaligned mode (bit 17) is not offered. */
#define NATIVE_MXCSR_MASK 0xffffu
/* x87 status word: an unmasked exception is pending. */
#define NATIVE_FSW_ES 0x80
/* In control and status word. */
#define NATIVE_X87_EXCEPTIONS 0x3f
#define NATIVE_X87_PRECISION 0x20

/* Which checks come before it. */
enum native_class {
        NATIVE_GPR, /* none */
        NATIVE_FWAIT,
        NATIVE_X87,
        NATIVE_MMX,
        NATIVE_SSE,
        NATIVE_AVX,
};

enum { NATIVE_READ = 1, NATIVE_WRITE = 2 };

/* The arithmetic flags as tr.h numbers them. */
enum native_flag { NATIVE_CF = 1, NATIVE_PF = 2, NATIVE_AF = 4, NATIVE_ZF = 8, NATIVE_SF = 16, NATIVE_OF = 32 };

/* For the translator: how to copy the instruction with other general registers and another memory operand. */
struct native_form {
        uint16_t writes;           /* general registers, bit per enum x86_gpr */
        uint8_t flags_read, flags_written; /* arithmetic flags: enum native_flag; those written whatever the operands are */
        uint8_t opcode, modrm;     /* offsets behind the prefixes, and of ModRM or 0 */
        uint8_t n_imm;             /* bytes at the end */
        uint8_t rep, rex;          /* prefix that is a part of the opcode, or 0; REX or 0 */
        uint8_t reg_use : 2, rm_use : 2, vvvv_use : 2; /* NATIVE_READ | NATIVE_WRITE if the field names a general register */
        bool copy : 1;             /* it can be done */
        bool vex : 1, w : 1, op16 : 1, byte : 1; /* w: VEX.W; byte: operands may be SPL..DIL */
        bool reads_rax : 1, writes_rax : 1, writes_rcx : 1; /* by no field: RAX, RCX */
        bool flags_touched : 1;    /* others may change, too */
        bool may_fault : 1;        /* by itself, on the host */
};

struct native_stub {
        uint32_t refs;         /* instructions that use it */
        uint32_t next;         /* others with the same hash, or free ones; 0: none */
        uint16_t size;         /* of code */
        uint16_t mem_size;     /* bytes; 0: no memory operand */
        uint16_t fault_offset; /* in code: where to go on when the host faults in the copy */
        uint16_t fop;          /* x87: the opcode as FNSTENV reports it */
        uint8_t align_mask;    /* the linear address must be aligned so, else #GP */
        uint8_t access;        /* NATIVE_READ | NATIVE_WRITE */
        uint8_t class;         /* enum native_class */
        bool lock;
        bool waits;            /* a pending x87 exception comes before faults of its memory operand */
        bool tracks;           /* x87: updates the last-instruction pointers */
        /* Gathers and masked moves. */
        uint8_t vec_dest, vec_index, vec_mask;
        uint8_t elem_size, elem_count, index_size, scale;
        uint8_t keep;          /* vzeroupper: 16 bytes of each register stay */
        struct native_form form;
        uint8_t code[] __attribute__((aligned(16)));
};

_Static_assert(sizeof(struct native_stub) + NATIVE_CODE_MAX <= NATIVE_STUB_UNIT * NATIVE_STUB_UNITS_MAX, "largest stub");

/* Returns 0, or 1 when it stopped at the copied instruction by a host fault; the guest's state is then unchanged. */
typedef int (*native_code)(struct dbt_vcpu *v, void *mem);

struct dbt_native {
        uint8_t *write, *exec; /* the two views */
        /* Places in units from the beginning. */
        uint32_t used, free[NATIVE_STUB_UNITS_MAX + 1], buckets[NATIVE_STUB_BUCKETS];
        const struct native_stub *current; /* running stub, for the signal handler */
        unsigned fault_vector;             /* by the signal handler */
        uint8_t bounce[NATIVE_BOUNCE_SIZE] __attribute__((aligned(64)));
};

/* What native.c found out about an instruction, for the emitter. */
struct native_plan {
        const ZydisDecodedInstruction *z;
        const ZydisDecodedOperand *ops;
        const uint8_t *bytes;
        bool mode64;
        bool mem;            /* has a memory operand that is accessed */
        bool mem_is_rdi;     /* the implicit one of maskmovq and maskmovdqu */
        bool prefix_66;      /* operand size prefix needed on the host */
        bool flags_in;
        uint32_t flags_out;  /* arithmetic flags that may change */
        uint16_t reads, writes; /* guest registers, bit per enum x86_gpr */
};

/* native-emit.c: the machine code for plan into buf (at most NATIVE_CODE_MAX bytes). Returns its length, 0 if it cannot be
 * re-encoded; *ret_fault is the offset of the fault exit. */
unsigned native_emit(const struct native_plan *plan, uint8_t *buf, uint16_t *ret_fault);

/* VEX.W of the copy. */
bool native_vex_w(const struct native_plan *plan);

/* native-form.c: fills in the stub's form, when all else of it and the plan are there. */
void native_describe(const struct native_plan *plan, struct native_stub *stub);
/* native-stub.c: a stub like this one, whose size is set, with one reference more; NULL if there is no room. */
const struct native_stub *native_stub_get(struct dbt_native *n, const struct native_stub *stub, const uint8_t *code);

/* native-run.c: handlers. */
void native_run_reg(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_mem(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_convert(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_x87(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_save_env(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_load_env(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_fninit(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_settled(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_ldmxcsr(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_nop(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_cache_line(struct dbt_vcpu *v, const struct dbt_insn *i);
/* native-vec.c */
void native_run_masked_load(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_masked_store(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_byte_mask(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_vzero32(struct dbt_vcpu *v, const struct dbt_insn *i);
void native_run_gather(struct dbt_vcpu *v, const struct dbt_insn *i);

/* Raises what the class of instruction asks for (CR0.EM, CR0.TS, CR4.OSFXSR, CR4.OSXSAVE, XCR0). */
void native_check(struct dbt_vcpu *v, enum native_class class);
/* Runs the stub with mem as its memory operand; raises what the host found. */
void native_call(struct dbt_vcpu *v, const struct native_stub *s, void *mem);
/* Installs the process's handlers for SIGFPE, SIGILL and SIGSEGV; may be repeated. */
int native_install_signals(bool mirrored);

/* Before a vector or x87 instruction: checks, and the guest's state is in the host's registers afterwards. */
static inline void native_enter(struct dbt_vcpu *v, const struct native_stub *s)
{
        if (s->class == NATIVE_GPR)
                return;
        if (unlikely(s->class == NATIVE_AVX ? v->avx_trap : v->fpu_trap))
                native_check(v, s->class);
        if (unlikely(!v->fpu_live))
                dbt_fpu_load(v);
}

static inline void native_clear_pointers(struct dbt_vcpu *v)
{
        v->x87 = (struct dbt_x87){ .fop = DBT_X87_NONE, .fds = DBT_X87_NONE };
}

/* Before the x87 pointers are looked at or an exception is forgotten, with the status word of now: an exception summary can only be the last
 * instruction's, as none but control instructions run while there is one. Intel SDM vol. 1, 8.1.8 and 8.1.9. */
static inline void native_settle(struct dbt_vcpu *v, uint16_t fsw)
{
        struct dbt_x87 *x = &v->x87;

        if (x->fop != DBT_X87_NONE && (v->sys.amd || (fsw & NATIVE_FSW_ES)))
                x->known_fop = x->fop;
        if (x->fds != DBT_X87_NONE && (!v->sys.fdp_of_exceptions || (fsw & NATIVE_FSW_ES))) {
                x->known_fdp = x->fdp;
                x->known_fds = x->fds;
        }
        x->fop = x->fds = DBT_X87_NONE;
        if (v->sys.no_x87_selectors)
                x->fcs = x->known_fds = 0;
}

/* Before its memory operand can fault: is an x87 exception pending that comes first? Live state only. */
static inline void native_check_pending(struct dbt_vcpu *v, const struct native_stub *s)
{
        uint16_t fsw;

        if (!s->waits)
                return;
        __asm__ volatile("fnstsw %0" : "=a"(fsw));
        if (fsw & NATIVE_FSW_ES)
                dbt_raise(v, X86_MF);
}

/* libc's may use vector registers. */
static inline void native_copy(void *dst, const void *src, size_t n)
{
        __asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(n) : : "memory");
}

static inline void native_zero(void *dst, size_t n)
{
        __asm__ volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(0) : "memory");
}
