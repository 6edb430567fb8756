/* SPDX-License-Identifier: MIT */
/*
 * Arguments as a person writes them, [NAME=]WHAT[:TYPE], at one address: $vars and $params, paths of members and elements, whole structures. What is
 * wrong with the text is an error; what cannot be fetched here is a refused argument.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/dwarf_inside.h"

#define ARGS_MAX 128 /* of a probe */
#define EXPAND_DEPTH 4
#define TEXT_MAX 1000

void dwarf_args_add(struct dwarf_arena *arena, struct dwarf_args *args, const struct object_dwarf_arg *arg)
{
	if (args->count == args->cap) {
		size_t cap = args->cap ? 2 * args->cap : 16;
		struct object_dwarf_arg *list = dwarf_alloc(arena, cap * sizeof(*list));

		if (!list) {
			args->failed = true;
			return;
		}
		if (args->count)
			memcpy(list, args->list, args->count * sizeof(*list));
		args->list = list;
		args->cap = cap;
	}
	args->list[args->count++] = *arg;
}

/* ---- structures, member by member ---- */

struct expansion {
	struct dwarf_context *context;
	const char *cast;
	size_t from;
	struct dwarf_args *args;
};

static void expand(struct expansion *e, const struct dwarf_part *part, const char *name, unsigned depth);

static void expand_member(struct expansion *e, const struct dwarf_part *whole, const struct dwarf_die *member, const char *name,
			  unsigned depth)
{
	struct dwarf_part part = dwarf_part_of(e->context, whole, member);
	const char *own = member->abbrev->tag == DW_TAG_inheritance ? NULL : dwarf_die_name(member);

	/* Members of bases and of unnamed structures are as if they were its own. */
	expand(e, &part, own && *own ? dwarf_print(e->context->arena, "%s.%s", name, own) : name, depth + 1);
}

static void expand_whole(struct expansion *e, const struct dwarf_part *whole, const struct dwarf_die *type, const char *name,
			 unsigned depth)
{
	struct dwarf_children children;
	struct dwarf_die child;
	struct dwarf_die discriminant;

	dwarf_children_init(&children, type);
	while (dwarf_children_next(&children, &child) && e->args->count < ARGS_MAX) {
		uint16_t tag = child.abbrev->tag;

		if (tag == DW_TAG_variant_part && dwarf_die_reference(&child, DW_AT_discr, &discriminant)) {
			struct dwarf_part part = dwarf_part_of(e->context, whole, &discriminant);

			expand(e, &part, dwarf_print(e->context->arena, "%s.variant", name), depth + 1);
		}
		if (tag != DW_TAG_inheritance &&
		    (tag != DW_TAG_member || dwarf_die_flag(&child, DW_AT_external) || dwarf_die_flag(&child, DW_AT_declaration)))
			continue; /* static ones are no part of the object */
		expand_member(e, whole, &child, name, depth);
	}
}

static void expand(struct expansion *e, const struct dwarf_part *part, const char *name, unsigned depth)
{
	struct object_dwarf_arg arg = { .name = name, .from = e->from };
	struct dwarf_die type = { 0 };
	bool nothing = part->where.kind == DWARF_REFUSED || (part->where.kind == DWARF_NOWHERE && !part->where.piece_count);
	struct dwarf_part plain = nothing ? *part : dwarf_part_plain(e->context, part, &type);

	if (!name) {
		e->args->failed = true;
	} else if (!nothing && depth <= EXPAND_DEPTH && !e->cast && dwarf_type_is_whole(&type) &&
		   !dwarf_die_flag(&type, DW_AT_declaration)) {
		size_t before = e->args->count;

		expand_whole(e, &plain, &type, name, depth);
		if (e->args->count > before || depth)
			return;
		arg.type = dwarf_type_name(e->context->arena, &part->type);
		arg.why = "it has no members";
		dwarf_args_add(e->context->arena, e->args, &arg);
	} else {
		dwarf_part_fetch(e->context, part, e->cast, &arg);
		dwarf_args_add(e->context->arena, e->args, &arg);
	}
}

void dwarf_part_expand(struct dwarf_context *context, const struct dwarf_part *part, const char *name, const char *cast,
		       bool expand_it, size_t from, struct dwarf_args *args)
{
	struct expansion e = { .context = context, .cast = cast, .from = from, .args = args };

	expand(&e, part, name, expand_it ? 0 : EXPAND_DEPTH + 1);
}

/* ---- names ---- */

struct named {
	const char *name;
	size_t length;
	bool parameters_only;
	bool expand;
	struct dwarf_spot *spot;
	struct dwarf_args *args;
	size_t from;
	struct dwarf_die found;
};

