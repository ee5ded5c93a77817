/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Programs whose code lies on several pages that call and jump to each other, below 2 GiB and above: the same pages at several addresses and in two address spaces, other pages behind the same call, pages
 * that go away or change. */
#include "mirror.h"

/* Where the pages are, from the program's base. */
#define A 0u
#define A_NEXT PAGE
#define B (5 * PAGE)
#define C (9 * PAGE)
#define N_PAGES 10u

#define CALLS (A + 0x100)
#define CALLED (B + 0x200)
#define RETURNS (C + 0x300)
#define LOOP (A + 0x400)
#define LOOP_B (B + 0x400)
#define CARRY (A + 0x500)
#define CARRY_B (B + 0x500)
#define ADDRESSES (A + 0x600)
#define WRITES (A + 0x700)
#define WAITS (A + 0x800)
#define WAITS_B (B + 0x800)
#define THROUGH (A + 0xff0)
#define THROUGH_NEXT A_NEXT
#define OVER (A + 0xffe)
#define DATA (C + 0x800)

#define TIMER_VECTOR 0x50
#define LVT_PERIODIC 0x20000u
#define TICKS 4

static const uint64_t bases[] = { 0x460000, 0x10060000, 0x7fe00000, 0x555555760000 };
#define N_BASES 4

static uint64_t frames[N_PAGES], other_b; /* other_b: a page like B with another number */

/* --- the programs ----------------------------------------------------------------------------------------------------------------- */

static uint8_t *code_at(uint64_t where)
{
        return at(frames[where / PAGE] + where % PAGE);
}

static uint64_t put_bytes(uint64_t where, const uint8_t *bytes, unsigned n)
{
        for (unsigned i = 0; i < n; i++, where++)
                *code_at(where) = bytes[i];
        return where;
}
#define CODE(where, ...) put_bytes(where, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* call, jmp, jnz, je */
static uint64_t branch(uint64_t where, unsigned opcode, uint64_t target)
{
        uint32_t distance;

        if (opcode > 0xff)
                where = CODE(where, (uint8_t)(opcode >> 8));
        where = CODE(where, (uint8_t)opcode);
        distance = (uint32_t)(target - (where + 4));
        return put_bytes(where, (const uint8_t *)&distance, 4);
}
#define CALL 0xe8
#define JMP 0xe9
#define JE 0x0f84
#define JNZ 0x0f85

/* What CALLED gives back, less 1: in a page that is B or like it. */
static void set_number(uint64_t phys, uint32_t n)
{
        memcpy(at(phys + CALLED % PAGE + 1), &n, 4);
}

