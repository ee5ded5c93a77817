/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Instructions of all kinds whose memory is missing, comes late or may not be written. */
#include "mirror.h"

#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u

/* --- the stack ----------------------------------------------------------------------------------------------------------------- */

/* One instruction that writes to the stack at rsp - below: first nothing is mapped there, then it is read only, then all is well. */
static void pushes(const uint8_t *program, uint64_t sp, unsigned below, uint64_t want)
{
        uint64_t target = sp - below, va = target & ~(PAGE - 1);

        set(va, 0);
        user.rsp = sp;
        start(program);
        EXPECT(faulted(PF_W | PF_U, target));
        set(va, page[1] | USER);
        go_on();
        EXPECT(faulted(PF_P | PF_W | PF_U, target));
        *pte(va) = page[1] | USER_W;
        go_on();
        EXPECT(done() && word(page[1] + target % PAGE) == want);
}

void test_stack(void)
{
        uint64_t va = places[7] + 0x4000, sp = va + PAGE, data = places[2];
        uint64_t old;

        fresh();
        set(data, page[0] | USER_W);
        user.rsi = user.rdi = data + 8;
        put(page[0] + 8, 0x8899aabbccddeeff);
        set(va + PAGE, page[2] | USER_W);
        for (unsigned i = 0; i < 2; i++, sp -= 0x18) {
                pushes(u_push, sp, 8, user.rax);
                EXPECT(user.rsp == sp - 8);
                pushes(u_push_imm, sp, 8, 0x1234567);
                pushes(u_push_memory, sp, 8, word(page[0] + 8));
                pushes(u_pushf, sp, 8, user.rflags);
                pushes(u_call, sp, 8, text_of(u_call) + 5);
                EXPECT(user.rax == 77 && user.rsp == sp - 8);
                user.rax = text_of(u_landing);
                pushes(u_call_register, sp, 8, text_of(u_call_register) + 2);
                EXPECT(user.rsp == sp - 8 && user.rip == text_of(u_landing) + 2);
                old = word(page[0] + 8);
                put(page[0] + 8, text_of(u_landing));
                pushes(u_call_memory, sp, 8, text_of(u_call_memory) + 2);
                EXPECT(user.rsp == sp - 8 && user.rip == text_of(u_landing) + 2);
                put(page[0] + 8, old);
                user.rbp = 0xbb;
                pushes(u_enter, sp, 8, 0xbb);
                EXPECT(user.rbp == sp - 8 && user.rsp == sp - 24);
        }
        /* From the stack. */
        put(page[1] + 64, 4711);
        set(va, 0);
        user.rsp = va + 64;
        start(u_pop);
        EXPECT(faulted(PF_U, va + 64));
        *pte(va) = page[1] | USER;
        go_on();
        EXPECT(done() && user.rax == 4711 && user.rsp == va + 72);
        set(data, page[0] | USER);
        user.rsp = va + 64;
        start(u_pop_memory);
        EXPECT(faulted(PF_P | PF_W | PF_U, data + 8));
        *pte(data) = page[0] | USER_W;
        go_on();
        EXPECT(done() && word(page[0] + 8) == 4711 && user.rsp == va + 72);
        put(page[1] + 64, text_of(u_landing));
        set(va, 0);
        user.rsp = va + 64;
        start(u_ret);
        EXPECT(faulted(PF_U, va + 64));
        *pte(va) = page[1] | USER_W;
        go_on();
        EXPECT(done() && user.rip == text_of(u_landing) + 2 && user.rsp == va + 72);
        put(page[1] + 64, 0xbbbb);
        set(va, 0);
        user.rbp = va + 64;
        user.rsp = va + 16;
        start(u_leave);
        EXPECT(faulted(PF_U, va + 64));
        *pte(va) = page[1] | USER_W;
        go_on();
        EXPECT(done() && user.rbp == 0xbbbb && user.rsp == va + 72);
        /* Deep in calls a page comes in between. */
        set_pair(va, 1, USER_W);
        set(va, 0);
        user.rsp = va + PAGE + 32;
        user.rcx = 7;
        user.rax = 0;
        start(u_call_ret);
        EXPECT(fault(PF_W | PF_U, va + PAGE - 8));
        *pte(va) = page[1] | USER_W;
        go_on();
        EXPECT(done() && user.rax == 127 && user.rsp == va + PAGE + 32);
}

