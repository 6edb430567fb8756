/* SPDX-License-Identifier: MIT */
/*
 * What the files of the DWARF reader share. Bytes of files are read through cursors only (cursor.h); a reference, an index, a base is used
 * only after it was found inside of its section. Chains of references and nested types are followed a bounded number of times. All memory of a
 * struct object_dwarf lies in one arena and lives until object_dwarf_close().
 */
#ifndef OBJECT_DWARF_INSIDE_H
#define OBJECT_DWARF_INSIDE_H

#include <dwarf.h>

#include "object/cfi.h"
#include "object/cursor.h"
#include "object/dwarf.h"
#include "object/internal.h"

#define DWARF_REFERENCES 16 /* of abstract origins, typedefs .. followed */
#define DWARF_NESTING 256    /* of entries, where their parents matter */

/* ---- memory (dwarf_memory.c) ---- */

struct dwarf_chunk;
struct dwarf_arena {
	struct dwarf_chunk *chunks;
};
/** dwarf_alloc() - zeroed memory that lives as long as the arena; NULL: none left */
void *dwarf_alloc(struct dwarf_arena *arena, size_t size);
char *dwarf_print(struct dwarf_arena *arena, const char *format, ...) BASE_PRINTF(2, 3);
char *dwarf_copy(struct dwarf_arena *arena, const char *text, size_t length);
void dwarf_arena_free(struct dwarf_arena *arena);

/* ---- files and sections (dwarf_file.c, dwarf_package.c, dwarf_server.c) ---- */

enum dwarf_section_id {
	DWARF_INFO,
	DWARF_ABBREV,
	DWARF_LINE,
	DWARF_LOC,
	DWARF_STR_OFFSETS,
	DWARF_LOCLISTS,
	DWARF_RNGLISTS,
	DWARF_TYPES,
	DWARF_PARTS, /* those above: a package (.dwp) holds a part of each for each unit */
	DWARF_STR = DWARF_PARTS,
	DWARF_LINE_STR,
	DWARF_RANGES,
	DWARF_ADDR,
	DWARF_FRAME,
	DWARF_CU_INDEX,
	DWARF_TU_INDEX,
	DWARF_SECTIONS
};

struct dwarf_section {
	const uint8_t *bytes;
	size_t size;
};

/* One that is not there: empty, but never NULL, so that cursors can stand in it. */
#define DWARF_NO_SECTION ((struct dwarf_section) { .bytes = (const uint8_t *)"", .size = 0 })

struct dwarf_unit;

/* A file with sections of debug information. */
struct dwarf_file {
	struct dwarf_file *next; /* all of one reader */
	char *path;
	const uint8_t *bytes; /* the whole file */
	size_t size;
	bool mapped, borrowed; /* bytes are a mapping; the object's own; neither: heap */
	struct dwarf_section sections[DWARF_SECTIONS];
	void *unpacked[DWARF_SECTIONS]; /* heap: sections that were compressed */
	struct dwarf_file *alternate;   /* what dwz shares, or NULL */
	struct dwarf_unit **units;      /* in the order of their offsets, INFO before TYPES */
	size_t unit_count, unit_cap;
	bool split;
};

/** dwarf_file_open() - @path with its sections, added to the reader; -ENOENT: no such file, or without debug information */
int dwarf_file_open(struct object_dwarf *dwarf, const char *path, bool split, struct dwarf_file **ret,
		    struct utap_error *err) BASE_MUST_CHECK;
/** dwarf_file_main() - the object's own, its debug file, or what a server sends */
int dwarf_file_main(struct object_dwarf *dwarf, struct utap_error *err) BASE_MUST_CHECK;
void dwarf_file_close(struct dwarf_file *file);
/** dwarf_server_fetch() - a descriptor of the debug file from debuginfod, or a negative errno */
int dwarf_server_fetch(const uint8_t *build_id, size_t size) BASE_MUST_CHECK;

/* ---- units and abbreviations (dwarf_unit.c) ---- */

