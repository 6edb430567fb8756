#!/bin/bash
# SPDX-License-Identifier: MIT
# The tests of others, and a torture of our own, run under full probing: all functions of the program and of its libraries at once, counted,
# then recorded; and every Nth of their instructions. What they print must be what they print unprobed.
#
#   run.sh BUILD [NAME...]: cpython sqlite redis go rust torture
#
# A part of it by default (under a minute); UTAP_ALL=1 runs larger parts of the suites, and more instructions (UTAP_STEP: every so many).
# Each suite gives a line PASS, FAIL or SKIP with what was probed and hit, and how much longer it took.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../integration/lib.sh"
. "$here/../integration/places.sh"
shift
only=" $* "
all=${UTAP_ALL:-0}
step=${UTAP_STEP:-$([ "$all" = 1 ] && echo 8 || echo 128)}
limit=$([ "$all" = 1 ] && echo 1200 || echo 120)
same_places=
setarch -R true 2> /dev/null && same_places='setarch -R'

wanted() { [ "$only" = '  ' ] || [[ $only == *" $1 "* ]]; }

# Files with code that a program maps at its start, itself included; not the dynamic linker.
libraries_of() # PROGRAM
{
	realpath "$1"
	ldd "$1" 2> /dev/null | sed -n 's,.* => \(/[^ ]*\) .*,\1,p' | while read -r file; do realpath "$file"; done
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# suite FILTER COMMAND...: in all ways; $files are probed. FILTER (a function) takes from its output what may differ from run to run.
suite()
{
	local filter=$1 start plain_ms mode done='' log
	shift

	start=$(milliseconds)
	# shellcheck disable=SC2086
	timeout -k 5 $limit $same_places "$@" > plain.raw 2>&1 < /dev/null
	code=$?
	plain_ms=$(($(milliseconds) - start))
	[ "$code" = 0 ] || { problem "unprobed: it ends with $code: $(tail -2 plain.raw)"; return; }
	$filter < plain.raw > plain
	[ -s plain ] || problem 'unprobed: it prints nothing'
	for mode in counted recorded instructions; do
		case $mode in
		instructions) "$here/places.py" "$step" $files > probes ;;
		*) "$here/places.py" functions $files > probes ;;
		esac
		start=$(milliseconds)
		log=$mode.raw
		if [ $mode = recorded ]; then
			# shellcheck disable=SC2086
			timeout -k 5 $limit $same_places "$utap" record --ring 4M -o data -F probes -- "$@" > "$log" 2> stderr < /dev/null
		else
			# shellcheck disable=SC2086
			timeout -k 5 $limit $same_places "$utap" stat -v --json -o counts -F probes -- "$@" > "$log" 2> stderr < /dev/null
		fi
		code=$?
		[ "$code" = 0 ] || problem "$mode: utap ends with $code: $(grep -v 'not probed' stderr | tail -2)"
		grep -q 'exited with status 0$' stderr || problem "$mode: the program failed: $(grep exited stderr) $(tail -2 "$log")"
		grep '^utap: ' stderr > notes
		grep -v '^utap: ' stderr >> "$log" # it prints there, too
		$filter < "$log" > "$mode"
		cmp -s plain "$mode" || problem "$mode: its results differ from the unprobed run's: $(diff plain "$mode" | head -4)"
		done="$done${done:+; }$mode $(told $mode), $(bc <<< "scale=1; ($(milliseconds) - $start) / ($plain_ms + 1)")x"
		rm -f data
	done
	name="$name: $(wc -l < plain) lines of results; $done"
}

# What utap says it did, in short.
told() # MODE
{
	if [ "$1" = recorded ]; then
		sed -n 's/^utap: \([0-9]*\) events, \([0-9]*\) lost.*/\1 hits, \2 of them lost/p' notes
	else
		echo "$(sed -n 's/.*: \([0-9]*\) places probed.*/\1/p' notes) of $(wc -l < probes) places, $(count_all counts) hits"
	fi
}

as_printed() { cat; }

# ---- CPython ----

# Lines of its verbose output without times; tests that look at the process itself are not among them.
unittest_lines() { grep -E ' \.\.\. |^(OK|FAILED|Ran [0-9]+)' | sed -e 's/ in [0-9.]*s$//' -e 's/ 0x[0-9a-f]*//g' | sort; }

