/* SPDX-License-Identifier: GPL-2.0-or-later */

/* void enter(void): loads all registers from the struct context, calls the code there and stores them again. The struct is below 2 GiB: no register is
 * needed to reach it. */

#define FLAGS 128
#define ENTRY 136
#define SAVED 144
#define MXCSR 152
#define YMM 160

        .macro vectors op
        .set k, 0
        .rept 16
        vector \op, %k
        .set k, k + 1
        .endr
        .endm
        .altmacro
        .macro vector op, k
        .ifc \op, load
        vmovdqu context + YMM + 32 * \k, %ymm\k
        .else
        vmovdqu %ymm\k, context + YMM + 32 * \k
        .endif
        .endm

        .text
        .globl enter
        .type enter, @function
enter:
        push %rbx
        push %rbp
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, context + SAVED
        ldmxcsr context + MXCSR
        vectors load
        push context + FLAGS
        popf
        mov context, %rax
        mov context + 8, %rcx
        mov context + 16, %rdx
        mov context + 24, %rbx
        mov context + 32, %rsp
        mov context + 40, %rbp
        mov context + 48, %rsi
        mov context + 56, %rdi
        mov context + 64, %r8
        mov context + 72, %r9
        mov context + 80, %r10
        mov context + 88, %r11
        mov context + 96, %r12
        mov context + 104, %r13
        mov context + 112, %r14
        mov context + 120, %r15
        call *context + ENTRY
        mov %rax, context
        mov %rcx, context + 8
        mov %rdx, context + 16
        mov %rbx, context + 24
        mov %rsp, context + 32
        mov %rbp, context + 40
        mov %rsi, context + 48
        mov %rdi, context + 56
        mov %r8, context + 64
        mov %r9, context + 72
        mov %r10, context + 80
        mov %r11, context + 88
        mov %r12, context + 96
        mov %r13, context + 104
        mov %r14, context + 112
        mov %r15, context + 120
        mov context + SAVED, %rsp
        pushf
        pop context + FLAGS
        cld
        vectors store
        stmxcsr context + MXCSR
        vzeroupper
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbp
        pop %rbx
        ret
        .size enter, . - enter

        .section .note.GNU-stack, "", @progbits
