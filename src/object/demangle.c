/* SPDX-License-Identifier: MIT */
/*
 * Names of C++ and Rust, through libiberty. A mangled name is input: a few bytes of it can ask for gigabytes of text
 * (substitutions double), so the text is bounded, and the demangler is left through longjmp() when it passes the bound.
 * Its callback interface holds no heap memory that this would leak, except for Rust's punycode identifiers.
 */
#include <errno.h>
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define TEXT_MAX (256UL << 10)

struct demangle_text {
	char *text;
	size_t used, cap;
	int error;
	jmp_buf leave;
};

static void text_append(const char *text, size_t size, void *arg)
{
	struct demangle_text *out = arg;

	if (size == 0)
		return; /* text may be NULL then */
	if (out->used + size >= TEXT_MAX)
		out->error = -EINVAL;
	else if (base_grow(&out->text, &out->cap, out->used + size + 1, 1))
		out->error = -ENOMEM;
	if (out->error)
		longjmp(out->leave, 1);
	memcpy(out->text + out->used, text, size);
	out->used += size;
	out->text[out->used] = '\0';
}

bool object_demangle_possible(const char *name)
{
	return name[0] == '_' && (name[1] == 'Z' || name[1] == 'R');
}

static bool is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/*
 * Rust's "for<'a, ..>" is written F or D, G, a number, _. libiberty counts up to any number, silently where it does not
 * print, so 50 bytes can cost hours. Real ones are a handful; an identifier that looks like this by chance stays
 * mangled.
 */
static bool has_huge_binder(const char *name)
{
	bool number = false; /* from here, digits of base 62 lead to a _ */
	size_t digits = 0;

	for (size_t at = strlen(name); at-- > 1;) {
		char c = name[at];

		if (c == 'G' && number && digits >= 3 && (name[at - 1] == 'F' || name[at - 1] == 'D'))
			return true;
		number = c == '_' || (number && is_alphanumeric(c));
		digits = c == '_' ? 0 : digits + 1;
	}
	return false;
}

/* Old Rust names look like C++ names that end in a hash: Rust is asked first. */
static void demangle_into(const char *name, int options, struct demangle_text *out)
{
	if (setjmp(out->leave))
		return;
	if (rust_demangle_callback(name, options, text_append, out))
		return;
	out->used = 0;
	if (!cplus_demangle_v3_callback(name, options, text_append, out))
		out->error = -EINVAL;
}

int object_demangle_as(const char *name, enum object_demangle_form form, char **ret)
{
	int options = DMGL_ANSI | (form == OBJECT_DEMANGLE_FULL ? DMGL_PARAMS | DMGL_RET_DROP : 0);
	struct demangle_text out = { 0 };

	if (!object_demangle_possible(name) || (name[1] == 'R' && has_huge_binder(name)))
		return -EINVAL;
	demangle_into(name, options, &out);
	if (out.error || !out.text) {
		free(out.text);
		return out.error ? out.error : -EINVAL;
	}
	*ret = out.text;
	return 0;
}

char *object_demangle(const char *name)
{
	char *text;
	int r = object_demangle_as(name, OBJECT_DEMANGLE_FULL, &text);

	if (r == -ENOMEM)
		return NULL;
	return r ? strdup(name) : text;
}
