/* SPDX-License-Identifier: MIT */
/* The functions of a program and of its libc, or some of their instructions, as places in files, with what each side counted there. */
#ifndef ORACLE_PLACES_H
#define ORACLE_PLACES_H

#include "object/object.h"
#include "patch/layer.h"

#define PLACES_FILES 2
#define PLACES_RUNS 3 /* of the kernel, at most */
#define PLACES_NAME 256

struct place_count { /* as struct uprobes_counter */
	uint64_t count;
	uint64_t sum, mapped, low;
	uint64_t tails; /* utap: of the returns, those by tail calls, whose values are not known */
};

struct place {
	uint8_t file;   /* index of places.files */
	bool probed;    /* by utap */
	bool hot;       /* left out of the kernel's runs: see --budget */
	bool unsure;    /* two runs of the kernel differ in the count */
	bool unsure_sum;
	bool excused;   /* differs for a known reason */
	bool no_kernel; /* it cannot have a uprobe: uprobes_cannot() */
	enum patch_layer layer;
	uint32_t id;    /* of utap's session */
	uint64_t offset;
	struct place_count utap;
	struct place_count kernel[PLACES_RUNS];
	uint64_t early; /* hits before the program's start, as the kernel counted them */
};

struct places_file {
	char path[4096];
	struct object *object;
	struct place *place; /* by offset */
	size_t count;
};

struct places_range {
	uint64_t start, end;
};

struct places {
	struct places_file files[PLACES_FILES];
	size_t nfiles;
	char loader[4096]; /* "" for a static program */
	uint64_t start;    /* file offset of _dl_debug_state in it */
	struct places_range *reserved; /* where utap mapped memory */
	size_t nreserved, reserved_cap;
};

/** Which places: all functions, or instructions chosen at random. */
struct places_choice {
	bool returns;    /* the functions' returns, not their entries */
	unsigned sample; /* every so-manieth of the program's */
	unsigned one_in; /* 0: functions; else each instruction with this chance */
	uint64_t seed;
};

/** places_find() - functions (symbols and frame descriptions) or instructions of @program and, when it is dynamic, of this machine's libc */
int places_find(const char *program, const struct places_choice *choice, struct places *ret,
		struct utap_error *err) BASE_MUST_CHECK;
void places_free(struct places *places);

/** places_at() - by file path and offset, or NULL */
struct place *places_at(struct places *places, const char *path, uint64_t offset);

/** places_name() - "libc.so.6:malloc" or "gzip:0x1230", for messages */
void places_name(const struct places *places, const struct place *place, char *text, size_t size);

/** places_function() - the name of the function that begins there, "" when it has none */
void places_function(const struct places *places, const struct place *place, char *text, size_t size);

/** places_code() - up to @size bytes there; how many */
size_t places_code(const struct places *places, const struct place *place, uint8_t *to, size_t size);

#endif
