/* SPDX-License-Identifier: MIT */
/*
 * ELF files: names <-> file offsets, what code a file holds, and what points into it. Works on a file (a path or a
 * descriptor), never on a process. Corrupt files are input: every function returns an error, none trusts a count or
 * an offset of the file.
 *
 * Two coordinates: a file offset (how probes name places) and a vaddr (as linked; the process adds its load bias).
 */
#ifndef OBJECT_OBJECT_H
#define OBJECT_OBJECT_H

#include "base/base.h"

struct object; /* an open file; everything handed out lives as long as it */

struct object_segment { /* PT_LOAD */
	uint64_t vaddr, offset, file_size, memory_size;
	bool execute, write;
};

struct object_symbol {
	const char *name;      /* as in the file, mangled; without @version */
	uint64_t vaddr;
	uint64_t size;         /* 0 when the file does not say */
	bool function;         /* STT_FUNC or STT_GNU_IFUNC */
	bool ifunc;            /* vaddr is the resolver, not the code that runs */
	bool global;           /* global or weak binding */
	bool exported;         /* in .dynsym */
};

/** A range of code with a frame description entry (.eh_frame), or a function in the table of a Go program. */
struct object_range {
	uint64_t start, end; /* vaddr */
};

/**
 * object_open() - open an ELF file for x86-64
 * @path:  the file; also used in messages
 * @ret:   the caller closes with object_close()
 *
 * Return: 0; -ENOENT, -EACCES ..; -ENOEXEC not an x86-64 ELF file; -EINVAL damaged (@err says where); -ENOMEM.
 */
int object_open(const char *path, struct object **ret, struct utap_error *err) BASE_MUST_CHECK;
void object_close(struct object *object); /* NULL is fine */

/** object_open_bytes() - the same of a file in memory, called @path; takes over @bytes (heap), also on failure */
int object_open_bytes(const char *path, uint8_t *bytes, size_t size, struct object **ret, struct utap_error *err) BASE_MUST_CHECK;

const char *object_path(const struct object *object);
bool object_is_pie(const struct object *object);         /* ET_DYN */
uint64_t object_entry(const struct object *object);      /* e_entry, vaddr */
const char *object_interpreter(const struct object *object); /* PT_INTERP or NULL */
size_t object_build_id(const struct object *object, const uint8_t **ret); /* bytes, 0 when it has none */
size_t object_segments(const struct object *object, const struct object_segment **ret);

/** object_code() - the bytes at @vaddr inside an executable segment, *available of them, or NULL */
const uint8_t *object_code(const struct object *object, uint64_t vaddr, size_t *available);
/**
 * object_page() - the bytes at @vaddr as they are mapped with an executable segment: whole pages, also what the file has in its first one
 * before the segment and in its last one behind it; *available of them, or NULL
 */
const uint8_t *object_page(const struct object *object, uint64_t vaddr, size_t *available);

/** object_data() - the bytes at @vaddr inside any loaded segment, *available of them (file-backed), or NULL */
const uint8_t *object_data(const struct object *object, uint64_t vaddr, size_t *available);

/** Both directions; -ENOENT when no PT_LOAD holds it (file-backed part only). */
int object_offset_to_vaddr(const struct object *object, uint64_t offset, uint64_t *ret) BASE_MUST_CHECK;
int object_vaddr_to_offset(const struct object *object, uint64_t vaddr, uint64_t *ret) BASE_MUST_CHECK;

/**
 * object_symbols() - all defined symbols of code and data: .symtab, .dynsym, .gnu_debugdata and separate debug files
 * (build-id under /usr/lib/debug/.build-id, .gnu_debuglink), the function names of stripped Go programs; read at the
 * first call, sorted by vaddr, then global first
 *
 * Return: 0 (also when there are none), -EINVAL damaged, -ENOMEM.
 */
int object_symbols(struct object *object, const struct object_symbol **ret, size_t *count,
		   struct utap_error *err) BASE_MUST_CHECK;

/**
 * object_find() - symbols that a person's @pattern names, in the order of object_symbols()
 * @pattern: a name, a glob (* ? [..]), or a demangled C++/Rust name with or without its parameters. Versions
 *           (name@VER) are accepted and ignored.
 * @functions_only: leave data symbols out
 * @ret:     heap array of pointers into object_symbols(), the caller frees; no two with one vaddr
 *
 * Return: number found (0 when none), or a negative errno.
 */