/* --- locked and otherwise special instructions -------------------------------------------------------------------------------------- */

/* An instruction that writes 8 bytes at va in page 0: missing, read only, then it runs. */
static void writes(const uint8_t *program, uint64_t va)
{
        uint64_t old = word(page[0] + va % PAGE), base = va & ~(PAGE - 1);

        set(base, 0);
        start(program);
        EXPECT(faulted(PF_W | PF_U, va));
        set(base, page[0] | USER);
        go_on();
        EXPECT(faulted(PF_P | PF_W | PF_U, va) && word(page[0] + va % PAGE) == old);
        *pte(base) = page[0] | USER_W;
        go_on();
        EXPECT(done());
}

void test_locked(void)
{
        uint64_t va = places[6] + 0x10, p = page[0] + 0x10;

        fresh();
        user.rdi = va;
        put(p, 40);
        user.rax = 41;
        writes(u_xchg, va);
        EXPECT(user.rax == 40 && word(p) == 41);
        user.rbx = 42;
        user.rax = 41;
        writes(u_cmpxchg, va);
        EXPECT(user.rax == 41 && word(p) == 42);
        user.rax = 1;
        writes(u_cmpxchg, va); /* which writes, too */
        EXPECT(user.rax == 42 && word(p) == 42);
        put(p + 8, 7);
        user.rax = 42;
        user.rdx = 7;
        user.rbx = 100;
        user.rcx = 200;
        writes(u_cmpxchg16b, va);
        EXPECT(word(p) == 100 && word(p + 8) == 200);
        writes(u_cmpxchg16b, va);
        EXPECT(user.rax == 100 && user.rdx == 200 && word(p) == 100);
        user.rdi = va + 8;
        start(u_cmpxchg16b);
        EXPECT(user.vector == 13 && unchanged());
        user.rdi = va;
        user.rax = 11;
        writes(u_xadd, va);
        EXPECT(user.rax == 100 && word(p) == 111);
        writes(u_lock_inc, va);
        EXPECT(word(p) == 112);
        put(p, 5);
        user.rax = 2;
        user.rbx = 1;
        set(va & ~(PAGE - 1), 0);
        start(u_setcc);
        EXPECT(fault(PF_W | PF_U, va));
        *pte(va) = page[0] | USER_W;
        go_on();
        EXPECT(done() && word(p) == 1);
}

void test_bits(void)
{
        uint64_t base = places[1] + 0x200000, far = base + 5 * PAGE, near = base - 3 * PAGE, v;

        set(base, 0);
        set(near, 0);
        fresh();
        v = number();
        put(page[0] + 64, v);
        user.rdi = base + 64;
        for (unsigned i = 0; i < 3; i++) {
                unsigned bit = (unsigned)number() % 64;

                user.rax = 5 * PAGE * 8 + bit;
                set(far, 0);
                start(u_bt);
                EXPECT(faulted(PF_U, far + 64));
                *pte(far) = page[0] | USER;
                go_on();
                EXPECT(done() && (user.rbx & 1) == (v >> bit & 1));
                writes(u_bts, far + 64);
                EXPECT((user.rbx & 1) == (v >> bit & 1) && word(page[0] + 64) == (v |= 1ull << bit));
                user.rax = -3 * PAGE * 8 + bit;
                set(near, page[0] | USER);
                start(u_bt);
                EXPECT(done() && (user.rbx & 1) == (v >> bit & 1));
                bit %= 32;
                user.rax = 5 * PAGE * 8 + bit;
                writes(u_btr, far + 64);
                EXPECT((user.rbx & 1) == (v >> bit & 1) && word(page[0] + 64) == (v &= ~(1ull << bit)));
        }
}

