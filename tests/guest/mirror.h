/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the parts of the guest mirror share: programs in ring 3 (mirror-user.S) that are run with all their registers known, and page tables. */
#include "guest.h"

#define HIGH 0xffff800000000000ull /* where the kernel has all memory */
#define TEXT 0x555555000000ull     /* the programs */
#define STACK 0x7ffffffe0000ull    /* the end of their stack */
#define IMAGE_END 0x400000ull      /* the kernel's image is below */
#define LARGE_A 0x1a00000ull       /* physical, 2 MiB each */
#define LARGE_B 0x1c00000ull
#define LARGE 0x200000ull
#define PAGE 4096ull

#define CR4_PGE (1ull << 7)
#define CR4_PCIDE (1ull << 17)
#define CR4_OSXSAVE (1ull << 18)
#define FLAG_C 1ull
#define FLAG_RF 0x10000ull
#define DONE 0x80 /* the vector by which programs end */

#define USER (PTE_P | PTE_U)
#define USER_W (USER | PTE_W)

/* --- mirror-user.S ----------------------------------------------------------------------------------------------- */

#define PROGRAM(name) extern const uint8_t name[]
PROGRAM(u_copy1);
PROGRAM(u_copy2);
PROGRAM(u_copy4);
PROGRAM(u_copy8);
PROGRAM(u_copy16);
PROGRAM(u_copy32);
PROGRAM(u_load);
PROGRAM(u_load1);
PROGRAM(u_store);
PROGRAM(u_store1);
PROGRAM(u_store2);
PROGRAM(u_store4);
PROGRAM(u_store16);
PROGRAM(u_store32);
PROGRAM(u_load_store_load);
PROGRAM(u_add);
PROGRAM(u_indexed);
PROGRAM(u_walk);
PROGRAM(u_push);
PROGRAM(u_push_imm);
PROGRAM(u_push_memory);
PROGRAM(u_pop);
PROGRAM(u_pop_memory);
PROGRAM(u_pushf);
PROGRAM(u_call);
PROGRAM(u_call_register);
PROGRAM(u_call_memory);
PROGRAM(u_ret);
PROGRAM(u_landing);
PROGRAM(u_leave);
PROGRAM(u_enter);
PROGRAM(u_call_ret);
PROGRAM(u_xchg);
PROGRAM(u_cmpxchg);
PROGRAM(u_cmpxchg16b);
PROGRAM(u_xadd);
PROGRAM(u_lock_inc);
PROGRAM(u_bt);
PROGRAM(u_bts);
PROGRAM(u_btr);
PROGRAM(u_high);
PROGRAM(u_setcc);
PROGRAM(u_extend);
PROGRAM(u_rep_movsb);
PROGRAM(u_rep_movsq);
PROGRAM(u_rep_movsb_down);
PROGRAM(u_rep_stosb);
PROGRAM(u_rep_stosq);
PROGRAM(u_repe_cmpsb);
PROGRAM(u_repne_scasb);
PROGRAM(u_strings);
PROGRAM(u_fs);
PROGRAM(u_gs);
PROGRAM(u_gs_load);
PROGRAM(u_rip);
PROGRAM(u_absolute32);
PROGRAM(u_flags);
PROGRAM(u_adc);
PROGRAM(u_sbb_store);
PROGRAM(u_inc_keeps);
PROGRAM(u_paddq);
PROGRAM(u_movlps);
PROGRAM(u_maskmov);
PROGRAM(u_fpu);
PROGRAM(u_write_code);
PROGRAM(u_write_code_end);
PROGRAM(u_write_code_loop);
PROGRAM(u_write_code_loop_end);
PROGRAM(u_wild_read);
PROGRAM(u_wild_write);
PROGRAM(user_text);
PROGRAM(user_text_end);
extern uint8_t user_data[]; /* a page behind the programs */

/* --- mirror-run.c ------------------------------------------------------------------------------------------------ */

extern struct frame user, before; /* the registers: as the last exception left them, and as they were before */
extern uint64_t fault_at;         /* CR2 of the last exception */
extern uint64_t space, other_space; /* roots of page tables; space is the one that runs */
extern uint64_t page[8];          /* for tests: physical, one behind the other */
extern bool avx;                  /* AVX2 is on */
extern bool strict;               /* not on an emulator, see CHECK_STRICT */

#define N_PLACES 9
extern const uint64_t places[N_PLACES]; /* addresses for programs' pages, 2 MiB of room behind each */

void mirror_setup(void);
/* Runs a program until an exception. */
void start(const uint8_t *program);
void start_at(uint64_t rip);
void go_on(void); /* from where it stopped */
uint64_t text_of(const uint8_t *program); /* its linear address */
/* All registers get values that are no addresses. */
void fresh(void);
/* A check that shows the registers when it fails. */
void expect(bool ok, const char *what, unsigned line);
#define EXPECT(cond) expect(cond, #cond, __LINE__)
bool done(void);
/* Nothing is done of the instruction that the program began with. */
bool unchanged(void);
bool fault(uint64_t error, uint64_t address);
bool faulted(uint64_t error, uint64_t address); /* and unchanged */

void *at(uint64_t phys);
uint64_t frame_alloc(void); /* physical, zeroed; never freed */
/* The entry of a level (0: 4 KiB) for va, with its tables made. */
volatile uint64_t *entry_of(uint64_t root, uint64_t va, unsigned level);
volatile uint64_t *pte(uint64_t va);
void set(uint64_t va, uint64_t entry); /* and flushes */
/* Two pages at va: page[n] and page[n + 1]. */
void set_pair(uint64_t va, unsigned n, uint64_t flags);
bool is_present(uint64_t va);
/* A number that differs from call to call. */
uint64_t number(void);
void fill(uint64_t phys, uint64_t size);
uint64_t word(uint64_t phys);
void put(uint64_t phys, uint64_t v);
/* The program reads at va what is at phys, and can write there. */
void expect_page(uint64_t va, uint64_t phys, unsigned line);
#define EXPECT_PAGE(va, phys) expect_page(va, phys, __LINE__)

/* --- mirror-insns.c ---------------------------------------------------------------------------------------------- */

void test_stack(void);
void test_locked(void);
void test_bits(void);
void test_high_bytes(void);
void test_operands(void);
void test_strings(void);
void test_segments(void);
void test_rip(void);
void test_flags(void);
void test_vectors(void);

/* --- mirror-pages.c ---------------------------------------------------------------------------------------------- */

void test_pages_alone(void);
void test_pages(void);
void test_interrupted(void);

/* --- mirror-around.c --------------------------------------------------------------------------------------------- */

void test_around(void);
