#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "format/format.h"
#include <time.h>
int main(int argc, char **argv)
{
	uint32_t n = atoi(argv[2]); long samples = atol(argv[3]);
	static const struct trace_arg args[] = {{"size",64,TRACE_HEX},{"u",64,TRACE_UNSIGNED},{"s",64,TRACE_SIGNED},{"x8",8,TRACE_HEX},{"s8",8,TRACE_SIGNED},{"u16",16,TRACE_UNSIGNED},{"s16",16,TRACE_SIGNED},{"s32",32,TRACE_SIGNED},{"x32",32,TRACE_HEX},{"u8",8,TRACE_UNSIGNED},{"x64",64,TRACE_HEX}};
	struct trace_probe *p = calloc(n, sizeof(*p));
	int nargs = argc > 4 ? atoi(argv[4]) : 11;
	for (uint32_t i = 0; i < n; i++) { snprintf(p[i].group, 64, i % 2 ? "libc" : "utap"); snprintf(p[i].event, 64, i ? "ev%u" : "malloc", i);
		strcpy(p[i].path, "/usr/lib/x86_64-linux-gnu/libc.so.6"); strcpy(p[i].symbol, "malloc"); p[i].offset = 0x9a000+i; p[i].addr = 0x7f000009a000+i; p[i].nargs = nargs; p[i].args = args; p[i].record_size=48; }
	int fd = open(argv[1], O_RDWR|O_CREAT|O_TRUNC, 0644);
	struct format_perf *w; struct utap_error e;
	uint64_t a = base_now_ns();
	int r = format_perf_create(fd, p, n, &w, &e);
	if (r) { printf("create %d %s\n", r, e.text); return 1; }
	printf("create %.3f ms\n", (base_now_ns() - a) / 1e6);
	r = format_perf_comm(w, 4321, 4321, "sleepy one");
	struct format_map m = {.pid = 4321, .start = 0x7f1234000000, .size = 0x155000, .offset = 0x26000, .major = 8, .minor = 1, .inode = 77, .prot = PROT_READ|PROT_EXEC, .flags = 2, .path = "/usr/lib/x86_64-linux-gnu/libc.so.6"};
	r |= format_perf_map(w, &m);
	r |= format_perf_build_id(w, m.path, (const uint8_t *)"abcdefghijklmnopqrst", 20);
	if (r) return 2;
	uint64_t v[11] = {0x18, 24, (uint64_t)-5, 0xfff, 0xff, 65535, 0xfffe, 0xffffffff, 0x12345678, 200, ~0ULL};
	struct trace_record rec = {.time_ns = 1000000000000, .pid = 4321, .tid = 4321, .cpu = 1, .nargs = nargs, .args = v};
	a = base_now_ns();
	for (long i = 0; i < samples; i++) { rec.id = i % n; rec.time_ns += 1000; if ((r = format_perf_sample(w, &rec))) break; }
	if (getenv("LOST")) r = format_perf_lost(w, 0, 12345, rec.time_ns + 1);
	int f = getenv("KILL") ? -9999 : format_perf_finish(w);
	double s = (base_now_ns() - a) / 1e9;
	printf("r %d finish %d: %.2f M/s\n", r, f, samples / s / 1e6);
	if (getenv("KILL")) { fflush(stdout); _exit(0);}
	struct format_perf_file *in;
	a = base_now_ns();
	r = format_perf_open(argv[1], &in, &e);
	if (r) { printf("open %d %s\n", r, e.text); return 1; }
	printf("open %.3f ms\n", (base_now_ns() - a) / 1e6);
	a = base_now_ns(); long got = 0; struct format_perf_event ev;
	while (!(r = format_perf_next(in, &ev, &e)) && ev.type != FORMAT_PERF_END) got += ev.type == FORMAT_PERF_SAMPLE;
	s = (base_now_ns() - a) / 1e9;
	printf("read %d, %ld samples, %.2f M/s %s\n", r, got, got / s / 1e6, r ? e.text : "");
	format_perf_close(in);
}
