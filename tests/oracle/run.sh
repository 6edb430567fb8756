#!/bin/bash
# SPDX-License-Identifier: MIT
# The kernel's uprobes as oracle on real programs, then perf reading our files.
#
#   run.sh BUILD [NAME...]: PASS, FAIL and SKIP lines; details of failures above them
#
# All functions of each program and of libc are probed at once. A hit costs the kernel some 20 us: the hottest functions are compared
# only with UTAP_ALL=1 (minutes), else the coldest ones up to $budget hits in all.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${1:?build directory}")
shift
only=" $* "
oracle=$build/tests/oracle/oracle
budget=${UTAP_ORACLE_HITS:-100000}
[ "${UTAP_ALL:-0}" = 1 ] && budget=0
dir=$(mktemp -d /tmp/utap-oracle.XXXXXX)
redis_pid=
trap '[ -z "$redis_pid" ] || kill "$redis_pid" 2> /dev/null; rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

missing() { # why the kernel's side cannot run, or nothing
	[ "$(id -u)" = 0 ] || { echo 'needs root (uprobes of the kernel)'; return; }
	local release
	release=$(uname -r)
	[ "$(printf '%s\n6.6\n' "$release" | sort -V | head -1)" = 6.6 ] || echo "needs Linux 6.6 (uprobe_multi), this is $release"
}

# compare NAME PROGRAM OPTIONS -- ARGS: one program
compare() {
	local name=$1 program=$2 options=() why
	shift 2
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	[ "$only" = '  ' ] || [[ $only == *" $name "* ]] || return
	why=$(missing)
	[ -n "$why" ] || [ -x "$program" ] || why="$program is not installed"
	if [ -n "$why" ]; then
		echo "SKIP oracle $name: $why"
		return
	fi
	timeout 600 "$oracle" -b "$budget" -d "$dir" -n "$name" "${options[@]}" -- "$program" "$@"
	case $? in
	0) ;;
	1) failed=1 ;;
	*) echo "FAIL oracle $name: the oracle died"; failed=1 ;;
	esac
}

seq 1 3000 > numbers
for i in 3 1 2; do echo "line $i of the text 1${i}3, $((i * 999))"; done > text
cat > queries.sql <<'EOF'
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i+1 from n where i<60) insert into t select i, 'row '||i, i*1.5 from n;
create index tb on t(b);
select count(*), sum(c), max(b) from t where b like 'row 1%';
select a, b from t order by b desc limit 5;
delete from t where a % 3 = 0;
select group_concat(b, ';') from (select b from t limit 7);
EOF

compare gzip /usr/bin/gzip -- -9 -c numbers
compare xz /usr/bin/xz -- -0 -c -T1 numbers
compare sqlite3 /usr/bin/sqlite3 -- :memory: '.read queries.sql'
compare perl /usr/bin/perl -- -e '
	my %h; $h{"k$_"} = $_ * $_ for 1 .. 40;
	print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
	my $s = "the quick brown fox"; $s =~ s/(\w+)/<$1>/g; printf "%s %.3f\n", $s, sqrt 2;'