struct dwarf_abbrev_attr {
	uint16_t name, form;
	int64_t implicit;
};

struct dwarf_abbrev {
	uint64_t code;
	uint16_t tag;
	bool children;
	uint32_t first, count; /* of dwarf_abbrevs.attrs */
	int32_t fixed;         /* bytes of all attributes; -1 when that differs from entry to entry */
	int32_t sibling;       /* where DW_AT_sibling is among them, a reference of 4 bytes; -1: not known so */
};

struct dwarf_abbrevs {
	struct dwarf_abbrev *list;
	size_t count, cap;
	struct dwarf_abbrev_attr *attrs;
	size_t attr_count, attr_cap;
	uint64_t at; /* where the next one is read: tables are read as far as they are needed */
	bool done;
};

/** dwarf_abbrev_attrs() - the attributes of one of its abbreviations; NULL when there are none */
static inline const struct dwarf_abbrev_attr *dwarf_abbrev_attrs(const struct dwarf_abbrevs *table, const struct dwarf_abbrev *abbrev)
{
	return abbrev->count ? table->attrs + abbrev->first : NULL;
}

struct dwarf_lines;

struct dwarf_unit {
	struct object_dwarf *dwarf;
	struct dwarf_file *file;
	struct dwarf_section info;              /* the section that holds it: all of it */
	struct dwarf_section part[DWARF_PARTS]; /* of other sections: its part (of a package), else all */
	uint64_t offset, end;                   /* of the unit in info, header included */
	uint64_t first;                         /* of the first entry */
	uint64_t abbrev_offset;
	uint64_t signature, type_offset;        /* of type units; the signature also of split ones */
	uint64_t str_offsets_base, addr_base, rnglists_base, loclists_base, ranges_base;
	uint16_t version;
	uint8_t offset_size, address_size, type; /* type: DW_UT_* */
	bool has_root, has_low, root_failed;
	bool has_str_offsets_base;
	uint64_t low;                            /* DW_AT_low_pc of the unit */
	uint64_t language;
	const char *name, *comp_dir, *producer;
	uint64_t stmt_list;
	bool has_stmt_list;
	struct dwarf_abbrevs abbrevs;
	struct dwarf_unit *split;    /* of a skeleton: what it stands for, once it was found */
	bool split_tried;
	struct dwarf_unit *skeleton; /* of a split unit */
	struct dwarf_lines *lines;
	bool lines_tried;
};

/** dwarf_units_read() - the headers of all units of @file; damaged ones end the list */
int dwarf_units_read(struct object_dwarf *dwarf, struct dwarf_file *file) BASE_MUST_CHECK;
/** dwarf_units_free() - what units have outside of the arena */
void dwarf_units_free(struct dwarf_file *file);
/** dwarf_unit_root() - read what the unit's first entry says; false when it is damaged */
bool dwarf_unit_root(struct dwarf_unit *unit);
/** dwarf_unit_real() - of a skeleton the split unit, if it can be found, else itself */
struct dwarf_unit *dwarf_unit_real(struct dwarf_unit *unit);
/** dwarf_unit_at() - the unit of @file whose entries hold the offset in .debug_info, or NULL */
struct dwarf_unit *dwarf_unit_at(const struct dwarf_file *file, uint64_t offset);
/** dwarf_unit_for() - the unit whose code holds @vaddr (a skeleton for split ones), or NULL */
struct dwarf_unit *dwarf_unit_for(struct object_dwarf *dwarf, uint64_t vaddr);
const struct dwarf_abbrev *dwarf_abbrev_find(struct dwarf_unit *unit, uint64_t code);
bool dwarf_unit_is_c_family(const struct dwarf_unit *unit);
bool dwarf_unit_is_go(const struct dwarf_unit *unit);
bool dwarf_unit_is_rust(const struct dwarf_unit *unit);

/** dwarf_split_find() - load the split unit of a skeleton (dwarf_package.c); NULL with a log line when there is none */
struct dwarf_unit *dwarf_split_find(struct dwarf_unit *skeleton);

