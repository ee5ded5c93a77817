/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The program that kernel.c's fork-exec runs: it exits with status 7, without a C library. */

void _start(void) __attribute__((noreturn));

void _start(void)
{
        /* exit_group(7), Linux' system call 231 */
        for (;;)
                __asm__ volatile("syscall" : : "a"(231), "D"(7) : "rcx", "r11", "memory");
}