void test_high_bytes(void)
{
        uint64_t a = places[3], b = places[7];
        uint8_t *p = at(page[0]), *q = at(page[1]);

        for (unsigned i = 0; i < 8; i++) {
                set(a, 0);
                set(b, 0);
                fill(page[0], 64);
                fill(page[1], 64);
                fresh();
                user.rsi = a + i;
                user.rdi = b + i;
                uint8_t add = q[i + 1];

                start(u_high);
                EXPECT(faulted(PF_U, a + i));
                *pte(a) = page[0] | USER;
                go_on();
                EXPECT(fault(PF_W | PF_U, b + i));
                *pte(b) = page[1] | USER_W;
                go_on();
                EXPECT(done() && (user.rax >> 8 & 255) == p[i] && q[i] == (before.rbx >> 8 & 255) && q[i + 1] == (uint8_t)(add + (user.rcx >> 8)));
                EXPECT((user.rdx >> 8 & 255) == ((before.rdx >> 8 & 255) ^ p[i + 1]) && (user.rdx & 255) == 1 && user.rdx >> 16 == before.rdx >> 16);
        }
}

void test_operands(void)
{
        uint64_t a = places[0];
        uint8_t *p = at(page[0]);

        set_pair(a, 0, USER_W);
        fill(page[0], PAGE);
        fresh();
        user.rbx = a + 0x80;
        user.rcx = 9;
        start(u_indexed);
        EXPECT(done() && user.rax == *(uint32_t *)(p + 0x80 + 0x10 + 72) && *(uint32_t *)(p + 0x80 - 0x20 + 36) == (uint32_t)user.rdx);
        user.rcx = -5ull;
        start(u_indexed);
        EXPECT(done() && user.rax == *(uint32_t *)(p + 0x80 + 0x10 - 40) && *(uint32_t *)(p + 0x80 - 0x20 - 20) == (uint32_t)user.rdx);
        user.rsi = a + 0x100;
        start(u_extend);
        EXPECT(done() && user.rax == (uint64_t)(int64_t)*(int32_t *)(p + 0x100) && user.rbx == *(uint16_t *)(p + 0x104) && user.rcx == (uint64_t)(int64_t)(int8_t)p[0x106]);
        /* An address of 32 bits. */
        user.rsi = 0xdeadbeef00000000ull + a + 0x200;
        user.rbx = 0x31415926;
        start(u_absolute32);
        EXPECT(done() && user.rax == *(uint32_t *)(p + 0x200) && *(uint32_t *)(p + 0x204) == 0x31415926);
        user.rsi = 0xf0000000;
        start(u_absolute32);
        EXPECT(fault(PF_U, 0xf0000000));
}

/* --- strings -------------------------------------------------------------------------------------------------------------------------- */

/* The page behind is missing when half is done: the registers say how much is. */
static void copy_string(const uint8_t *program, unsigned unit, uint64_t from, uint64_t to, bool loads)
{
        uint64_t missing = loads ? from : to, step, count = 640 / unit, left = 128;

        set_pair(from, 0, USER_W);
        set_pair(to, 2, USER_W);
        fill(page[0], 2 * PAGE);
        fill(page[2], 2 * PAGE);
        set(missing + PAGE, 0);
        fresh();
        user.rsi = from + PAGE - left;
        user.rdi = to + PAGE - left;
        user.rcx = count;
        start(program);
        step = left / unit;
        EXPECT(fault(loads ? PF_U : PF_W | PF_U, missing + PAGE) && user.rip == before.rip);
        EXPECT(user.rcx == count - step && user.rsi == from + PAGE && user.rdi == to + PAGE && user.rax == before.rax);
        EXPECT(memcmp(at(page[0] + PAGE - left), at(page[2] + PAGE - left), left) == 0);
        *pte(missing + PAGE) = page[loads ? 1 : 3] | USER_W;
        go_on();
        EXPECT(done() && user.rcx == 0 && user.rsi == from + PAGE - left + 640 && user.rdi == to + PAGE - left + 640);
        EXPECT(memcmp(at(page[0] + PAGE - left), at(page[2] + PAGE - left), 640) == 0);
}