/* ---- entries (dwarf_die.c) ---- */

struct dwarf_die {
	struct dwarf_unit *unit; /* NULL: no entry */
	uint64_t offset;         /* in unit->info */
	const struct dwarf_abbrev *abbrev;
	uint64_t attrs; /* offset of its attributes */
};

enum dwarf_class {
	DWARF_NONE,
	DWARF_CONSTANT, /* u; is_signed when the form says so */
	DWARF_ADDRESS,  /* u: an address */
	DWARF_BLOCK,    /* block, size */
	DWARF_STRING,   /* string */
	DWARF_REFERENCE,/* die's offset: file and u */
	DWARF_SIGNATURE,
	DWARF_OFFSET,   /* u: of a section (lists, lines) */
	DWARF_LIST_INDEX, /* loclistx, rnglistx */
	DWARF_FLAG,
};

struct dwarf_value {
	enum dwarf_class class;
	uint16_t form;
	uint64_t u;
	bool is_signed;
	const uint8_t *block;
	uint64_t size;
	const char *string;
	const struct dwarf_file *file; /* of a REFERENCE */
};

/** dwarf_form_size() - bytes that the form takes in entries of the unit, -1 when that differs */
int dwarf_form_size(const struct dwarf_unit *unit, uint16_t form);
bool dwarf_form_read(struct dwarf_unit *unit, struct object_cursor *cursor, uint16_t form, int64_t implicit,
		     struct dwarf_value *ret);
bool dwarf_die_read(struct dwarf_unit *unit, uint64_t offset, struct dwarf_die *ret);
/** dwarf_die_attr() - an attribute of this very entry; class NONE when it has none */
struct dwarf_value dwarf_die_attr(const struct dwarf_die *die, uint16_t name);
/** dwarf_die_attr_integrate() - also of its abstract origin and specification */
struct dwarf_value dwarf_die_attr_integrate(const struct dwarf_die *die, uint16_t name);
bool dwarf_die_reference(const struct dwarf_die *die, uint16_t name, struct dwarf_die *ret);
/** dwarf_die_origin() - abstract origin or specification */
bool dwarf_die_origin(const struct dwarf_die *die, struct dwarf_die *ret);
const char *dwarf_die_name(const struct dwarf_die *die); /* integrated; NULL: none */
bool dwarf_die_flag(const struct dwarf_die *die, uint16_t name);
static inline bool dwarf_die_same(const struct dwarf_die *a, const struct dwarf_die *b)
{
	return a->unit == b->unit && a->offset == b->offset;
}

/** dwarf_die_qualified() - its name with the namespaces and classes around it; "" when it has none */
char *dwarf_die_qualified(struct dwarf_arena *arena, const struct dwarf_die *die);

/* A walk over a subtree in the order of the file. parents[depth - 1] is the parent of the entry that was handed out last. */
struct dwarf_walk {
	struct dwarf_unit *unit;
	uint64_t at;
	uint64_t end;
	unsigned depth;   /* of the entry handed out last, 0: the root */
	unsigned next_depth;
	bool started;
	struct dwarf_die parents[DWARF_NESTING]; /* [depth] is the entry itself */
};
void dwarf_walk_init(struct dwarf_walk *walk, const struct dwarf_die *root);
/** dwarf_walk_next() - the first call hands out the root; false at the end, or where it is damaged */
bool dwarf_walk_next(struct dwarf_walk *walk, struct dwarf_die *ret);
/** dwarf_walk_skip() - do not enter the children of the entry handed out last */
void dwarf_walk_skip(struct dwarf_walk *walk);

/* Children only. */
struct dwarf_children {
	struct dwarf_walk walk;
	bool any;
};
void dwarf_children_init(struct dwarf_children *children, const struct dwarf_die *die);
bool dwarf_children_next(struct dwarf_children *children, struct dwarf_die *ret);

/* ---- ranges (dwarf_ranges.c) ---- */