if wanted cpython; then
	begin 'suite cpython'
	python=/usr/bin/python3.11
	if [ ! -x $python ] || ! $python -c 'import test.test_json' 2> /dev/null; then
		skip 'python3.11 with its tests (libpython3.11-testsuite) is not installed'
	else
		tests='test.test_list test.test_dict test.test_exceptions test.test_generators test.test_struct test.test_json'
		[ "$all" = 1 ] && tests="$tests test.test_re test.test_set test.test_unicode test.test_deque test.test_itertools test.test_long
			test.test_float test.test_bytes test.test_collections test.test_queue
			test.test_contextlib test.test_coroutines test.test_asyncgen test.test_grammar test.test_compile test.test_zlib test.test_bisect test.test_heapq"
		files=$(libraries_of $python)
		# test_exceptions starts children with tiny memory limits; recursion tests depend on the C stack: both as in the unprobed run.
		suite unittest_lines $python -X faulthandler -E -s -m unittest -v $tests
	fi
	end
fi

# ---- sqlite ----

make_queries()
{
	local i n=$([ "$all" = 1 ] && echo 20000 || echo 2000)

	cat <<- SQL
		.mode list
		create table people(id integer primary key, name text unique, age integer, weight real);
		create table pays(person integer references people(id), amount integer, day text);
		create index by_day on pays(day);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < $n)
			insert into people select i, 'person ' || (i * 7919 % 100003), i * 31 % 90, i * 1.25 from n;
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 3 * $n)
			insert into pays select i * 13 % $n + 1, i * 17 % 1000 - 300, date('2020-01-01', (i * 5 % 700) || ' days') from n;
		create trigger old after update on people when new.age > 85 begin insert into pays values(new.id, 1000, '2022-02-02'); end;
	SQL
	for i in {1..40}; do
		echo "select count(*), sum(amount), min(day) from pays where amount between $((i * 20 - 300)) and $((i * 25));"
		echo "select name, total(amount) t from people join pays on person = id where age = $i group by id order by t desc, name limit 3;"
		echo "update people set age = age + $((i % 5)) where id % 41 = $i;"
	done
	cat <<- 'SQL'
		select day, amount, sum(amount) over (partition by substr(day, 1, 7) order by day, rowid) from pays order by day, rowid limit 40;
		select json_group_array(json_object('n', name, 'w', weight)) from (select * from people order by name limit 5);
		begin; delete from pays where amount < 0; select changes(); rollback;
		select group_concat(hex(substr(name, -3))) from (select name from people order by weight desc limit 20);
		explain query plan select * from people where name like 'person 1%' order by age;
		insert or ignore into people(name) values('person 7919');
		vacuum; pragma integrity_check; select count(*), sum(age), avg(weight) from people;
	SQL
}

if wanted sqlite; then
	begin 'suite sqlite'
	if command -v sqlite3 > /dev/null; then
		make_queries > queries.sql
		sqlite=$(command -v sqlite3)
		files=$(libraries_of "$sqlite")
		suite as_printed "$sqlite" -init /dev/null -batch :memory: '.read queries.sql'
	else
		skip 'sqlite3 is not installed'
	fi
	end
fi

# ---- redis ----

# A server, probed or not, and a client that talks to it: what a client sees. The program that is probed is $1; its arguments follow.
redis_client()
{
	local i

	for i in {1..100}; do
		redis-cli -s socket ping > /dev/null 2>&1 && break
		sleep 0.1
	done
	{
		for i in {1..200}; do
			echo "set key$i value$((i * 7))"
			echo "incrby counter$((i % 7)) $i"
			echo "rpush list$((i % 5)) $i"
			echo "zadd sorted $((i * 37 % 100)) member$i"
			echo "hset hash$((i % 3)) field$i $((i * i))"
		done
		echo 'mget key1 key50 key200 nokey'
		echo 'zrange sorted 10 20 withscores'
		echo 'lrange list3 0 -1'
		echo 'hlen hash2'
		echo 'incr list1'
		echo 'eval "local s = 0; for i = 1, 500 do s = s + i * tonumber(ARGV[1]) end; return s" 0 3'
		echo 'setbit bits 100 1'
		echo 'bitcount bits'
		echo 'pfadd visitors a b c d a'
		echo 'pfcount visitors'
		echo 'dbsize'
	} | redis-cli -s socket 2>&1
	redis-benchmark -s socket -q -n "$([ "$all" = 1 ] && echo 20000 || echo 1000)" -c 20 -t set,get,lpush,lpop,hset,zadd 2>&1 |
		tr '\r' '\n' | sed -n 's/^\([A-Z]*\): [0-9.]* requests per second.*/\1 done/p' | sort -u
	redis-cli -s socket shutdown nosave 2>&1
}