static void store_string(const uint8_t *program, unsigned unit, uint64_t to)
{
        uint64_t count = 640 / unit, *p = at(page[2] + PAGE - 128);

        set_pair(to, 2, USER_W);
        set(to + PAGE, page[3] | USER);
        fresh();
        memset(&user.rax, (int)number(), 8);
        user.rdi = to + PAGE - 128;
        user.rcx = count;
        start(program);
        EXPECT(fault(PF_P | PF_W | PF_U, to + PAGE) && user.rcx == count - 128 / unit && user.rdi == to + PAGE && user.rip == before.rip);
        EXPECT(p[0] == user.rax && p[15] == user.rax);
        *pte(to + PAGE) = page[3] | USER_W;
        go_on();
        EXPECT(done() && user.rcx == 0 && p[16] == user.rax && p[79] == user.rax);
}

void test_strings(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                uint64_t from = places[i], to = places[(i + 4) % N_PLACES] + 0x20000;
                uint8_t *p = at(page[0]), *q = at(page[2]);

                copy_string(u_rep_movsb, 1, from, to, true);
                copy_string(u_rep_movsb, 1, from, to, false);
                copy_string(u_rep_movsq, 8, from, to, true);
                copy_string(u_rep_movsq, 8, from, to, false);
                store_string(u_rep_stosb, 1, to);
                store_string(u_rep_stosq, 8, to);
                /* Downwards, into the page below. */
                set_pair(from, 0, USER_W);
                set_pair(to, 2, USER_W);
                fill(page[0], 2 * PAGE);
                set(to, 0);
                fresh();
                user.rsi = from + PAGE + 9;
                user.rdi = to + PAGE + 9;
                user.rcx = 30;
                start(u_rep_movsb_down);
                EXPECT(fault(PF_W | PF_U, to + PAGE - 1) && user.rcx == 20 && user.rdi == to + PAGE - 1 && user.rsi == from + PAGE - 1);
                *pte(to) = page[2] | USER_W;
                go_on();
                EXPECT(done() && user.rcx == 0 && memcmp(p + PAGE - 20, q + PAGE - 20, 30) == 0);
                /* Comparing and searching, with the end in a page that comes late. */
                memcpy(q, p, 2 * PAGE);
                q[PAGE + 5] ^= 1;
                set(from + PAGE, 0);
                user.rsi = from + PAGE - 100;
                user.rdi = to + PAGE - 100;
                user.rcx = 300;
                start(u_repe_cmpsb);
                EXPECT(fault(PF_U, from + PAGE) && user.rcx == 200 && user.rdi == to + PAGE);
                *pte(from + PAGE) = page[1] | USER;
                go_on();
                EXPECT(done() && user.rcx == 194 && user.rsi == from + PAGE + 6);
                memset(q + PAGE - 64, 1, 128);
                q[PAGE + 3] = 2;
                set(to + PAGE, 0);
                user.rax = 2;
                user.rdi = to + PAGE - 64;
                user.rcx = 128;
                start(u_repne_scasb);
                EXPECT(fault(PF_U, to + PAGE) && user.rcx == 64 && user.rdi == to + PAGE);
                *pte(to + PAGE) = page[3] | USER_W;
                go_on();
                EXPECT(done() && user.rcx == 60 && user.rdi == to + PAGE + 4);
                user.rsi = from + 16;
                user.rdi = to + 16;
                user.rax = 0xaabbccdd;
                start(u_strings);
                EXPECT(done() && *(uint64_t *)(q + 16) == *(uint64_t *)(p + 16) && *(uint32_t *)(q + 24) == 0xaabbccdd && (user.rax & 0xffff) == *(uint16_t *)(p + 24));
                EXPECT(user.rsi == from + 26 && user.rdi == to + 28);
        }
}

/* --- segments, RIP, flags, vectors -------------------------------------------------------------------------------------------------------- */

