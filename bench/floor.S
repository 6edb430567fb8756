/* SPDX-License-Identifier: MIT */
/*
 * The floor: what a probe costs when a person writes it by hand for one machine, one libc and one place, with nothing checked.
 *
 * Templates, copied by floor.c in front of the displaced instructions, one copy for each function. All keep the red zone,
 * the registers and the flags, work on the area of the CPU they run on and commit by one store inside an rseq critical section.
 * enter and leave are a pair: each records the frame, the address of the return slot.
 * What differs between copies is 32 bits wide and stands at the end of an instruction; FIX marks it.
 */
	.set UNKNOWN, 0x11223344
	.set AREA_SHIFT, 18	/* floor.h: FLOOR_AREA */
	.set AREA_HEAD, 8
	.set AREA_RING, 4096
	.set RING_MASK, 0xffff

	.macro FIX name
\name:
	.endm

	.macro ENTER
	lea	-128(%rsp), %rsp
	push	%rax
	push	%rcx
	push	%rdx
	lahf
	seto	%al
	push	%rax
	.endm

	.macro LEAVE
	pop	%rax
	add	$127, %al
	sahf
	pop	%rdx
	pop	%rcx
	pop	%rax
	lea	128(%rsp), %rsp
	.endm

	/* struct floor_template: see floor.c */
	.macro TEMPLATE name
	.section .data.rel.ro, "aw"
	.balign	8
	.globl	floor_\name
floor_\name:
	.quad	\name\()_code
	.long	\name\()_done - \name\()_code
	.long	\name\()_again - \name\()_code
	.long	\name\()_start - \name\()_code
	.long	\name\()_end - \name\()_code
	.long	\name\()_fix_descriptor - \name\()_code
	.long	\name\()_fix_armed - \name\()_code
	.long	\name\()_fix_cpu - \name\()_code
	.long	\name\()_fix_area - \name\()_code
	.long	\name\()_fix_last - \name\()_code
	.long	0
	.endm

	TEMPLATE count
	.section .rodata
count_code:
	ENTER
count_again:
	lea	UNKNOWN(%rip), %rcx
	FIX	count_fix_descriptor
	mov	%rcx, %fs:UNKNOWN
	FIX	count_fix_armed
count_start:
	mov	%fs:UNKNOWN, %ecx
	FIX	count_fix_cpu
	shl	$AREA_SHIFT, %rcx
	lea	UNKNOWN(%rip), %rdx
	FIX	count_fix_area
	incq	UNKNOWN(%rdx, %rcx)
	FIX	count_fix_last
count_end:
	LEAVE
count_done:

	.set FRAME, 128 + 40	/* of the place's rsp, from ours behind ENTER and one push */
	.set SAVED_RAX, 32

	.macro TWO_ARGUMENTS
	mov	%rdi, 16(%rcx)
	mov	%rsi, 24(%rcx)
	.endm

	.macro FRAME_AND_ARGUMENT
	lea	FRAME(%rsp), %rax
	mov	%rax, 16(%rcx)
	mov	%rdi, 24(%rcx)
	.endm

	.macro FRAME_AND_RESULT
	lea	FRAME(%rsp), %rax
	mov	%rax, 16(%rcx)
	mov	SAVED_RAX(%rsp), %rax
	mov	%rax, 24(%rcx)
	.endm

	.macro RECORDER name, what
	TEMPLATE \name
	.section .rodata
\name\()_code:
	ENTER
	push	%rbx
\name\()_again:
	lea	UNKNOWN(%rip), %rcx
	FIX	\name\()_fix_descriptor
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	lea	UNKNOWN(%rip), %rdx
	FIX	\name\()_fix_area
	mov	%rcx, %fs:UNKNOWN
	FIX	\name\()_fix_armed
\name\()_start:
	mov	%fs:UNKNOWN, %ecx
	FIX	\name\()_fix_cpu
	shl	$AREA_SHIFT, %rcx
	add	%rcx, %rdx
	mov	AREA_HEAD(%rdx), %rbx
	mov	%ebx, %ecx
	and	$RING_MASK, %ecx
	lea	AREA_RING(%rdx, %rcx), %rcx
	mov	%rax, (%rcx)
	mov	%fs:UNKNOWN, %eax
	FIX	\name\()_fix_last
	mov	%rax, 8(%rcx)
	\what
	add	$32, %rbx
	mov	%rbx, AREA_HEAD(%rdx)
\name\()_end:
	pop	%rbx
	LEAVE
\name\()_done:
	.endm

	RECORDER record, TWO_ARGUMENTS
	RECORDER enter, FRAME_AND_ARGUMENT
	RECORDER leave, FRAME_AND_RESULT

	.section .note.GNU-stack, "", @progbits