if wanted redis; then
	begin 'suite redis'
	if command -v redis-server > /dev/null && command -v redis-cli > /dev/null; then
		server=$(command -v redis-server) # a link: what it does depends on its name
		declare -f redis_client > client.sh
		# The client runs beside; what is compared is what it sees, and the server must end well.
		cat > serve.sh <<- SCRIPT
			#!/bin/bash
			all=$all
			. ./client.sh
			redis_client > client.out 2>&1 &
			"\$@" > server.out 2>&1 &
			server=\$!
			trap 'kill \$server' TERM
			wait \$server
			code=\$?
			wait
			cat client.out
			exit \$code
		SCRIPT
		files=$(libraries_of "$server")
		arguments=(--port 0 --unixsocket "$work/socket" --dir "$work" --save '' --appendonly no)
		start=$(milliseconds)
		bash serve.sh "$server" "${arguments[@]}" > plain || problem "unprobed: it ends with $?"
		grep -q '^SET done' plain || problem "unprobed: the benchmark did not run: $(tail -2 plain)"
		plain_ms=$(($(milliseconds) - start))
		done=
		for mode in counted recorded instructions; do
			"$here/places.py" "$([ $mode = instructions ] && echo "$step" || echo functions)" $files > probes
			start=$(milliseconds)
			kind=(stat -v --json -o counts)
			[ $mode = recorded ] && kind=(record --ring 4M -o data)
			timeout -k 5 $limit bash serve.sh "$utap" "${kind[@]}" -F probes -- "$server" "${arguments[@]}" > $mode
			code=$?
			expect_code 0
			cmp -s plain $mode || problem "$mode: clients saw other answers: $(diff plain $mode | head -4)"
			grep '^utap: ' server.out > notes
			grep -q 'exited with status 0$' notes || problem "$mode: the server failed: $(tail -2 server.out)"
			done="$done${done:+; }$mode $(told $mode), $(bc <<< "scale=1; ($(milliseconds) - $start) / ($plain_ms + 1)")x"
			rm -f data
		done
		name="$name: $(wc -l < plain) lines of answers; $done"
	else
		skip 'redis-server is not installed'
	fi
	end
fi

# ---- Go ----

go_lines() { grep -E '^ *(---|===|ok|PASS|FAIL)' | sed 's/ ([0-9.]*s)$//' | grep -v '^=== ' | sort; }

if wanted go; then
	begin 'suite go'
	if command -v go > /dev/null; then
		export GOCACHE=$work/../utap-go-cache GOFLAGS=-buildvcs=false
		packages=strings
		[ "$all" = 1 ] && packages='strings strconv sort bytes encoding/json regexp sync math/big container/heap'
		for package in $packages; do
			if ! go test -c -o test.bin "$package" > go.log 2>&1; then
				skip "go cannot build the tests of $package: $(head -1 go.log)"
				break
			fi
			rm -rf testdata
			cp -r "$(go list -f '{{.Dir}}' "$package")/testdata" . 2> /dev/null # which tests read from where they run
			files=$work/test.bin
			name="suite go $package$who"
			# Tests of how much is allocated count what the collector does at random.
			suite go_lines ./test.bin -test.v -test.short -test.count=1
			[ "$package" = "${packages##* }" ] || { end; problems=0; }
		done
	else
		skip 'go is not installed'
	fi
	end
fi

# ---- Rust ----

rust_lines() { grep -E '^(test |running )' | sed 's/; finished in .*//' | sort; }

if wanted rust; then
	begin 'suite rust'
	if command -v cargo > /dev/null && cp -r "$here/crate" . && (cd crate && cargo test --offline --no-run) > cargo.log 2>&1; then
		binary=$(find crate/target/debug/deps -maxdepth 1 -type f -executable -name 'prefix-*' | head -1)
		files=$(libraries_of "$binary")
		suite rust_lines "./$binary" --test-threads=4
	else
		skip "cargo is not installed, or cannot build: $(tail -1 cargo.log 2> /dev/null)"
	fi
	end
fi

# ---- C++ exceptions ----

if wanted torture; then
	begin 'suite torture of C++ exceptions'
	if command -v g++ > /dev/null && g++ -O2 -g -Wno-infinite-recursion -o torture "$here/torture.cc" -lpthread > log 2>&1; then
		files=$(libraries_of ./torture)
		suite as_printed ./torture "$([ "$all" = 1 ] && echo 2000 || echo 100)"
	else
		skip 'g++ is not installed'
	fi
	end
fi

summary
