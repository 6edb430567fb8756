/* SPDX-License-Identifier: MIT */
/*
 * What the files of this room share. Everything here reads bytes that came from outside: a table is used only after the
 * bytes it claims were found inside the file (object_image_bytes(), object_data()), a string only inside a table whose
 * last byte is 0.
 *
 * An object is not thread-safe: the tables are read at their first use and kept until object_close().
 */
#ifndef OBJECT_INTERNAL_H
#define OBJECT_INTERNAL_H

#include <elf.h>

#include "object/cfi.h"
#include "object/object.h"

/*
 * The bytes of one ELF file. Whole (the object itself) or in pieces (a debug file: only its symbols are wanted, and it
 * can be gigabytes). Headers are copied out, so that they are aligned and cannot change.
 */
struct object_image {
	const uint8_t *bytes; /* whole: the file; in pieces: NULL */
	size_t size;
	bool mapped;    /* bytes are a mapping of the file, else heap */
	bool in_pieces; /* fd is open */
	int fd;
	void **pieces;
	size_t piece_count, piece_cap;
	Elf64_Ehdr header;
	Elf64_Phdr *programs;
	size_t program_count;
	Elf64_Shdr *sections;
	size_t section_count; /* 0 when the file has none, or they lie outside the file */
	const char *section_names;
	size_t section_names_size; /* the last byte is 0 */
};

/** A string table: any offset below size is the start of a terminated string. */
struct object_strings {
	const char *text;
	size_t size;
};

/** A symbol table. The records may be unaligned: object_table_symbol() copies one. */
struct object_symbol_table {
	const uint8_t *records;
	size_t count;
	struct object_strings strings;
};

/** A table of relocations with addend, unaligned. */
struct object_relocations {
	const uint8_t *records;
	size_t count;
};

/** What PT_DYNAMIC says, or the sections when there is none (static executables). */
struct object_dynamic {
	bool present;
	struct object_symbol_table symbols; /* count: as far as the hash tables reach, see dynamic.c */
	size_t symbols_readable;            /* records up to the end of the data: relocations may use those */
	struct object_relocations *relocations;
	size_t relocation_count;
	const uint8_t *relr; /* unaligned words */
	size_t relr_count;
	uint64_t init, fini; /* 0: none */
};

/** One FDE. */
struct object_frame {
	uint64_t start, end;
	uint64_t lsda; /* vaddr in .gcc_except_table, 0: none */
};

/** From @start to the next one, @symbol covers. */
struct object_cover {
	uint64_t start;
	uint32_t symbol; /* index, or OBJECT_NO_SYMBOL */
};
#define OBJECT_NO_SYMBOL UINT32_MAX

struct object_sort_item {
	uint64_t key;
	uint32_t index;
};

struct object {
	char *path;
	struct object_image image;
	struct object_segment *segments; /* sorted by vaddr, not overlapping */
	size_t segment_count;
	const char *interpreter;
	const uint8_t *build_id;
	size_t build_id_size;

	bool has_dynamic;
	struct object_dynamic dynamic;

	bool has_symbols;
	struct object_image extra; /* where names of symbols live besides the file: a debug file or .gnu_debugdata */
	struct object_symbol *symbols;
	size_t symbol_count;
	char **names; /* copies, made to drop a @version */
	size_t name_count, name_cap;
	struct object_cover *covers; /* NULL until the first object_symbol_at() */
	size_t cover_count;
	struct object_sort_item *by_name; /* key: hash of the name; NULL until the first object_find() */

	bool has_frames;
	struct object_frame *frames; /* by start, then end */
	struct object_range *ranges;
	size_t frame_count;

	bool has_pointers;
	uint64_t *pointers;
	size_t pointer_count;

	bool has_slots;
	struct object_slot *slots;
	size_t slot_count;

	bool has_rseq;
	struct object_range *rseq;
	size_t rseq_count;
};

/* image.c */

/**
 * object_image_open() - read a file and check its headers
 * @in_pieces: keep the descriptor and read on demand
 *
 * Return: as object_open().
 */
int object_image_open(const char *path, bool in_pieces, struct object_image *ret,
		      struct utap_error *err) BASE_MUST_CHECK;
/** object_image_adopt() - the same for bytes in memory; takes over @bytes (heap), also on failure */
int object_image_adopt(const char *path, uint8_t *bytes, size_t size, struct object_image *ret,
		       struct utap_error *err) BASE_MUST_CHECK;
void object_image_close(struct object_image *image); /* a zeroed one is fine */

/** object_image_bytes() - @size bytes at file offset @offset, or NULL when they are not in the file (or cannot be read)
 */
const uint8_t *object_image_bytes(struct object_image *image, uint64_t offset, uint64_t size);
const Elf64_Shdr *object_image_section(const struct object_image *image, const char *name);
const Elf64_Shdr *object_image_section_by_type(const struct object_image *image, uint32_t type);
const char *object_image_section_name(const struct object_image *image, const Elf64_Shdr *section);
/** object_image_section_bytes() - its contents, or NULL (also for SHT_NOBITS) */
const uint8_t *object_image_section_bytes(struct object_image *image, const Elf64_Shdr *section);
/** object_image_symbols() - the table in @section and the strings it links to; -EINVAL when they are not in the file */
int object_image_symbols(struct object_image *image, const Elf64_Shdr *section,
			 struct object_symbol_table *ret) BASE_MUST_CHECK;

/** object_strings_init() - cuts an unterminated tail off */
struct object_strings object_strings_init(const uint8_t *text, size_t size);
/** object_strings_at() - the string at @offset, or NULL */
const char *object_strings_at(const struct object_strings *strings, uint64_t offset);
/** object_table_symbol() - copy record @index, which is below the count */
Elf64_Sym object_table_symbol(const struct object_symbol_table *table, size_t index);

