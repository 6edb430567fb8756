/* SPDX-License-Identifier: MIT */
/*
 * A flame graph: one SVG with its own script (convert_flame_script.h) and nothing from outside. A frame is a box as
 * wide as its time, or its calls; what it calls stands above it. It is complete without the script, which adds zoom,
 * search and a line about the frame under the pointer.
 *
 * Frames that would be thinner than a two-hundredth of a pixel are left out, and counted.
 *
 * Source: SVG 1.1; the layout is B. Gregg's idea ("The Flame Graph", Communications of the ACM 59/6).
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "format/convert_flame_script.h"
#include "format/convert_inside.h"
#include "format/format.h"

#define WIDTH 1200
#define MARGIN 10
#define ROW 18
#define HEAD 56 /* above the frames */
#define FOOT 34
#define LETTER 7.25 /* how wide one is, at most */
#define SHARE_LEAST (0.005 / WIDTH)
#define DEPTH_SHOWN 2000 /* SVGs that are higher are of no use */

struct flame {
	struct format_convert *convert;
	FILE *out;
	uint64_t total;
	bool is_time;
	unsigned depth; /* of the deepest shown */
	uint64_t left_out;
};

static bool is_shown(const struct flame *flame, const struct format_node *node, unsigned depth)
{
	return depth < DEPTH_SHOWN && flame->total && (double)node->total / (double)flame->total >= SHARE_LEAST;
}

static void measure(struct flame *flame, const struct format_node *node, unsigned depth)
{
	if (depth > flame->depth)
		flame->depth = depth;
	for (const struct format_node *child = node->children; child; child = child->sibling) {
		if (is_shown(flame, child, depth + 1))
			measure(flame, child, depth + 1);
		else
			flame->left_out++;
	}
}