static void make_programs(void)
{
        uint64_t k;

        /* rbx: the sum of what is called rcx times; rdx: where that returns to */
        k = branch(CALLS, CALL, CALLED);
        k = CODE(k, 0x48, 0x01, 0xc3, 0x48, 0xff, 0xc9); /* add rbx, rax; dec rcx */
        k = branch(k, JNZ, CALLS);
        CODE(k, 0xcd, DONE);
        k = CODE(CALLED, 0xb8, 0, 0, 0, 0); /* mov eax, imm32 */
        branch(k, JMP, RETURNS);
        CODE(RETURNS, 0xff, 0xc0, 0x48, 0x8b, 0x14, 0x24, 0xc3); /* inc eax; mov rdx, [rsp]; ret */
        /* A conditional jump there, another one back. */
        k = CODE(LOOP, 0x48, 0xff, 0xc9); /* dec rcx */
        k = branch(k, JNZ, LOOP_B);
        CODE(k, 0xcd, DONE);
        k = CODE(LOOP_B, 0x48, 0x83, 0xc3, 0x03); /* add rbx, 3 */
        branch(k, JNZ, LOOP);
        /* The flags go with the jump. */
        k = CODE(CARRY, 0x48, 0xff, 0xc9, 0xf9); /* dec rcx; stc */
        branch(k, JMP, CARRY_B);
        k = CODE(CARRY_B, 0x0f, 0x94, 0xc0, 0x48, 0x83, 0xd3, 0x00, 0x84, 0xc0); /* sete al; adc rbx, 0; test al, al */
        k = branch(k, JE, CARRY);
        CODE(k, 0xcd, DONE);
        /* What is relative to RIP. */
        CODE(ADDRESSES, 0x48, 0x8d, 0x15, 0, 0, 0, 0); /* lea rdx, [rip] */
        k = CODE(ADDRESSES + 7, 0x48, 0x8b, 0x1d); /* mov rbx, [rip + DATA] */
        put_bytes(k, (const uint8_t *)&(uint32_t){ (uint32_t)(DATA - (k + 4)) }, 4);
        branch(k + 4, JMP, RETURNS + 16);
        CODE(RETURNS + 16, 0xcd, DONE);
        /* Writes the number to (rdi) before it calls. */
        k = CODE(WRITES, 0x89, 0x0f); /* mov [rdi], ecx */
        k = branch(k, CALL, CALLED);
        k = CODE(k, 0x48, 0x01, 0xc3, 0x48, 0xff, 0xc9);
        k = branch(k, JNZ, WRITES);
        CODE(k, 0xcd, DONE);
        /* Until (rsi) is not 0. */
        k = CODE(WAITS, 0x48, 0xff, 0xc3); /* inc rbx */
        branch(k, JMP, WAITS_B);
        k = CODE(WAITS_B, 0x83, 0x3e, 0x00); /* cmp dword [rsi], 0 */
        k = branch(k, JE, WAITS);
        CODE(k, 0xcd, DONE);
        /* Goes on into the next page; and by an instruction that lies in both. */
        for (k = THROUGH; k < OVER;)
                k = k == THROUGH ? CODE(k, 0x48, 0x83, 0xc3, 0x05) : CODE(k, 0x90); /* add rbx, 5 */
        k = CODE(OVER, 0x48, 0xff, 0xc9); /* dec rcx */
        k = branch(k, JNZ, THROUGH);
        CODE(k, 0xcd, DONE);
        CODE(DATA, 1, 2, 3, 4, 5, 6, 7, 8);
}

static void map_at(uint64_t base, uint64_t b)
{
        set(base + A, frames[A / PAGE] | USER);
        set(base + A_NEXT, frames[A_NEXT / PAGE] | USER);
        set(base + B, b | USER);
        set(base + C, frames[C / PAGE] | USER);
}

static void make_all(void)
{
        if (frames[0])
                return;
        for (unsigned i = 0; i < N_PAGES; i++)
                frames[i] = frame_alloc();
        other_b = frame_alloc();
        make_programs();
        set_number(frames[B / PAGE], 100);
        memcpy(at(other_b), at(frames[B / PAGE]), PAGE);
        set_number(other_b, 1000);
}

/* --- running them ----------------------------------------------------------------------------------------------------------------- */

static void run(uint64_t base, uint64_t where, unsigned count)
{
        fresh();
        user.rbx = 0;
        user.rcx = count;
        start_at(base + where);
}

static void expect_calls(uint64_t base, unsigned count, uint64_t number, unsigned line)
{
        run(base, CALLS, count);
        expect(done() && user.rbx == count * (number + 1) && user.rdx == base + CALLS + 5 && user.rsp == STACK, "calls lead to the page that is mapped", line);
}
#define EXPECT_CALLS(base, count, number) expect_calls(base, count, number, __LINE__)

static void run_all(uint64_t base, uint64_t number)
{
        EXPECT_CALLS(base, 30, number);
        run(base, LOOP, 30);
        EXPECT(done() && user.rbx == 29 * 3);
        run(base, CARRY, 30);
        EXPECT(done() && user.rbx == 30);
        run(base, ADDRESSES, 1);
        EXPECT(done() && user.rdx == base + ADDRESSES + 7 && user.rbx == 0x0807060504030201);
        run(base, THROUGH, 30);
        EXPECT(done() && user.rbx == 150);
}