void test_segments(void)
{
        for (unsigned i = 0; i < N_PLACES; i++) {
                uint64_t va = places[i], other = places[(i + 3) % N_PLACES] + 0x10000;

                set(va, page[0] | USER_W);
                set(other, page[1] | USER_W);
                fill(page[0], PAGE);
                fill(page[1], PAGE);
                wrmsr(MSR_FS_BASE, va + 0x100);
                wrmsr(MSR_GS_BASE, other + 0x40);
                fresh();
                user.rsi = 0x20;
                user.rdi = 0x80;
                start(u_fs);
                EXPECT(done() && user.rax == word(page[0] + 0x128) && word(page[0] + 0x178) == user.rax);
                user.rdi = -0x10ull;
                start(u_fs);
                EXPECT(done() && word(page[0] + 0xe8) == user.rax);
                put(page[1] + 0x40, 30);
                put(page[1] + 0x50, 12);
                user.rdi = 0x10;
                start(u_gs);
                EXPECT(done() && user.rax == 30 && word(page[1] + 0x50) == 42);
                set(other, 0);
                start(u_gs);
                EXPECT(faulted(PF_U, other + 0x40));
                /* The sum counts, not its parts. */
                user.rsi = va + 8 - (other + 0x40);
                start(u_gs_load);
                EXPECT(done() && user.rax == word(page[0] + 8));
                user.rsi = 0x800000000000;
                start(u_gs_load);
                EXPECT(user.vector == 13 && user.error == 0 && unchanged());
                /* The base changes between two runs of the same code. */
                set(other, page[1] | USER_W);
                wrmsr(MSR_FS_BASE, other);
                user.rsi = 0x18;
                user.rdi = 0x30;
                start(u_fs);
                EXPECT(done() && user.rax == word(page[1] + 0x20) && word(page[1] + 0x28) == user.rax);
        }
}

void test_rip(void)
{
        uint64_t va = text_of(user_text_end), v = number();

        memcpy(user_data, &v, 8);
        set(va, 0);
        fresh();
        start(u_rip);
        EXPECT(faulted(PF_U, va));
        *pte(va) = (uintptr_t)user_data | USER;
        go_on();
        EXPECT(fault(PF_P | PF_W | PF_U, va) && user.rax == v);
        *pte(va) = (uintptr_t)user_data | USER_W;
        go_on();
        EXPECT(done() && *(volatile uint64_t *)user_data == v + 3 && *(volatile uint32_t *)(user_data + 8) == 0x5a5a5a5a);
}

static void make_absent(uint64_t va)
{
        for (unsigned i = 0; i < 3; i++)
                set(va + i * PAGE, 0);
}

/* Page by page as the program misses them. */
static void serve(uint64_t va, uint64_t error)
{
        for (unsigned i = 0; i < 3; i++) {
                EXPECT(fault(error, va + i * PAGE));
                *pte(va + i * PAGE) = page[i] | USER_W;
                go_on();
        }
        EXPECT(done());
}

