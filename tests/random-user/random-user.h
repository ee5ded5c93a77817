/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A program that makes random code, runs it and prints what came of it. Its output depends on its arguments and on the instruction set alone, so that
 * it must be the same in a guest as natively.
 *
 *   emit.c   encodes instructions
 *   insns.c  the table of instructions, and operands for them
 *   parts.c  instructions that belong together: loops, calls, strings, pointers...
 *   gen.c    a program of such parts, and when what is done with it
 *   run.c    runs it and handles its faults
 *   enter.S  the way there and back */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE 0x1000u

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, RIP, NONE };
/* Of byte registers: AH, CH, DH, BH are 20 to 23. */
#define HIGH_BYTE 16

/* What the code accesses: data behind the code, data and the stack elsewhere. */
enum buffer { NEAR, FAR, STACK, N_BUFFERS };
#define BUFFER_SIZE 0x4000
#define CODE_SIZE 0x8000
#define NEAR_AT CODE_SIZE                 /* in the code's area */
#define TABLES_AT (NEAR_AT + BUFFER_SIZE) /* addresses of code, which nothing writes */
#define AREA_SIZE (TABLES_AT + PAGE)
#define STACK_AT 0x10000                  /* from the FAR buffer */
#define STACK_FREE 0x1600                 /* below, the STACK buffer is data */
#define STACK_LOW 0x1800                  /* RSP is never below */
#define CALLEE_SAVED (1u << RBX | 1u << R12 | 1u << R13 | 1u << R14 | 1u << R15)
#define BODY_DEPTH 0x300                  /* of a function's own frame */

/* Arithmetic flags. */
enum { C = 1, P = 4, A = 0x10, Z = 0x40, S = 0x80, O = 0x800, ALL = C | P | A | Z | S | O };
#define LOGIC_FLAGS (ALL & ~A)

enum feature {
        HAS_BMI = 1, HAS_BMI2 = 2, HAS_LZCNT = 4, HAS_POPCNT = 8, HAS_MOVBE = 0x10, HAS_ADX = 0x20, HAS_SSE41 = 0x40, HAS_AVX2 = 0x80, HAS_CX16 = 0x100, HAS_FMA = 0x200, HAS_SSE42 = 0x400,
};

/* --- Numbers ---------------------------------------------------------------------------------------------------------------- */

struct rng {
        uint64_t state;
};

/* SplitMix64 */
static inline uint64_t rng_next(struct rng *r)
{
        uint64_t x = r->state += 0x9e3779b97f4a7c15;

        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        return x ^ x >> 31;
}