/* The same code at several addresses, with another page behind its call at some. */
static void several_addresses(void)
{
        for (unsigned i = 0; i < N_BASES; i++)
                map_at(bases[i], i & 1 ? other_b : frames[B / PAGE]);
        for (unsigned turn = 0; turn < 3; turn++)
                for (unsigned i = 0; i < N_BASES; i++)
                        run_all(bases[i], i & 1 ? 1000 : 100);
}

static void two_spaces(uint64_t base)
{
        map_at(base, frames[B / PAGE]);
        for (uint64_t p = 0; p < N_PAGES; p++)
                *entry_of(other_space, base + p * PAGE, 0) = p * PAGE == B ? other_b | USER : frames[p] | USER;
        for (unsigned i = 0; i < 6; i++) {
                write_cr3(space);
                EXPECT_CALLS(base, 20, 100);
                write_cr3(other_space);
                EXPECT_CALLS(base, 20, 1000);
        }
        *entry_of(other_space, base + B, 0) = 0;
        EXPECT_CALLS(base, 1, 1000); /* the TLB may have it still */
        write_cr3(other_space);
        run(base, CALLS, 5);
        EXPECT(fault(PF_U | PF_I, base + CALLED) && user.rip == base + CALLED && user.rbx == 0 && user.rsp == STACK - 8);
        write_cr3(space);
        EXPECT_CALLS(base, 20, 100);
}

/* The page behind the call is another one, may not be executed, is not there; and there again. */
static void remapped(uint64_t base, bool all)
{
        const struct {
                uint64_t entry, error;
                unsigned number;
        } steps[] = {
                { frames[B / PAGE] | USER, 0, 100 }, { other_b | USER, 0, 1000 }, { other_b | USER | PTE_NX, PF_P | PF_U | PF_I, 1000 }, { 0, PF_U | PF_I, 1000 },
                { frames[B / PAGE] | PTE_P, PF_P | PF_U | PF_I, 100 }, { frames[B / PAGE] | USER_W, 0, 100 },
        };

        map_at(base, frames[B / PAGE]);
        for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
                *pte(base + B) = steps[i].entry;
                if (all)
                        write_cr3(read_cr3());
                else
                        invlpg((void *)(base + B));
                if (!steps[i].error) {
                        EXPECT_CALLS(base, 20, steps[i].number);
                        continue;
                }
                run(base, CALLS, 20);
                EXPECT(fault(steps[i].error, base + CALLED) && user.rip == base + CALLED && user.rcx == 20 && user.rsp == STACK - 8);
                set(base + B, (steps[i].number == 100 ? frames[B / PAGE] : other_b) | USER);
                go_on();
                EXPECT(done() && user.rbx == 20 * (steps[i].number + 1));
        }
        /* The conditional jump. */
        run(base, LOOP, 20);
        EXPECT(done() && user.rbx == 19 * 3);
        set(base + B, 0);
        run(base, LOOP, 20);
        EXPECT(fault(PF_U | PF_I, base + LOOP_B) && user.rip == base + LOOP_B && user.rcx == 19);
        set(base + B, frames[B / PAGE] | USER);
        go_on();
        EXPECT(done() && user.rbx == 19 * 3);
}

/* The code behind the call changes: by the kernel, and by the program before each call. */
static void rewritten(uint64_t base)
{
        uint64_t writable = base + 12 * PAGE;

        map_at(base, frames[B / PAGE]);
        set(writable, frames[B / PAGE] | USER_W);
        for (unsigned i = 0; i < 4; i++) {
                set_number(frames[B / PAGE], 200 + i);
                EXPECT_CALLS(base, 20, 200 + i);
        }
        fresh();
        user.rbx = 0;
        user.rcx = 20;
        user.rdi = writable + CALLED % PAGE + 1;
        start_at(base + WRITES);
        EXPECT(done() && user.rbx == 210 + 20);
        set_number(frames[B / PAGE], 100);
        EXPECT_CALLS(base, 20, 100);
}

