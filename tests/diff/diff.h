/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Differential test of the software engine: random instruction sequences run on the host's CPU and in the engine, in
 * the same linear addresses, and must leave the same registers, memory and fault. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <Zydis/Zydis.h>

#include "hv/x86/state.h"

/* Linear addresses, the same on both sides. All of them are 32-bit, so that every addressing form reaches them. */
#define DATA_ADDR 0x10000000ULL
#define DATA_PAGES 8u    /* read-write; one read-only page follows, then nothing */
#define DATA_SIZE ((DATA_PAGES + 1) * 4096u)
#define CODE_ADDR 0x10100000ULL
#define CODE_PAGES 2u
#define CODE_SIZE (CODE_PAGES * 4096u)
/* The code's pages once more, for blocks that change themselves. */
#define ALIAS_ADDR 0x10180000ULL

#define INSNS_MAX 200
#define XSAVE_SIZE 832u
#define VECTOR_TIMEOUT 254u /* the host had to be stopped */

struct cpu {
        uint64_t gpr[X86_NGPRS];
        uint64_t rip, rflags;
        uint64_t fs_base, gs_base;
        unsigned vector;   /* what ended it: 3 is the marker behind the sequence */
        uint64_t error, cr2;
        uint8_t xsave[XSAVE_SIZE] __attribute__((aligned(64))); /* standard format; components in their initial state spelled out */
};

struct sequence {
        uint8_t code[CODE_SIZE];
        unsigned length;
        unsigned n;                    /* instructions */
        unsigned start[INSNS_MAX + 1]; /* offset of each one, and the end */
        unsigned bits;                 /* 64, or compatibility mode with 32 or 16 */
        uint32_t branches;             /* bit per instruction; not in blocks */
        /* gen-block.c's: code all over the pages, with loops. */
        bool block, writable;          /* writable: the code's pages are */
        uint8_t size[INSNS_MAX];
        bool keep[INSNS_MAX];          /* ends a loop */
        uint32_t undefined;            /* flags that may hold anything at the end */
        bool stores_pointers;          /* of the last x87 instruction's operand */
        struct cpu in;
};

static inline ZydisMachineMode machine_mode(const struct sequence *s)
{
        if (s->bits == 64)
                return ZYDIS_MACHINE_MODE_LONG_64;
        return s->bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16;
}

/* 16-bit code runs in segments of 64K that begin at CODE_ADDR and DATA_ADDR. */
#define SELECTOR_CODE16 0x07
#define SELECTOR_DATA16 0x0f

/* What RIP is at the start. */
static inline uint64_t code_start(const struct sequence *s)
{
        return s->bits == 16 ? 0 : CODE_ADDR;
}

struct rng {
        uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
        uint64_t z = r->s += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
}

static inline unsigned rng_below(struct rng *r, unsigned n)
{
        return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

static inline bool rng_percent(struct rng *r, unsigned p)
{
        return rng_below(r, 100) < p;
}

/* main.c: of the sequence being run, for messages about crashes. */
extern uint64_t current_seed;
extern uint64_t current_run; /* goes on with each run, to see when one does not end */

/* gen.c */
/* integer: mostly general-purpose instructions, all in 64-bit mode. */
void gen_init(bool integer);
void gen_sequence(struct sequence *s, uint64_t seed);
/* Blocks: many instructions with loops, calls and all that; profiles are kinds of them. */
extern const char *const gen_profiles[];
extern const unsigned gen_n_profiles;
void gen_block(struct sequence *s, unsigned profile, uint64_t seed);
/* Flags that hold nothing defined after an instruction. */
uint32_t gen_undefined_after(const ZydisDecodedInstruction *z, uint32_t before);
void gen_memory(uint8_t *mem, uint64_t seed);

/* host.c: the oracle. */
/* -EOPNOTSUPP: CPU or kernel lack what it takes. */
int host_init(void);
/* Call when somebody else may have installed signal handlers: those are called for signals outside of sequences. */
void host_take_signals(void);
void host_run(const struct sequence *s, const uint8_t *mem, struct cpu *out);
const uint8_t *host_memory(void);
const uint8_t *host_code(void); /* CODE_SIZE bytes, as the last sequence left them */

/* guest.c: the engine. */
/* translate: all 64-bit code is translated the first time it runs; otherwise none. */
int guest_init(bool translate, bool hot); /* hot: with translations as for code that runs often */
void guest_free(void);
/* Returns 0, or a negative number if the engine gave up; *out is then undefined. */
int guest_run(const struct sequence *s, const uint8_t *mem, struct cpu *out);
const uint8_t *guest_page(unsigned page); /* of the data area */
const uint8_t *guest_code(unsigned page); /* of the code */
/* From a signal handler: the engine should return. */
void guest_kick(void);

/* compare.c */
extern bool compare_report;      /* print what differs */
extern bool compare_exact_flags; /* at faults, too, all flags */
bool compare(const struct sequence *s, const struct cpu *h, const struct cpu *g, int guest_result);

/* flags.c: flags that are overwritten on every way from rip on before anything looks at them. */
uint32_t dead_flags(const struct sequence *s, const uint8_t *code, uint64_t rip);

/* Spells out what the bits of XSTATE_BV leave unsaid, and clears what is not compared. */
void normalize_xsave(uint8_t *xsave);