compare bash /usr/bin/bash -- --norc -c '
	s=0; for i in {1..50}; do s=$((s + i * i)); done; echo $s; a=(c b a); printf "%s\n" "${a[@]^^}"
	[[ foobar =~ ^f(o+)b ]] && echo "${BASH_REMATCH[1]}"; f() { local v=${1//o/0}; echo "$v"; }; f foo'
compare python3 /usr/bin/python3.11 -- -I -S -c '
import json, re
print(sorted(json.loads(json.dumps({"a": [1, 2.5, None], "b": "x" * 5}))), re.sub(r"(\w)(\d+)", r"\2\1", "a12 b3"))
print(sum(i * i for i in range(30)))'
compare openssl /usr/bin/openssl -- dgst -sha256 numbers
compare openssl-enc /usr/bin/openssl -- enc -aes-256-cbc -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff \
	-iv 00000000000000000000000000000000 -in queries.sql -a
compare sed /usr/bin/sed -- -n -e '/7$/s/\([0-9]\)/<\1>/gp' -e 's/999/x/p' text
compare awk /usr/bin/mawk -- '{ s += $1; n[$1 % 7]++ } END { print s, n[3]; printf "%5.2f\n", s / NR }' numbers
compare tar /usr/bin/tar -- --sort=name --mtime=@0 --owner=0 --group=0 -cf - queries.sql numbers
compare git /usr/bin/git -- hash-object numbers queries.sql

# Instructions in the middle of functions, others each time (the seed is printed; UTAP_SEED repeats it), as many as the kernel's time allows.
# -t 2: the ways that memcpy and its like take depend on where memory lies, and that differs a little.
export UTAP_SEED=${UTAP_SEED:-$RANDOM}
instructions() { # NAME ONE_IN PROGRAM ARGS
	local name=$1 one_in=$2 program=$3
	shift 3
	compare "$name" "$program" -b 20000 -t 2 -i "$one_in" -r "$((UTAP_SEED + 1))" -- "$@"
}
instructions gzip-instructions 40 /usr/bin/gzip -9 -c numbers
instructions bash-instructions 60 /usr/bin/bash --norc -c 's=0; for i in {1..20}; do s=$((s + i * i)); done; echo $s; a=(c b a); printf "%s\n" "${a[@]^^}"'
instructions sqlite3-instructions 60 /usr/bin/sqlite3 :memory: '.read queries.sql'
instructions perl-instructions 60 /usr/bin/perl -e 'my %h; $h{"k$_"} = $_ * $_ for 1 .. 10; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";'

# Returns of all functions and what they return. The kernel looks at no more than 64 open calls: python's deepest are sampled. longjmp is
# left by a jump that utap sees.
returns() { # NAME OPTIONS -- PROGRAM ARGS
	local name=$1 options=()
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	compare "$name-returns" "$2" -b 30000 -R -x ____longjmp_chk,__longjmp "${options[@]}" -- "${@:3}"
}
returns gzip -- /usr/bin/gzip -9 -c numbers
returns xz -- /usr/bin/xz -0 -c -T1 numbers
returns sqlite3 -- /usr/bin/sqlite3 :memory: '.read queries.sql'
returns bash -- /usr/bin/bash --norc -c 's=0; for i in {1..50}; do s=$((s + i * i)); done; echo $s; a=(c b a); printf "%s\n" "${a[@]^^}"'
returns perl -- /usr/bin/perl -e 'my %h; $h{"k$_"} = $_ * $_ for 1 .. 40; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";'
returns openssl -- /usr/bin/openssl dgst -sha256 numbers
returns sed -- /usr/bin/sed -n -e '/7$/s/\([0-9]\)/<\1>/gp' -e 's/999/x/p' text
returns awk -- /usr/bin/mawk '{ s += $1; n[$1 % 7]++ } END { print s, n[3]; printf "%5.2f\n", s / NR }' numbers
returns tar -- /usr/bin/tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - queries.sql numbers
returns git -- /usr/bin/git hash-object numbers queries.sql
returns python3 -s 16 -- /usr/bin/python3.11 -I -S -c '
import json, re
print(sorted(json.loads(json.dumps({"a": [1, 2.5, None], "b": "x" * 5}))), re.sub(r"(\w)(\d+)", r"\2\1", "a12 b3"))
print(sum(i * i for i in range(30)))'

# These look at their own /proc/self/maps, which is longer under utap (patched pages are mappings of their own): what reads it differs.
maps=getline,getdelim,__isoc99_sscanf,_IO_file_read,_IO_file_underflow,_IO_switch_to_get_mode,__underflow,__read_nocancel
maps=$maps,_IO_str_init_static_internal,_IO_setb,_IO_old_init,_IO_no_init,__libc_cleanup_push_defer,__libc_cleanup_pop_restore
maps=$maps,read,lseek,mmap,munmap,__strtoul_internal,strtoul,__memchr_evex,__memchr_evex_rtm
maps=$maps,__memchr_avx2,__memchr_avx2_rtm,__memchr_sse2,__vfscanf_internal
compare grep /usr/bin/grep -x "$maps" -- -nE '(12|7)3$' numbers
# -t 3: programs with threads. How they meet in malloc and the like depends on their speed, so a few of thousands of functions may
# differ; the programs above may not.
#
# Whether a thread has to wait for another depends on their speed, and under the kernel's uprobes they are slow.
waits=do_futex_wait.constprop.0,__new_sem_wait_slow64.constprop.0,__lll_lock_wait,__lll_lock_wake,_pthread_cleanup_push
waits=$waits,_pthread_cleanup_pop,__pthread_enable_asynccancel,__pthread_disable_asynccancel,__futex_abstimed_wait_common
waits=$waits,__futex_abstimed_wait_cancelable64,__lll_lock_wait_private,__lll_lock_wake_private
# Every 16th function of node's 78,000.
compare node /usr/bin/node -t 3 -s 16 -x "$maps,$waits" -- --single-threaded --jitless --hash-seed=1 --random-seed=1 \
	-e 'console.log([3,1,2].sort().map(x=>x*x).join(), JSON.stringify({a:1}))'

# gdb starts iconv with vfork: until it executes, the child runs in its parent's memory, and utap counts it as its parent.
vfork=getenv,__libc_alloca_cutoff,_Exit,execve,execvp,execvpe,write,close,dup2,__strnlen_evex,__strnlen_avx2,__strnlen_sse2
compare gdb /usr/bin/gdb -t 3 -e LD_BIND_NOW=1 -x "$vfork,$waits" -- -nx -nh -batch -iex 'maint set worker-threads 0' -ex 'print 6*7' \
	-ex 'info line main' -ex 'disassemble worker_lookup' "$build/tests/oracle/oracle-worker"

# redis: its server's code checks a dump that a server wrote, untraced.
dump_redis() {
	[ -x /usr/bin/redis-server ] && [ -x /usr/bin/redis-cli ] || return
	/usr/bin/redis-server --port 0 --unixsocket "$dir/redis" --dir "$dir" --save '' > /dev/null 2>&1 &
	redis_pid=$!
	for _ in {1..50}; do [ -S redis ] && break; sleep 0.1; done
	{
		for i in {1..40}; do echo "set key$i value$i"; echo "rpush list $i"; echo "hset hash f$i $i"; done
		echo save
		echo 'shutdown nosave'
	} | redis-cli -s redis > /dev/null 2>&1
	wait "$redis_pid"
	redis_pid=
}
dump_redis
# It seeds its hashes from /dev/urandom, hence -t; jemalloc gives memory back by the clock.
compare redis /usr/bin/redis-check-rdb -t 3 -e MALLOC_CONF=dirty_decay_ms:-1,muzzy_decay_ms:-1 -- dump.rdb

if [ "$only" = '  ' ] || [[ $only == *' arguments '* ]]; then
	"$here/arguments.sh" "$build" || failed=1
fi
if [ "$only" = '  ' ] || [[ $only == *' perf '* ]]; then
	"$here/perf.sh" "$build" || failed=1
fi
exit $failed
