/* SPDX-License-Identifier: MIT */
/*
 * A uprobe_multi link that counts, through bpf(2) alone. The constants of 6.6 are written out: the headers of the distribution
 * may be older than its kernel. Source: include/uapi/linux/bpf.h.
 */
#include "kernel.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ATTACH_UPROBE_MULTI 48
#define HELPER_COOKIE 174

/* The part of union bpf_attr that BPF_LINK_CREATE reads for this type. */
struct link_create {
	uint32_t program, target, attach_type, flags;
	uint64_t path, offsets, ref_offsets, cookies;
	uint32_t count, link_flags, pid, unused;
};

static int bpf(int command, void *attr, size_t size) { return (int)syscall(SYS_bpf, command, attr, size); }

static int make_map(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };

	return bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

/* slot = cookie; if ((value = lookup(map, &slot))) atomically ++*value; return 0 */
static int load_program(int map)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_JMP | BPF_CALL, .imm = HELPER_COOKIE },
		{ .code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10, .src_reg = BPF_REG_0, .off = -4 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2, .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -4 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = map },
		{ 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0, .off = 2 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = 1 },
		{ .code = BPF_STX | BPF_ATOMIC | BPF_DW, .dst_reg = BPF_REG_0, .src_reg = BPF_REG_1, .imm = BPF_ADD },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.expected_attach_type = ATTACH_UPROBE_MULTI,
		.insns = (uintptr_t)insns,
		.insn_cnt = sizeof(insns) / sizeof(*insns),
		.license = (uintptr_t) "GPL",
	};

	return bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int make_link(int program, const char *path, uint64_t offset, pid_t pid)
{
	uint64_t cookie = 0;
	struct link_create attr = {
		.program = (uint32_t)program,
		.attach_type = ATTACH_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)&offset,
		.cookies = (uintptr_t)&cookie,
		.count = 1,
		.pid = (uint32_t)pid,
	};

	return bpf(BPF_LINK_CREATE, &attr, sizeof(attr));
}

bool kernel_link_open(struct kernel_link *link, const char *path, uint64_t offset, pid_t pid, char why[300])
{
	const char *step = "a map";

	*link = (struct kernel_link){ .program = -1, .link = -1 };
	link->map = make_map();
	if (link->map >= 0) {
		step = "a program for uprobe_multi";
		link->program = load_program(link->map);
	}
	if (link->program >= 0) {
		step = "a uprobe_multi link";
		link->link = make_link(link->program, path, offset, pid);
	}
	if (link->link >= 0)
		return true;
	snprintf(why, 300, "bpf(2) refuses %s: %s%s", step, strerror(errno), errno == EPERM ? " (root is needed)" : "");
	kernel_link_close(link);
	return false;
}

uint64_t kernel_link_hits(const struct kernel_link *link)
{
	uint32_t key = 0;
	uint64_t hits = 0;
	union bpf_attr attr = { .map_fd = (uint32_t)link->map, .key = (uintptr_t)&key, .value = (uintptr_t)&hits };

	return bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)) ? 0 : hits;
}

void kernel_link_close(struct kernel_link *link)
{
	if (link->link >= 0)
		close(link->link);
	if (link->program >= 0)
		close(link->program);
	if (link->map >= 0)
		close(link->map);
	*link = (struct kernel_link){ -1, -1, -1 };
}