long object_find(struct object *object, const char *pattern, bool functions_only,
		 const struct object_symbol ***ret, struct utap_error *err) BASE_MUST_CHECK;

/** object_suggest() - up to @max known function names close to @name (edit distance), for "did you mean"; returns how many */
size_t object_suggest(struct object *object, const char *name, const char **ret, size_t max);

/** object_symbol_at() - the function symbol that covers @vaddr (size 0: the nearest before it in the same segment), or NULL */
const struct object_symbol *object_symbol_at(struct object *object, uint64_t vaddr);

/** object_demangle() - heap text, the caller frees; a copy of @name when it is not mangled; NULL on -ENOMEM */
char *object_demangle(const char *name);

/**
 * object_ranges() - code ranges of all FDEs of .eh_frame (found through PT_GNU_EH_FRAME, or the section) and of Go's functions, with
 * the padding behind them; sorted, merged only when equal; read at the first call
 */
int object_ranges(struct object *object, const struct object_range **ret, size_t *count,
		  struct utap_error *err) BASE_MUST_CHECK;

/** object_range_at() - the FDE range that holds @vaddr, or NULL */
const struct object_range *object_range_at(struct object *object, uint64_t vaddr);

/**
 * object_pointers() - vaddrs of code that data points to: dynamic relocations (RELATIVE, IRELATIVE, RELR, and symbolic ones
 * against local code), function symbols, landing pads of .gcc_except_table and of Go's functions; sorted, unique
 */
int object_pointers(struct object *object, const uint64_t **ret, size_t *count, struct utap_error *err) BASE_MUST_CHECK;

/**
 * object_rseq_ranges() - code of rseq critical sections (section __rseq_cs: start_ip, start_ip + post_commit_offset),
 * plus the 4 signature bytes before each abort_ip; sorted. Most files have none.
 */
int object_rseq_ranges(struct object *object, const struct object_range **ret, size_t *count,
		       struct utap_error *err) BASE_MUST_CHECK;

/** A slot that the dynamic linker fills with the address of a function. */
struct object_slot {
	const char *name; /* the symbol wanted, "" for IRELATIVE */
	uint64_t vaddr;   /* of the 8-byte slot */
	uint64_t resolver; /* IRELATIVE: vaddr of the resolver; else 0 */
};

/** object_slots() - JUMP_SLOT, GLOB_DAT, R_X86_64_64 against functions, and IRELATIVE relocations; how ifuncs are resolved */
int object_slots(struct object *object, const struct object_slot **ret, size_t *count,
		 struct utap_error *err) BASE_MUST_CHECK;

/** object_is_go() - was it linked by Go (.gopclntab or .note.go.buildid)? */
bool object_is_go(struct object *object);

/**
 * object_go_goid_offset() - where in the runtime's struct g the number of the goroutine is
 * Return: 0; -ENOENT: no Go program, or built by a Go of which that is not known.
 */
int object_go_goid_offset(struct object *object, uint64_t *ret) BASE_MUST_CHECK;

/** A function in the table of a Go program. */
struct object_go_function {
	uint64_t start, end; /* with the padding behind it */
	uint64_t landing;    /* where the runtime enters it again after a panic, or 0 */
	const char *name;    /* in the file, or NULL */
	const uint8_t *depths, *depths_end; /* for object_go_depth_next(); NULL: not told */
};

/**
 * object_go_functions() - all of a Go program, by start, not overlapping
 * @ret: heap, the caller frees; *@count of them
 * Return: 0; -ENOENT: no table; -ENOMEM.
 */
int object_go_functions(struct object *object, struct object_go_function **ret, size_t *count) BASE_MUST_CHECK;

/** In [start, end) of a function the stack pointer is depth bytes below where it was at the function's entry. */
struct object_go_depth {
	uint64_t start, end;
	int64_t depth; /* at least 0 */
	const uint8_t *at;
};
/** object_go_depth_next() - the next stretch of @function, the first one after a zeroed @depth; false: no more is told */
bool object_go_depth_next(const struct object_go_function *function, struct object_go_depth *depth);

/** object_go_minor() - N where Go 1.N built it; 0: not known */
unsigned object_go_minor(struct object *object);

#endif
