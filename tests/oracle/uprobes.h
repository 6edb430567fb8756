/* SPDX-License-Identifier: MIT */
/*
 * The kernel's uprobes, counted by a small BPF program: bpf(2) without a library. One program serves any number of files; each
 * place has a cookie, the index of its counter. Counting starts late: hits are "early" until the start place (cookie 0) was
 * reached often enough in the process, as utap's own probes go in when the dynamic linker has everything in place.
 */
#ifndef ORACLE_UPROBES_H
#define ORACLE_UPROBES_H

#include <sys/types.h>

#include "base/base.h"

#define UPROBES_START 0 /* the cookie of the start place */

/*
 * The first argument, %rdi, or of returns the value returned, %rax, summed up modulo 2^64: its value; but of one that may point into memory that mmap placed only its
 * low 12 bits. Both sides map pages of their own there (the kernel a page it steps instructions in), so what the program maps
 * later lies elsewhere. All else, and those 12 bits, must be equal.
 */
struct uprobes_counter {
	uint64_t count;
	uint64_t sum;    /* of values elsewhere */
	uint64_t mapped; /* number of arguments in the region of mmap */
	uint64_t low;    /* sum of their low bits */
	uint64_t early;  /* hits before the start */
};

/* The region of mmap, without randomization: [UPROBES_MMAP_PREFIX << 39, UPROBES_MMAP_END << 27). */
#define UPROBES_MMAP_PREFIX 0xff
#define UPROBES_MMAP_END 0xfffff
#define UPROBES_LOW 0xfff

struct uprobes;

/**
 * uprobes_create() - load the program
 * @returns:  places are functions, whose returns are counted
 * @counters: number of them; [0] counts the start place
 * @starts:   how often the start place must have been reached
 *
 * Return: 0; -EPERM not allowed; -EINVAL the kernel has no uprobe_multi links (they came with Linux 6.6); others.
 */
int uprobes_create(bool returns, uint32_t counters, uint64_t starts, struct uprobes **ret) BASE_MUST_CHECK;

/**
 * uprobes_attach() - count at @count places of the file @path, in process @pid only
 * @offsets, @cookies: of each place
 */
int uprobes_attach(struct uprobes *uprobes, pid_t pid, const char *path, const uint64_t *offsets, const uint64_t *cookies,
		   uint32_t count) BASE_MUST_CHECK;

const volatile struct uprobes_counter *uprobes_counters(const struct uprobes *uprobes);

/**
 * uprobes_cannot() - is this an instruction that the kernel (6.18) does not probe, or breaks?
 *
 * It refuses the lock and old segment prefixes, int, hlt, port input and output, loads of segment registers. And it takes the opcode of a
 * VEX or EVEX instruction for that of the one-byte map: vpbroadcastb (7a), the first instruction of glibc's strchr for
 * AVX-512, is emulated as jp, and the program goes astray; other EVEX instructions are not counted. Of a repeated string instruction it
 * counts each step. A probe on geteuid()'s syscall instruction makes bash fault.
 * Source: arch/x86/kernel/uprobes.c (is_prefix_bad, good_insns_64, branch_setup_xol_ops, push_setup_xol_ops), and trying it.
 */
bool uprobes_cannot(const uint8_t *code, size_t size);

/**
 * uprobes_cannot_return() - would a uretprobe on the function of that name make the program fail? The kernel puts another address in place
 * of the return address, and these keep it for later, or return twice.
 */
bool uprobes_cannot_return(const char *function);

/** uprobes_destroy() - take all of them out. NULL is fine. */
void uprobes_destroy(struct uprobes *uprobes);

#endif
