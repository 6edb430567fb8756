/* SPDX-License-Identifier: MIT */
/*
 * Tiny functions, four kinds of first instruction, the same for everyone who is compared: each role has its own page with
 * its own copies, at the same offsets, so that all can be measured alternately in one process.
 * All compute a + b (lea: a + b + 8), with the padding behind them that compilers leave too.
 */
	.macro BEGIN name
	.balign	64
	.globl	hot_\name
	.type	hot_\name, @function
hot_\name:
	.cfi_startproc
	.endm

	.macro END name
	.cfi_endproc
	.size	hot_\name, . - hot_\name
	.endm

	/* The only way out of a function, with a name. */
	.macro RETURN name
	.globl	hot_\name\()_return
	.hidden	hot_\name\()_return
hot_\name\()_return:
	ret
	.endm

	.macro ROLE role
	.balign	4096
	BEGIN	\role\()_nop5
	.byte	0x0f, 0x1f, 0x44, 0x00, 0x00
	lea	(%rdi, %rsi), %rax
	RETURN	\role\()_nop5
	END	\role\()_nop5

	BEGIN	\role\()_push
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	lea	(%rdi, %rsi), %rax
	pop	%rbp
	.cfi_def_cfa_offset 8
	.cfi_restore %rbp
	RETURN	\role\()_push
	END	\role\()_push

	BEGIN	\role\()_lea
	lea	8(%rdi, %rsi), %rax
	RETURN	\role\()_lea
	END	\role\()_lea

	BEGIN	\role\()_mov
	mov	%rdi, %rax
	add	%rsi, %rax
	RETURN	\role\()_mov
	END	\role\()_mov

	BEGIN	\role\()_idle
	push	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov	%rsp, %rbp
	lea	(%rdi, %rsi), %rax
	pop	%rbp
	.cfi_def_cfa_offset 8
	.cfi_restore %rbp
	RETURN	\role\()_idle
	END	\role\()_idle
	.balign	4096
	.endm

	.text
	ROLE	plain
	ROLE	floor
	ROLE	utap
	ROLE	event
	ROLE	link

	.section .note.GNU-stack, "", @progbits