static bool find_name(void *arg, const struct dwarf_die *variable, const char *name)
{
	struct named *named = arg;

	if (strlen(name) != named->length || memcmp(name, named->name, named->length) != 0)
		return true;
	/* Of a file's variables the definition is better than a declaration. */
	if (!named->found.unit || !dwarf_die_flag(variable, DW_AT_declaration))
		named->found = *variable;
	return dwarf_die_flag(variable, DW_AT_declaration);
}

static bool variable_find(struct dwarf_spot *spot, const char *name, size_t length, struct dwarf_die *ret)
{
	struct named named = { .name = name, .length = length };
	bool scoped = memchr(name, ':', length) != NULL;

	if (!scoped)
		dwarf_scopes_variables(&spot->scopes, spot->function, find_name, &named);
	if (!named.found.unit)
		dwarf_externs(spot->unit, scoped, find_name, &named);
	*ret = named.found;
	return named.found.unit != NULL;
}

static bool add_variable(void *arg, const struct dwarf_die *variable, const char *name)
{
	struct named *named = arg;
	struct dwarf_spot *spot = named->spot;
	struct dwarf_part part = { .type = dwarf_type_of(variable) };

	if (named->parameters_only && variable->abbrev->tag != DW_TAG_formal_parameter)
		return true;
	part.where = spot->is_return ? dwarf_location_refused(spot->context.arena, "variables are not known where a function returns; $retval is") :
				       dwarf_location_of(&spot->context, variable);
	dwarf_part_expand(&spot->context, &part, name, NULL, named->expand, named->from, named->args);
	return named->args->count < ARGS_MAX && !named->args->failed;
}

void dwarf_args_scope(struct dwarf_spot *spot, bool locals, bool externs, bool expand_it, size_t from, struct dwarf_args *args)
{
	struct named named = { .parameters_only = !locals, .expand = expand_it, .spot = spot, .args = args, .from = from };

	dwarf_scopes_variables(&spot->scopes, spot->function, add_variable, &named);
	if (externs)
		dwarf_externs(spot->unit, true, add_variable, &named);
}

/* ---- paths ---- */

static bool is_word(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9') ||
	       (unsigned char)c >= 0x80; /* Go and Rust allow others */
}

/* A name, with its namespaces. */
static size_t name_length(const char *at)
{
	size_t length = 0;

	while (is_word(at[length], length == 0) || (length && strncmp(at + length, "::", 2) == 0 && is_word(at[length + 2], true)))
		length += at[length] == ':' ? 2 : 1;
	return length;
}

static int bad_text(struct utap_error *err, const char *text, const char *what)
{
	return base_error(err, -EINVAL, UTAP_ERROR_USAGE, "'%.200s': %s", text, what);
}

/* One step; *@last becomes the name of the member. */
static int step(struct dwarf_context *context, const char **at, struct dwarf_part *part, const char **last, const char *text,
		struct utap_error *err)
{
	if (**at == '[') {
		char *end;
		long index;

		errno = 0;
		index = strtol(*at + 1, &end, 0);
		if (end == *at + 1 || *end != ']' || errno)
			return bad_text(err, text, "a number is expected between [ and ]");
		*part = dwarf_part_element(context, part, index);
		*at = end + 1;
		return 0;
	}
	bool arrow = strncmp(*at, "->", 2) == 0;

	if (!arrow && **at != '.')
		return bad_text(err, text, "after a variable only ->MEMBER, .MEMBER, [N] and :TYPE can follow");
	*at += arrow ? 2 : 1;
	size_t length = 0;

	while (is_word((*at)[length], false))
		length++;
	if (!length)
		return bad_text(err, text, "the name of a member is missing");
	*part = dwarf_part_member(context, part, *at, length);
	*last = dwarf_copy(context->arena, *at, length);
	*at += length;
	return 0;
}

struct written {
	char text[TEXT_MAX + 1]; /* WHAT */
	const char *name;        /* NAME or NULL */
	const char *cast;        /* TYPE or NULL */
};

static int take_apart(struct dwarf_context *context, const char *text, struct written *ret, struct utap_error *err)
{
	const char *equals = strchr(text, '=');
	const char *what = equals ? equals + 1 : text;
	size_t length = strlen(what);

	ret->name = equals ? dwarf_copy(context->arena, text, (size_t)(equals - text)) : NULL;
	ret->cast = NULL;
	if (equals && (equals == text || name_length(text) != (size_t)(equals - text)))
		return bad_text(err, text, "what stands before = is no name for an argument");
	if (length > TEXT_MAX || !length)
		return bad_text(err, text, length ? "it is too long" : "a variable is expected");
	memcpy(ret->text, what, length + 1);
	if (strchr("%@+-\\", *what))
		return 0; /* a fetch argument brings its own type */
	for (char *at = ret->text; *at; at++)
		if (at[0] == ':' && at[1] == ':') {
			at++;
		} else if (*at == ':') {
			*at = '\0';
			ret->cast = dwarf_copy(context->arena, at + 1, strlen(at + 1));
			break;
		}
	return ret->cast && !*ret->cast ? bad_text(err, text, "a type is expected after the colon") : 0;
}