static bool is_letter_start(char c)
{
	return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t count_letters(const char *text)
{
	size_t letters = 0;

	for (; *text; text++)
		letters += is_letter_start(*text);
	return letters;
}

/* At most @most letters (3 or more): the last two are ".." then. */
static int print_xml(struct flame *flame, const char *text, size_t most)
{
	struct format_buffer *buffer = &flame->convert->text;
	const char *clean = format_clean(buffer, text, "", "");
	size_t letters = count_letters(clean), shown = letters > most ? most - 2 : letters;

	for (const char *at = clean; *at; at++) {
		if (is_letter_start(*at) && shown-- == 0) {
			fputs("..", flame->out);
			break;
		}
		if (*at == '&')
			fputs("&amp;", flame->out);
		else if (*at == '<')
			fputs("&lt;", flame->out);
		else if (*at == '>')
			fputs("&gt;", flame->out);
		else if (*at == '"')
			fputs("&quot;", flame->out);
		else
			putc(*at, flame->out);
	}
	return buffer->error;
}

/* Warm, and the same for the same name. */
static void print_color(FILE *out, const char *name)
{
	uint32_t hash = 2166136261U;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619U;
	fprintf(out, "hsl(%u,%u%%,%u%%)", 8 + (hash >> 8) % 45, 75 + (hash >> 16) % 20, 58 + (hash >> 24) % 12);
}

static void print_weight(const struct flame *flame, const struct format_node *node)
{
	char duration[32];
	double percent = 100.0 * (double)node->total / (double)flame->total;

	if (flame->is_time) {
		format_duration(node->total, duration, sizeof(duration));
		fprintf(flame->out, ": %s, %.2f %%", duration + strspn(duration, " "), percent);
		if (node->calls)
			fprintf(flame->out, ", %" PRIu64 " call%s", node->calls, node->calls == 1 ? "" : "s");
	} else {
		fprintf(flame->out, ": %" PRIu64 " hit%s, %.2f %%", node->total, node->total == 1 ? "" : "s", percent);
	}
}

static int print_frame(struct flame *flame, const struct format_node *node, unsigned depth, uint64_t before)
{
	double share = (double)node->total / (double)flame->total, from = (double)before / (double)flame->total;
	double x = MARGIN + from * (WIDTH - 2 * MARGIN), width = share * (WIDTH - 2 * MARGIN);
	unsigned y = HEAD + (flame->depth - depth) * ROW;
	size_t letters = width > 3 * LETTER ? (size_t)((width - 4) / LETTER) : 0;
	int error;

	fprintf(flame->out, "<g class=\"f\" data-x=\"%.9f\" data-w=\"%.9f\" data-d=\"%u\"><title>", from, share, depth);
	error = print_xml(flame, node->name, SIZE_MAX);
	print_weight(flame, node);
	fprintf(flame->out, "</title><rect x=\"%.3f\" y=\"%u\" width=\"%.3f\" height=\"%u\" fill=\"", x, y, width,
		ROW - 1);
	print_color(flame->out, node->name);
	fprintf(flame->out, "\"/><text x=\"%.3f\" y=\"%u\">", x + 3, y + ROW - 5);
	if (letters && !error)
		error = print_xml(flame, node->name, letters);
	fputs("</text></g>\n", flame->out);
	for (const struct format_node *child = node->children; child && !error; child = child->sibling) {
		if (is_shown(flame, child, depth + 1))
			error = print_frame(flame, child, depth + 1, before);
		before += child->total;
	}
	return error;
}

static int print_head(struct flame *flame, unsigned height)
{
	const char *title = flame->convert->options.title;
	int error;

	fprintf(flame->out,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
		"<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u "
		"%u\">\n"
		"<style>text{font:12px monospace;fill:#000}.f:hover rect{stroke:#000;stroke-width:.6}.f{cursor:pointer}"
		".f text{pointer-events:none}.control{cursor:pointer;fill:#246}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fffdf4\"/>\n<text x=\"%u\" y=\"24\" "
		"text-anchor=\"middle\" style=\"font-size:17px\">",
		(unsigned)WIDTH, height, (unsigned)WIDTH, height, (unsigned)WIDTH / 2);
	error = print_xml(flame, title ? title : "utap", 120);
	fprintf(flame->out,
		"</text>\n<text id=\"unit\" x=\"%u\" y=\"44\" text-anchor=\"middle\">%s</text>\n"
		"<text id=\"reset\" class=\"control\" x=\"%u\" y=\"24\" visibility=\"hidden\">whole</text>\n"
		"<text id=\"search\" class=\"control\" x=\"%u\" y=\"24\" text-anchor=\"end\">search</text>\n",
		(unsigned)WIDTH / 2, flame->is_time ? "width: time between entry and return" : "width: hits",
		(unsigned)MARGIN, (unsigned)(WIDTH - MARGIN));
	return error;
}

static int print(struct flame *flame, const struct format_node *root)
{
	unsigned height = HEAD + (flame->depth + 1) * ROW + FOOT;
	int error = print_head(flame, height);

	fprintf(flame->out,
		"<text id=\"about\" x=\"%u\" y=\"%u\"></text>\n<text id=\"found\" x=\"%u\" y=\"%u\" "
		"text-anchor=\"end\"></text>\n",
		(unsigned)MARGIN, height - 20, (unsigned)(WIDTH - MARGIN), height - 20);
	if (flame->left_out)
		fprintf(flame->out,
			"<text x=\"%u\" y=\"%u\">%" PRIu64 " frames are too thin, or too high, and left out</text>\n",
			(unsigned)MARGIN, height - 5, flame->left_out);
	fprintf(flame->out, "<g id=\"frames\" data-margin=\"%u\" data-width=\"%u\" data-letter=\"%.1f\">\n",
		(unsigned)MARGIN, (unsigned)(WIDTH - 2 * MARGIN), LETTER);
	if (!error && flame->total)
		error = print_frame(flame, root, 0, 0);
	fprintf(flame->out, "</g>\n<script><![CDATA[\n%s]]></script>\n</svg>\n", format_flame_script);
	return error;
}

static int print_all(struct format_convert *convert, const struct format_node *root, bool is_time)
{
	struct flame flame = { .convert = convert, .out = convert->out, .total = root->total, .is_time = is_time };

	measure(&flame, root, 0);
	return print(&flame, root);
}

static int end(struct format_convert *convert)
{
	return format_stacks_end(convert, print_all);
}

const struct format_kind format_kind_flame = {
	.name = "flame",
	.summary = "a flame graph: one SVG that a browser opens, with zoom and search; by time, or with --by calls",
	.has_calls = true,
	.begin = format_stacks_begin,
	.record = format_stacks_record,
	.enter = format_stacks_enter,
	.leave = format_stacks_leave,
	.end = end,
	.release = format_stacks_release,
};
