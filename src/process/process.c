/* SPDX-License-Identifier: MIT */
/* Memory, threads and state of a process through procfs. */
#include "process/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int process_mem_open(pid_t pid)
{
	char path[64];
	int fd;

	process_proc_path(pid, "mem", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	return fd;
}

/* A process that is gone reads as end of file. */
int process_read(int mem, utap_addr from, void *to, size_t size)
{
	char *at = to;

	while (size) {
		ssize_t n = pread(mem, at, size, (off_t)from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ESRCH;
		at += n;
		from += (utap_addr)n;
		size -= (size_t)n;
	}
	return 0;
}

int process_write(int mem, utap_addr to, const void *from, size_t size)
{
	const char *at = from;

	while (size) {
		ssize_t n = pwrite(mem, at, size, (off_t)to);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ESRCH;
		at += n;
		to += (utap_addr)n;
		size -= (size_t)n;
	}
	return 0;
}

long process_threads(pid_t pid, pid_t **ret)
{
	_cleanup_free_ pid_t *tids = NULL;
	size_t cap = 0;
	size_t count = 0;
	char path[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while ((entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (base_grow(&tids, &cap, count + 1, sizeof(*tids))) {
			closedir(dir);
			return -ENOMEM;
		}
		tids[count++] = atoi(entry->d_name);
	}
	closedir(dir);
	if (!count)
		return -ESRCH;
	*ret = tids;
	tids = NULL;
	return (long)count;
}

/* A number after "Name:" at the start of a line; 0 when the line is missing. */
static uint64_t field(const char *text, const char *name, int base)
{
	const char *at = text;
	size_t length = strlen(name);

	for (; at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
		if (!strncmp(at, name, length) && at[length] == ':')
			return strtoull(at + length + 1, NULL, base);
	return 0;
}

uint64_t process_stat_number(pid_t pid, unsigned number)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (base_file_read(path, &text, NULL))
		return 0;
	at = strrchr(text, ')'); /* the name, field 2, may hold anything, even ')' */
	for (unsigned i = 2; at && i < number; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

static bool has_shadow_stack(const char *text)
{
	const char *at = strstr(text, "\nx86_Thread_features:");
	const char *word = at ? strstr(at, "shstk") : NULL;

	return word && word < at + 1 + strcspn(at + 1, "\n");
}

/* The last of "NSpid:	12	1": in the innermost namespace. */
static pid_t inner_pid(const char *text)
{
	const char *at = strstr(text, "\nNSpid:");
	pid_t pid = 0;

	if (!at)
		return 0;
	for (at += 7; *at && *at != '\n'; at += strspn(at, "0123456789")) {
		at += strspn(at, " \t");
		if (*at >= '0' && *at <= '9')
			pid = atoi(at);
		else
			break;
	}
	return pid;
}

int process_status_read(pid_t pid, struct process_status *ret)
{
	_cleanup_free_ char *text = NULL;
	unsigned uid = 0, euid = 0;
	char path[64];
	const char *at;
	int error;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	error = base_file_read(path, &text, NULL);
	if (error)
		return error == -ENOENT ? -ESRCH : error;
	at = strstr(text, "\nUid:");
	if (at)
		sscanf(at + 5, "%u %u", &uid, &euid);
	at = strstr(text, "\nState:");
	*ret = (struct process_status){
		.state = at ? at[8] : '?',
		.tgid = (pid_t)field(text, "Tgid", 10),
		.ppid = (pid_t)field(text, "PPid", 10),
		.tracer = (pid_t)field(text, "TracerPid", 10),
		.inner_pid = inner_pid(text),
		.shadow_stack = has_shadow_stack(text),
		.uid = uid,
		.euid = euid,
		.blocked = field(text, "SigBlk", 16),
		.seccomp = (unsigned)field(text, "Seccomp", 10),
		.locked_kib = field(text, "VmLck", 10),
		.resident_kib = field(text, "VmRSS", 10),
		.mapped_kib = field(text, "VmSize", 10),
		.start_time = process_stat_number(pid, PROCESS_STAT_START),
	};
	return 0;
}

static bool is_dead(pid_t tid)
{
	struct process_status status;

	return process_status_read(tid, &status) || status.state == 'Z' || status.state == 'X';
}

/* A thread that lives; 0: none. */
static pid_t living_thread(pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);

	for (long i = 0; i < count; i++)
		if (!is_dead(tids[i]))
			return tids[i];
	return 0;
}

bool process_has_ended(pid_t pid) { return is_dead(pid) && !living_thread(pid); }

void process_proc_path(pid_t pid, const char *name, char *path, size_t size)
{
	pid_t tid = is_dead(pid) ? living_thread(pid) : pid;

	if (tid && tid != pid)
		snprintf(path, size, "/proc/%d/task/%d/%s", pid, tid, name);
	else
		snprintf(path, size, "/proc/%d/%s", pid, name);
}

/* Kernel threads and zombies have none; kcmp(2) would call them all alike. */
static bool has_memory(pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	return !base_file_read(path, &text, NULL) && strtoull(text, NULL, 10) > 0;
}

bool process_shares_memory(pid_t pid, pid_t other)
{
	pid_t tid = is_dead(pid) ? living_thread(pid) : pid;

	return tid && has_memory(other) && syscall(SYS_kcmp, tid, other, KCMP_VM, 0, 0) == 0;
}

bool process_is_confined(pid_t pid)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = process_threads(pid, &tids);
	struct process_status status;

	for (long i = 0; i < count; i++)
		if (!process_status_read(tids[i], &status) && status.seccomp)
			return true;
	return false;
}

uint64_t process_address_room(pid_t pid)
{
	static const char name[] = "Max address space";
	_cleanup_free_ char *text = NULL;
	struct process_status status;
	const char *at;
	char path[64];

	process_proc_path(pid, "limits", path, sizeof(path));
	at = base_file_read(path, &text, NULL) ? NULL : strstr(text, name);
	if (at)
		at += sizeof(name) - 1 + strspn(at + sizeof(name) - 1, " ");
	if (!at || !isdigit((unsigned char)*at) || process_status_read(pid, &status)) /* "unlimited" */
		return UINT64_MAX;
	uint64_t limit = strtoull(at, NULL, 10);
	uint64_t mapped = status.mapped_kib * 1024;

	return limit > mapped ? limit - mapped : 0;
}

bool process_is_locked(pid_t pid, utap_addr addr)
{
	_cleanup_free_ char *text = NULL;
	bool here = false;
	char path[64];
	char *save;

	process_proc_path(pid, "smaps", path, sizeof(path));
	if (base_file_read(path, &text, NULL))
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = addr >= start && addr < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			return strstr(line, " lo") != NULL;
	}
	return false;
}

void process_comm(pid_t tid, char *text, size_t size)
{
	_cleanup_free_ char *comm = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", tid);
	if (base_file_read(path, &comm, NULL)) {
		snprintf(text, size, "<...>");
		return;
	}
	comm[strcspn(comm, "\n")] = '\0';
	snprintf(text, size, "%s", comm);
}

int process_auxv(pid_t pid, uint64_t type, uint64_t *ret)
{
	_cleanup_free_ char *text = NULL;
	char path[64];
	size_t size;
	int error;

	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	error = base_file_read(path, &text, &size);
	if (error)
		return error == -ENOENT ? -ESRCH : error;
	for (size_t at = 0; at + 16 <= size; at += 16) {
		uint64_t pair[2];

		memcpy(pair, text + at, sizeof(pair));
		if (pair[0] == type) {
			*ret = pair[1];
			return 0;
		}
	}
	return -ENOENT;
}

static int yama_scope(void)
{
	_cleanup_free_ char *text = NULL;

	return base_file_read("/proc/sys/kernel/yama/ptrace_scope", &text, NULL) ? 0 : atoi(text);
}

static void user_name(uid_t uid, char *text, size_t size)
{
	struct passwd *entry = getpwuid(uid);

	if (entry)
		snprintf(text, size, "%s", entry->pw_name);
	else
		snprintf(text, size, "uid %u", uid);
}

/* A process that is just ending refuses access before it shows that it has ended. */
static bool ends_soon(pid_t pid)
{
	for (int i = 0; i < 25; i++) {
		struct process_status status;

		if (process_status_read(pid, &status) || process_has_ended(pid))
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	return false;
}

/* Whoever may not trace a process may not open its memory either. */
static bool is_accessible(pid_t pid)
{
	_cleanup_close_ int mem = process_mem_open(pid);

	return mem >= 0;
}

/* Who traces it, or one of its threads; 0: nobody. */
static pid_t find_tracer(pid_t pid, const struct process_status *status)
{
	_cleanup_free_ pid_t *tids = NULL;
	long count = status->tracer ? 0 : process_threads(pid, &tids);
	pid_t tracer = status->tracer;

	for (long i = 0; !tracer && i < count; i++) {
		struct process_status thread;

		if (!process_status_read(tids[i], &thread))
			tracer = thread.tracer;
	}
	return tracer;
}

int process_explain(pid_t pid, int code, struct utap_error *err)
{
	struct process_status status;
	char owner[64];
	char name[64];
	pid_t tracer;

	if (process_status_read(pid, &status))
		return base_error(err, -ESRCH, UTAP_ERROR_NOT_FOUND, "no process %d: it does not exist or has exited", pid);
	if (process_has_ended(pid))
		return base_error(err, -ESRCH, UTAP_ERROR_GONE, "process %d has exited and only waits for its parent", pid);
	tracer = find_tracer(pid, &status);
	if (tracer) {
		process_comm(tracer, name, sizeof(name));
		return base_error(err, -EBUSY, UTAP_ERROR_PERMISSION,
				  "process %d is already traced by pid %d (%s); detach that tracer first", pid, tracer, name);
	}
	if (code == -EBUSY)
		return base_error(err, code, UTAP_ERROR_PERMISSION,
				  "another tracer had a thread of process %d just now (another utap?); try again", pid);
	if (code == -ESRCH)
		return base_error(err, -ECHILD, UTAP_ERROR_GONE,
				  "process %d has no memory to look at: it is a kernel thread, or just exiting or executing another "
				  "program",
				  pid);
	if (code != -EPERM && code != -EACCES)
		return base_error_system(err, code, "cannot access process %d", pid);
	user_name(status.uid, owner, sizeof(owner));
	if (geteuid() && (status.uid != geteuid() || status.euid != geteuid()))
		return base_error(err, -EPERM, UTAP_ERROR_PERMISSION,
				  "process %d belongs to %s; run utap as that user or as root", pid, owner);
	if (ends_soon(pid))
		return base_error(err, -ESRCH, UTAP_ERROR_GONE, "process %d exited meanwhile", pid);
	if (is_accessible(pid))
		return base_error(err, -ECHILD, UTAP_ERROR_GONE,
				  "process %d refused access for a moment: it was ending threads or executing another program; try "
				  "again",
				  pid);
	if (geteuid() && yama_scope() > 0)
		return base_error(err, -EPERM, UTAP_ERROR_PERMISSION,
				  "process %d: kernel.yama.ptrace_scope is %d, which forbids attaching to running processes; "
				  "start the program with utap (utap trace .. -- CMD), run as root, or set ptrace_scope to 0",
				  pid, yama_scope());
	if (geteuid())
		return base_error(err, -EPERM, UTAP_ERROR_PERMISSION,
				  "process %d has privileges (set-uid, capabilities) or forbids being traced "
				  "(PR_SET_DUMPABLE); run utap as root",
				  pid);
	return base_error(err, -EPERM, UTAP_ERROR_PERMISSION,
			  "the kernel refuses access to process %d even to root: a kernel thread, or a security module "
			  "or container without CAP_SYS_PTRACE",
			  pid);
}