typedef bool dwarf_range_fn(void *arg, uint64_t start, uint64_t end); /* false: enough */
/** dwarf_die_ranges() - the code of an entry; returns how many ranges it has, empty ones left out */
size_t dwarf_die_ranges(const struct dwarf_die *die, dwarf_range_fn *fn, void *arg);
bool dwarf_die_has_pc(const struct dwarf_die *die, uint64_t vaddr);
/** dwarf_die_entry() - DW_AT_entry_pc, low_pc, or the lowest of its ranges */
bool dwarf_die_entry(const struct dwarf_die *die, uint64_t *ret);
/** dwarf_unit_address() - number @index of the unit's addresses */
bool dwarf_unit_address(struct dwarf_unit *unit, uint64_t index, uint64_t *ret);

/* ---- lines (dwarf_line.c) ---- */

struct dwarf_line {
	uint64_t vaddr;
	uint32_t file, line; /* file: index of dwarf_lines.files */
	bool statement, sequence_end, prologue_end;
};

struct dwarf_lines {
	const char **files; /* whole paths */
	size_t file_count;
	struct dwarf_line *list; /* sequences in the order of the file; inside of one by vaddr */
	size_t count;
	bool damaged;
};

/** dwarf_unit_lines() - the table, read at the first call; NULL when there is none */
struct dwarf_lines *dwarf_unit_lines(struct dwarf_unit *unit);
/** dwarf_unit_has_source() - can a file of its line table end in @source? Reads the table's header only */
bool dwarf_unit_has_source(struct dwarf_unit *unit, const char *source);
/** dwarf_source_matches() - is @path the file that a person calls @name: the same, or its end after a '/' */
bool dwarf_source_matches(const char *path, const char *name);
const struct dwarf_line *dwarf_lines_at(const struct dwarf_lines *lines, uint64_t vaddr);
/** dwarf_prologue_end() - where the body of the function [start, end) begins, as its lines say; start when unknown */
uint64_t dwarf_prologue_end(struct dwarf_unit *unit, uint64_t start, uint64_t end);
/** dwarf_file_name() - of DW_AT_decl_file @index, or NULL */
const char *dwarf_file_name(struct dwarf_unit *unit, uint64_t index);

/* ---- frames (dwarf_frame.c) ---- */

/** dwarf_frame_at() - the rules at @vaddr; -ENOENT: no frame description, -EINVAL damaged */
int dwarf_frame_at(struct object_dwarf *dwarf, uint64_t vaddr, struct object_cfi_row *ret) BASE_MUST_CHECK;

/* ---- locations (dwarf_location.c, dwarf_expression.c) ---- */

#define DWARF_DEREFS 12

enum dwarf_base { DWARF_BASE_CONSTANT, DWARF_BASE_REGISTER, DWARF_BASE_FILE };
/* A number: base + offsets[0], and then derefs times what lies there + offsets[i]. FILE: offsets[0] is a vaddr. */
struct dwarf_chain {
	enum dwarf_base base;
	unsigned reg;
	unsigned derefs;
	int64_t offsets[DWARF_DEREFS + 1];
	uint8_t cut; /* the number is its low so many bits; 0: all 64 */
	bool cut_signed;
	uint8_t shifted; /* while it is computed: bits shifted up, to be shifted down again */
};

enum dwarf_location_kind {
	DWARF_AT_MEMORY,  /* chain is its address */
	DWARF_IN_VALUE,   /* chain is the value; a register, or DW_OP_stack_value */
	DWARF_IN_BYTES,   /* DW_OP_implicit_value, DW_AT_const_value */
	DWARF_AS_POINTER, /* a pointer that was optimised out: target and offset say to what */
	DWARF_NOWHERE,    /* optimised out */
	DWARF_REFUSED,    /* why */
};
struct dwarf_piece;
struct dwarf_location {
	enum dwarf_location_kind kind;
	struct dwarf_chain chain;
	const uint8_t *bytes;
	uint64_t size;
	struct dwarf_die target;
	int64_t offset;
	const char *why;           /* of NOWHERE: may be NULL */
	struct dwarf_piece *pieces; /* if any: kind is that of no use */
	size_t piece_count;
	uint64_t shift;            /* bits of the value below the part that is meant (VALUE, BYTES) */
};
struct dwarf_piece {
	uint64_t bits;
	struct dwarf_location where;
};