/* Parts of a page run at two addresses, each at one of them; then one part goes on to the other where that has not run yet. */
static void in_two_parts(uint64_t one, uint64_t two)
{
        static const uint8_t where_am_i[] = { 0x48, 0x8d, 0x15, 0, 0, 0, 0, 0xcd, DONE }, jump[] = { 0xff, 0xe0 }, end[] = { 0xcd, DONE }; /* lea rdx, [rip]; jmp rax */
        uint64_t phys = frame_alloc();

        memcpy(at(phys + 0x100), where_am_i, sizeof(where_am_i));
        memcpy(at(phys + 0x200), jump, sizeof(jump));
        memcpy(at(phys + 0x300), end, sizeof(end));
        set(one, phys | USER);
        set(two, phys | USER);
        for (unsigned i = 0; i < 40; i++) {
                run(one, 0x100, 1);
                EXPECT(done() && user.rdx == one + 0x107);
                fresh();
                user.rax = two + 0x300;
                start_at(two + 0x200);
                EXPECT(done() && user.rip == two + 0x302);
        }
        for (unsigned i = 0; i < 4; i++) {
                fresh();
                user.rax = two + 0x100;
                start_at(two + 0x200);
                EXPECT(done() && user.rdx == two + 0x107 && user.rip == two + 0x109);
                run(one, 0x100, 1);
                EXPECT(done() && user.rdx == one + 0x107);
        }
}

static volatile unsigned ticks;

static void on_tick(struct frame *f)
{
        if (++ticks == TICKS)
                *(volatile uint32_t *)at(page[0] + 64) = 1;
        apic_eoi();
}

/* Interrupts come into a loop over two pages. */
static void interrupted(uint64_t base)
{
        map_at(base, frames[B / PAGE]);
        set(places[2], page[0] | USER_W);
        put(page[0] + 64, 0);
        irq_set_handler(TIMER_VECTOR, on_tick);
        ticks = 0;
        fresh();
        user.rbx = 0;
        user.rsi = places[2] + 64;
        user.rflags = 0x202;
        apic_write(APIC_TIMER_DIVIDE, 0xb);
        apic_write(APIC_LVT_TIMER, TIMER_VECTOR | LVT_PERIODIC);
        apic_write(APIC_TIMER_INITIAL, 100000);
        start_at(base + WAITS);
        apic_write(APIC_TIMER_INITIAL, 0);
        EXPECT(done() && user.rbx != 0 && ticks >= TICKS);
}

void test_pages(void)
{
        make_all();
        several_addresses();
        for (unsigned i = 0; i < N_BASES; i++) {
                two_spaces(bases[i]);
                remapped(bases[i], false);
                remapped(bases[i], true);
                rewritten(bases[i]);
        }
        for (unsigned i = 0; i < N_BASES; i++)
                in_two_parts(bases[i], bases[(i + 1) % N_BASES]);
}

void test_interrupted(void)
{
        make_all();
        *entry_of(space, 0xfee00000, 0) = 0xfee00000 | PTE_P | PTE_W;
        apic_enable(false);
        for (unsigned i = 0; i < N_BASES; i++)
                interrupted(bases[i]);
        set(0xfee00000, 0);
}

/* First at one address alone, so that nothing tells that there will be others. */
void test_pages_alone(void)
{
        make_all();
        map_at(bases[0], frames[B / PAGE]);
        for (unsigned i = 0; i < 300; i++)
                run_all(bases[0], 100);
        for (unsigned i = 0; i < 20; i++) {
                two_spaces(bases[0]);
                remapped(bases[0], i & 1);
                rewritten(bases[0]);
        }
}
