/* SPDX-License-Identifier: MIT */
/*
 * Entries and their attributes: reading the forms, following references, walking trees. An entry that cannot be read ends a walk.
 */
#include <string.h>

#include "object/dwarf_inside.h"

/* ---- strings and addresses behind an index ---- */

static const char *string_at(const struct dwarf_section *section, uint64_t offset)
{
	if (offset < section->size && section->bytes[section->size - 1] == '\0')
		return (const char *)section->bytes + offset;
	if (offset >= section->size || !memchr(section->bytes + offset, '\0', section->size - offset))
		return NULL;
	return (const char *)section->bytes + offset;
}

static const char *string_indexed(const struct dwarf_unit *unit, uint64_t index)
{
	const struct dwarf_section *offsets = &unit->part[DWARF_STR_OFFSETS];
	uint64_t base = unit->str_offsets_base;

	if (base > offsets->size || index >= (offsets->size - base) / unit->offset_size)
		return NULL;
	uint64_t offset = 0;

	memcpy(&offset, offsets->bytes + base + index * unit->offset_size, unit->offset_size);
	return string_at(&unit->file->sections[DWARF_STR], offset);
}

/* ---- forms ---- */

static bool set(struct dwarf_value *value, enum dwarf_class class, uint64_t u)
{
	value->class = class;
	value->u = u;
	return true;
}

static bool set_string(struct dwarf_value *value, const char *string)
{
	value->class = string ? DWARF_STRING : DWARF_NONE;
	value->string = string;
	return true;
}

static bool set_block(struct object_cursor *cursor, struct dwarf_value *value, uint64_t size)
{
	if (!object_cursor_has(cursor, size))
		return false;
	value->block = cursor->at;
	value->size = size;
	value->class = DWARF_BLOCK;
	cursor->at += size;
	return true;
}

static bool set_signed(struct dwarf_value *value, uint64_t u)
{
	value->is_signed = true;
	return set(value, DWARF_CONSTANT, u);
}

static bool set_address(struct dwarf_unit *unit, struct dwarf_value *value, uint64_t index)
{
	uint64_t address;

	value->class = DWARF_NONE;
	if (dwarf_unit_address(unit, index, &address))
		set(value, DWARF_ADDRESS, address);
	return true;
}

static bool set_reference(struct dwarf_unit *unit, struct dwarf_value *value, const struct dwarf_file *file, uint64_t u)
{
	(void)unit;
	value->file = file;
	return set(value, file ? DWARF_REFERENCE : DWARF_NONE, u);
}

/* A reference inside of the unit; of a unit in .debug_types it has no file-wide offset. */
static bool set_local(struct dwarf_unit *unit, struct dwarf_value *value, uint64_t u)
{
	value->file = NULL;
	return set(value, DWARF_REFERENCE, unit->offset + u);
}

int dwarf_form_size(const struct dwarf_unit *unit, uint16_t form)
{
	switch (form) {
	case DW_FORM_flag_present:
	case DW_FORM_implicit_const:
		return 0;
	case DW_FORM_data1:
	case DW_FORM_ref1:
	case DW_FORM_flag:
	case DW_FORM_strx1:
	case DW_FORM_addrx1:
		return 1;
	case DW_FORM_data2:
	case DW_FORM_ref2:
	case DW_FORM_strx2:
	case DW_FORM_addrx2:
		return 2;
	case DW_FORM_strx3:
	case DW_FORM_addrx3:
		return 3;
	case DW_FORM_data4:
	case DW_FORM_ref4:
	case DW_FORM_strx4:
	case DW_FORM_addrx4:
	case DW_FORM_ref_sup4:
		return 4;
	case DW_FORM_addr:
	case DW_FORM_data8:
	case DW_FORM_ref8:
	case DW_FORM_ref_sig8:
	case DW_FORM_ref_sup8:
		return 8;
	case DW_FORM_data16:
		return 16;
	case DW_FORM_sec_offset:
	case DW_FORM_strp:
	case DW_FORM_line_strp:
	case DW_FORM_strp_sup:
	case DW_FORM_GNU_strp_alt:
	case DW_FORM_GNU_ref_alt:
		return unit->offset_size;
	case DW_FORM_ref_addr:
		return unit->version <= 2 ? unit->address_size : unit->offset_size;
	default:
		return -1;
	}
}

