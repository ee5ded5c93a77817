/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What mirror.c runs in ring 3: little programs, each of which ends with int $0x80. They are mapped as they lie here. And the way to them. */

        .text
        .code64
/* void user_go(const struct frame *): goes on where the frame says; returns after the next exception. */
        .global user_go
user_go:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        movq %rsp, user_kernel_rsp
        pushq 21*8(%rdi)
        pushq 20*8(%rdi)
        pushq 19*8(%rdi)
        pushq 18*8(%rdi)
        pushq 17*8(%rdi)
        movq 0*8(%rdi), %r15
        movq 1*8(%rdi), %r14
        movq 2*8(%rdi), %r13
        movq 3*8(%rdi), %r12
        movq 4*8(%rdi), %r11
        movq 5*8(%rdi), %r10
        movq 6*8(%rdi), %r9
        movq 7*8(%rdi), %r8
        movq 9*8(%rdi), %rsi
        movq 10*8(%rdi), %rbp
        movq 11*8(%rdi), %rbx
        movq 12*8(%rdi), %rdx
        movq 13*8(%rdi), %rcx
        movq 14*8(%rdi), %rax
        movq 8*8(%rdi), %rdi
        iretq

        .macro program name
        .balign 16
        .global \name
\name:
        .endm

        .macro done
        int $0x80
        .endm

        /* In .data, so that it is aligned and its last page can be written. */
        .data
        .balign 4096
        .global user_text, user_data, user_text_end
user_text:

/* --- copies of 1 to 32 bytes from (rsi) to (rdi) --- */
program u_copy1
        movb (%rsi), %al
        movb %al, (%rdi)
        done
program u_copy2
        movw (%rsi), %ax
        movw %ax, (%rdi)
        done
program u_copy4
        movl (%rsi), %eax
        movl %eax, (%rdi)
        done
program u_copy8
        movq (%rsi), %rax
        movq %rax, (%rdi)
        done
program u_copy16
        movups (%rsi), %xmm1
        movups %xmm1, (%rdi)
        done
program u_copy32
        vmovdqu (%rsi), %ymm2
        vmovdqu %ymm2, (%rdi)
        done

/* --- loads and stores alone --- */
program u_load
        movq (%rsi), %rax
        done
program u_load1
        movzbl (%rsi), %eax
        done
program u_store
        movq %rax, (%rdi)
        done
program u_store1
        movb %al, (%rdi)
        done
program u_store2
        movw %ax, (%rdi)
        done
program u_store4
        movl %eax, (%rdi)
        done
program u_store16
        movups %xmm1, (%rdi)
        done
program u_store32
        vmovdqu %ymm2, (%rdi)
        done
program u_load_store_load
        movq (%rsi), %rax
        movq %rbx, (%rsi)
        movq (%rsi), %rcx
        done
program u_add /* read and write by one instruction */
        addq %rax, (%rdi)
        done
program u_indexed
        movl 0x10(%rbx,%rcx,8), %eax
        movl %edx, -0x20(%rbx,%rcx,4)
        done

/* --- a loop over addresses: rsi, by rdx, rcx times --- */
program u_walk
1:      incq (%rsi)
        addq (%rsi), %rax
        addq %rdx, %rsi
        decq %rcx
        jnz 1b
        done

/* --- the stack --- */
program u_push
        pushq %rax
        done
program u_push_imm
        pushq $0x1234567
        done
program u_push_memory
        pushq (%rsi)
        done
program u_pop
        popq %rax
        done
program u_pop_memory
        popq (%rdi)
        done
program u_pushf
        pushfq
        done
program u_call
        call 1f
        done
1:      movl $77, %eax
        done
program u_call_register
        call *%rax
        done
program u_call_memory
        call *(%rsi)
        done
program u_ret
        ret
program u_landing
        done
program u_leave
        leave
        done
program u_enter
        enter $16, $0
        done
program u_call_ret /* a tree of calls */
        call 1f
        done
1:      pushq %rcx
        decq %rcx
        jz 2f
        call 1b
        call 1b
2:      popq %rcx
        incq %rax
        ret

/* --- locked and otherwise special --- */
program u_xchg
        xchgq %rax, (%rdi)
        done
program u_cmpxchg
        lock cmpxchgq %rbx, (%rdi)
        done
program u_cmpxchg16b
        lock cmpxchg16b (%rdi)
        done
program u_xadd
        lock xaddq %rax, (%rdi)
        done
