/* SPDX-License-Identifier: MIT */
/*
 * What every room uses: the address type, errors, clean-up by scope, growing arrays, small files, the log callback.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "utap/error.h"

/** An address in the target. Never a pointer. */
typedef uint64_t utap_addr;

#define BASE_MUST_CHECK __attribute__((warn_unused_result))
#define BASE_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define BASE_PAGE 4096UL

static inline uint64_t base_align_down(uint64_t value, uint64_t to) { return value & ~(to - 1); }
static inline uint64_t base_align_up(uint64_t value, uint64_t to) { return (value + to - 1) & ~(to - 1); }

/**
 * base_error() - fill @err (which may be NULL) and hand back @code
 *
 * Return: @code, so that a caller can write `return base_error(err, -ESRCH, UTAP_ERROR_NOT_FOUND, "...")`.
 */
int base_error(struct utap_error *err, int code, enum utap_error_kind kind, const char *format, ...) BASE_PRINTF(4, 5);

/** base_error_system() - as above, kind SYSTEM, with ": strerror" appended for -@code */
int base_error_system(struct utap_error *err, int code, const char *format, ...) BASE_PRINTF(3, 4);

/* Clean-up by scope: the variable is released when it leaves its block. */
void base_cleanup_free(void *pointer_to_pointer);
void base_cleanup_close(int *fd);
#define _cleanup_free_ __attribute__((cleanup(base_cleanup_free)))
#define _cleanup_close_ __attribute__((cleanup(base_cleanup_close)))

/** base_steal_fd() - take a descriptor out of a _cleanup_close_ variable */
static inline int base_steal_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/**
 * base_grow() - make room for @need elements in a heap array
 * @data:  the array, owned by the caller, replaced when it moves (NULL at first)
 * @cap:   its capacity in elements
 * @need:  elements it must hold
 * @size:  bytes of one element
 *
 * Return: 0 or -ENOMEM (then nothing changed).
 */
int base_grow(void *data, size_t *cap, size_t need, size_t size) BASE_MUST_CHECK;

/**
 * base_file_read() - a whole small file (procfs too) as one terminated string
 * @ret:   heap, the caller frees
 * @size:  bytes without the terminator; may be NULL
 *
 * Return: 0 or a negative errno.
 */
int base_file_read(const char *path, char **ret, size_t *size) BASE_MUST_CHECK;

/** base_write_all() - write(2) until everything is written; 0 or a negative errno (-ENOSPC stays -ENOSPC) */
int base_write_all(int fd, const void *data, size_t size) BASE_MUST_CHECK;

/** base_now_ns() - CLOCK_MONOTONIC in nanoseconds */
uint64_t base_now_ns(void);

enum base_log_level { BASE_LOG_WARN, BASE_LOG_INFO, BASE_LOG_DEBUG };
typedef void base_log_fn(void *arg, enum base_log_level level, const char *text);

/** base_log_set() - where text goes; NULL (the default) drops it. Not thread-safe: set once, at start. */
void base_log_set(base_log_fn *fn, void *arg);
bool base_log_is_on(void); /* does anybody listen? */
void base_log(enum base_log_level level, const char *format, ...) BASE_PRINTF(2, 3);

#endif