static inline unsigned rng_below(struct rng *r, unsigned n)
{
        return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

static inline bool rng_percent(struct rng *r, unsigned percent)
{
        return rng_below(r, 100) < percent;
}

/* --- Instructions --------------------------------------------------------------------------------------------------------------- */

/* Operand sizes. */
enum { W8 = 1, W16 = 2, W32 = 4, W64 = 8, W3264 = 12, WBIG = 14, WALL = 15 };
enum immediate { NO_IMM, IMM8, IMM_FULL, IMM_SHIFT, IMM_COMPARE };

enum how {
        TO_REG = 1,         /* the register operand is written, */
        TO_RM = 2,          /* the other one */
        TO_VVVV = 4,        /* the third one */
        VEC_REG = 8,        /* is a vector register */
        VEC_RM = 0x10,
        ONLY_MEM = 0x20,    /* the other operand is always memory, */
        ONLY_REG = 0x40,    /* never */
        BYTE_BIT = 0x80,    /* the opcode's lowest bit is clear for bytes */
        ACC = 0x100,        /* RAX, no ModRM */
        OP_REG = 0x200,     /* the register is in the opcode */
        COND = 0x400,       /* the opcode has a condition */
        OUT_A = 0x800,      /* writes RAX, too, */
        OUT_C = 0x1000,
        OUT_D = 0x2000,
        SHIFT = 0x4000,
        LOCK = 0x8000,      /* may be locked */
        ALIGN = 0x10000,    /* memory has to be aligned */
        VEX = 0x20000,      /* there is a VEX form, */
        NO_LEGACY = 0x40000,/* and no other */
        THIRD = 0x80000,    /* which has a third operand */
        WIDE = 0x100000,    /* and may have 256 bits */
        BYTE_RM = 0x200000, /* a register there is one of 8 bits */
        ADDRESS = 0x400000, /* memory is not accessed */
        NO_MODRM = 0x800000,
        INTEGER = 0x1000000,/* 256 bits need AVX2 */
        ONLY_256 = 0x2000000,
};

struct insn {
        uint8_t prefix, map, op; /* map: 1: 0F, 2: 0F38, 3: 0F3A */
        int8_t digit;            /* instead of a register in ModRM.reg, or -1 */
        uint8_t sizes, imm, msize; /* msize: of memory, if not the operand size */
        uint32_t how;
        uint16_t reads, sets, leaves; /* flags; leaves: undefined */
        uint16_t feature, weight;
};

struct mem {
        uint8_t base, index, scale, segment;
        int32_t disp;            /* from the code's area if base is RIP */
        bool a32;
};

struct op {
        const struct insn *i;
        unsigned size;           /* 0 to 3: 8 to 64 bits */
        unsigned reg, rm, vvvv;
        const struct mem *m;     /* NULL: rm */
        uint64_t imm;
        unsigned imm_size;
        bool vex, l256, lock;
        uint8_t plus;            /* to the opcode */
};

/* --- Generator ------------------------------------------------------------------------------------------------------------------ */

/* What is known of a register. */
enum kind { ANY, SMALL, POINTER };
struct value {
        uint8_t kind, buffer;
        int32_t lo, hi; /* number, or offset in the buffer */
};

struct state {
        struct value reg[16];
        uint16_t undefined;  /* flags */
        uint16_t pinned;     /* registers not to be written */
        uint16_t align;      /* of RSP */
        uint16_t locals;     /* bytes from RSP up that are free to write */
        uint16_t depth;      /* bytes that the function has on the stack */
};

struct function {
        uint32_t at;
        uint32_t cost;
        uint8_t args;        /* bytes that its return drops */
};

struct table_entry {
        uint32_t at, target; /* in the area */
        uint32_t from;       /* 0: 64-bit address, else 32 bits relative to this */
};

#define FUNCTIONS_MAX 3
#define ENTRIES_MAX 200
#define PATCHES_MAX 64

struct program {
        uint8_t *code;                 /* of AREA_SIZE, to be written */
        uint8_t length[CODE_SIZE];     /* of the instruction that begins there */
        bool cmps[CODE_SIZE];          /* it is CMPS */
        uint32_t entry;
        struct value initial[16];
        uint16_t undefined;            /* at the end */
        struct table_entry entries[ENTRIES_MAX];
        unsigned n_entries;
        uint32_t tables;               /* bytes used */
        struct { uint16_t at; uint8_t size; } patch[PATCHES_MAX];
        unsigned n_patches;
        uint64_t base, far;            /* where it is */
        int32_t fs, gs;                /* from FAR; fs: -1: not used */
        uint8_t counter;               /* register with how often all is to be done, or NONE */
        bool movable, traps;           /* movable: no code may know base */
        uint32_t cost;                 /* instructions of one round */
        unsigned n_insns;
};

struct gen {
        struct rng r;
        struct program *p;
        struct state s;
        uint32_t at, end;
        int left;                      /* instructions */
        unsigned features, nesting;
        uint32_t times;                /* that what comes now is done in a round, at most */
        uint16_t globals;              /* registers pinned in all of the program */
        uint8_t prefer;                /* base register, or NONE */
        struct function function[FUNCTIONS_MAX];
        unsigned n_functions;
        bool in_function;
};

/* emit.c */
void emit(struct gen *g, const struct op *o);
void emit_bytes(struct gen *g, const void *bytes, unsigned n);
/* Near or short jumps: the opcode (its 8-bit form; E8 is a call). Returns where the distance ends. */
uint32_t emit_jump(struct gen *g, uint8_t op, bool near);
void jump_here(struct gen *g, uint32_t jump, bool near);
bool jump_reaches(const struct gen *g, uint32_t jump, bool near);
void jump_to(struct gen *g, uint32_t jump, bool near, uint32_t target);

/* insns.c */
void insns_init(unsigned features);
bool random_insn(struct gen *g);
/* A register that may be written: not RSP. NONE: there is none. */
unsigned pick_dest(struct gen *g);
unsigned pick_source(struct gen *g);
bool may_write(const struct gen *g, unsigned regs);
void wrote(struct gen *g, unsigned reg);
bool choose_mem(struct gen *g, unsigned size, unsigned align, bool write, struct mem *m);
/* A condition of which the flags are defined, 16: none. */
unsigned pick_condition(struct gen *g);
void flags_after(struct gen *g, unsigned sets, unsigned leaves);
/* Instructions with op reg, rm or op reg, mem in 64 or (w false) 32 bits. */
void put_rr(struct gen *g, uint8_t op, bool w, unsigned reg, unsigned rm);
void put_rm(struct gen *g, uint8_t op, bool w, unsigned reg, const struct mem *m);
void put_ri(struct gen *g, unsigned digit, bool w, unsigned rm, int32_t imm); /* 81 or 83 */
void put_mov_imm(struct gen *g, unsigned reg, uint64_t imm);

/* parts.c */
void random_part(struct gen *g);
void put_pointer(struct gen *g);
void put_body(struct gen *g, unsigned parts);
void put_cmp(struct gen *g);
void put_return(struct gen *g, unsigned args);
void merge(struct state *s, const struct state *other);

/* gen.c */
/* p has what is not up to the generator: code, base, far, fs, gs, counter, movable, traps. */
void generate(struct program *p, struct rng *r, unsigned features, unsigned insns);

/* run.c */
struct options {
        unsigned insns, features;
        bool calm;       /* one place, no faults and changes of code, more often hot */
        bool dump, memory;
        uint64_t dumped; /* seed */
        const char *code_file;
};
void run_init(void);
/* What all registers and buffers came to. */
uint64_t run_seed(const struct options *o, uint64_t seed);
