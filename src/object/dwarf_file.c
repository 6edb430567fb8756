/* SPDX-License-Identifier: MIT */
/*
 * Files with debug information: where they are looked for, and their sections, unpacked where they are compressed. Any type of ELF file will
 * do, since .dwo files are relocatable ones. A section that lies outside of its file counts as none.
 *
 * As image.c has it: files below MAP_FROM are read, larger ones mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "object/dwarf_inside.h"

#define MAP_FROM (16UL << 20)
#define RATIO_MAX 1100 /* deflate makes at most 1032 bytes of one */

static const char *const section_names[DWARF_SECTIONS] = {
	[DWARF_INFO] = "info",         [DWARF_ABBREV] = "abbrev",           [DWARF_LINE] = "line",
	[DWARF_LOC] = "loc",           [DWARF_STR_OFFSETS] = "str_offsets", [DWARF_LOCLISTS] = "loclists",
	[DWARF_RNGLISTS] = "rnglists", [DWARF_TYPES] = "types",             [DWARF_STR] = "str",
	[DWARF_LINE_STR] = "line_str", [DWARF_RANGES] = "ranges",           [DWARF_ADDR] = "addr",
	[DWARF_FRAME] = "frame",       [DWARF_CU_INDEX] = "cu_index",       [DWARF_TU_INDEX] = "tu_index",
};

/* ---- bytes ---- */

static int read_whole(int fd, uint8_t *to, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, to + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EINVAL;
		done += (size_t)n;
	}
	return 0;
}

static int bytes_load(struct dwarf_file *file, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOEXEC;
	file->size = (size_t)st.st_size;
	if (file->size >= MAP_FROM) {
		void *mapping = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (mapping == MAP_FAILED)
			return -errno;
		file->bytes = mapping;
		file->mapped = true;
		return 0;
	}
	uint8_t *bytes = malloc(file->size ? file->size : 1);

	if (!bytes)
		return -ENOMEM;
	file->bytes = bytes;
	return read_whole(fd, bytes, file->size);
}

/* ---- sections ---- */

static bool part_of(const struct dwarf_file *file, uint64_t offset, uint64_t size, struct dwarf_section *ret)
{
	if (offset > file->size || size > file->size - offset)
		return false;
	*ret = (struct dwarf_section) { .bytes = file->bytes + offset, .size = size };
	return true;
}

static int inflate_section(struct dwarf_file *file, unsigned id, const uint8_t *packed, size_t size, uint64_t full)
{
	if (full > (uint64_t)size * RATIO_MAX + 64 || full > UINT32_MAX)
		return -EINVAL;
	uint8_t *bytes = malloc(full ? full : 1);
	uLongf made = full;

	if (!bytes)
		return -ENOMEM;
	if (uncompress(bytes, &made, packed, size) != Z_OK || made != full) {
		free(bytes);
		return -EINVAL;
	}
	free(file->unpacked[id]);
	file->unpacked[id] = bytes;
	file->sections[id] = (struct dwarf_section) { .bytes = bytes, .size = full };
	return 0;
}

static int unpack(struct dwarf_file *file, unsigned id, const Elf64_Shdr *header, bool old_style, struct utap_error *err)
{
	struct dwarf_section *section = &file->sections[id];
	Elf64_Chdr packed = { 0 };
	size_t skip = old_style ? 12 : sizeof(packed);

	if (!old_style && !(header->sh_flags & SHF_COMPRESSED))
		return 0;
	if (old_style && (section->size < skip || memcmp(section->bytes, "ZLIB", 4) != 0))
		return 0;
	if (section->size < skip) {
		*section = DWARF_NO_SECTION;
		return 0;
	}
	if (old_style) {
		for (unsigned i = 4; i < 12; i++)
			packed.ch_size = packed.ch_size << 8 | section->bytes[i];
		packed.ch_type = ELFCOMPRESS_ZLIB;
	} else {
		memcpy(&packed, section->bytes, sizeof(packed));
	}
	if (packed.ch_type != ELFCOMPRESS_ZLIB)
		return base_error(err, -ENOTSUP, UTAP_ERROR_REFUSED,
				  "%s: its debug information is compressed in a way (%u) that is not supported; "
				  "objcopy --decompress-debug-sections makes a copy that can be read",
				  file->path, packed.ch_type);
	int r = inflate_section(file, id, section->bytes + skip, section->size - skip, packed.ch_size);

	if (r == -ENOMEM)
		return base_error_system(err, r, "%s", file->path);
	if (r)
		return base_error(err, r, UTAP_ERROR_SYSTEM, "%s: damaged: .debug_%s does not unpack", file->path,
				  section_names[id]);
	return 0;
}