program u_lock_inc
        lock incl (%rdi)
        done
program u_bt
        btq %rax, (%rdi)
        setc %bl
        done
program u_bts
        btsq %rax, (%rdi)
        setc %bl
        done
program u_btr
        lock btrl %eax, (%rdi)
        setc %bl
        done
program u_high
        movb (%rsi), %ah
        movb %bh, (%rdi)
        addb %ch, 1(%rdi)
        xorb 1(%rsi), %dh
        cmpb %ah, (%rsi)
        sete %dl
        done
program u_setcc
        cmpq %rax, %rbx
        setb (%rdi)
        done
program u_extend
        movslq (%rsi), %rax
        movzwl 4(%rsi), %ebx
        movsbq 6(%rsi), %rcx
        done

/* --- strings --- */
program u_rep_movsb
        rep movsb
        done
program u_rep_movsq
        rep movsq
        done
program u_rep_movsb_down
        std
        rep movsb
        cld
        done
program u_rep_stosb
        rep stosb
        done
program u_rep_stosq
        rep stosq
        done
program u_repe_cmpsb
        repe cmpsb
        done
program u_repne_scasb
        repne scasb
        done
program u_strings
        movsq
        stosl
        lodsw
        done

/* --- segments and RIP --- */
program u_fs
        movq %fs:8(%rsi), %rax
        movq %rax, %fs:-8(%rdi)
        done
program u_gs
        movq %gs:0, %rax
        addq %rax, %gs:(%rdi)
        done
program u_gs_load
        movq %gs:(%rsi), %rax
        done
program u_rip
        movq user_data(%rip), %rax
        addq $3, user_data(%rip)
        movl $0x5a5a5a5a, user_data+8(%rip)
        done
program u_absolute32
        movl %esi, %esi
        movl (%esi), %eax /* with an address size of 32 bits */
        movl %ebx, 4(%esi)
        done

/* --- flags over accesses that miss --- */
program u_flags
        cmpq %rax, %rbx
        movq (%rsi), %rdx
        jb 1f
        movl $1, %ecx
        done
1:      movl $2, %ecx
        done
program u_adc
        addq (%rsi), %rax
        adcq 4096(%rsi), %rbx
        adcq 8192(%rsi), %rcx
        setc %dl
        done
program u_sbb_store
        subq %rax, (%rdi)
        sbbq %rbx, 4096(%rdi)
        sbbq %rcx, 8192(%rdi)
        setc %dl
        done
program u_inc_keeps
        cmpq %rax, %rbx
        incq (%rdi)
        adcq $0, %rdx
        done

/* --- vectors with memory operands --- */
program u_paddq
        movdqu (%rdi), %xmm3
        movdqa %xmm3, %xmm4
        paddq (%rsi), %xmm3
        movntdq %xmm3, (%rdi)
        movq %xmm4, %rax
        done
program u_movlps
        movq (%rsi), %xmm5
        movhps 8(%rsi), %xmm5
        movlps %xmm5, (%rdi)
        movhps %xmm5, 8(%rdi)
        done
program u_maskmov
        vpcmpeqd %ymm0, %ymm0, %ymm0
        vpsrldq $8, %ymm0, %ymm0
        vpmaskmovd (%rsi), %ymm0, %ymm1
        vpmaskmovd %ymm1, %ymm0, (%rdi)
        done
program u_fpu
        fldl (%rsi)
        faddl 8(%rsi)
        fstpl (%rdi)
        done

/* --- code that writes code: mov $esi, %eax; ret to (rdx), which is at rdi --- */
program u_write_code
        movb $0xb8, (%rdx)
        movl %esi, 1(%rdx)
        movb $0xc3, 5(%rdx)
        call *%rdi
        done
        .global u_write_code_end
u_write_code_end:
program u_write_code_loop /* rcx times, with another value each time; the sum in rbx */
1:      movb $0xb8, (%rdx)
        movl %ecx, 1(%rdx)
        movb $0xc3, 5(%rdx)
        call *%rdi
        addq %rax, %rbx
        decq %rcx
        jnz 1b
        done
        .global u_write_code_loop_end
u_write_code_loop_end:

/* --- far pointers, one after the other: the kernel counts on what comes back --- */
program u_wild_read
        movb (%rsi), %al
        done
program u_wild_write
        movb %al, (%rdi)
        done

        .balign 4096
user_text_end:
user_data:
        .fill 4096
        .section .note.GNU-stack, "", @progbits
