/* SPDX-License-Identifier: MIT */
/*
 * Debug information: the places that a person names by function and line of the source, and the variables there, as fetch arguments of the
 * kernel's uprobe_events language. Nothing here runs or reads a process; a variable of which it is not proved where its value is at that very
 * address is refused with a sentence.
 *
 * DWARF 4 and 5 of the file itself, of its separate debug file (build-id, .gnu_debuglink, debuginfod when DEBUGINFOD_URLS is set), the file that
 * dwz made for several, split DWARF (.dwo, .dwp). Only the headers of units and their first entries are read at the start; a unit is read when it can
 * hold the name.
 *
 * Not thread-safe. Everything handed out is owned by what it came with.
 */
#ifndef OBJECT_DWARF_H
#define OBJECT_DWARF_H

#include "object/object.h"

struct object_dwarf;

/**
 * object_dwarf_open() - find and open the debug information of @object
 * @object: borrowed, stays open longer than the result
 * @ret:    the caller closes with object_dwarf_close()
 *
 * Return: 0; -ENOENT when there is none (@err says where it was looked for); -EINVAL damaged; -ENOTSUP packed in a way we do not read; -ENOMEM.
 */
int object_dwarf_open(struct object *object, struct object_dwarf **ret, struct utap_error *err) BASE_MUST_CHECK;
void object_dwarf_close(struct object_dwarf *dwarf); /* NULL is fine */
const char *object_dwarf_path(const struct object_dwarf *dwarf); /* the file that holds it */

/** How a value is meant to be shown. */
enum object_dwarf_show {
	OBJECT_DWARF_UNSIGNED,
	OBJECT_DWARF_SIGNED,
	OBJECT_DWARF_HEX,
	OBJECT_DWARF_POINTER,
	OBJECT_DWARF_CHAR,
	OBJECT_DWARF_BOOL,
	OBJECT_DWARF_FLOAT,  /* the fetch argument brings its bits, as x32 or x64 */
	OBJECT_DWARF_ENUM,
	OBJECT_DWARF_STRING,
};

/** One fetch argument, or the reason why there is none. Strings live as long as the result. */
struct object_dwarf_arg {
	const char *name;  /* as given with NAME=, or the variable's; members of a structure: "conn.id" */
	const char *fetch; /* "+8(%di):s32", without the name; NULL when refused */
	const char *type;  /* as its language names it, "struct conn *"; NULL when nothing is known */
	const char *why;   /* a sentence when refused, else NULL */
	enum object_dwarf_show show;
	uint8_t bits;      /* of one value; 0: a string */
	bool in_vector;    /* %xmmN, or $retval of type f32, f64: utap's language, not the kernel's */
	bool is_signed;    /* bit fields print as unsigned in uprobe_events: who prints can do better */
	size_t from;       /* index of the caller's argument that it came from */
};

/** An address that a place stands for. */
struct object_dwarf_place {
	uint64_t vaddr, offset; /* as linked, and in the file */
	const char *function;   /* the innermost function there, qualified; "" when unknown */
	const char *source;     /* file of the source, "" when unknown */
	unsigned line;          /* 0 when unknown */
	uint64_t entry;         /* vaddr of the function's entry; of an inlined instance its first instruction */
	bool inlined;           /* in a copy of the function inside of another */
	bool is_return;         /* %return: vaddr is the function's entry, the arguments are of its returns */
	struct object_dwarf_arg *args;
	size_t nargs;
};

struct object_dwarf_places {
	struct object_dwarf_place *places; /* by vaddr */
	size_t count;
	bool skipped_prologue; /* the places lie behind the function's prologue, since arguments are variables and it is not optimised */
	void *memory;          /* private */
};

/**
 * object_dwarf_find() - places by the source, and variables there
 * @place: FUNC, FUNC+OFFS, FUNC%return, FUNC:RLN, FUNC;PATTERN, each also FUNC@SRC..; SRC:LINE, SRC;PATTERN; 0xVADDR. RLN counts from the line where the
 *         function is declared, 0 is that line. FUNC may be qualified (ns::f, Type::method), or a symbol.
 * @args:  each [NAME=]WHAT[:TYPE]; WHAT is a variable ("n", "conn->addr.port[2]", "*p"), $vars (parameters and locals), $params, $retval;
 *         TYPE u8..x64, u, s, x, string, ustring. What begins with % @ + - \ or another $ is a fetch argument and is handed through as it is.
 *         Structures become one argument a member.
 * @ret:   at least one place; each with all args, refused ones included. The caller frees with object_dwarf_places_free().
 *
 * In fetch arguments @+OFFSET is meant as the kernel reads it: an address as far from the probed one as the offset is from the probed offset.
 *
 * Return: 0; -EINVAL for text that is none; -ENOENT: no such function, file, line with code (the sentence says what is near); -ENOMEM.
 */
int object_dwarf_find(struct object_dwarf *dwarf, const char *place, const char *const *args, size_t nargs,
		      struct object_dwarf_places **ret, struct utap_error *err) BASE_MUST_CHECK;
void object_dwarf_places_free(struct object_dwarf_places *places);

/**
 * object_dwarf_variables() - what can be named at a place: parameters and locals in scope, with their types
 * @externs:    also variables of the file
 * @no_inlines: leave inlined instances out
 * Return: as object_dwarf_find(); args have no index, structures are one arg, without fetch where only their members have one.
 */
int object_dwarf_variables(struct object_dwarf *dwarf, const char *place, bool externs, bool no_inlines,
			   struct object_dwarf_places **ret, struct utap_error *err) BASE_MUST_CHECK;

/** Lines of one source file, and which of them have code that can be probed by SRC:LINE or FUNC:RLN. */
struct object_dwarf_lines {
	const char *source;   /* the path as the compiler saw it */
	const char *function; /* NULL: lines of the file */
	unsigned first, last; /* in the file, from 1 */
	unsigned base;        /* the number of the function's first line, which is shown as 0; of a file 0 */
	bool *has_code;       /* [line - first] */
	void *memory;         /* private */
};

/**
 * object_dwarf_lines() - as `perf probe -L`
 * @range: FUNC[@SRC][:FIRST[-LAST|+COUNT]] (lines count from the function's), SRC[:FIRST[-LAST|+COUNT]]; all of it when there are no numbers
 * Return: as object_dwarf_find(); the caller frees with object_dwarf_lines_free().
 */
int object_dwarf_lines(struct object_dwarf *dwarf, const char *range, struct object_dwarf_lines **ret,
		       struct utap_error *err) BASE_MUST_CHECK;
void object_dwarf_lines_free(struct object_dwarf_lines *lines);

/**
 * object_dwarf_source() - read a file of the source: at @path, or below the folder that UTAP_SOURCE names
 * @ret: heap, the caller frees; terminated
 */
int object_dwarf_source(const char *path, char **ret, size_t *size, struct utap_error *err) BASE_MUST_CHECK;

/** object_dwarf_line_at() - the source line of an address; -ENOENT when unknown. *@source lives as long as @dwarf */
int object_dwarf_line_at(struct object_dwarf *dwarf, uint64_t vaddr, const char **source, unsigned *line) BASE_MUST_CHECK;

#endif