void test_flags(void)
{
        uint64_t va = places[(unsigned)number() % N_PLACES], a[3], b[3];

        for (unsigned below = 0; below < 2; below++) {
                set(va, 0);
                fresh();
                user.rsi = va;
                user.rax = below;
                user.rbx = 1 - below;
                start(u_flags);
                EXPECT(fault(PF_U, va));
                *pte(va) = page[0] | USER;
                go_on();
                EXPECT(done() && user.rcx == 1 + below && user.rdx == word(page[0]));
        }
        for (unsigned k = 0; k < 4; k++) {
                unsigned __int128 sum = 0, difference = 0;
                uint64_t want[3], rest[3];

                for (unsigned i = 0; i < 3; i++) {
                        a[i] = k & 1 ? ~0ull - (i == 0) : number();
                        b[i] = k & 2 ? 1 : number();
                        put(page[i] + 8, b[i]);
                        sum = (unsigned __int128)a[i] + b[i] + (uint64_t)(sum >> 64);
                        want[i] = (uint64_t)sum;
                        difference = (unsigned __int128)b[i] - a[i] - ((uint64_t)(difference >> 64) & 1);
                        rest[i] = (uint64_t)difference;
                }
                make_absent(va);
                fresh();
                user.rsi = user.rdi = va + 8;
                user.rax = a[0];
                user.rbx = a[1];
                user.rcx = a[2];
                start(u_adc);
                serve(va + 8, PF_U);
                EXPECT(user.rax == want[0] && user.rbx == want[1] && user.rcx == want[2] && (user.rdx & 255) == (uint64_t)(sum >> 64));
                make_absent(va);
                user.rax = a[0];
                user.rbx = a[1];
                user.rcx = a[2];
                start(u_sbb_store);
                serve(va + 8, PF_W | PF_U);
                EXPECT(word(page[0] + 8) == rest[0] && word(page[1] + 8) == rest[1] && word(page[2] + 8) == rest[2]);
                EXPECT((user.rdx & 255) == ((uint64_t)(difference >> 64) & 1));
        }
        for (unsigned carry = 0; carry < 2; carry++) {
                uint64_t old = word(page[0] + 8);

                set(va, 0);
                user.rax = 1;
                user.rbx = 1 - carry;
                user.rdx = 10;
                start(u_inc_keeps);
                EXPECT(fault(PF_W | PF_U, va + 8) && (user.rflags & FLAG_C) == carry);
                *pte(va) = page[0] | USER_W;
                go_on();
                EXPECT(done() && user.rdx == 10 + carry && word(page[0] + 8) == old + 1);
        }
}

void test_vectors(void)
{
        uint64_t a = places[(unsigned)number() % N_PLACES], b = a + 0x30000, old;

        set_pair(a, 0, USER_W);
        set_pair(b, 2, USER_W);
        fill(page[0], 2 * PAGE);
        fill(page[2], 2 * PAGE);
        fresh();
        user.rsi = a + 32;
        user.rdi = b + 64;
        old = word(page[2] + 64);
        set(a, 0);
        start(u_paddq);
        EXPECT(fault(PF_U, a + 32));
        *pte(a) = page[0] | USER;
        set(b, page[2] | USER);
        go_on();
        EXPECT(fault(PF_P | PF_W | PF_U, b + 64) && word(page[2] + 64) == old);
        *pte(b) = page[2] | USER_W;
        go_on();
        EXPECT(done() && user.rax == old && word(page[2] + 64) == old + word(page[0] + 32));
        user.rsi = a + 40;
        start(u_paddq);
        EXPECT(user.vector == 13 && user.error == 0); /* not aligned */
        user.rsi = a + PAGE - 12;
        user.rdi = b + PAGE - 4;
        start(u_movlps);
        EXPECT(done() && memcmp(at(page[0] + PAGE - 12), at(page[2] + PAGE - 4), 16) == 0);
        put(page[0], 0x3ff8000000000000); /* 1.5 */
        put(page[0] + 8, 0x4004000000000000); /* 2.5 */
        user.rsi = a;
        user.rdi = b + PAGE - 3;
        set(b + PAGE, 0);
        start(u_fpu);
        EXPECT(fault(PF_W | PF_U, b + PAGE));
        *pte(b + PAGE) = page[3] | USER_W;
        go_on();
        EXPECT(done() && word(page[2] + PAGE - 3) == 0x4010000000000000); /* 4.0 */
        if (!avx || !strict)
                return;
        /* Of each half the lower 8 bytes: no fault for what the mask leaves out. */
        set(a + PAGE, 0);
        set(b + PAGE, 0);
        user.rsi = a + PAGE - 24;
        user.rdi = b + PAGE - 24;
        old = word(page[2] + PAGE - 16);
        start(u_maskmov);
        EXPECT(done() && word(page[2] + PAGE - 24) == word(page[0] + PAGE - 24) && word(page[2] + PAGE - 16) == old);
        EXPECT(word(page[2] + PAGE - 8) == word(page[0] + PAGE - 8));
}
