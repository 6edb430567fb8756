/* SPDX-License-Identifier: MIT */
#include "uprobes.h"

#include <assert.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's headers: include/uapi/linux/bpf.h of Linux 6.6. */
#define ATTACH_UPROBE_MULTI 48
#define ATTR_BYTES 256 /* more than the kernel knows is fine when it is zero */

#define MULTI_RETURN 1     /* BPF_F_UPROBE_MULTI_RETURN */
#define FIRST_ARGUMENT 112 /* di in struct pt_regs */
#define RESULT 80          /* ax */
#define MAX_FILES 8

struct link_create_uprobe_multi {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t cnt, multi_flags, pid;
};

struct uprobes {
	bool returns;
	int map, program;
	int links[MAX_FILES];
	size_t nlinks;
	struct uprobes_counter *counters;
	size_t size;
};

static int call_bpf(enum bpf_cmd command, void *attr, size_t size)
{
	char full[ATTR_BYTES] = { 0 };
	long result;

	static_assert(sizeof(union bpf_attr) <= ATTR_BYTES, "bpf_attr");
	memcpy(full, attr, size);
	result = syscall(SYS_bpf, command, full, sizeof(full));
	return result < 0 ? -errno : (int)result;
}

static int create_map(uint32_t counters)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(uint32_t),
		.value_size = sizeof(struct uprobes_counter),
		.max_entries = counters,
		.map_flags = BPF_F_MMAPABLE,
	};

	return call_bpf(BPF_MAP_CREATE, &attr, sizeof(attr));
}

#define INSN(c, d, s, o, i) { .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) }
#define MOVE(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define AND(d, i) INSN(BPF_ALU64 | BPF_AND | BPF_K, d, 0, 0, i)
#define SHIFT_RIGHT(d, i) INSN(BPF_ALU64 | BPF_RSH | BPF_K, d, 0, 0, i)
#define CALL(i) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, i)
#define JUMP(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define LOAD(d, s, o) INSN(BPF_LDX | BPF_MEM | BPF_DW, d, s, o, 0)
#define STORE32(d, s, o) INSN(BPF_STX | BPF_MEM | BPF_W, d, s, o, 0)
#define ATOMIC_ADD(d, s, o) INSN(BPF_STX | BPF_ATOMIC | BPF_DW, d, s, o, BPF_ADD)
#define MAP(d, fd) INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define COUNTER(field) ((int16_t)offsetof(struct uprobes_counter, field))