static bool read_number(struct dwarf_unit *unit, struct object_cursor *c, uint16_t form, int64_t implicit,
			struct dwarf_value *v, bool *known)
{
	*known = true;
	switch (form) {
	case DW_FORM_addr:
		return set(v, DWARF_ADDRESS, object_cursor_u64(c));
	case DW_FORM_data1:
		return set(v, DWARF_CONSTANT, object_cursor_u8(c));
	case DW_FORM_data2:
		return set(v, DWARF_CONSTANT, object_cursor_number(c, 2));
	case DW_FORM_data4:
		return set(v, DWARF_CONSTANT, object_cursor_u32(c));
	case DW_FORM_data8:
		return set(v, DWARF_CONSTANT, object_cursor_u64(c));
	case DW_FORM_data16:
		return set_block(c, v, 16);
	case DW_FORM_sdata:
		return set_signed(v, object_cursor_sleb(c));
	case DW_FORM_udata:
		return set(v, DWARF_CONSTANT, object_cursor_uleb(c));
	case DW_FORM_implicit_const:
		return set_signed(v, (uint64_t)implicit);
	case DW_FORM_flag:
		return set(v, DWARF_FLAG, object_cursor_u8(c));
	case DW_FORM_flag_present:
		return set(v, DWARF_FLAG, 1);
	case DW_FORM_sec_offset:
		return set(v, DWARF_OFFSET, object_cursor_number(c, unit->offset_size));
	case DW_FORM_loclistx:
	case DW_FORM_rnglistx:
		return set(v, DWARF_LIST_INDEX, object_cursor_uleb(c));
	case DW_FORM_addrx:
	case DW_FORM_GNU_addr_index:
		return set_address(unit, v, object_cursor_uleb(c));
	case DW_FORM_addrx1:
		return set_address(unit, v, object_cursor_u8(c));
	case DW_FORM_addrx2:
		return set_address(unit, v, object_cursor_number(c, 2));
	case DW_FORM_addrx3:
		return set_address(unit, v, object_cursor_number(c, 3));
	case DW_FORM_addrx4:
		return set_address(unit, v, object_cursor_u32(c));
	default:
		*known = false;
		return false;
	}
}

static bool read_text(struct dwarf_unit *unit, struct object_cursor *c, uint16_t form, struct dwarf_value *v, bool *known)
{
	const struct dwarf_file *file = unit->file;

	*known = true;
	switch (form) {
	case DW_FORM_string:
		return set_string(v, object_cursor_string(c));
	case DW_FORM_strp:
		return set_string(v, string_at(&file->sections[DWARF_STR], object_cursor_number(c, unit->offset_size)));
	case DW_FORM_line_strp:
		return set_string(v,
				  string_at(&file->sections[DWARF_LINE_STR], object_cursor_number(c, unit->offset_size)));
	case DW_FORM_strp_sup:
	case DW_FORM_GNU_strp_alt: {
		uint64_t offset = object_cursor_number(c, unit->offset_size);

		return set_string(v, file->alternate ? string_at(&file->alternate->sections[DWARF_STR], offset) : NULL);
	}
	case DW_FORM_strx:
	case DW_FORM_GNU_str_index:
		return set_string(v, string_indexed(unit, object_cursor_uleb(c)));
	case DW_FORM_strx1:
		return set_string(v, string_indexed(unit, object_cursor_u8(c)));
	case DW_FORM_strx2:
		return set_string(v, string_indexed(unit, object_cursor_number(c, 2)));
	case DW_FORM_strx3:
		return set_string(v, string_indexed(unit, object_cursor_number(c, 3)));
	case DW_FORM_strx4:
		return set_string(v, string_indexed(unit, object_cursor_u32(c)));
	case DW_FORM_block1:
		return set_block(c, v, object_cursor_u8(c));
	case DW_FORM_block2:
		return set_block(c, v, object_cursor_number(c, 2));
	case DW_FORM_block4:
		return set_block(c, v, object_cursor_u32(c));
	case DW_FORM_block:
	case DW_FORM_exprloc:
		return set_block(c, v, object_cursor_uleb(c));
	default:
		*known = false;
		return false;
	}
}

