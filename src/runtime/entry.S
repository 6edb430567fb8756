/* SPDX-License-Identifier: MIT */
/*
 * The head of the runtime image (struct wire_runtime) and its entries. From generated code: arguments in %rax and %rdx, result in
 * %rax, every other register preserved, flags not.
 */
	.section .head, "ax", @progbits
	.globl	runtime_base
runtime_base:
	.long	ring_slow_entry - runtime_base
	.long	cell_slow_entry - runtime_base
	.long	pid_entry - runtime_base
	.long	tid_entry - runtime_base
	.long	read_entry - runtime_base
	.long	batch_entry - runtime_base
	.long	pause_entry - runtime_base
	.long	long_reserve_entry - runtime_base
	.long	long_string_entry - runtime_base
	.long	long_bytes_entry - runtime_base
	.long	long_seal_entry - runtime_base
	.long	long_free_entry - runtime_base
	.long	comm_entry - runtime_base
	.long	long_stack_entry - runtime_base
	.long	runtime_data_slot - runtime_base
	.long	runtime_end - runtime_base

	.balign	16
	.globl	runtime_data_slot
	.hidden	runtime_data_slot
runtime_data_slot:
	.quad	0

	.text
.macro ENTRY name, function
	.balign	16
\name:
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	mov	%rax, %rdi
	mov	%rdx, %rsi
	call	\function
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	ret
.endm
	ENTRY ring_slow_entry, runtime_ring_slow
	ENTRY cell_slow_entry, runtime_cell_slow
	ENTRY pid_entry, runtime_pid
	ENTRY tid_entry, runtime_tid
	ENTRY read_entry, runtime_read
	ENTRY pause_entry, runtime_pause
	ENTRY long_reserve_entry, runtime_long_reserve
	ENTRY long_string_entry, runtime_long_string
	ENTRY long_bytes_entry, runtime_long_bytes
	ENTRY long_seal_entry, runtime_long_seal
	ENTRY long_free_entry, runtime_long_free
	ENTRY comm_entry, runtime_comm
	ENTRY long_stack_entry, runtime_long_stack

/* A lent thread arrives with rsp = its signal frame's address - 8 .. on the lend stack: rdi = struct wire_lend *, rbx = frame. */
	.balign	16
batch_entry:
	call	runtime_batch
	mov	%rbx, %rsp
	mov	$15, %eax		/* rt_sigreturn: everything as it was when the thread was lent */
	syscall
	ud2
	.section .note.GNU-stack, "", @progbits