/* What an expression may refer to. */
struct dwarf_context {
	struct object_dwarf *dwarf;
	struct dwarf_arena *arena;
	uint64_t vaddr;
	struct dwarf_die function; /* the concrete function (not inlined) around vaddr: its frame base */
	uint64_t entry, end, body; /* its first range, and where its body begins */
	bool has_function, has_frame;
	struct object_cfi_row frame;
};

/** dwarf_context_init() - for variables at @vaddr in @unit */
void dwarf_context_init(struct dwarf_context *context, struct object_dwarf *dwarf, struct dwarf_arena *arena,
			struct dwarf_unit *unit, uint64_t vaddr);
/** dwarf_location_of() - where the variable @die is at context->vaddr */
struct dwarf_location dwarf_location_of(struct dwarf_context *context, const struct dwarf_die *die);
/** dwarf_location_cfa() - the CFA as a chain; false with *why */
bool dwarf_location_cfa(struct dwarf_context *context, struct dwarf_chain *ret, const char **why);
/** dwarf_location_base() - the frame base of the function; false with *why */
bool dwarf_location_base(struct dwarf_context *context, unsigned depth, struct dwarf_chain *ret, const char **why);
/** dwarf_location_expression() - the same for one expression */
struct dwarf_location dwarf_location_expression(struct dwarf_context *context, struct dwarf_unit *unit,
						const uint8_t *bytes, uint64_t size, unsigned depth);
/** dwarf_location_refused() - with a sentence */
struct dwarf_location dwarf_location_refused(struct dwarf_arena *arena, const char *format, ...) BASE_PRINTF(2, 3);
const char *dwarf_register_name(unsigned number); /* "di", or NULL */
/** dwarf_register_is_vector() - xmm0 to xmm15: values, of 128 bits, that are in one; addresses are not */
static inline bool dwarf_register_is_vector(uint64_t number)
{
	return number >= 17 && number <= 32;
}

/* ---- types (dwarf_type.c) ---- */

/** dwarf_type_of() - the type of a variable, member, pointer ..; unit NULL: void, or nothing's */
struct dwarf_die dwarf_type_of(const struct dwarf_die *die);
/** dwarf_type_strip() - without typedefs and qualifiers */
struct dwarf_die dwarf_type_strip(struct dwarf_die type);
char *dwarf_type_name(struct dwarf_arena *arena, const struct dwarf_die *type);
bool dwarf_type_size(const struct dwarf_die *type, uint64_t *ret);
uint16_t dwarf_type_tag(const struct dwarf_die *type); /* 0: void */
/** dwarf_type_complete() - of a declaration ("struct conn;") the definition, if the same unit has one */
struct dwarf_die dwarf_type_complete(const struct dwarf_die *type);
/** dwarf_array_shape() - elements of an array (first dimension), the bytes of one; false when unknown */
bool dwarf_array_shape(const struct dwarf_die *type, uint64_t *count, uint64_t *stride);

/* ---- values (dwarf_part.c, dwarf_value.c, dwarf_path.c) ---- */

/* A part of a variable. */
struct dwarf_part {
	struct dwarf_location where;
	struct dwarf_die type;
	bool is_bits;               /* a bit field: so many bits from the bit first of where */
	uint64_t bit_first, bit_count;
};

/* Steps along a path. What is not possible gives a part whose location is REFUSED or NOWHERE. */
struct dwarf_part dwarf_part_refused(struct dwarf_context *context, const char *format, ...) BASE_PRINTF(2, 3);
struct dwarf_part dwarf_part_deref(struct dwarf_context *context, const struct dwarf_part *pointer);
struct dwarf_part dwarf_part_member(struct dwarf_context *context, const struct dwarf_part *whole, const char *name,
				    size_t length);