static bool read_reference(struct dwarf_unit *unit, struct object_cursor *c, uint16_t form, struct dwarf_value *v)
{
	const struct dwarf_file *file = unit->file;
	uint8_t address = unit->version <= 2 ? unit->address_size : unit->offset_size;

	switch (form) {
	case DW_FORM_ref1:
		return set_local(unit, v, object_cursor_u8(c));
	case DW_FORM_ref2:
		return set_local(unit, v, object_cursor_number(c, 2));
	case DW_FORM_ref4:
		return set_local(unit, v, object_cursor_u32(c));
	case DW_FORM_ref8:
		return set_local(unit, v, object_cursor_u64(c));
	case DW_FORM_ref_udata:
		return set_local(unit, v, object_cursor_uleb(c));
	case DW_FORM_ref_addr:
		return set_reference(unit, v, file, object_cursor_number(c, address));
	case DW_FORM_GNU_ref_alt:
		return set_reference(unit, v, file->alternate, object_cursor_number(c, unit->offset_size));
	case DW_FORM_ref_sup4:
		return set_reference(unit, v, file->alternate, object_cursor_u32(c));
	case DW_FORM_ref_sup8:
		return set_reference(unit, v, file->alternate, object_cursor_u64(c));
	case DW_FORM_ref_sig8:
		return set(v, DWARF_SIGNATURE, object_cursor_u64(c));
	default:
		return false;
	}
}

bool dwarf_form_read(struct dwarf_unit *unit, struct object_cursor *cursor, uint16_t form, int64_t implicit,
		     struct dwarf_value *ret)
{
	bool known;

	*ret = (struct dwarf_value) { .form = form };
	if (form == DW_FORM_indirect) {
		form = (uint16_t)object_cursor_uleb(cursor);
		if (form == DW_FORM_indirect || form == DW_FORM_implicit_const)
			return false;
		ret->form = form;
	}
	bool ok = read_number(unit, cursor, form, implicit, ret, &known);

	if (!known)
		ok = read_text(unit, cursor, form, ret, &known);
	if (!known)
		ok = read_reference(unit, cursor, form, ret);
	return ok && !cursor->failed;
}

/* ---- entries ---- */

static struct object_cursor cursor_at(const struct dwarf_unit *unit, uint64_t offset)
{
	struct object_cursor cursor = object_cursor_init(unit->info.bytes, unit->end, 0);

	object_cursor_skip(&cursor, offset);
	return cursor;
}

bool dwarf_die_read(struct dwarf_unit *unit, uint64_t offset, struct dwarf_die *ret)
{
	if (offset < unit->first || offset >= unit->end)
		return false;
	struct object_cursor cursor = cursor_at(unit, offset);
	uint64_t code = object_cursor_uleb(&cursor);
	const struct dwarf_abbrev *abbrev = cursor.failed || !code ? NULL : dwarf_abbrev_find(unit, code);

	if (!abbrev)
		return false;
	*ret = (struct dwarf_die) {
		.unit = unit, .offset = offset, .abbrev = abbrev, .attrs = object_cursor_vaddr(&cursor)
	};
	return true;
}

static bool form_skip(struct dwarf_unit *unit, struct object_cursor *cursor, const struct dwarf_abbrev_attr *attr)
{
	int size = dwarf_form_size(unit, attr->form);
	struct dwarf_value value;

	if (size < 0)
		return dwarf_form_read(unit, cursor, attr->form, attr->implicit, &value);
	object_cursor_skip(cursor, (uint64_t)size);
	return !cursor->failed;
}

struct dwarf_value dwarf_die_attr(const struct dwarf_die *die, uint16_t name)
{
	struct object_cursor cursor = cursor_at(die->unit, die->attrs);
	const struct dwarf_abbrev_attr *attrs = dwarf_abbrev_attrs(&die->unit->abbrevs, die->abbrev);
	struct dwarf_value value = { 0 };
	uint32_t wanted = 0;

	while (wanted < die->abbrev->count && attrs[wanted].name != name)
		wanted++;
	for (uint32_t i = 0; i < wanted && wanted < die->abbrev->count; i++)
		if (!form_skip(die->unit, &cursor, &attrs[i]))
			return (struct dwarf_value) { 0 };
	if (wanted < die->abbrev->count &&
	    dwarf_form_read(die->unit, &cursor, attrs[wanted].form, attrs[wanted].implicit, &value))
		return value;
	return (struct dwarf_value) { 0 };
}