/* Which section a name means: ".debug_info", ".zdebug_info", ".debug_info.dwo". */
static unsigned section_id(const char *name, bool split, bool *old_style)
{
	char plain[32];
	size_t length = strlen(name);

	*old_style = strncmp(name, ".zdebug_", 8) == 0;
	if (!*old_style && strncmp(name, ".debug_", 7) != 0)
		return DWARF_SECTIONS;
	const char *at = name + (*old_style ? 8 : 7);
	bool dwo = length > 4 && strcmp(name + length - 4, ".dwo") == 0;

	length = strlen(at) - (dwo ? 4 : 0);
	if (length >= sizeof(plain))
		return DWARF_SECTIONS;
	memcpy(plain, at, length);
	plain[length] = '\0';
	for (unsigned id = 0; id < DWARF_SECTIONS; id++)
		if (strcmp(plain, section_names[id]) == 0)
			return dwo == split || id == DWARF_CU_INDEX || id == DWARF_TU_INDEX ? id : DWARF_SECTIONS;
	return DWARF_SECTIONS;
}

static int section_take(struct dwarf_file *file, const Elf64_Shdr *header, const struct object_strings *names,
			struct utap_error *err)
{
	const char *name = object_strings_at(names, header->sh_name);
	bool old_style;
	unsigned id = name ? section_id(name, file->split, &old_style) : DWARF_SECTIONS;

	if (id == DWARF_SECTIONS || header->sh_type == SHT_NOBITS || file->sections[id].size ||
	    !part_of(file, header->sh_offset, header->sh_size, &file->sections[id]))
		return 0;
	return unpack(file, id, header, old_style, err);
}

static Elf64_Shdr header_at(const struct dwarf_section *table, size_t index)
{
	Elf64_Shdr header;

	memcpy(&header, table->bytes + index * sizeof(header), sizeof(header));
	return header;
}

static int sections_find(struct dwarf_file *file, struct utap_error *err)
{
	struct dwarf_section table;
	struct dwarf_section text;
	Elf64_Ehdr elf;

	if (file->size < sizeof(elf))
		return -ENOENT;
	memcpy(&elf, file->bytes, sizeof(elf));
	if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64 ||
	    elf.e_ident[EI_DATA] != ELFDATA2LSB || elf.e_shentsize != sizeof(Elf64_Shdr) || !elf.e_shoff ||
	    !part_of(file, elf.e_shoff, sizeof(Elf64_Shdr), &table))
		return -ENOENT;
	Elf64_Shdr first = header_at(&table, 0);
	uint64_t count = elf.e_shnum ? elf.e_shnum : first.sh_size;
	uint64_t names_at = elf.e_shstrndx == SHN_XINDEX ? first.sh_link : elf.e_shstrndx;

	if (count > file->size / sizeof(Elf64_Shdr) || names_at >= count ||
	    !part_of(file, elf.e_shoff, count * sizeof(Elf64_Shdr), &table))
		return -ENOENT;
	Elf64_Shdr names_header = header_at(&table, names_at);

	if (!part_of(file, names_header.sh_offset, names_header.sh_size, &text))
		return -ENOENT;
	struct object_strings names = object_strings_init(text.bytes, text.size);

	for (size_t i = 1; i < count; i++) {
		Elf64_Shdr header = header_at(&table, i);
		int r = section_take(file, &header, &names, err);

		if (r)
			return r;
	}
	return file->sections[DWARF_INFO].size && file->sections[DWARF_ABBREV].size ? 0 : -ENOENT;
}

/* ---- files ---- */

void dwarf_file_close(struct dwarf_file *file)
{
	for (unsigned i = 0; i < DWARF_SECTIONS; i++)
		free(file->unpacked[i]);
	if (file->mapped)
		munmap((void *)file->bytes, file->size);
	else if (!file->borrowed)
		free((void *)file->bytes);
	dwarf_units_free(file);
	free(file->path);
	free(file);
}

static int file_add(struct object_dwarf *dwarf, struct dwarf_file *file, struct dwarf_file **ret, struct utap_error *err)
{
	int r = sections_find(file, err);

	if (!r && dwarf_units_read(dwarf, file))
		r = dwarf_no_memory(dwarf, err);
	if (r) {
		dwarf_file_close(file);
		return r;
	}
	file->next = dwarf->files;
	dwarf->files = file;
	*ret = file;
	return 0;
}

static struct dwarf_file *file_new(const char *path, bool split)
{
	struct dwarf_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->split = split;
	for (unsigned i = 0; i < DWARF_SECTIONS; i++)
		file->sections[i] = DWARF_NO_SECTION;
	file->path = strdup(path);
	if (file->path)
		return file;
	free(file);
	return NULL;
}

int dwarf_file_open(struct object_dwarf *dwarf, const char *path, bool split, struct dwarf_file **ret,
		    struct utap_error *err)
{
	struct dwarf_file *file = file_new(path, split);

	if (!file)
		return dwarf_no_memory(dwarf, err);
	int r = bytes_load(file, path);

	if (!r)
		return file_add(dwarf, file, ret, err);
	dwarf_file_close(file);
	return r == -ENOENT ? r : base_error_system(err, r, "cannot read %s", path);
}