/** dwarf_part_of() - the part that a member entry (or a base class) describes */
struct dwarf_part dwarf_part_of(struct dwarf_context *context, const struct dwarf_part *whole, const struct dwarf_die *member);
struct dwarf_part dwarf_part_element(struct dwarf_context *context, const struct dwarf_part *whole, int64_t index);
/** dwarf_part_plain() - references followed; the type without typedefs in *type */
struct dwarf_part dwarf_part_plain(struct dwarf_context *context, const struct dwarf_part *part, struct dwarf_die *type);
/** dwarf_part_narrow() - the one place that holds @bits bits of the value, of its pieces */
struct dwarf_location dwarf_part_narrow(struct dwarf_context *context, const struct dwarf_location *where, uint64_t bits);

/** dwarf_type_is_char() - a character of one byte */
bool dwarf_type_is_char(const struct dwarf_die *plain);
bool dwarf_type_is_whole(const struct dwarf_die *plain); /* a structure, union, class */
bool dwarf_type_is_reference(const struct dwarf_die *plain);

/** dwarf_part_fetch() - fill fetch, type, show, bits, why of an argument; @cast: a type of uprobe_events or NULL */
void dwarf_part_fetch(struct dwarf_context *context, const struct dwarf_part *part, const char *cast,
		      struct object_dwarf_arg *arg);
/** dwarf_return_fetch() - the same of what @function returns */
void dwarf_return_fetch(struct dwarf_context *context, const struct dwarf_die *function, const char *cast,
			struct object_dwarf_arg *arg);

struct dwarf_args { /* a growing list in an arena */
	struct object_dwarf_arg *list;
	size_t count, cap;
	bool failed; /* no memory */
};
void dwarf_args_add(struct dwarf_arena *arena, struct dwarf_args *args, const struct object_dwarf_arg *arg);
/** dwarf_part_expand() - one argument, or one a member of a structure; @expand false: always one */
void dwarf_part_expand(struct dwarf_context *context, const struct dwarf_part *part, const char *name, const char *cast,
		       bool expand, size_t from, struct dwarf_args *args);

/* ---- scopes (dwarf_scope.c) ---- */

/* Entries around an address, the outermost first: the function, blocks, inlined instances. */
struct dwarf_scopes {
	struct dwarf_die list[DWARF_NESTING];
	size_t count;
};
/** dwarf_scopes_at() - empty when no function is known there */
void dwarf_scopes_at(struct dwarf_unit *unit, uint64_t vaddr, struct dwarf_scopes *ret);
/** dwarf_scopes_inner() - index of the innermost function or inlined instance */
size_t dwarf_scopes_inner(const struct dwarf_scopes *scopes);
typedef bool dwarf_variable_fn(void *arg, const struct dwarf_die *variable, const char *name); /* false: enough */
/** dwarf_scopes_variables() - what can be named, the innermost first; those that lost their entry come with the abstract one's */
void dwarf_scopes_variables(const struct dwarf_scopes *scopes, size_t from, dwarf_variable_fn *fn, void *arg);
/** dwarf_externs() - variables of the unit, in namespaces too, with their qualified names when @qualified (arena of the reader) */
void dwarf_externs(struct dwarf_unit *unit, bool qualified, dwarf_variable_fn *fn, void *arg);

/** dwarf_args_resolve() - the text of one argument at a place */
struct dwarf_spot { /* where it is resolved */
	struct dwarf_context context;
	struct dwarf_scopes scopes;
	size_t function; /* index in scopes: names are looked for from here inwards */
	struct dwarf_unit *unit;
	bool is_return;
};
int dwarf_args_resolve(struct dwarf_spot *spot, const char *text, size_t from, struct dwarf_args *args,
		       struct utap_error *err) BASE_MUST_CHECK;
