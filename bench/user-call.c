/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Loads of control flow: calls and returns, indirect calls, an interpreter's indirect jumps. */

#include "user.h"

/* --- Calls and returns --------------------------------------------------------------------------------------------------- */

static NOINLINE uint64_t fib(uint64_t n)
{
        uint64_t a, b;

        if (n < 2)
                return n;
        a = fib(n - 1);
        b = fib(n - 2);
        /* Without this the compiler makes a loop of the second call. */
        __asm__("" : "+r"(b));
        return a + b;
}

uint64_t user_fib(unsigned n)
{
        uint64_t sum = 0;

        for (unsigned i = 0; i < n; i++)
                sum = sum * 3 + fib(25 + i % 3);
        return sum;
}

/* --- Indirect calls ------------------------------------------------------------------------------------------------------ */

static NOINLINE uint64_t step_add(uint64_t x)
{
        return x + 0x9e37;
}

static NOINLINE uint64_t step_xor(uint64_t x)
{
        return x ^ x >> 7;
}

static NOINLINE uint64_t step_times(uint64_t x)
{
        return x * 5;
}

static NOINLINE uint64_t step_rotate(uint64_t x)
{
        return x << 11 | x >> 53;
}

static uint64_t (*volatile steps[4])(uint64_t) = { step_add, step_xor, step_times, step_rotate };

uint64_t user_icall(unsigned n)
{
        uint64_t x = 1;

        for (uint64_t i = 0; i < n * UINT64_C(1000000); i++)
                x = steps[(i ^ i >> 3) & 3](x);
        return x;
}

/* --- An interpreter of byte code ----------------------------------------------------------------------------------------- */

enum {
        OP_PUSH,
        OP_LOAD,
        OP_STORE,
        OP_ADD,
        OP_SUB,
        OP_MUL,
        OP_XOR,
        OP_DUP,
        OP_JUMP_IF,
        OP_END,
};

/* do { v1 = ((v1 + v0) * 3) ^ 77; v0 = v0 - 1; } while (v0 != 0); */
static const uint8_t program[] = {
        OP_LOAD, 1, OP_LOAD, 0, OP_ADD, OP_PUSH, 3, OP_MUL, OP_PUSH, 77, OP_XOR, OP_STORE, 1,
        OP_LOAD, 0, OP_PUSH, 1, OP_SUB, OP_DUP, OP_STORE, 0, OP_JUMP_IF, 0, OP_END,
};

static NOINLINE uint64_t interpret(const uint8_t *code, uint64_t count)
{
        uint64_t stack[16], *top = stack, vars[2] = { count, 0 };
        const uint8_t *pc = code;

        for (;;) {
                switch (*pc++) {
                case OP_PUSH:
                        *top++ = *pc++;
                        break;
                case OP_LOAD:
                        *top++ = vars[*pc++];
                        break;
                case OP_STORE:
                        vars[*pc++] = *--top;
                        break;
                case OP_ADD:
                        top--;
                        top[-1] += *top;
                        break;
                case OP_SUB:
                        top--;
                        top[-1] -= *top;
                        break;
                case OP_MUL:
                        top--;
                        top[-1] *= *top;
                        break;
                case OP_XOR:
                        top--;
                        top[-1] ^= *top;
                        break;
                case OP_DUP:
                        *top = top[-1];
                        top++;
                        break;
                case OP_JUMP_IF:
                        pc = *--top ? code + *pc : pc + 1;
                        break;
                case OP_END:
                        return vars[1];
                }
        }
}

uint64_t user_interp(unsigned n)
{
        return interpret(program, n * UINT64_C(1000000));
}