/* The file of dwz: named by its path, which may be relative to the folder of the one that refers to it, or by build-id. */
static bool alternate_path(const struct dwarf_file *file, const char *name, const uint8_t *id, size_t id_size, char *path,
			   size_t size)
{
	const char *slash = strrchr(file->path, '/');
	int folder = name[0] == '/' || !slash ? 0 : (int)(slash - file->path) + 1;
	int used = snprintf(path, size, "%.*s%s", folder, file->path, name);

	if (used < (int)size && access(path, R_OK) == 0)
		return true;
	if (id_size < 2 || id_size > 64)
		return false;
	used = snprintf(path, size, OBJECT_DEBUG_ROOT "/.build-id/%02x/", id[0]);
	for (size_t i = 1; i < id_size; i++)
		used += snprintf(path + used, size - (size_t)used, "%02x", id[i]);
	snprintf(path + used, size - (size_t)used, ".debug");
	return access(path, R_OK) == 0;
}

static const uint8_t *link_find(const struct dwarf_file *file, size_t *size)
{
	struct dwarf_section table;
	struct dwarf_section text;
	struct dwarf_section link;
	Elf64_Ehdr elf;

	memcpy(&elf, file->bytes, sizeof(elf)); /* sections_find() checked it */
	if (!part_of(file, elf.e_shoff, (uint64_t)elf.e_shnum * sizeof(Elf64_Shdr), &table) ||
	    elf.e_shstrndx >= elf.e_shnum)
		return NULL;
	Elf64_Shdr names_header = header_at(&table, elf.e_shstrndx);

	if (!part_of(file, names_header.sh_offset, names_header.sh_size, &text))
		return NULL;
	struct object_strings names = object_strings_init(text.bytes, text.size);

	for (size_t i = 1; i < elf.e_shnum; i++) {
		Elf64_Shdr header = header_at(&table, i);
		const char *name = object_strings_at(&names, header.sh_name);

		if (!name || strcmp(name, ".gnu_debugaltlink") != 0 ||
		    !part_of(file, header.sh_offset, header.sh_size, &link))
			continue;
		*size = link.size;
		return link.bytes;
	}
	return NULL;
}

static int alternate_open(struct object_dwarf *dwarf, struct dwarf_file *file, struct utap_error *err)
{
	size_t size;
	const uint8_t *link = link_find(file, &size);
	const uint8_t *end = link ? memchr(link, '\0', size) : NULL;
	char path[PATH_MAX];

	if (!end)
		return 0;
	const uint8_t *id = end + 1;

	if (!alternate_path(file, (const char *)link, id, size - (size_t)(id - link), path, sizeof(path))) {
		base_log(BASE_LOG_WARN, "%s: what it shares with other files is not there (%s): some names will be unknown",
			 file->path, (const char *)link);
		return 0;
	}
	int r = dwarf_file_open(dwarf, path, false, &file->alternate, err);

	return r == -ENOENT ? 0 : r;
}

/* A descriptor becomes a name that can be opened again; messages get the file's own name. */
static int open_descriptor(struct object_dwarf *dwarf, int fd, struct dwarf_file **ret, struct utap_error *err)
{
	char link[64];
	char real[PATH_MAX];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, real, sizeof(real) - 1);

	real[length > 0 ? length : 0] = '\0';
	return dwarf_file_open(dwarf, length > 0 && access(real, R_OK) == 0 ? real : link, false, ret, err);
}

static int open_separate(struct object_dwarf *dwarf, struct dwarf_file **ret, struct utap_error *err)
{
	struct object *object = dwarf->object;
	struct object_image image;

	if (object_debugfile_open(object, OBJECT_DEBUG_ROOT, &image) == 0) {
		int r = open_descriptor(dwarf, image.fd, ret, err);

		object_image_close(&image);
		if (r != -ENOENT)
			return r;
	}
	_cleanup_close_ int fd = dwarf_server_fetch(object->build_id, object->build_id_size);

	return fd < 0 ? -ENOENT : open_descriptor(dwarf, fd, ret, err);
}

int dwarf_file_main(struct object_dwarf *dwarf, struct utap_error *err)
{
	struct dwarf_file *file = file_new(dwarf->object->path, false);

	if (!file)
		return dwarf_no_memory(dwarf, err);
	file->bytes = dwarf->object->image.bytes;
	file->size = dwarf->object->image.size;
	file->borrowed = true;
	int r = file_add(dwarf, file, &dwarf->main, err);

	if (r == -ENOENT)
		r = open_separate(dwarf, &dwarf->main, err);
	if (r == -ENOENT)
		return base_error(err, r, UTAP_ERROR_NOT_FOUND,
				  "%s has no debug information, and there is no debug file for it below " OBJECT_DEBUG_ROOT
				  "; build it with -g, or install the package with its debug symbols",
				  dwarf->object->path);
	return r ? r : alternate_open(dwarf, dwarf->main, err);
}