/** dwarf_args_scope() - all variables in scope, one argument each; @locals false: parameters only */
void dwarf_args_scope(struct dwarf_spot *spot, bool locals, bool externs, bool expand, size_t from, struct dwarf_args *args);

/* ---- functions (dwarf_filter.c, dwarf_search.c) ---- */

/** dwarf_filter_name() - units[i] of @file may hold entries of that name: marks[i] becomes true */
int dwarf_filter_name(const struct dwarf_file *file, const char *name, bool *marks) BASE_MUST_CHECK;
/** dwarf_filter_offsets() - units that may refer to entries at those offsets of .debug_info (or of dwz's file) */
int dwarf_filter_offsets(const struct dwarf_file *file, const uint32_t *offsets, size_t count, bool *marks) BASE_MUST_CHECK;
/** dwarf_name_last() - of "ns::f<a::b>" what follows the last "::" */
const char *dwarf_name_last(const char *name);

/* Code of a function: itself, or a copy inlined into another. */
struct dwarf_instance {
	struct dwarf_die die;
	uint64_t entry;
	bool inlined;
};
struct dwarf_instances {
	struct dwarf_instance *list; /* heap */
	size_t count, cap;
};
/** dwarf_functions() - all code of functions called @name, in @source if that is not NULL; *ret is filled also on failure */
int dwarf_functions(struct object_dwarf *dwarf, const char *name, const char *source, struct dwarf_instances *ret,
		    struct utap_error *err) BASE_MUST_CHECK;
/** dwarf_declared() - file and line of the declaration of a function; false when unknown */
bool dwarf_declared(const struct dwarf_die *die, const char **source, unsigned *line);

/* ---- places (dwarf_place.c, dwarf_text.c) ---- */

/* A place as written, taken apart. */
struct dwarf_written {
	char *function, *source; /* heap; NULL: not given */
	char *pattern;
	bool has_line, is_return, by_address, has_range;
	uint64_t line, last_line, offset;
};
int dwarf_written_parse(struct object_dwarf *dwarf, const char *text, bool range, struct dwarf_written *ret,
			struct utap_error *err) BASE_MUST_CHECK;
void dwarf_written_free(struct dwarf_written *written);
/** dwarf_has_source() - does a unit name such a file? */
bool dwarf_has_source(struct object_dwarf *dwarf, const char *source);
/** dwarf_pattern_matches() - perf's lazy match: blanks do not count, * ? [..] as in a shell; anywhere in the line */
bool dwarf_pattern_matches(const char *line, size_t length, const char *pattern);

typedef bool dwarf_row_fn(void *arg, struct dwarf_unit *unit, const struct dwarf_line *row, const char *path);
/** dwarf_rows_of() - rows of statements in files called @source */
void dwarf_rows_of(struct object_dwarf *dwarf, const char *source, dwarf_row_fn *fn, void *arg);
/** dwarf_rows_in() - of the code of an instance */
void dwarf_rows_in(const struct dwarf_die *die, dwarf_row_fn *fn, void *arg);

/* ---- the reader ---- */

struct dwarf_span { /* of code, of a unit */
	uint64_t start, end;
	struct dwarf_unit *unit;
};
struct dwarf_fde {
	uint64_t start, end;
	uint64_t at; /* in its section */
	bool eh;
};

struct object_dwarf {
	struct object *object;
	struct dwarf_arena arena;
	struct dwarf_file *files; /* all, for closing */
	struct dwarf_file *main;
	struct dwarf_file *package; /* .dwp */
	bool package_tried;
	bool has_spans;
	struct dwarf_span *spans;
	size_t span_count, span_cap;
	bool has_fdes;
	struct dwarf_fde *fdes;
	size_t fde_count, fde_cap;
	struct dwarf_section eh_frame;
	uint64_t eh_frame_vaddr, debug_frame_vaddr;
};

int dwarf_no_memory(const struct object_dwarf *dwarf, struct utap_error *err);

#endif
