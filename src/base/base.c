/* SPDX-License-Identifier: MIT */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
	base_log_fn *fn;
	void *arg;
} log_sink;

static void error_fill(struct utap_error *err, int code, enum utap_error_kind kind, const char *format, va_list ap)
{
	if (!err)
		return;
	err->code = code;
	err->kind = kind;
	vsnprintf(err->text, sizeof(err->text), format, ap);
}

int base_error(struct utap_error *err, int code, enum utap_error_kind kind, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	error_fill(err, code, kind, format, ap);
	va_end(ap);
	return code;
}

int base_error_system(struct utap_error *err, int code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	error_fill(err, code, UTAP_ERROR_SYSTEM, format, ap);
	va_end(ap);
	if (err) {
		size_t used = strlen(err->text);

		snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(-code));
	}
	return code;
}

void base_cleanup_free(void *pointer_to_pointer)
{
	void *pointer;

	memcpy(&pointer, pointer_to_pointer, sizeof(pointer));
	free(pointer);
}

void base_cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

int base_grow(void *data, size_t *cap, size_t need, size_t size)
{
	size_t wanted = *cap ? *cap : 16;
	void *old;
	void *new;

	if (need <= *cap)
		return 0;
	while (wanted < need)
		wanted *= 2;
	if (wanted > SIZE_MAX / size)
		return -ENOMEM;
	memcpy(&old, data, sizeof(old));
	new = realloc(old, wanted * size);
	if (!new)
		return -ENOMEM;
	memcpy(data, &new, sizeof(new));
	*cap = wanted;
	return 0;
}

int base_file_read(const char *path, char **ret, size_t *size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	size_t cap = 0;
	size_t used = 0;

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t n;

		if (used + 4096 + 1 > cap && base_grow(&text, &cap, used + 4096 + 1, 1))
			return -ENOMEM;
		n = read(fd, text + used, cap - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	text[used] = '\0';
	*ret = text;
	text = NULL;
	if (size)
		*size = used;
	return 0;
}

int base_write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

uint64_t base_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

void base_log_set(base_log_fn *fn, void *arg)
{
	log_sink.fn = fn;
	log_sink.arg = arg;
}

bool base_log_is_on(void) { return log_sink.fn; }

void base_log(enum base_log_level level, const char *format, ...)
{
	char text[1024];
	va_list ap;

	if (!log_sink.fn)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	log_sink.fn(log_sink.arg, level, text);
}
