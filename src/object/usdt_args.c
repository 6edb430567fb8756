/* SPDX-License-Identifier: MIT */
/*
 * The arguments of statically defined probes: operands as the assembler writes them, with a size in front, separated by spaces.
 *
 *     ARG = [SIZE@]OPERAND   SIZE = [-]1|2|4|8[f], - for signed, f for floating point
 *     OPERAND = $NUMBER | %REGISTER | %xmmN | [DISPLACEMENT]([%REGISTER][,%REGISTER[,SCALE]]) | SYMBOL[+-NUMBER](%rip) | [NUMBER+]SYMBOL(%rip)
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"
#include "object/usdt.h"

#define ARGS_MAX 12 /* as many as <sys/sdt.h> has macros for */
#define NAME_MAX_BYTES 256
#define FETCH_SIZE 128 /* bytes of the text of one argument, at most */

struct operand {
	const char *text; /* for messages: the whole argument .. */
	int text_size;    /* .. and its length */
	unsigned size;    /* bytes */
	bool is_signed, is_float;
	const char *at, *end; /* what is left to be read */
};

/* ---- registers ---- */

struct register_name {
	const char *names[4]; /* of 64, 32, 16 and 8 bits */
	const char *fetch;
};

static const struct register_name registers[] = {
	{ { "rax", "eax", "ax", "al" }, "ax" },      { { "rbx", "ebx", "bx", "bl" }, "bx" },
	{ { "rcx", "ecx", "cx", "cl" }, "cx" },      { { "rdx", "edx", "dx", "dl" }, "dx" },
	{ { "rsi", "esi", "si", "sil" }, "si" },     { { "rdi", "edi", "di", "dil" }, "di" },
	{ { "rbp", "ebp", "bp", "bpl" }, "bp" },     { { "rsp", "esp", "sp", "spl" }, "sp" },
	{ { "r8", "r8d", "r8w", "r8b" }, "r8" },     { { "r9", "r9d", "r9w", "r9b" }, "r9" },
	{ { "r10", "r10d", "r10w", "r10b" }, "r10" }, { { "r11", "r11d", "r11w", "r11b" }, "r11" },
	{ { "r12", "r12d", "r12w", "r12b" }, "r12" }, { { "r13", "r13d", "r13w", "r13b" }, "r13" },
	{ { "r14", "r14d", "r14w", "r14b" }, "r14" }, { { "r15", "r15d", "r15w", "r15b" }, "r15" },
};
static const char *const high_bytes[][2] = { { "ah", "ax" }, { "bh", "bx" }, { "ch", "cx" }, { "dh", "dx" } };

static bool is_word(const char *text, size_t size, const char *word) { return strlen(word) == size && !memcmp(text, word, size); }

static size_t word_size(const struct operand *operand)
{
	size_t size = 0;

	while (operand->at + size < operand->end && strchr("abcdefghijklmnopqrstuvwxyz0123456789", operand->at[size]))
		size++;
	return size;
}

/* The register at operand->at, behind its '%'; NULL: none that can be fetched. */
static const char *take_register(struct operand *operand)
{
	size_t size = word_size(operand);

	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
		for (int j = 0; j < 4; j++)
			if (is_word(operand->at, size, registers[i].names[j])) {
				operand->at += size;
				return registers[i].fetch;
			}
	return NULL;
}

static const char *high_byte(const struct operand *operand)
{
	for (size_t i = 0; i < sizeof(high_bytes) / sizeof(high_bytes[0]); i++)
		if (is_word(operand->at, (size_t)(operand->end - operand->at), high_bytes[i][0]))
			return high_bytes[i][1];
	return NULL;
}

/* ---- parts of operands ---- */

static int refuse(const struct operand *operand, int code, const char *why, struct utap_error *err)
{
	return base_error(err, code, code == -ENOTSUP ? UTAP_ERROR_REFUSED : UTAP_ERROR_SYSTEM, "its argument %.*s %s", operand->text_size,
			  operand->text, why);
}

static bool take(struct operand *operand, char c)
{
	if (operand->at == operand->end || *operand->at != c)
		return false;
	operand->at++;
	return true;
}

/* A decimal or hexadecimal number with its sign, if one is there. */
static bool take_number(struct operand *operand, int64_t *ret)
{
	char text[32];
	size_t size = (size_t)(operand->end - operand->at);
	char *end;
	long long value;

	if (size >= sizeof(text))
		size = sizeof(text) - 1;
	memcpy(text, operand->at, size);
	text[size] = 0;
	if (!strchr("+-0123456789", text[0]) || !text[0])
		return false;
	errno = 0;
	value = strtoll(text, &end, 0);
	if (end == text || errno)
		return false;
	operand->at += end - text;
	*ret = value;
	return true;
}

