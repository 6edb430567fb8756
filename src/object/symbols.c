/* SPDX-License-Identifier: MIT */
/*
 * The symbols of an object: .dynsym, and one full table: .symtab, else that of the separate debug file, else that of
 * .gnu_debugdata (each of those holds what the next one holds), else the names in Go's table of functions. Sorted by vaddr; of names at one vaddr the one a person
 * would use comes first: global before local, functions before labels, fewer underscores, shorter, then by the
 * alphabet.
 *
 * Only symbols that lie in a segment are kept: no undefined, absolute, common or thread-local ones, no sections, no
 * files.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "object/internal.h"

#define NAME_MAX_BYTES 65536

struct collection {
	struct object *object;
	struct object_symbol *symbols;
	size_t count, cap;
};

/* How much of "name@VERSION" is the name: all, unless what follows the @ looks like a version. */
static size_t name_length(const char *name, const char *at)
{
	const char *version = at + strspn(at, "@");

	if (at == name || version - at > 2 || *version == '\0' || (*version >= '0' && *version <= '9'))
		return strlen(name);
	for (const char *c = version; *c; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') && *c != '_' &&
		    *c != '.' && *c != '-')
			return strlen(name);
	return (size_t)(at - name);
}

int object_name_keep(struct object *object, char *name)
{
	if (base_grow(&object->names, &object->name_cap, object->name_count + 1, sizeof(*object->names))) {
		free(name);
		return -ENOMEM;
	}
	object->names[object->name_count++] = name;
	return 0;
}

/* The name without version: as it is in the table, or a copy that the object keeps. NULL: out of memory. */
static const char *name_without_version(struct object *object, const char *name)
{
	const char *at = strchr(name, '@');
	size_t length = at ? name_length(name, at) : 0;

	if (!at || name[length] == '\0')
		return name;
	char *copy = strndup(name, length);

	return copy && object_name_keep(object, copy) == 0 ? copy : NULL;
}

static bool is_wanted(const struct object *object, const Elf64_Sym *symbol)
{
	unsigned type = ELF64_ST_TYPE(symbol->st_info);
	unsigned section = symbol->st_shndx;

	if (section == SHN_UNDEF || (section >= SHN_LORESERVE && section != SHN_XINDEX))
		return false;
	if (type != STT_NOTYPE && type != STT_OBJECT && type != STT_FUNC && type != STT_GNU_IFUNC)
		return false;
	return object_segment_at(object, symbol->st_value);
}

static int collect(struct collection *to, const struct object_symbol_table *table, bool exported)
{
	struct object *object = to->object;

	if (base_grow(&to->symbols, &to->cap, to->count + table->count, sizeof(*to->symbols)))
		return -ENOMEM;
	for (size_t i = 1; i < table->count; i++) {
		Elf64_Sym symbol = object_table_symbol(table, i);
		const char *name = object_strings_at(&table->strings, symbol.st_name);
		unsigned type = ELF64_ST_TYPE(symbol.st_info);
		unsigned binding = ELF64_ST_BIND(symbol.st_info);

		if (!name || !*name || !is_wanted(object, &symbol) || strnlen(name, NAME_MAX_BYTES) == NAME_MAX_BYTES)
			continue;
		name = exported ? name : name_without_version(object, name);
		if (!name)
			return -ENOMEM;
		to->symbols[to->count++] = (struct object_symbol) {
			.name = name,
			.vaddr = symbol.st_value,
			.size = symbol.st_size,
			.function = type == STT_FUNC || type == STT_GNU_IFUNC,
			.ifunc = type == STT_GNU_IFUNC,
			.global = binding == STB_GLOBAL || binding == STB_WEAK || binding == STB_GNU_UNIQUE,
			.exported = exported && binding != STB_LOCAL,
		};
	}
	return 0;
}

static int collect_dynamic(struct collection *to, struct utap_error *err)
{
	struct object *object = to->object;
	const struct object_dynamic *dynamic;
	const Elf64_Shdr *section = object_image_section_by_type(&object->image, SHT_DYNSYM);
	struct object_symbol_table table;
	int r = object_dynamic(object, &dynamic, err);

	if (r)
		return r;
	table = dynamic->symbols;
	/* Without a hash table only the section knows the count. */
	if (!table.count && section && object_image_symbols(&object->image, section, &table))
		return object_damaged(object, err, "section .dynsym lies outside of the file");
	return collect(to, &table, true) ? object_no_memory(object, err) : 0;
}

static int collect_extra(struct collection *to, struct utap_error *err)
{
	struct object *object = to->object;
	struct object_symbol_table table;
	struct object_image image;
	int r = object_debugfile_open(object, OBJECT_DEBUG_ROOT, &image);

	if (r == -ENOENT)
		r = object_debugdata_open(object, &image);
	if (r)
		return r == -ENOMEM ? object_no_memory(object, err) : 0;
	object->extra = image;
	const Elf64_Shdr *section = object_image_section_by_type(&object->extra, SHT_SYMTAB);

	if (!section || object_image_symbols(&object->extra, section, &table)) {
		base_log(BASE_LOG_WARN, "%s: its debug file has no readable symbols", object->path);
		return 0;
	}
	return collect(to, &table, false) ? object_no_memory(object, err) : 0;
}

