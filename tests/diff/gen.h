/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the gen*.c files share. */

#include "diff.h"

#define LABELS_MAX 32
#define FIXUPS_MAX 160
#define ANCHORS_MAX 8

/* A place in the code that depends on where something comes to lie. */
struct fixup {
        uint16_t at;
        uint8_t kind;
        uint8_t target; /* label, or anchor modulo how many there are */
};

enum fixup_kind {
        FIX_REL8,   /* of a branch that ends there */
        FIX_REL32,
        FIX_ABS32,
        FIX_ANCHOR, /* 32-bit address, added to what is there */
};

/* State of the generator: what is known where the next instruction goes, which is at s->length. */
struct gen {
        struct rng r;
        struct sequence *s;
        uint16_t pointers;  /* registers that hold addresses of data */
        uint16_t small;     /* registers that hold small numbers */
        uint16_t pinned;    /* registers that random instructions leave alone */
        uint32_t undefined; /* flags that no instruction may look at now */
        uint32_t may_undefine; /* blocks: flags that instructions may leave undefined */
        bool branches;
        bool no_stack;      /* blocks: no push and pop */
        unsigned vector_percent; /* blocks: share of vector and x87 instructions, and of those that are about flags */
        unsigned flags_percent;
        /* Blocks. */
        uint16_t bases;     /* pinned registers that are pointers */
        unsigned counter;   /* the register that counts the rounds down */
        unsigned inner;     /* the one for loops inside, in 64-bit mode */
        uint16_t label[LABELS_MAX]; /* from the middle on: of the loops inside of blocks */
        struct fixup fixup[FIXUPS_MAX];
        unsigned n_fixups;
        uint16_t anchor[ANCHORS_MAX];
        unsigned n_anchors;
};

/* --- gen-state.c --- */
uint64_t data_pointer(struct rng *r);
/* Registers at random; notes pointers and small numbers. */
void random_registers(struct gen *g);

/* --- gen-insn.c --- */
/* One random instruction behind the others; false: try again. */
bool add_random(struct gen *g);
/* The instruction at buf (which has room for 15 bytes), if it is allowed here. */
bool add_insn(struct gen *g, uint8_t *buf);
/* One of set most of the time. */
unsigned pick_register(struct gen *g, uint16_t set);
void put_bytes(struct sequence *s, const void *bytes, unsigned n);
/* Mostly general-purpose instructions in 64-bit mode. */
bool gen_integer_only(void);

/* --- gen-block.c --- */
/* What writes its registers and flags behind the generator's back says so: it no longer knows them. */
void forget_register(struct gen *g, unsigned reg);
/* A register that is not pinned and not RSP; one of the first eight outside of 64-bit mode. */
unsigned free_register(struct gen *g);
/* The bytes of one more instruction, noted as such; try_insn: if it is allowed. */
void put_insn(struct gen *g, const void *bytes, unsigned n);
bool try_insn(struct gen *g, uint8_t *bytes);
/* Before the instruction is put: n_from_end bytes before its end something is to be filled in. */
void put_fixup(struct gen *g, unsigned at, enum fixup_kind kind, unsigned target);

/* --- gen-parts.c: several instructions that belong together --- */
void part_memory(struct gen *g);
void part_stack(struct gen *g);
void part_string(struct gen *g);
void part_fault(struct gen *g);
void part_patch(struct gen *g);
void part_anchor(struct gen *g);
