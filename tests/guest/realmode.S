/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The way down and up again, for realmode.c. The 16-bit part runs at BLOB, below 1 MiB; R() gives addresses there. */

#define BLOB 0x9000
#define RESULTS 0xa000
#define R(x) (BLOB + (x) - real_blob)

        .text
        .code64
        .global real_excursion
real_excursion:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        pushfq
        cli
        sgdt saved_gdt
        sidt saved_idt
        movq %rsp, saved_rsp
        movq %cr3, %rax
        movq %rax, saved_cr3
        pushq $0x08
        pushq $down32
        lretq

        .code32
down32:
        movw $0x18, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $0x8000, %esp
        movl %cr0, %eax
        andl $0x7fffffff, %eax
        movl %eax, %cr0
        movl $0xc0000080, %ecx
        rdmsr
        andl $~0x100, %eax
        wrmsr
        lidt real_idt
        ljmp $0x20, $R(real16)

        .align 4
        .global real_blob, real_blob_end, real_handler
real_blob:
        .code16
real16:
        movw $0x28, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x18, %ax
        movw %ax, %fs /* 4 GiB limit: stays in real mode ("unreal") */
        movl %cr0, %eax
        andb $0xfe, %al
        movl %eax, %cr0
        ljmp $0, $R(really)
really:
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7ff0, %sp
        movw $0x1234, RESULTS

        /* Segment arithmetic: the same byte by two segments. */
        movw $0x5678, RESULTS + 0x100
        movw $(RESULTS >> 4), %ax
        movw %ax, %es
        incw %es:0x100
        movw RESULTS + 0x100, %ax
        movw %ax, RESULTS + 2

        /* int through the vector table, with interrupts on. */
        sti
        movw $3, %cx
1:      int $0x60
        loop 1b
        pushfw
        popw RESULTS + 18
        cli

        /* push and pop, with a segment register and an immediate. */
        pushw $0xbeef
        movw %sp, %bp
        movw (%bp), %ax
        popw %bx
        movw %ax, RESULTS + 8

        /* Strings with 16-bit registers. */
        xorw %ax, %ax
        movw %ax, %es
        movw $(RESULTS + 0x200), %di
        movw $100, %cx
        movb $0x64, %al
        cld
        rep stosb
        movw $(RESULTS + 0x200), %si
        movw $(RESULTS + 0x300), %di
        movw $50, %cx
        rep movsw
        movw RESULTS + 0x300 + 98, %ax
        movw %ax, RESULTS + 10

        xorw %bx, %bx
        movw $10, %cx
1:      incw %bx
        loop 1b
        movw %bx, RESULTS + 12

        /* 7 + 8 = 15 in decimal digits: AX becomes 0105. */
        movw $0x0007, %ax
        addb $0x08, %al
        aaa
        movw %ax, RESULTS + 14

        /* Beyond 64 KiB with a 32-bit address and the big limit from protected mode. */
        movl $0x500000, %ebx
        movb %fs:(%ebx), %al
        xorb %ah, %ah
        movw %ax, RESULTS + 16

        /* Up again. */
        lgdtl R(up_gdt)
        movl %cr0, %eax
        orb $1, %al
        movl %eax, %cr0
        ljmpl $0x08, $up32
real_handler:
        incw RESULTS + 4
        iretw
        .align 8
up_gdt: .word 80 - 1
        .long gdt
real_blob_end:

        .code32
up32:
        movw $0x18, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl saved_cr3, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        movl %cr0, %eax
        orl $0x80000000, %eax
        movl %eax, %cr0
        ljmp $0x10, $up64

        .global compat_code
/* 32-bit: inc by the one-byte opcodes that are prefixes in 64-bit mode, addresses that wrap at 4 GiB. */
compat_code:
        movl $0x31323334, %eax
        .byte 0x43 /* inc %ebx */
        pushl $4
        popl %ecx
        leal 4(,%ecx,1), %edx
        lret

        .code64
up64:
        movq saved_rsp, %rsp
        lgdt saved_gdt
        lidt saved_idt
        xorl %eax, %eax
        movw %ax, %fs
        movw %ax, %gs
        popfq
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        .data
        .align 8
saved_rsp:
        .quad 0
saved_cr3:
        .quad 0
saved_gdt:
        .word 0
        .quad 0
saved_idt:
        .word 0
        .quad 0
real_idt:
        .word 0x3ff
        .long 0
        .section .note.GNU-stack, "", @progbits
