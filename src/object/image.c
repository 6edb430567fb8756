/* SPDX-License-Identifier: MIT */
/*
 * The bytes of an ELF file, and its headers once they are checked.
 *
 * A file below IMAGE_MAP_FROM is read into memory: then nobody who truncates it can raise SIGBUS here. Larger ones are
 * mapped privately: touching fresh memory costs 0.3 to 1.5 ms a megabyte, 100 ms and more for the largest, and a
 * running executable cannot be truncated (ETXTBSY). What remains is a large library that somebody overwrites in place,
 * which kills the programs that use it as well. Debug files are read in pieces, never mapped.
 *
 * Section headers are optional: a program runs without them, so a table outside of the file counts as no table.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "object/internal.h"

#define IMAGE_MAP_FROM (16UL << 20)
#define IMAGE_PROGRAMS_MAX (65536 / sizeof(Elf64_Phdr)) /* what the kernel's loader accepts */

static int read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	uint8_t *at = buffer;

	while (size) {
		ssize_t n = pread(fd, at, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EINVAL;
		at += n;
		offset += (uint64_t)n;
		size -= (size_t)n;
	}
	return 0;
}

static bool in_file(const struct object_image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->size && size <= image->size - offset;
}

/* A piece lives as long as the image. */
static const uint8_t *piece_read(struct object_image *image, uint64_t offset, uint64_t size)
{
	_cleanup_free_ void *piece = malloc(size ? size : 1);

	if (!piece || read_at(image->fd, piece, size, offset) ||
	    base_grow(&image->pieces, &image->piece_cap, image->piece_count + 1, sizeof(*image->pieces)))
		return NULL;
	uint8_t *kept = piece;

	piece = NULL;
	image->pieces[image->piece_count++] = kept;
	return kept;
}

const uint8_t *object_image_bytes(struct object_image *image, uint64_t offset, uint64_t size)
{
	if (!in_file(image, offset, size))
		return NULL;
	return image->bytes ? image->bytes + offset : piece_read(image, offset, size);
}

/* An array of headers, copied out. */
static int headers_read(struct object_image *image, uint64_t offset, size_t count, size_t each, void *ret)
{
	uint64_t size = (uint64_t)count * each;

	if (!in_file(image, offset, size))
		return -EINVAL;
	_cleanup_free_ void *copy = malloc(size ? size : 1);

	if (!copy)
		return -ENOMEM;
	if (image->bytes)
		memcpy(copy, image->bytes + offset, size);
	else if (read_at(image->fd, copy, size, offset))
		return -EINVAL;
	memcpy(ret, &copy, sizeof(copy));
	copy = NULL;
	return 0;
}

static int header_check(const char *path, struct object_image *image, struct utap_error *err)
{
	Elf64_Ehdr *header = &image->header;

	if (!in_file(image, 0, sizeof(*header)))
		return base_error(err, -ENOEXEC, UTAP_ERROR_USAGE, "%s: not an ELF file (it is too short)", path);
	if (image->bytes)
		memcpy(header, image->bytes, sizeof(*header));
	else if (read_at(image->fd, header, sizeof(*header), 0))
		return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "%s: cannot read its ELF header", path);
	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return base_error(err, -ENOEXEC, UTAP_ERROR_USAGE, "%s: not an ELF file", path);
	if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_ident[EI_DATA] != ELFDATA2LSB ||
	    header->e_machine != EM_X86_64)
		return base_error(err, -ENOEXEC, UTAP_ERROR_USAGE, "%s: not code for x86-64 (machine %u)", path,
				  header->e_machine);
	if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
		return base_error(err, -ENOEXEC, UTAP_ERROR_USAGE,
				  "%s: neither an executable nor a shared library (ELF type %u)", path, header->e_type);
	return 0;
}

/* Section 0 holds the counts that do not fit into the header. */
static int sections_read(struct object_image *image)
{
	const Elf64_Ehdr *header = &image->header;
	size_t count = header->e_shnum;
	size_t names = header->e_shstrndx;

	if (header->e_shoff == 0 || header->e_shentsize != sizeof(Elf64_Shdr))
		return 0;
	if (count == 0 || names == SHN_XINDEX) {
		_cleanup_free_ Elf64_Shdr *first = NULL;
		int r = headers_read(image, header->e_shoff, 1, sizeof(*first), &first);

		if (r)
			return r == -ENOMEM ? r : 0;
		count = count ? count : first->sh_size;
		names = names == SHN_XINDEX ? first->sh_link : names;
	}
	if (count > image->size / sizeof(Elf64_Shdr))
		return 0;
	int r = headers_read(image, header->e_shoff, count, sizeof(Elf64_Shdr), &image->sections);

	if (r)
		return r == -ENOMEM ? r : 0;
	image->section_count = count;
	if (names >= count)
		return 0;
	const Elf64_Shdr *section = &image->sections[names];
	const uint8_t *text = object_image_section_bytes(image, section);
	struct object_strings strings = object_strings_init(text, text ? section->sh_size : 0);

	image->section_names = strings.text;
	image->section_names_size = strings.size;
	return 0;
}

static int programs_read(const char *path, struct object_image *image, struct utap_error *err)
{
	const Elf64_Ehdr *header = &image->header;
	size_t count = header->e_phnum;

	if (count == PN_XNUM && image->section_count)
		count = image->sections[0].sh_info;
	if (count == 0)
		return 0;
	if (header->e_phentsize != sizeof(Elf64_Phdr) || count > IMAGE_PROGRAMS_MAX)
		return base_error(err, -EINVAL, UTAP_ERROR_SYSTEM, "%s: damaged: %zu program headers of %u bytes", path,
				  count, header->e_phentsize);
	int r = headers_read(image, header->e_phoff, count, sizeof(Elf64_Phdr), &image->programs);

	if (r == -ENOMEM)
		return base_error_system(err, r, "%s", path);
	if (r)
		return base_error(err, r, UTAP_ERROR_SYSTEM, "%s: damaged: its program headers lie outside of the file",
				  path);
	image->program_count = count;
	return 0;
}

