/* SPDX-License-Identifier: MIT */
/*
 * Arbitrary bytes as the code of functions: what is known about it may be little, but must hold together, and asking
 * must end.
 *
 * Input: a number of functions, eighths of their sizes, then code and tables. An ELF file is made around it.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "patch/code.h"
#include "patch/exits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CODE_MAX 1024
#define FUNCTIONS 8
#define BASE 0x1000
#define NAMES "\0f\0f.cold"

struct file {
	Elf64_Ehdr header;
	Elf64_Phdr program;
	Elf64_Shdr sections[3];
	Elf64_Sym symbols[FUNCTIONS + 1];
	char names[16];
	uint8_t code[CODE_MAX] __attribute__((aligned(64)));
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void fill_headers(struct file *file)
{
	memcpy(file->header.e_ident, ELFMAG, SELFMAG);
	file->header.e_ident[EI_CLASS] = ELFCLASS64;
	file->header.e_ident[EI_DATA] = ELFDATA2LSB;
	file->header.e_ident[EI_VERSION] = EV_CURRENT;
	file->header.e_machine = EM_X86_64;
	file->header.e_version = EV_CURRENT;
	file->header.e_ehsize = sizeof(file->header);
	file->header.e_phoff = offsetof(struct file, program);
	file->header.e_phentsize = sizeof(file->program);
	file->header.e_phnum = 1;
	file->header.e_shoff = offsetof(struct file, sections);
	file->header.e_shentsize = sizeof(file->sections[0]);
	file->header.e_shnum = 3;
	file->program = (Elf64_Phdr) { .p_type = PT_LOAD,
				       .p_flags = PF_R | PF_X,
				       .p_offset = offsetof(struct file, code),
				       .p_vaddr = BASE,
				       .p_align = 1 };
	file->sections[1] = (Elf64_Shdr) { .sh_type = SHT_SYMTAB,
					   .sh_offset = offsetof(struct file, symbols),
					   .sh_link = 2,
					   .sh_entsize = sizeof(file->symbols[0]) };
	file->sections[2] = (Elf64_Shdr) { .sh_type = SHT_STRTAB,
					   .sh_offset = offsetof(struct file, names),
					   .sh_size = sizeof(file->names) };
	memcpy(file->names, NAMES, sizeof(NAMES));
}

/* Returns false when the input is too short to say anything. */
static bool fill(struct file *file, const uint8_t *data, size_t size)
{
	unsigned count = size ? 1 + data[0] % FUNCTIONS : 0;
	uint64_t at = BASE;

	if (size < 2 + count)
		return false;
	fill_headers(file);
	file->header.e_type = data[0] & 0x80 ? ET_EXEC : ET_DYN;
	file->sections[1].sh_size = (count + 1) * sizeof(file->symbols[0]);
	for (unsigned i = 1; i <= count; i++) {
		/* Each other one may be a fragment of the one before. */
		file->symbols[i] = (Elf64_Sym) { .st_name = data[0] & 0x40 && i % 2 == 0 ? 3 : 1,
						 .st_value = at,
						 .st_size = 8 * (data[i] & 0x7fU),
						 .st_shndx = 1,
						 .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC) };
		at += 8 * (data[i] & 0x7fU);
	}
	data += 1 + count;
	size -= 1 + count;
	size = size < CODE_MAX ? size : CODE_MAX;
	memcpy(file->code, data, size);
	file->program.p_filesz = file->program.p_memsz = size;
	return true;
}

static bool inside(const struct patch_function *function, uint64_t vaddr)
{
	for (size_t i = 0; i < function->nparts; i++)
		if (vaddr >= function->parts[i].start && vaddr < function->parts[i].end)
			return true;
	return false;
}

static void use_function(const struct patch_code *code, uint64_t vaddr)
{
	struct patch_function function;
	const char *why = NULL;

	if (patch_function_find(code, vaddr, &function, &why)) {
		must(why);
		return;
	}
	must(function.nparts >= 1 && function.nparts <= PATCH_PARTS && function.parts[0].start == vaddr);
	for (size_t i = 0; i < function.nexits; i++) {
		must(inside(&function, function.exits[i].vaddr) && patch_code_is_start(code, function.exits[i].vaddr));
		must(i == 0 || function.exits[i - 1].vaddr < function.exits[i].vaddr);
		must(function.exits[i].tail || function.exits[i].when == PATCH_WHEN_REACHED);
		must(function.exits[i].when != PATCH_WHEN_LEAVING || function.nparts <= 2);
	}
	patch_function_release(&function);
}

static void use_code(const struct patch_code *code)
{
	for (uint64_t at = BASE; at < BASE + CODE_MAX; at++) {
		bool target = patch_code_is_target(code, at);

		must(!patch_code_is_start(code, at) || patch_code_is_known(code, at));
		must(!target || at == BASE || patch_code_has_inner_target(code, at - 1, 2));
		patch_code_flow_known(code, at);
		use_function(code, at);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file *file = calloc(1, sizeof(*file));
	struct object *object;
	struct patch_code *code;
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(file && fd >= 0);
	if (fill(file, data, size)) {
		must(write(fd, file, sizeof(*file)) == (ssize_t)sizeof(*file));
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		must(!object_open(path, &object, NULL));
		must(!patch_code_create(object, true, &code, NULL));
		use_code(code);
		patch_code_destroy(code);
		object_close(object);
	}
	free(file);
	close(fd);
	return 0;
}