static bool is_name_byte(char c) { return c == '_' || c == '.' || c == '$' || c == '@' || (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

/* The vaddr of the variable named at operand->at. */
static int take_symbol(struct operand *operand, struct object *object, uint64_t *ret, struct utap_error *err)
{
	const struct object_symbol *symbols;
	size_t count, size = 0;
	int error = object_symbols(object, &symbols, &count, err);

	if (error)
		return error;
	while (operand->at + size < operand->end && size < NAME_MAX_BYTES && is_name_byte(operand->at[size]))
		size++;
	for (size_t i = 0; i < count && size; i++)
		if (is_word(operand->at, size, symbols[i].name)) {
			operand->at += size;
			*ret = symbols[i].vaddr;
			return 0;
		}
	return refuse(operand, -ENOTSUP, "names a symbol that the file does not have", err);
}

/* ---- one argument ---- */

static void print_fetch(const struct operand *operand, unsigned number, const char *fetch, char *text)
{
	snprintf(text, FETCH_SIZE, "arg%u=%s:%c%u", number, fetch, operand->is_float ? 'f' : operand->is_signed ? 's' : 'u', operand->size * 8);
}

/* "xmm0" to "xmm15"; -1: no such */
static int take_vector(struct operand *operand)
{
	size_t size = word_size(operand);
	unsigned number = 0;

	if (size < 4 || size > 5 || memcmp(operand->at, "xmm", 3))
		return -1;
	for (size_t i = 3; i < size; i++)
		number = operand->at[i] >= '0' && operand->at[i] <= '9' ? number * 10 + (unsigned)(operand->at[i] - '0') : 16;
	if (number > 15)
		return -1;
	operand->at += size;
	return (int)number;
}

static int fetch_register(struct operand *operand, unsigned number, char *text, struct utap_error *err)
{
	const char *high = high_byte(operand);
	int vector = take_vector(operand);
	const char *name = high || vector >= 0 ? NULL : take_register(operand);
	char fetch[FETCH_SIZE / 2];

	if (high && !operand->is_signed && operand->size == 1) {
		snprintf(text, FETCH_SIZE, "arg%u=%%%s:b8@8/16", number, high);
		return 0;
	}
	if ((!name && vector < 0) || operand->at != operand->end) /* compilers move floating point to general registers, too */
		return refuse(operand, -ENOTSUP, "is in a register that cannot be recorded", err);
	if (vector >= 0)
		snprintf(fetch, sizeof(fetch), "%%xmm%d", vector);
	else
		snprintf(fetch, sizeof(fetch), "%%%s", name);
	print_fetch(operand, number, fetch, text);
	return 0;
}

/* Of a place in the file: counted as the kernel does. */
static int fetch_static(struct operand *operand, const struct object_usdt *usdt, uint64_t vaddr, unsigned number, char *text)
{
	char fetch[FETCH_SIZE / 2];

	snprintf(fetch, sizeof(fetch), "@+0x%llx", (unsigned long long)(vaddr - usdt->vaddr + usdt->offset));
	print_fetch(operand, number, fetch, text);
	return 0;
}

/* What stands in parentheses. */
struct address {
	const char *base, *index; /* NULL: none */
	int64_t scale;
	bool is_rip; /* the base */
};

/* A register of 64 bits, behind its '%'. */
static const char *take_pointer(struct operand *operand)
{
	const char *start = operand->at;
	const char *name = take_register(operand);

	for (size_t i = 0; name && i < sizeof(registers) / sizeof(registers[0]); i++)
		if (registers[i].fetch == name && is_word(start, (size_t)(operand->at - start), registers[i].names[0]))
			return name;
	return NULL;
}

/* ",%REGISTER[,SCALE]" */
static bool take_index(struct operand *operand, struct address *address)
{
	if (!take(operand, ',') || !take(operand, '%'))
		return false;
	address->index = take_pointer(operand);
	if (!address->index || !strcmp(address->index, "sp") || (take(operand, ',') && !take_number(operand, &address->scale)))
		return false;
	return address->scale == 1 || address->scale == 2 || address->scale == 4 || address->scale == 8;
}

static bool take_base(struct operand *operand, struct address *address)
{
	if (!take(operand, '%'))
		return operand->at < operand->end && *operand->at == ',';
	if (word_size(operand) == 3 && !memcmp(operand->at, "rip", 3)) {
		operand->at += 3;
		address->is_rip = true;
		return true;
	}
	address->base = take_pointer(operand);
	return address->base;
}

static int take_address(struct operand *operand, struct address *ret, struct utap_error *err)
{
	struct address address = { .scale = 1 };

	if (!take(operand, '('))
		return refuse(operand, -ENOTSUP, "has an address that is not a register and a distance", err);
	if (!take_base(operand, &address) || (operand->at < operand->end && *operand->at == ',' && !address.is_rip && !take_index(operand, &address)) ||
	    !take(operand, ')') || operand->at != operand->end)
		return refuse(operand, -EINVAL, "is none that an assembler writes", err);
	*ret = address;
	return 0;
}

static int fetch_memory(struct operand *operand, struct object *object, const struct object_usdt *usdt, unsigned number, char *text,
			struct utap_error *err)
{
	int64_t distance = 0, more = 0;
	bool has_number = take_number(operand, &distance);
	bool has_symbol = operand->at < operand->end && *operand->at != '(';
	char fetch[FETCH_SIZE / 2];
	struct address address = { 0 };
	uint64_t vaddr = 0;
	int error;

	if (has_number && has_symbol)
		(void)take(operand, '+');
	error = has_symbol ? take_symbol(operand, object, &vaddr, err) : 0;
	if (error)
		return error;
	if (has_symbol)
		(void)take_number(operand, &more);
	error = take_address(operand, &address, err);
	if (error)
		return error;
	if (has_symbol != address.is_rip)
		return refuse(operand, -ENOTSUP, "has an address that is not a register and a distance", err);
	if (has_symbol)
		return fetch_static(operand, usdt, vaddr + (uint64_t)distance + (uint64_t)more, number, text);
	snprintf(fetch, sizeof(fetch), "%+lld(%s%s", (long long)distance, address.base ? "%" : "", address.base ? address.base : "");
	if (address.index)
		snprintf(fetch + strlen(fetch), sizeof(fetch) - strlen(fetch), ",%%%s,%lld", address.index, (long long)address.scale);
	strncat(fetch, ")", sizeof(fetch) - strlen(fetch) - 1);
	print_fetch(operand, number, fetch, text);
	return 0;
}

static int take_size(struct operand *operand, struct utap_error *err)
{
	int64_t size = 8;

	if (memchr(operand->at, '@', (size_t)(operand->end - operand->at)) && *operand->at != '$') {
		if (!take_number(operand, &size))
			return refuse(operand, -EINVAL, "has no size", err);
		operand->is_float = take(operand, 'f');
		if (!take(operand, '@'))
			return refuse(operand, -EINVAL, "has no size", err);
	}
	operand->is_signed = size < 0;
	operand->size = (unsigned)(size < 0 ? -size : size);
	if ((operand->size != 1 && operand->size != 2 && operand->size != 4 && operand->size != 8) || (operand->is_float && operand->size < 4))
		return refuse(operand, -ENOTSUP, "is of a size that cannot be recorded", err);
	return 0;
}

static int fetch_one(struct object *object, const struct object_usdt *usdt, struct operand *operand, unsigned number, char *text,
		     struct utap_error *err)
{
	char fetch[FETCH_SIZE / 2];
	int64_t value;
	int error = take_size(operand, err);

	if (error)
		return error;
	if (take(operand, '%'))
		return fetch_register(operand, number, text, err);
	if (!take(operand, '$'))
		return fetch_memory(operand, object, usdt, number, text, err);
	if (!take_number(operand, &value) || operand->at != operand->end)
		return refuse(operand, -ENOTSUP, "is a constant that only the linker knew", err);
	snprintf(fetch, sizeof(fetch), "\\%lld", (long long)value);
	print_fetch(operand, number, fetch, text);
	return 0;
}

int object_usdt_args(struct object *object, const struct object_usdt *usdt, char **ret, struct utap_error *err)
{
	_cleanup_free_ char *text = calloc(ARGS_MAX + 1, FETCH_SIZE);
	const char *at = usdt->arguments;
	size_t used = 0;

	if (!text)
		return object_no_memory(object, err);
	for (unsigned number = 1; *(at += strspn(at, " ")); number++) {
		size_t size = strcspn(at, " ");
		struct operand operand = { .text = at, .text_size = (int)(size > 80 ? 80 : size), .at = at, .end = at + size };
		char one[FETCH_SIZE];
		int error = number > ARGS_MAX ? refuse(&operand, -EINVAL, "is one too many", err)
					      : fetch_one(object, usdt, &operand, number, one, err);

		if (error)
			return error;
		used += (size_t)snprintf(text + used, (ARGS_MAX + 1) * FETCH_SIZE - used, "%s%s", used ? " " : "", one);
		at += size;
	}
	*ret = text;
	text = NULL;
	return 0;
}
