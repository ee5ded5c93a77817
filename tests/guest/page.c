/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "guest.h"

#define PAGES 256

extern uint64_t pml4[512];
static uint8_t pages[PAGES][4096] __attribute__((aligned(4096)));
static unsigned used;

void *page_alloc(void)
{
        if (used == PAGES)
                fail("the guest library ran out of pages");
        return memset(pages[used++], 0, 4096);
}

static volatile uint64_t *walk(uint64_t va, unsigned level)
{
        uint64_t *table = pml4;

        for (unsigned i = 3; i > level; i--) {
                uint64_t *e = &table[va >> (12 + 9 * i) & 511];

                if (!(*e & PTE_P))
                        *e = (uintptr_t)page_alloc() | PTE_P | PTE_W | PTE_U;
                table = (uint64_t *)(*e & 0xffffffffff000ull);
        }
        return &table[va >> (12 + 9 * level) & 511];
}

volatile uint64_t *pte_of(uint64_t va)
{
        return walk(va, 0);
}

volatile uint64_t *pde_of(uint64_t va)
{
        return walk(va, 1);
}

void map(uint64_t va, uint64_t phys, uint64_t flags)
{
        *pte_of(va) = phys | flags;
        invlpg((void *)va);
}
