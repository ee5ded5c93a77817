/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From 64-bit mode down to real mode, some 16-bit code there, and back up; then 32-bit code in a compatibility segment. */
#include "guest.h"

#define BLOB 0x9000u
#define RESULTS 0xa000u
#define IVT_VECTOR 0x60

extern uint8_t real_blob[], real_blob_end[], real_handler[], compat_code[];
extern void real_excursion(void);

/* What the 16-bit code leaves at RESULTS. */
struct results {
        uint16_t magic, segment_sum, interrupt_hits, unused, push_low, string, loop_count, bcd, unreal;
        uint16_t flags_after_int;
} __attribute__((packed));

static void test_real_mode(void)
{
        volatile struct results *r = (struct results *)(uintptr_t)RESULTS;
        uint32_t handler = BLOB + (uint32_t)(real_handler - real_blob);

        memcpy((void *)(uintptr_t)BLOB, real_blob, (size_t)(real_blob_end - real_blob));
        memset((void *)(uintptr_t)RESULTS, 0, 4096);
        *(volatile uint16_t *)(uintptr_t)(IVT_VECTOR * 4) = (uint16_t)handler;
        *(volatile uint16_t *)(uintptr_t)(IVT_VECTOR * 4 + 2) = 0;
        *(volatile uint8_t *)0x500000 = 0x3c;
        real_excursion();
        CHECK(r->magic == 0x1234);
        CHECK(r->segment_sum == 0x5678 + 1);
        CHECK(r->interrupt_hits == 3);
        CHECK(r->push_low == 0xbeef);
        CHECK(r->string == 0x6464);
        CHECK(r->loop_count == 10);
        CHECK(r->bcd == 0x0105);
        CHECK(r->unreal == 0x3c);
        CHECK(r->flags_after_int & 0x200); /* iret brought IF back */
}

static void test_twice(void)
{
        for (unsigned i = 0; i < 10; i++)
                test_real_mode();
}

static void test_compat(void)
{
        uint32_t eax = 0, edx = 0;
        uint64_t rbx = 0xffffffff00000001;

        /* A far call to a 32-bit segment and back; there, 32-bit operations and addresses. */
        asm volatile("subq $8, %%rsp\n\tmovl $776f, (%%rsp)\n\tmovl $0x10, 4(%%rsp)\n\tpushq $0x08\n\tpushq $compat_code\n\tlretq\n776:"
                     : "+a"(eax), "=d"(edx), "+b"(rbx)
                     :
                     : "rcx", "memory", "cc");
        CHECK(eax == 0x31323334 && edx == 8);
        CHECK((uint32_t)rbx == 2);
}

void guest_main(void)
{
        RUN(test_real_mode);
        RUN(test_twice);
        RUN(test_compat);
}