static int image_parse(const char *path, struct object_image *image, struct utap_error *err)
{
	int r = header_check(path, image, err);

	if (r)
		return r;
	if (sections_read(image))
		return base_error_system(err, -ENOMEM, "%s", path);
	return programs_read(path, image, err);
}

static int file_load(int fd, struct object_image *image)
{
	if (image->size >= IMAGE_MAP_FROM) {
		void *mapping = mmap(NULL, image->size, PROT_READ, MAP_PRIVATE, fd, 0);

		if (mapping == MAP_FAILED)
			return -errno;
		image->bytes = mapping;
		image->mapped = true;
		return 0;
	}
	uint8_t *bytes = malloc(image->size ? image->size : 1);

	if (!bytes)
		return -ENOMEM;
	image->bytes = bytes;
	return read_at(fd, bytes, image->size, 0);
}

static int open_error(const char *path, int code, struct utap_error *err)
{
	enum utap_error_kind kind = UTAP_ERROR_SYSTEM;

	if (code == -ENOENT || code == -ENOTDIR)
		kind = UTAP_ERROR_NOT_FOUND;
	else if (code == -EACCES || code == -EPERM)
		kind = UTAP_ERROR_PERMISSION;
	return base_error(err, code, kind, "cannot open %s: %s", path, strerror(-code));
}

int object_image_open(const char *path, bool in_pieces, struct object_image *ret, struct utap_error *err)
{
	/* O_NONBLOCK: a FIFO must not stop us; it is refused below. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct object_image image = { .in_pieces = in_pieces };
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return open_error(path, -errno, err);
	if (!S_ISREG(st.st_mode))
		return base_error(err, -ENOEXEC, UTAP_ERROR_USAGE, "%s: not a regular file", path);
	image.size = (size_t)st.st_size;
	int r = 0;

	if (in_pieces)
		image.fd = base_steal_fd(&fd);
	else
		r = file_load(fd, &image);
	if (r)
		base_error_system(err, r, "cannot read %s", path);
	else
		r = image_parse(path, &image, err);
	if (r) {
		object_image_close(&image);
		return r;
	}
	*ret = image;
	return 0;
}

int object_image_adopt(const char *path, uint8_t *bytes, size_t size, struct object_image *ret, struct utap_error *err)
{
	struct object_image image = { .bytes = bytes, .size = size };
	int r = image_parse(path, &image, err);

	if (r) {
		object_image_close(&image);
		return r;
	}
	*ret = image;
	return 0;
}

void object_image_close(struct object_image *image)
{
	for (size_t i = 0; i < image->piece_count; i++)
		free(image->pieces[i]);
	free(image->pieces);
	free(image->programs);
	free(image->sections);
	if (image->mapped)
		munmap((void *)image->bytes, image->size);
	else
		free((void *)image->bytes);
	if (image->in_pieces)
		close(image->fd);
	*image = (struct object_image) { 0 };
}

const char *object_image_section_name(const struct object_image *image, const Elf64_Shdr *section)
{
	return section->sh_name < image->section_names_size ? image->section_names + section->sh_name : "";
}

const Elf64_Shdr *object_image_section(const struct object_image *image, const char *name)
{
	for (size_t i = 1; i < image->section_count; i++)
		if (strcmp(object_image_section_name(image, &image->sections[i]), name) == 0)
			return &image->sections[i];
	return NULL;
}

const Elf64_Shdr *object_image_section_by_type(const struct object_image *image, uint32_t type)
{
	for (size_t i = 1; i < image->section_count; i++)
		if (image->sections[i].sh_type == type)
			return &image->sections[i];
	return NULL;
}

const uint8_t *object_image_section_bytes(struct object_image *image, const Elf64_Shdr *section)
{
	if (section->sh_type == SHT_NOBITS)
		return NULL;
	return object_image_bytes(image, section->sh_offset, section->sh_size);
}

int object_image_symbols(struct object_image *image, const Elf64_Shdr *section, struct object_symbol_table *ret)
{
	if (section->sh_link >= image->section_count)
		return -EINVAL;
	const Elf64_Shdr *strings = &image->sections[section->sh_link];
	const uint8_t *records = object_image_section_bytes(image, section);
	const uint8_t *text = object_image_section_bytes(image, strings);

	if (!records || !text || section->sh_entsize != sizeof(Elf64_Sym))
		return -EINVAL;
	*ret = (struct object_symbol_table) {
		.records = records,
		.count = section->sh_size / sizeof(Elf64_Sym),
		.strings = object_strings_init(text, strings->sh_size),
	};
	return 0;
}

struct object_strings object_strings_init(const uint8_t *text, size_t size)
{
	while (size && text[size - 1] != '\0')
		size--;
	return (struct object_strings) { .text = (const char *)text, .size = size };
}

const char *object_strings_at(const struct object_strings *strings, uint64_t offset)
{
	return offset < strings->size ? strings->text + offset : NULL;
}

Elf64_Sym object_table_symbol(const struct object_symbol_table *table, size_t index)
{
	Elf64_Sym symbol;

	memcpy(&symbol, table->records + index * sizeof(symbol), sizeof(symbol));
	return symbol;
}
