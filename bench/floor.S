/* SPDX-License-Identifier: MIT */
/*
 * The floor: what a probe costs when a person writes it by hand for one machine, one libc and one place, with nothing checked.
 *
 * Two templates, copied by floor.c in front of the displaced instructions, one copy for each function. Both keep the red zone,
 * the registers and the flags, work on the area of the CPU they run on and commit by one store inside an rseq critical section.
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

	TEMPLATE record
	.section .rodata
record_code:
	ENTER
	push	%rbx
record_again:
	lea	UNKNOWN(%rip), %rcx
	FIX	record_fix_descriptor
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	lea	UNKNOWN(%rip), %rdx
	FIX	record_fix_area
	mov	%rcx, %fs:UNKNOWN
	FIX	record_fix_armed
record_start:
	mov	%fs:UNKNOWN, %ecx
	FIX	record_fix_cpu
	shl	$AREA_SHIFT, %rcx
	add	%rcx, %rdx
	mov	AREA_HEAD(%rdx), %rbx
	mov	%ebx, %ecx
	and	$RING_MASK, %ecx
	lea	AREA_RING(%rdx, %rcx), %rcx
	mov	%rax, (%rcx)
	mov	%fs:UNKNOWN, %eax
	FIX	record_fix_last
	mov	%rax, 8(%rcx)
	mov	%rdi, 16(%rcx)
	mov	%rsi, 24(%rcx)
	add	$32, %rbx
	mov	%rbx, AREA_HEAD(%rdx)
record_end:
	pop	%rbx
	LEAVE
record_done:

	.section .note.GNU-stack, "", @progbits