static int load_program(int map, uint64_t starts, bool returns)
{
	/* r6 context, r7 the start place's counter, r8 cookie, r0 this place's counter; the key is at r10 - 4 */
	const struct bpf_insn insns[] = {
		MOVE(6, 1),
		CALL(BPF_FUNC_get_attach_cookie),
		MOVE(8, 0),
		SET(1, UPROBES_START),
		STORE32(10, 1, -4),
		MAP(1, map),
		MOVE(2, 10),
		ADD(2, -4),
		CALL(BPF_FUNC_map_lookup_elem),
		JUMP(BPF_JEQ, 0, 0, 29),
		MOVE(7, 0),
		STORE32(10, 8, -4),
		MAP(1, map),
		MOVE(2, 10),
		ADD(2, -4),
		CALL(BPF_FUNC_map_lookup_elem),
		JUMP(BPF_JEQ, 0, 0, 21),
		LOAD(2, 7, COUNTER(count)),
		SET(1, 1),
		JUMP(BPF_JEQ, 8, UPROBES_START, 4), /* the start place is always counted */
		JUMP(BPF_JGE, 2, (int32_t)starts, 3),
		ATOMIC_ADD(0, 1, COUNTER(early)),
		SET(0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		ATOMIC_ADD(0, 1, COUNTER(count)),
		LOAD(1, 6, returns ? RESULT : FIRST_ARGUMENT),
		MOVE(2, 1),
		SHIFT_RIGHT(2, 39),
		JUMP(BPF_JNE, 2, UPROBES_MMAP_PREFIX, 8),
		MOVE(2, 1),
		SHIFT_RIGHT(2, 27),
		JUMP(BPF_JGE, 2, UPROBES_MMAP_END, 5),
		AND(1, UPROBES_LOW),
		ATOMIC_ADD(0, 1, COUNTER(low)),
		SET(1, 1),
		ATOMIC_ADD(0, 1, COUNTER(mapped)),
		JUMP(BPF_JA, 0, 0, 1),
		ATOMIC_ADD(0, 1, COUNTER(sum)),
		SET(0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_KPROBE,
		.expected_attach_type = (enum bpf_attach_type)ATTACH_UPROBE_MULTI,
		.insns = (uintptr_t)insns,
		.insn_cnt = sizeof(insns) / sizeof(insns[0]),
		.license = (uintptr_t) "GPL",
		.prog_name = "utap_oracle",
	};

	return call_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

int uprobes_create(bool returns, uint32_t counters, uint64_t starts, struct uprobes **ret)
{
	struct uprobes *uprobes = calloc(1, sizeof(*uprobes));
	void *at;
	int error;

	if (!uprobes)
		return -ENOMEM;
	uprobes->size = base_align_up(counters * sizeof(struct uprobes_counter), BASE_PAGE);
	uprobes->program = -1;
	uprobes->returns = returns;
	uprobes->map = create_map(counters);
	error = uprobes->map < 0 ? uprobes->map : 0;
	if (!error)
		uprobes->program = load_program(uprobes->map, starts, returns);
	if (!error && uprobes->program < 0)
		error = uprobes->program;
	at = error ? MAP_FAILED : mmap(NULL, uprobes->size, PROT_READ, MAP_SHARED, uprobes->map, 0);
	if (!error && at == MAP_FAILED)
		error = -errno;
	uprobes->counters = at == MAP_FAILED ? NULL : at;
	if (error) {
		uprobes_destroy(uprobes);
		return error;
	}
	*ret = uprobes;
	return 0;
}

int uprobes_attach(struct uprobes *uprobes, pid_t pid, const char *path, const uint64_t *offsets, const uint64_t *cookies,
		   uint32_t count)
{
	struct link_create_uprobe_multi attr = {
		.prog_fd = (uint32_t)uprobes->program,
		.attach_type = ATTACH_UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)offsets,
		.cookies = (uintptr_t)cookies,
		.cnt = count,
		.multi_flags = uprobes->returns && *cookies != UPROBES_START ? MULTI_RETURN : 0,
		.pid = (uint32_t)pid,
	};
	int link;

	if (!count)
		return 0;
	if (uprobes->nlinks == MAX_FILES)
		return -ENOSPC;
	link = call_bpf(BPF_LINK_CREATE, &attr, sizeof(attr));
	if (link < 0)
		return link;
	uprobes->links[uprobes->nlinks++] = link;
	return 0;
}

const volatile struct uprobes_counter *uprobes_counters(const struct uprobes *uprobes)
{
	return uprobes->counters;
}

bool uprobes_cannot_return(const char *function)
{
	static const char *const names[] = { "setjmp", "_setjmp", "__sigsetjmp", "sigsetjmp", "vfork", "__vfork", "__libc_vfork", "clone",
					     "__clone", "clone3", "__clone3", "getcontext", "__getcontext", "swapcontext",
					     "__swapcontext", "makecontext", "__makecontext", "setcontext", "__start_context" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(function, names[i]))
			return true;
	return false;
}

/* Opcodes of the one-byte map that the kernel emulates: push, jcc, nop, call, jmp; also 0f, which introduces the two-byte map. */
static bool is_emulated(uint8_t opcode)
{
	return (opcode >= 0x50 && opcode <= 0x57) || (opcode >= 0x70 && opcode <= 0x7f) || opcode == 0x0f || opcode == 0x90 ||
	       opcode == 0xe8 || opcode == 0xe9 || opcode == 0xeb;
}

/* ins, outs, movs, cmps, stos, lods, scas */
static bool is_string(uint8_t opcode)
{
	return (opcode >= 0x6c && opcode <= 0x6f) || (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf);
}

bool uprobes_cannot(const uint8_t *code, size_t size)
{
	static const uint8_t bad_prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0xf0 };
	static const uint8_t bad_opcodes[] = { 0x8e, 0xcc, 0xcd, 0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef, 0xf4 };
	bool repeats = false;
	size_t i = 0;

	while (i < size && (code[i] == 0x66 || code[i] == 0x67 || code[i] == 0xf2 || code[i] == 0xf3))
		repeats |= code[i++] >= 0xf2;
	if (i + 5 > size || (repeats && is_string(code[i])))
		return true;
	if (memchr(bad_prefixes, code[i], sizeof(bad_prefixes)) || memchr(bad_opcodes, code[i], sizeof(bad_opcodes)))
		return true;
	switch (code[i]) {
	case 0xc5: /* VEX, two bytes */
		return is_emulated(code[i + 2]);
	case 0xc4: /* VEX, three bytes */
		return is_emulated(code[i + 3]);
	case 0x62: /* EVEX */
		return true;
	case 0x0f:
		return code[i + 1] == 0x05; /* syscall */
	default:
		return false;
	}
}

void uprobes_destroy(struct uprobes *uprobes)
{
	if (!uprobes)
		return;
	for (size_t i = 0; i < uprobes->nlinks; i++)
		close(uprobes->links[i]);
	if (uprobes->counters)
		munmap(uprobes->counters, uprobes->size);
	if (uprobes->program >= 0)
		close(uprobes->program);
	if (uprobes->map >= 0)
		close(uprobes->map);
	free(uprobes);
}