/* The unit of a type's signature. */
static struct dwarf_unit *unit_by_signature(const struct dwarf_file *file, uint64_t signature)
{
	for (size_t i = 0; i < file->unit_count; i++) {
		struct dwarf_unit *unit = file->units[i];

		if ((unit->type == DW_UT_type || unit->type == DW_UT_split_type) && unit->signature == signature)
			return unit;
	}
	return NULL;
}

static bool follow(const struct dwarf_die *die, const struct dwarf_value *value, struct dwarf_die *ret)
{
	struct dwarf_unit *unit = die->unit;
	uint64_t offset = value->u;

	if (value->class == DWARF_SIGNATURE) {
		unit = unit_by_signature(unit->file, value->u);
		offset = unit ? unit->offset + unit->type_offset : 0;
	} else if (value->class != DWARF_REFERENCE) {
		return false;
	} else if (value->file) {
		unit = dwarf_unit_at(value->file, offset);
	}
	return unit && dwarf_unit_root(unit) && dwarf_die_read(unit, offset, ret);
}

bool dwarf_die_reference(const struct dwarf_die *die, uint16_t name, struct dwarf_die *ret)
{
	struct dwarf_value value = dwarf_die_attr(die, name);

	return value.class != DWARF_NONE && follow(die, &value, ret);
}

bool dwarf_die_origin(const struct dwarf_die *die, struct dwarf_die *ret)
{
	return dwarf_die_reference(die, DW_AT_abstract_origin, ret) || dwarf_die_reference(die, DW_AT_specification, ret);
}

struct dwarf_value dwarf_die_attr_integrate(const struct dwarf_die *die, uint16_t name)
{
	struct dwarf_die at = *die;

	for (unsigned i = 0; i < DWARF_REFERENCES; i++) {
		struct dwarf_value value = dwarf_die_attr(&at, name);
		struct dwarf_die origin;

		if (value.class != DWARF_NONE)
			return value;
		if (!dwarf_die_origin(&at, &origin))
			break;
		at = origin;
	}
	return (struct dwarf_value) { 0 };
}

const char *dwarf_die_name(const struct dwarf_die *die)
{
	struct dwarf_value value = dwarf_die_attr_integrate(die, DW_AT_name);

	return value.class == DWARF_STRING ? value.string : NULL;
}

bool dwarf_die_flag(const struct dwarf_die *die, uint16_t name)
{
	struct dwarf_value value = dwarf_die_attr(die, name);

	return value.class == DWARF_FLAG && value.u;
}

/* ---- walks ---- */

/* The offset behind the attributes, and where its sibling is, if it says so; false when damaged. */
static bool die_end(const struct dwarf_die *die, uint64_t *end, uint64_t *sibling)
{
	struct object_cursor cursor = cursor_at(die->unit, die->attrs);
	const struct dwarf_abbrev_attr *attrs = dwarf_abbrev_attrs(&die->unit->abbrevs, die->abbrev);
	struct dwarf_value value = { 0 };

	*sibling = 0;
	if (die->abbrev->fixed >= 0) {
		struct object_cursor at = cursor;

		if (die->abbrev->sibling >= 0) {
			object_cursor_skip(&at, (uint64_t)die->abbrev->sibling);
			*sibling = die->unit->offset + object_cursor_u32(&at);
		}
		object_cursor_skip(&cursor, (uint64_t)die->abbrev->fixed);
		*end = object_cursor_vaddr(&cursor);
		return !cursor.failed && !at.failed;
	}
	for (uint32_t i = 0; i < die->abbrev->count; i++) {
		bool wanted = attrs[i].name == DW_AT_sibling;

		if (wanted ? !dwarf_form_read(die->unit, &cursor, attrs[i].form, attrs[i].implicit, &value) :
			     !form_skip(die->unit, &cursor, &attrs[i]))
			return false;
		if (wanted && value.class == DWARF_REFERENCE && !value.file)
			*sibling = value.u;
	}
	*end = object_cursor_vaddr(&cursor);
	return true;
}

void dwarf_walk_init(struct dwarf_walk *walk, const struct dwarf_die *root)
{
	walk->unit = root->unit;
	walk->at = root->offset;
	walk->end = root->unit->end;
	walk->depth = walk->next_depth = 0;
	walk->started = false;
}