static int collect_go(struct collection *to)
{
	struct object *object = to->object;
	struct object_go_table table;
	struct object_go_function function;

	if (!object_go_table(object, &table))
		return 0;
	for (size_t i = 0; i < table.count; i++) {
		if (!object_go_function(object, &table, i, &function) || !function.name || !*function.name ||
		    strnlen(function.name, NAME_MAX_BYTES) == NAME_MAX_BYTES)
			continue;
		if (base_grow(&to->symbols, &to->cap, to->count + 1, sizeof(*to->symbols)))
			return -ENOMEM;
		to->symbols[to->count++] = (struct object_symbol) {
			.name = function.name,
			.vaddr = function.start,
			.size = function.end - function.start,
			.function = true,
			.global = true,
		};
	}
	return 0;
}

static int collect_all(struct collection *to, struct utap_error *err)
{
	struct object *object = to->object;
	const Elf64_Shdr *section = object_image_section_by_type(&object->image, SHT_SYMTAB);
	struct object_symbol_table table;
	int r = collect_dynamic(to, err);

	if (!r && !section) {
		r = collect_extra(to, err);
		if (!r && collect_go(to))
			r = object_no_memory(object, err);
	}
	if (r || !section)
		return r;
	if (object_image_symbols(&object->image, section, &table))
		return object_damaged(object, err, "section .symtab lies outside of the file");
	return collect(to, &table, false) ? object_no_memory(object, err) : 0;
}

static size_t underscores(const char *name)
{
	return strspn(name, "_");
}

static int by_name(const void *left, const void *right)
{
	const struct object_symbol *a = left;
	const struct object_symbol *b = right;

	return a->name == b->name ? 0 : strcmp(a->name, b->name);
}

static int by_preference(const void *left, const void *right)
{
	const struct object_symbol *a = left;
	const struct object_symbol *b = right;

	if (a->global != b->global)
		return a->global ? -1 : 1;
	if (a->function != b->function)
		return a->function ? -1 : 1;
	if (underscores(a->name) != underscores(b->name))
		return underscores(a->name) < underscores(b->name) ? -1 : 1;
	if (strlen(a->name) != strlen(b->name))
		return strlen(a->name) < strlen(b->name) ? -1 : 1;
	return by_name(left, right);
}

static void symbol_merge(struct object_symbol *into, const struct object_symbol *other)
{
	into->size = into->size > other->size ? into->size : other->size;
	into->function |= other->function;
	into->ifunc |= other->ifunc;
	into->global |= other->global;
	into->exported |= other->exported;
}

/* Symbols of one vaddr: one a name, in order of preference. Returns how many remain. */
static size_t group_merge(struct object_symbol *group, size_t count)
{
	size_t kept = 0;

	if (count == 1)
		return 1;
	qsort(group, count, sizeof(*group), by_name);
	for (size_t i = 0; i < count; i++) {
		if (kept && by_name(&group[kept - 1], &group[i]) == 0)
			symbol_merge(&group[kept - 1], &group[i]);
		else
			group[kept++] = group[i];
	}
	qsort(group, kept, sizeof(*group), by_preference);
	return kept;
}

static size_t groups_merge(struct object_symbol *symbols, size_t count)
{
	size_t kept = 0;

	for (size_t start = 0, end; start < count; start = end) {
		for (end = start + 1; end < count && symbols[end].vaddr == symbols[start].vaddr;)
			end++;
		size_t merged = group_merge(&symbols[start], end - start);

		memmove(&symbols[kept], &symbols[start], merged * sizeof(*symbols));
		kept += merged;
	}
	return kept;
}

/* The collected symbols in order, in a new array. */
static int symbols_sort(const struct collection *from, struct object_symbol **ret, size_t *count)
{
	size_t room = from->count ? from->count : 1;
	_cleanup_free_ struct object_sort_item *items = malloc(room * sizeof(*items));
	_cleanup_free_ struct object_symbol *symbols = malloc(room * sizeof(*symbols));

	if (!items || !symbols || from->count >= OBJECT_NO_SYMBOL)
		return -ENOMEM;
	for (size_t i = 0; i < from->count; i++)
		items[i] = (struct object_sort_item) { .key = from->symbols[i].vaddr, .index = (uint32_t)i };
	if (object_sort(items, from->count))
		return -ENOMEM;
	for (size_t i = 0; i < from->count; i++)
		symbols[i] = from->symbols[items[i].index];
	*count = groups_merge(symbols, from->count);
	*ret = symbols;
	symbols = NULL;
	return 0;
}

static void names_free(struct object *object)
{
	for (size_t i = 0; i < object->name_count; i++)
		free(object->names[i]);
	object->name_count = 0;
}

int object_symbols(struct object *object, const struct object_symbol **ret, size_t *count, struct utap_error *err)
{
	struct collection collection = { .object = object };

	if (!object->has_symbols) {
		int r = collect_all(&collection, err);

		if (!r && symbols_sort(&collection, &object->symbols, &object->symbol_count))
			r = object_no_memory(object, err);
		free(collection.symbols);
		if (r) {
			object_image_close(&object->extra);
			names_free(object);
			return r;
		}
		object->has_symbols = true;
	}
	*ret = object->symbols;
	*count = object->symbol_count;
	return 0;
}