static struct dwarf_part variable_part(struct dwarf_spot *spot, const char *name, size_t length)
{
	struct dwarf_die die;

	if (spot->is_return)
		return dwarf_part_refused(&spot->context, "variables are not known where a function returns; $retval is");
	if (!variable_find(spot, name, length, &die))
		return dwarf_part_refused(&spot->context, "there is no variable '%.*s' here", (int)(length < 100 ? length : 100), name);
	return (struct dwarf_part) { .where = dwarf_location_of(&spot->context, &die), .type = dwarf_type_of(&die) };
}

static int resolve_path(struct dwarf_spot *spot, const struct written *written, const char *whole, size_t from,
			struct dwarf_args *args, struct utap_error *err)
{
	struct dwarf_context *context = &spot->context;
	const char *at = written->text;
	unsigned stars = 0;

	for (; *at == '*'; at++)
		stars++;
	if (*at == '&')
		return bad_text(err, whole, "the address of a variable cannot be fetched");
	size_t length = name_length(at);

	if (!length)
		return bad_text(err, whole, "a variable is expected");
	struct dwarf_part part = variable_part(spot, at, length);
	const char *last = dwarf_copy(context->arena, at, length);

	for (at += length; *at;) {
		int r = step(context, &at, &part, &last, whole, err);

		if (r)
			return r;
	}
	for (; stars; stars--)
		part = dwarf_part_deref(context, &part);
	dwarf_part_expand(context, &part, written->name ? written->name : last, written->cast, true, from, args);
	return 0;
}

static void hand_through(struct dwarf_spot *spot, const struct written *written, const char *fetch, size_t from,
			 struct dwarf_args *args)
{
	struct object_dwarf_arg arg = { .from = from };

	arg.name = written->name ? written->name : dwarf_print(spot->context.arena, "arg%zu", args->count + 1);
	arg.fetch = written->cast ? dwarf_print(spot->context.arena, "%s:%s", fetch, written->cast) :
				    dwarf_print(spot->context.arena, "%s", fetch);
	arg.show = OBJECT_DWARF_HEX;
	arg.bits = 64;
	args->failed |= !arg.name || !arg.fetch;
	dwarf_args_add(spot->context.arena, args, &arg);
}

static int resolve_dollar(struct dwarf_spot *spot, const struct written *written, const char *whole, size_t from,
			  struct dwarf_args *args, struct utap_error *err)
{
	bool variables = strcmp(written->text, "$vars") == 0 || strcmp(written->text, "$locals") == 0;

	if (variables || strcmp(written->text, "$params") == 0) {
		if (written->name || written->cast)
			return bad_text(err, whole, "it stands for several variables, which have names and types of their own");
		dwarf_args_scope(spot, variables, false, true, from, args);
		return 0;
	}
	if (strcmp(written->text, "$retval") == 0 && spot->is_return && spot->scopes.count) {
		struct object_dwarf_arg arg = { .name = written->name ? written->name : "retval", .from = from };

		dwarf_return_fetch(&spot->context, &spot->scopes.list[spot->function], written->cast, &arg);
		dwarf_args_add(spot->context.arena, args, &arg);
		return 0;
	}
	hand_through(spot, written, written->text, from, args);
	return 0;
}

/* Two arguments of one name: the later ones get a number. */
static void make_unique(struct dwarf_arena *arena, struct dwarf_args *args, size_t first)
{
	for (size_t i = first; i < args->count; i++) {
		const char *name = args->list[i].name;
		unsigned number = 1;

		for (size_t k = 0; name && k < i; k++)
			if (args->list[k].name && strcmp(args->list[k].name, args->list[i].name) == 0) {
				char *other = dwarf_print(arena, "%s_%u", name, ++number);

				args->list[i].name = other ? other : name;
				k = other ? (size_t)-1 : i;
			}
	}
}

int dwarf_args_resolve(struct dwarf_spot *spot, const char *text, size_t from, struct dwarf_args *args, struct utap_error *err)
{
	struct written written;
	size_t first = args->count;
	int r = take_apart(&spot->context, text, &written, err);

	if (r)
		return r;
	if (*written.text == '$')
		r = resolve_dollar(spot, &written, text, from, args, err);
	else if (strchr("%@+-\\", *written.text))
		hand_through(spot, &written, written.text, from, args);
	else
		r = resolve_path(spot, &written, text, from, args, err);
	make_unique(spot->context.arena, args, first);
	return r;
}