/* segments.c */
int object_segments_read(struct object *object, struct utap_error *err) BASE_MUST_CHECK;
const struct object_segment *object_segment_at(const struct object *object, uint64_t vaddr); /* memory, not file */
/** object_is_code() - is there an instruction byte of the file at @vaddr? */
bool object_is_code(const struct object *object, uint64_t vaddr);

/* notes.c */

typedef int object_note_fn(void *arg, const uint8_t *descriptor, size_t size);
/** object_notes() - call @fn for each note of that name and type, until it returns non-zero, which is returned */
int object_notes(struct object_image *image, const char *name, uint32_t type, object_note_fn *fn, void *arg) BASE_MUST_CHECK;
/** object_note() - the descriptor of the first note of that name and type; its size, 0 when there is none */
size_t object_note(struct object_image *image, const char *name, uint32_t type, const uint8_t **ret);

/* dynamic.c */
int object_dynamic(struct object *object, const struct object_dynamic **ret, struct utap_error *err) BASE_MUST_CHECK;
/** object_dynamic_relocation() - copy one */
Elf64_Rela object_dynamic_relocation(const struct object_relocations *table, size_t index);
typedef int object_relr_fn(void *arg, uint64_t vaddr);
/** object_dynamic_relr() - call @fn for each place that DT_RELR relocates, until it returns non-zero */
int object_dynamic_relr(const struct object_dynamic *dynamic, object_relr_fn *fn, void *arg) BASE_MUST_CHECK;
void object_dynamic_free(struct object_dynamic *dynamic);

/* sort.c */

/** object_sort() - stable, by key, in linear time */
int object_sort(struct object_sort_item *items, size_t count) BASE_MUST_CHECK;

/* symbols.c */

/** object_name_keep() - the object takes over @name (heap) until it is closed; frees it on failure */
int object_name_keep(struct object *object, char *name) BASE_MUST_CHECK;

/* debugfile.c, debugdata.c */
#define OBJECT_DEBUG_ROOT "/usr/lib/debug"
/** object_debugfile_open() - the separate debug file, in pieces; -ENOENT when there is none that belongs to @object */
int object_debugfile_open(struct object *object, const char *root, struct object_image *ret) BASE_MUST_CHECK;
/** object_debugdata_open() - the file inside .gnu_debugdata; -ENOENT when there is none */
int object_debugdata_open(struct object *object, struct object_image *ret) BASE_MUST_CHECK;

/* demangle.c */
enum object_demangle_form {
	OBJECT_DEMANGLE_FULL, /* with parameters */
	OBJECT_DEMANGLE_BARE, /* without */
};
bool object_demangle_possible(const char *name); /* starts like a mangled name */
/** object_demangle_as() - heap text, or NULL: not mangled (-EINVAL), -ENOMEM */
int object_demangle_as(const char *name, enum object_demangle_form form, char **ret) BASE_MUST_CHECK;

/* pattern.c */

/** What a person wrote to name symbols, taken apart. */
struct object_pattern {
	char *text;      /* without @version */
	char *readable;  /* text as demangled names are compared: see object_pattern_normalise() */
	char *needle;    /* mangled names of all matches contain it; NULL: unknown */
	bool glob;       /* has * ? or [ */
	bool scoped;     /* can only be a demangled name: has :: ( or < */
	bool parameters; /* says which overload */
};

enum object_match {
	OBJECT_MATCH_NONE,
	OBJECT_MATCH_GLOB,
	OBJECT_MATCH_EXACT, /* if there is one of these, the glob was none: "operator*" */
};

int object_pattern_init(const char *text, struct object_pattern *ret) BASE_MUST_CHECK;
void object_pattern_free(struct object_pattern *pattern);
/** object_pattern_match() - compare with the demangled forms of @name: an enum object_match, or -ENOMEM */
int object_pattern_match(const struct object_pattern *pattern, const char *name) BASE_MUST_CHECK;

/* frames.c, landing.c */
int object_frames(struct object *object, const struct object_frame **ret, size_t *count,
		  struct utap_error *err) BASE_MUST_CHECK;
/** object_eh_frame() - where .eh_frame is, by its section or by PT_GNU_EH_FRAME; false: nowhere */
bool object_eh_frame(struct object *object, struct object_cfi_section *ret);
typedef int object_landing_fn(void *arg, uint64_t vaddr);
/** object_landing_pads() - call @fn for each landing pad of the frame; *@budget bytes may be parsed, and are taken off
 */
int object_landing_pads(const struct object *object, const struct object_frame *frame, uint64_t *budget,
			object_landing_fn *fn, void *arg) BASE_MUST_CHECK;

/* golang.c */

/** The table of functions of a Go program. */
struct object_go_table {
	const uint8_t *bytes;
	uint64_t size;
	uint64_t count;
	uint64_t functions_at, records_at, names_at, depths_at; /* offsets */
	uint64_t text;    /* what short places count from */
	bool is_short;    /* places and offsets in the array are 4 bytes each, else 8 */
	uint64_t entry_size;
};

bool object_go_table(struct object *object, struct object_go_table *ret);
/** object_go_function() - the one at @index < count, with the padding behind it; false when it is not code of the file */
bool object_go_function(const struct object *object, const struct object_go_table *table, size_t index,
			struct object_go_function *ret);

/** object_damaged() - fill @err with "PATH: sentence" and return -EINVAL */
int object_damaged(const struct object *object, struct utap_error *err, const char *format, ...) BASE_PRINTF(3, 4);
int object_no_memory(const struct object *object, struct utap_error *err);

#endif
