/* SPDX-License-Identifier: GPL-2.0-or-later */

/* From the 32-bit PVH or multiboot entry to C in 64-bit mode; the way of the other CPUs; the trap entries. */

#ifdef MULTIBOOT
        /* Flat: the addresses say where everything goes, so that the ELF headers do not count. */
        .section .multiboot, "a"
        .align 4
multiboot_header:
        .long 0x1badb002, 0x00010003, -(0x1badb002 + 0x00010003)
        .long multiboot_header, image_start, load_end, image_end, entry32
#else
        .section .note.Xen, "a", @note
        .align 4
        .long 4, 4, 18
        .asciz "Xen"
        .long entry32
#endif

        .text
        .code32
        .global entry32
entry32:
        cli
        cld
        movl %eax, boot_magic
        movl %ebx, boot_info
        movl $boot_stack_end, %esp

        /* PML4 -> PDPT -> four page directories of 2 MiB pages, all for the supervisor. */
        movl $(pdpt + 7), pml4
        movl $(pd + 7), %eax
        movl $pdpt, %edi
        movl $4, %ecx
1:      movl %eax, (%edi)
        addl $4096, %eax
        addl $8, %edi
        loop 1b
        movl $pd, %edi
        movl $0x83, %eax
        movl $2048, %ecx
1:      movl %eax, (%edi)
        addl $0x200000, %eax
        addl $8, %edi
        loop 1b

        call long_mode
        ljmp $0x10, $start64

/* PAE, NX, paging on; GDT loaded. The caller then jumps to a 64-bit segment. */
long_mode:
        movl %cr4, %eax
        orl $0x620, %eax /* PAE, OSFXSR, OSXMMEXCPT */
        movl %eax, %cr4
        movl $pml4, %eax
        movl %eax, %cr3
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x900, %eax /* LME, NXE */
        wrmsr
        movl $0x80010031, %eax /* PG, WP, NE, ET, PE */
        movl %eax, %cr0
        lgdt gdt_pointer32
        ret

        .code64
start64:
        movw $0x18, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        xorl %eax, %eax
        movw %ax, %fs
        movw %ax, %gs
        movl $boot_stack_end, %esp
        movl boot_magic, %edi
        movl boot_info, %esi
        call guest_start
1:      cli
        hlt
        jmp 1b

/* Copied to a page below 1 MiB; started there in real mode by SIPI. */
        .code16
        .global ap_trampoline, ap_trampoline_end
ap_trampoline:
        cli
        movw %cs, %ax
        movw %ax, %ds
        lgdtl ap_gdt_pointer - ap_trampoline
        movl %cr0, %eax
        orl $1, %eax
        andl $0x9fffffff, %eax /* caches on */
        movl %eax, %cr0
        ljmpl $0x08, $ap32
        .align 8
ap_gdt_pointer:
        .word gdt_end - gdt - 1
        .long gdt
ap_trampoline_end:

        .code32
ap32:
        movw $0x18, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movl $1, %eax
        lock xaddl %eax, ap_arrived
        incl %eax
        movl %eax, %ebp
        shll $13, %eax
        leal ap_stacks(%eax), %esp
        call long_mode
        ljmp $0x10, $ap64
        .code64
ap64:
        movl %ebp, %edi
        xorl %ebp, %ebp
        call ap_start
1:      cli
        hlt
        jmp 1b

/* One 16-byte stub per vector; those without an error code push a zero. */
        .align 16
        .global trap_stubs
trap_stubs:
        vector = 0
        .rept 256
        .align 16
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
        pushq $0
        .endif
        pushq $vector
        jmp trap_common
        vector = vector + 1
        .endr

trap_common:
        pushq %rax
        pushq %rcx
        pushq %rdx
        pushq %rbx
        pushq %rbp
        pushq %rsi
        pushq %rdi
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        cld
        movq %rsp, %rdi
        movq %rsp, %rbp
        andq $-16, %rsp
        call trap_handler
        movq %rbp, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rdi
        popq %rsi
        popq %rbp
        popq %rbx
        popq %rdx
        popq %rcx
        popq %rax
        addq $16, %rsp
        iretq

/* void user_enter(rip, rsp, arg): to ring 3; comes back through user_leave. */
        .global user_enter, user_leave
user_enter:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, user_kernel_rsp
        pushq $0x3b
        pushq %rsi
        pushq $0x002
        pushq $0x43
        pushq %rdi
        movq %rdx, %rdi
        iretq
user_leave:
        movq user_kernel_rsp, %rsp
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret

        .data
        .align 16
        .global gdt, gdt_end
gdt:
        .quad 0
        .quad 0x00cf9b000000ffff /* 08 32-bit code */
        .quad 0x00af9b000000ffff /* 10 64-bit code */
        .quad 0x00cf93000000ffff /* 18 data */
        .quad 0x00009b000000ffff /* 20 16-bit code */
        .quad 0x000093000000ffff /* 28 16-bit data */
        .quad 0x00cffb000000ffff /* 30 user 32-bit code */
        .quad 0x00cff3000000ffff /* 38 user data */
        .quad 0x00affb000000ffff /* 40 user 64-bit code */
        .quad 0x00af1b000000ffff /* 48 64-bit code, not present */
        .fill 16 * 16, 1, 0      /* 50 task states */
gdt_end:
gdt_pointer32:
        .word gdt_end - gdt - 1
        .long gdt
        .global ap_arrived
ap_arrived:
        .long 0

        .bss
        .global boot_magic, boot_info, pml4, ap_stacks, user_kernel_rsp
boot_magic:
        .long 0
boot_info:
        .long 0
user_kernel_rsp:
        .quad 0
        .align 4096
pml4:   .fill 4096
pdpt:   .fill 4096
pd:     .fill 4 * 4096
        .fill 16384
boot_stack_end:
ap_stacks:
        .fill 17 * 8192
        .section .note.GNU-stack, "", @progbits