bool dwarf_walk_next(struct dwarf_walk *walk, struct dwarf_die *ret)
{
	struct dwarf_die die;
	uint64_t sibling;

	while (walk->started && walk->next_depth > 0 && walk->at < walk->end && walk->unit->info.bytes[walk->at] == 0) {
		walk->at++; /* the end of a list of children */
		walk->next_depth--;
	}
	if (walk->started && walk->next_depth == 0)
		return false;
	walk->started = true;
	if (!dwarf_die_read(walk->unit, walk->at, &die) || !die_end(&die, &walk->at, &sibling))
		goto damaged;
	walk->depth = walk->next_depth;
	if (walk->depth >= DWARF_NESTING)
		goto damaged;
	walk->parents[walk->depth] = die;
	if (die.abbrev->children)
		walk->next_depth++;
	*ret = die;
	return true;
damaged:
	walk->next_depth = 0;
	return false;
}

void dwarf_walk_skip(struct dwarf_walk *walk)
{
	const struct dwarf_die *die = &walk->parents[walk->depth];
	uint64_t sibling;
	uint64_t end;

	if (walk->next_depth <= walk->depth || !die_end(die, &end, &sibling))
		return;
	if (sibling > walk->at && sibling <= walk->end) {
		walk->at = sibling;
		walk->next_depth = walk->depth;
		return;
	}
	/* Without a sibling its children are passed over one by one; they may lie deeper than parents are kept. */
	unsigned open = 1;

	while (open && walk->at < walk->end) {
		struct dwarf_die child;

		if (walk->unit->info.bytes[walk->at] == 0) {
			walk->at++;
			open--;
			continue;
		}
		if (!dwarf_die_read(walk->unit, walk->at, &child) || !die_end(&child, &walk->at, &sibling)) {
			walk->at = walk->end;
			break;
		}
		open += child.abbrev->children;
	}
	walk->next_depth = open ? 0 : walk->depth;
}

void dwarf_children_init(struct dwarf_children *children, const struct dwarf_die *die)
{
	struct dwarf_die root;

	dwarf_walk_init(&children->walk, die);
	children->any = dwarf_walk_next(&children->walk, &root);
}

bool dwarf_children_next(struct dwarf_children *children, struct dwarf_die *ret)
{
	if (!children->any)
		return false;
	if (children->walk.depth > 0)
		dwarf_walk_skip(&children->walk);
	children->any = dwarf_walk_next(&children->walk, ret);
	return children->any;
}

/* ---- names ---- */

static bool is_scope(const struct dwarf_die *die)
{
	switch (die->abbrev->tag) {
	case DW_TAG_namespace:
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
	case DW_TAG_enumeration_type:
	case DW_TAG_interface_type:
		return true;
	default:
		return false;
	}
}

/* From the unit's first entry down to @die, one level after another: the child that begins last before it holds it. */
static size_t path_to(const struct dwarf_die *die, struct dwarf_die *path, size_t max)
{
	struct dwarf_die at;
	size_t count = 0;

	if (!dwarf_die_read(die->unit, die->unit->first, &at))
		return 0;
	while (count < max && at.offset < die->offset) {
		struct dwarf_children children;
		struct dwarf_die child;
		struct dwarf_die last = { 0 };

		dwarf_children_init(&children, &at);
		while (dwarf_children_next(&children, &child) && child.offset <= die->offset)
			last = child;
		if (!last.unit)
			break;
		path[count++] = at;
		at = last;
	}
	return at.offset == die->offset ? count : 0;
}

char *dwarf_die_qualified(struct dwarf_arena *arena, const struct dwarf_die *die)
{
	struct dwarf_die path[DWARF_NESTING];
	struct dwarf_die named = *die;
	struct dwarf_die origin;
	const char *name = dwarf_die_name(die);
	char *text = dwarf_print(arena, "%s", name ? name : "");

	/* What surrounds it is where it was declared first. */
	for (unsigned i = 0; i < DWARF_REFERENCES && dwarf_die_origin(&named, &origin); i++)
		named = origin;
	if (!name || dwarf_unit_is_c_family(named.unit) || dwarf_unit_is_go(named.unit))
		return text;
	for (size_t i = path_to(&named, path, DWARF_NESTING); i > 0 && text; i--) {
		const char *scope = is_scope(&path[i - 1]) ? dwarf_die_name(&path[i - 1]) : NULL;

		if (scope)
			text = dwarf_print(arena, "%s::%s", scope, text);
	}
	return text;
}
