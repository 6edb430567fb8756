#!/bin/bash
# SPDX-License-Identifier: MIT
# Other formats: each is read by its own reader where there is one, else by a strict one of ours (formats.py), and says as much as was recorded.
#
#   formats.sh BUILD
here=$(cd "$(dirname "$0")" && pwd)
source "$here/lib.sh"
worker=$programs/worker
streams='perfetto chrome folded flame ftrace systrace jsonl csv'

# check FORMAT FILE: read it; what it holds is in $found
check()
{
	local file=$2

	if [ "$1" = perfetto ]; then
		protoc --decode=Trace -I "$here" "$here/perfetto.proto" < "$2" > decoded 2> why || { problem "$1: $(head -2 why)"; return 1; }
		file=decoded
	fi
	if [ "$1" = flame ]; then
		found="frames $(grep -c '<g class="f"' "$2")"
		xmllint --noout "$2" 2> why
	else
		found=$(python3 "$here/formats.py" "$1" "$file" 2> why)
	fi || { problem "$1: $(head -2 why)"; return 1; }
}

expect_found() { [[ " $found " == *" $1 "* ]] || problem "$2: '$found', want '$1'"; }

# convert FORMAT [ARG...]: perf.data, into the file of the format's name
convert()
{
	run convert --to "$1" -i "${input:-perf.data}" -o "out.$1" "${@:2}"
	expect_code 0
}

need()
{
	command -v "$1" > /dev/null || { skip "$1 is not installed ($2)"; return 1; }
}

# A recording of calls, without loss, of a program whose name needs escapes.
record_calls()
{
	cp "$worker" 'w<o>&k;er'
	target './w<o>&k;er' 20 2
	run record -q --duration --ring 16M -n 20000 -o "${1:-perf.data}" -e "p:req $PWD/w<o>&k;er:handle_request n=%si:s64" \
		-e "$PWD/w<o>&k;er:worker_hash" -p "$pid"
	expect_code 0
	finish
}

begin 'formats: calls of a file, all streams'
if need protoc protobuf-compiler && need xmllint libxml2-utils; then
	record_calls
	run report --latency --json -i perf.data
	calls=$(grep -o '"calls":[0-9]*' stdout | tr -dc '0-9\n' | awk '{ n += $1 } END { print n }')
	total=$(grep -o '"self_ns":[0-9]*' stdout | tr -dc '0-9\n' | awk '{ n += $1 } END { print n }')
	grep -q '"open":[12],"unpaired":0,"lost":0' stdout || grep -q '"open":0,"unpaired":0,"lost":0' stdout || problem "report: $(cat stdout)"
	[ "$calls" -gt 9900 ] || problem "only $calls calls"
	for format in $streams; do
		convert "$format"
		check "$format" "out.$format" || continue
		case $format in
		csv | jsonl | ftrace) expect_found "hits 20000" "$format" ;;
		chrome | systrace | perfetto)
			begins=$(sed 's/.*begins \([0-9]*\).*/\1/' <<< "$found")
			[ "$begins" -ge "$calls" ] && [ "$begins" -le $((calls + 4)) ] || problem "$format: $found, want $calls begins"
			expect_found "threads 2" "$format"
			;;
		folded)
			weight=${found#weight }
			[ "$weight" -ge "$total" ] || problem "folded: $weight ns, but calls took $total" # those open at the end come in addition
			grep -q '^w<o>&k_er;handle_request;worker_hash [0-9]*$' out.folded || problem "no such stack: $(head -3 out.folded)"
			;;
		flame) expect_found "frames 4" flame ;; # all, program, two functions
		esac
	done
	convert folded --by calls
	check folded out.folded && [ "${found#weight }" -ge "$calls" ] && [ "${found#weight }" -le $((calls + 4)) ] ||
		problem "by calls: $found, want $calls"
fi
end

begin 'formats: live, all streams'
if need protoc protobuf-compiler; then
	target "$worker" 30 2
	for format in $streams; do
		for command in trace record; do
			timeout 30 "$utap" $command --duration --ring 16M -n 3000 --to "$format" -e "$worker:handle_request" -e "$worker:worker_hash" \
				-p "$pid" 2> stderr < /dev/null | cat > "live.$format"
			[ "${PIPESTATUS[0]}" = 0 ] || problem "$command --to $format: $(head -2 stderr)"
			check "$format" "live.$format" || continue
			case $format in
			csv | jsonl | ftrace) expect_found "hits 3000" "$format" ;;
			chrome | systrace | perfetto) [[ $found =~ begins\ 1[45] ]] || problem "$command --to $format: $found" ;;
			esac
		done
	done
	as_before
	finish
fi
end

begin 'formats: CTF read by babeltrace2'
if need babeltrace2 babeltrace2; then
	target "$worker" 20 4
	run record -q --ring 64K -n 200000 -e "p:req $worker:handle_request n=%si:s64" -e "r:got $worker:handle_request v=\$retval" -p "$pid"
	expect_code 0
	finish
	run script --json -q
	mv stdout records
	lost=$("$utap" script 2>&1 > /dev/null | sed -n 's/.* \([0-9]*\) lost$/\1/p')
	convert ctf
	babeltrace2 --clock-seconds out.ctf > read 2> warnings || problem "babeltrace2: $(head -2 warnings)"
	[ "$(grep -c 'utap:\(req\|got\): ' read)" = 200000 ] || problem "babeltrace2 reads $(grep -c 'utap:\(req\|got\): ' read) events of 200000"
	[ "$(sed -n 's/^.*discarded \([0-9]*\) event.*/\1/p' warnings | awk '{ n += $1 } END { print n + 0 }')" = "${lost:-0}" ] ||
		problem "babeltrace2 counts other losses than ${lost:-0}: $(head -3 warnings)"
	# The same records in the same order of time, with the same values; of the times the wall clock's.
	sed -n 's/.*"cpu":\([0-9]*\).*"tid":\([0-9]*\).*"event":"req".*"args":{"n":\([0-9]*\)}.*/\1 \2 \3/p' records | sort > want
	sed -n 's/.* utap:req: { cpu_id = \([0-9]*\) }, .*vtid = \([0-9]*\),.* n = \([0-9]*\) }.*/\1 \2 \3/p' read | sort > got
	cmp -s want got || problem "babeltrace2 reads other values: $(diff want got | head -3)"
	now=$(date +%s) then=$(head -1 read | sed 's/^\[\([0-9]*\)\..*/\1/')
	[ $((now - then)) -ge 0 ] && [ $((now - then)) -lt 120 ] || problem "the time is $then, now is $now"
	run convert --to ctf -o out.ctf
	expect_error 7 'directory out.ctf cannot be made'
fi
end

begin 'formats: CTF live'
if need babeltrace2 babeltrace2; then
	target "$worker" 20 2
	run trace -q --to ctf -o live -n 5000 -e "p:req $worker:handle_request n=%si:s64" -p "$pid"
	expect_code 0
	[ "$(babeltrace2 live 2> warnings | grep -c 'utap:req: ')" = 5000 ] || problem "babeltrace2: $(head -2 warnings)"
	finish
fi
end

begin 'formats: ftrace text as the kernel writes it'
tracing=/sys/kernel/tracing instance=$tracing/instances/utap-$$ group=utapfmt$$
offset=$(readelf -sW "$worker" | awk '$8 == "handle_request" { print "0x" $2 }')
if [ ! -w "$tracing/uprobe_events" ]; then
	skip 'needs root and tracefs'
elif ! mkdir "$instance" 2> /dev/null; then
	skip 'the kernel makes no instance'
else
	echo 1 > "$instance/options/record-tgid"
	echo 0 > "$instance/options/overwrite" # the first stay
	printf 'p:%s/req %s:%s n=%%si:s64 r=%%di:u8 x=%%si:x16\nr:%s/got %s:%s v=$retval:s32\n' "$group" "$worker" "$offset" "$group" "$worker" \
		"$offset" >> "$tracing/uprobe_events"
	echo 1 > "$instance/events/$group/enable"
	timeout -k 1 5 setarch -R "$worker" 1 1 > /dev/null
	echo 0 > "$instance/events/$group/enable"
	grep -v '^#' "$instance/trace" | head -6 > kernel
	rmdir "$instance"
	printf -- '-:%s/req\n-:%s/got\n' "$group" "$group" >> "$tracing/uprobe_events"
	setarch -R "$utap" record -q --to ftrace -o ours -n 2000 -e "p:req $worker:handle_request n=%si:s64 r=%di:u8 x=%si:x16" \
		-e "r:got $worker:handle_request v=\$retval:s32" -- "$worker" 1 1 > /dev/null 2> stderr || problem "record: $(head -1 stderr)"
	# Pids, the number of the CPU, the flags and the time are another run's.
	mask='s/-[0-9]+ +\( *[0-9]+\) \[[0-9]{3}\] [^ ]{5} +[0-9]+\.[0-9]{6}:/-PID TIME:/'
	sed -E "$mask" kernel > kernel.masked
	grep -v '^#' ours | head -6 | sed -E "$mask" > ours.masked
	[ "$(wc -l < kernel)" = 6 ] || skip "the kernel's uprobe was not hit"
	cmp -s kernel.masked ours.masked || problem "not as the kernel's: $(diff kernel ours.masked | head -8)"
fi
end

begin 'formats: the flame graph in a browser'
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [ -z "$browser" ]; then
	skip 'chromium is not installed'
else
	record_calls
	convert flame
	cp out.flame flame.svg
	# The page after its script ran: zoomed into frame 3 (the innermost), with a search.
	timeout 60 "$browser" --headless --no-sandbox --disable-gpu --user-data-dir="$PWD/profile" --dump-dom \
		"file://$PWD/flame.svg#zoom=3&search=hash" > page 2> browser.err
	if [ ! -s page ]; then
		skip "$browser does not start: $(grep -v dbus browser.err | head -1)"
	else
		grep -q 'id="found"[^>]*>1 found: [0-9.]* %<' page || problem "the search found: $(grep -o 'id="found".\{60\}' page)"
		grep -q 'id="reset"[^>]*visibility="visible"' page || problem 'it is not zoomed'
		grep -q '<rect x="10.000"[^>]*width="1180.000"[^>]*fill="#c050ff"' page || problem 'the frame is not as wide as the picture, or not marked'
	fi
fi
end

begin 'formats: damaged files'
record_calls
size=$(stat -c %s perf.data)
head -c $((size / 2)) perf.data > cut.data
input=cut.data
for format in chrome csv folded flame; do
	run convert --to "$format" -i cut.data -o "out.$format"
	expect_code '[07]'
	[ "$code" = 0 ] || expect_error 7 'perf.data is damaged from offset [0-9]* on'
	check "$format" "out.$format"
done
cp perf.data bad.data
printf '\377\377\377\377\377\377\377\377' | dd of=bad.data bs=1 seek=$((size / 2 / 8 * 8)) conv=notrunc 2> /dev/null
for format in jsonl csv chrome; do
	run convert --to "$format" -i bad.data -o "out.$format"
	expect_code '[07]'
	# What was overwritten may be a time, or a value: then it is wrong, but whole.
	before=$problems
	check "$format" "out.$format" > said || grep -q 'goes back' why || cat said
	! grep -q 'goes back' why || problems=$before
done
echo nonsense > nonsense
run convert --to csv -i nonsense
expect_error 2 'not a perf.data file'
input=
end

begin 'formats: full disks, closed pipes, the same file'
record_calls
for format in $streams; do
	run convert --to "$format" -o /dev/full
	expect_error 7 '/dev/full cannot be written'
	timeout 20 "$utap" convert --to "$format" 2> stderr | head -c 10 > /dev/null
	[ "${PIPESTATUS[0]}" = 0 ] || problem "$format to a closed pipe: $(head -1 stderr)"
done
run convert --to csv -o perf.data
expect_error 2 'perf.data is the file that is read'
run report --latency -o /dev/full
expect_error 7 'cannot be written'
target "$worker" 20 2
run trace --to csv -o /dev/full -e "$worker:handle_request" -p "$pid"
expect_error 7 '/dev/full cannot be written any more' 4
as_before
finish
end

begin 'formats: report --latency and --graph'
record_calls
run report --latency --sort calls
expect_code 0
sed -n 2p stdout | grep -q ' worker_hash$' || problem "not sorted by calls: $(head -3 stdout)"
run report --latency --sort name -v
grep -q '^ *[0-9]* .* handle_request$' stdout && grep -q '@@@@' stdout || problem "no histogram: $(head -3 stdout)"
run report --graph
grep -q '^[ 0-9.]*% .*  w<o>&k;er$' stdout || problem "no program: $(head -2 stdout)"
grep -q '^[ 0-9.]*% .*      worker_hash$' stdout || problem "worker_hash is not inside: $(head -5 stdout)"
run report --graph --json
python3 -c 'import json, sys; t = json.load(open("stdout")); assert t["children"][0]["children"][0]["children"][0]["name"] == "worker_hash"' 2> why ||
	problem "JSON: $(tail -1 why)"
run report --sort calls
expect_error 2 'for --latency and --graph'
run report --latency --sort sideways
expect_error 2 '--sort sideways: total, self'
end

begin 'formats: compressed records'
if need zstd zstd; then
	record_calls
	run script -q -i perf.data
	mv stdout want
	for way in pieces frames; do
		python3 "$here/compress.py" "$way" perf.data small.data || problem "compress.py failed"
		[ "$(stat -c %s small.data)" -lt $(($(stat -c %s perf.data) / 2)) ] || problem "it is not smaller"
		run script -q -i small.data
		expect_code 0
		cmp -s want stdout || problem "$way: other records: $(diff want stdout | head -3)"
	done
	if command -v perf > /dev/null && perf version --build-options 2> why | grep -q 'zstd: *\[ *on'; then
		perf script -i perf.data > want 2> /dev/null
		perf script -i small.data > got 2> /dev/null # the real reader takes it as well
		cmp -s want got || problem "perf reads other records than from the one that is not compressed: $(diff want got | head -3)"
	fi
	head -c $(($(stat -c %s small.data) * 9 / 10)) small.data > cut.data # also its sections are gone
	run script -q -i cut.data
	expect_code '[07]'
	[ "$(head -n 1000 stdout | wc -l)" = 1000 ] || problem "of a cut file only $(wc -l < stdout) records are read"
	printf 'nonsense' | dd of=small.data bs=1 seek=$(($(stat -c %s small.data) / 2)) conv=notrunc 2> /dev/null
	run script -q -i small.data
	expect_code '[07]'
fi
end

begin 'formats: addresses of a file have names'
cp "$worker" 'theworker'
args=(-e "p:req $PWD/theworker:handle_request from=+0(%sp):symbol n=%si:s64" -e "r:got $PWD/theworker:handle_request v=\$retval")
run record -q -n 200 "${args[@]}" -- './theworker' 1 1
expect_code 0
run trace -q -n 200 "${args[@]}" -- './theworker' 1 1
mv stdout live
run script -q
mask='s/.*: \(req\|got\): /\1 /'
grep ' \(req\|got\): ' live | sed "$mask" > want
sed "$mask" stdout > got
cmp -s want got || problem "script shows other symbols than trace: $(diff want got | head -4)"
grep -q 'req (handle_request+0x0) from=serve+0x[0-9a-f]* n=' got && grep -q 'got (serve+0x[0-9a-f]* <- handle_request) v=' got || problem "no symbols: $(head -2 got)"
run convert --to jsonl -o out.jsonl
grep -q '"from":"serve+0x[0-9a-f]*"' out.jsonl || problem "convert: no symbol: $(head -1 out.jsonl)"
cp "$programs/calls" 'theworker' # another file, there now
run script
[ "$(grep -c 'from=0x[0-9a-f]* \|(0x[0-9a-f]* <- handle_request)' stdout)" = 200 ] || problem "names from a file that was not recorded: $(grep -v '^#' stdout | head -2)"
grep -q 'theworker is not the file that was recorded' stderr || problem "nothing says so: $(cat stderr)"
end

begin 'formats: children that are gone when their hits are read'
target "$programs/forker" fork
run record -q -n 100 -d 20 -e "p:end libc:_exit from=+0(%sp):symbol" -p "$pid"
expect_code 0
finish
run script -q
[ "$(awk '{ print $1 }' stdout | sort -u | wc -l)" -gt 50 ] || problem "no children: $(head -3 stdout)"
grep -v 'from=[a-z_]*+0x' stdout > unknown && problem "$(wc -l < unknown) callers without a name: $(head -2 unknown)"
if command -v perf > /dev/null; then
	perf script -i perf.data -F pid,ip,sym 2> why | grep -v _exit > unknown && problem "perf: $(head -2 unknown)"
	perf script -i perf.data --show-task-events 2> why | grep -q 'PERF_RECORD_FORK' || problem "perf shows no fork"
fi
end

begin 'formats: losses make no callers'
target "$worker" 20 2
run record -q --duration --ring 4K -n 30000 -e "$worker:handle_request" -e "$worker:worker_hash" -p "$pid"
expect_code 0
finish
run script
grep -q ' [1-9][0-9]* lost$' stderr || skip "nothing was lost: $(cat stderr)"
convert folded --by calls
grep -q 'counts as abandoned once its frame is used again' stderr || problem "what losses mean is not said: $(cat stderr)"
[ "$(wc -l < out.folded)" -ge 2 ] || problem "no stacks: $(cat out.folded)"
# A call whose return was lost may not become the caller of the next one.
grep -v -x 'worker;\(handle_request\|handle_request;worker_hash\|worker_hash\) [0-9]*' out.folded > strange && problem "not how it calls: $(head -3 strange)"
run report --latency --json
grep -q '"abandoned":[1-9]' stdout || problem "no call is abandoned: $(cat stdout)"
end

begin 'formats: record -z'
target "$worker" 20 2
run record -q -z --ring 16M -n 50000 -e "p:req $worker:handle_request n=%si:s64" -p "$pid"
expect_code 0
finish
run script -q
[ "$(wc -l < stdout)" = 50000 ] || problem "$(wc -l < stdout) records of 50000"
[ "$(stat -c %s perf.data)" -lt 1200000 ] || problem "the file has $(stat -c %s perf.data) bytes"
if command -v perf > /dev/null && perf version --build-options 2> why | grep -q 'zstd: *\[ *on'; then
	sed 's/.*req: (.*) n=//' stdout > want
	perf script -i perf.data 2> why | sed 's/.*req: (.*) n=//' > got
	cmp -s want got || problem "perf script reads other records: $(diff want got | head -3) $(head -2 why)"
	perf report --stdio -i perf.data 2> why | grep -q "Samples: 50K of event 'utap:req'" || problem "perf report: $(head -2 why)"
	perf script --header-only -i perf.data | grep -q 'compressed : Zstd, level = 1, ratio = [0-9]' || problem 'perf does not see that it is compressed'
fi
# Killed while it writes: what was written can be read.
target "$worker" 20 2
"$utap" record -q -z -o killed.data -e "$worker:handle_request" -p "$pid" 2> stderr &
sleep 3
kill -KILL $!
wait $! 2> /dev/null
run script -q -i killed.data
expect_code 0
[ "$(wc -l < stdout)" -gt 1000 ] || problem "only $(wc -l < stdout) records survive: $(head -2 stderr)"
run detach -p "$pid"
as_before
finish
run record -z23 -e malloc -- true
expect_error 2 '-z 23: a number from 1 to 22 is expected'
run record -z --to csv -e malloc -- true
expect_error 2 '-z is for perf.data, not for --to csv'
end

# What utap prints of stacks, and perf, in one form: "function file", a line for each frame.
utap_frames() { sed -n 's/^ => \(.*\)+0x[0-9a-f]* (\(.*\))$/\1 \2/p' "$1"; }
perf_frames() { sed -n 's/^[\t ]*[0-9a-f]* \(.*\)+0x[0-9a-f]* (\(.*\/\)\?\([^\/]*\))$/\1 \3/p' "$1"; }

for kind in fp raw; do
	begin "formats: perf reads user stacks ($kind)"
	if need perf linux-perf; then
		run record -q --stack="$kind" --ring 16M -n 400 -e "p:leaf $programs/stacks-O2:probed_leaf n=%di:s64" \
			-e "r:left $programs/stacks-O2:nest_two v=\$retval" -- "$programs/stacks-O2" nest 300
		expect_code 0
		run script -q
		mv stdout ours
		perf script --no-inline -i perf.data > theirs 2> why
		[ "$(grep -c ': utap:' theirs)" = 400 ] || problem "perf script reads $(grep -c ': utap:' theirs) samples: $(head -2 why)"
		perf_frames theirs > theirs.frames
		grep -q '^main stacks-O2$' theirs.frames || problem "perf does not get to main: $(head -5 theirs)"
		utap_frames ours > ours.frames
		if [ "$kind" = raw ]; then # of libc's aliases each has its own, and their ends are judged differently
			sed -i '/ stacks-O2$/!d' ours.frames theirs.frames
		fi
		cmp -s ours.frames theirs.frames || problem "other frames: $(diff ours.frames theirs.frames | head -6)"
		perf report --stdio --no-children -g caller,0.5,callee --sort sym -i perf.data > report 2> why
		grep -q 'nest_one' report && grep -q -- '--main\|main$' report || problem "perf report -g shows no callers: $(grep -v '^#' report | head -12)"
	fi
	end
done

begin 'formats: names of code that a JIT compiler made'
if need node nodejs; then
	node=$(readlink -f "$(command -v node)")
	cat > jit.js <<- 'END'
		const fs = require('fs');
		function probedReader(n) { for (let i = 0; i < 3; i++) { try { fs.openSync('/nonexistent/' + n); } catch (e) { } } }
		function outerLoop() { for (let n = 0; n < 5000; n++) probedReader(n); }
		outerLoop();
	END
	run record -q --stack=fp --ring 16M -n 3000 -e 'p:open libc:open64 path=+0(%di):string' -- "$node" --perf-basic-prof --interpreted-frames-native-stack jit.js
	expect_code 0
	run script -q
	# A run of frames: the reader, below it the loop.
	grep -A1 '^ => JS:.probedReader .*jit.js.*(\[jit\])$' stdout | grep -c '^ => JS:.outerLoop .*(\[jit\])$' > count
	[ "$(cat count)" -gt 2500 ] || problem "only $(cat count) stacks name the functions: $(grep -m3 jit stdout)"
	run trace -q --stack=fp --ring 16M -n 3000 -e 'p:open libc:open64' -- "$node" --perf-basic-prof --interpreted-frames-native-stack jit.js
	grep -q '^ => JS:.outerLoop .*(\[jit\])$' stdout || problem "live: no names: $(head -12 stdout | tail -3)"
	rm -f $(sed -n 's/^ *[^ ]*-\([0-9]*\) .*: open: .*/\/tmp\/perf-\1.map/p' stdout | sort -u) /tmp/perf-"$("$utap" script -q 2> why | sed -n 's/^ *[^ ]*-\([0-9]*\) .*: open: .*/\1/p' | head -1)".map
fi
end

begin 'formats: user stacks in all streams'
if need protoc protobuf-compiler && need xmllint libxml2-utils; then
	export CHAIN='main;run;nest_one'
	run record -q --stack=fp --ring 16M -n 400 -e "p:leaf $programs/stacks-O2:probed_leaf n=%di:s64" \
		-e "r:left $programs/stacks-O2:nest_two v=\$retval" -- "$programs/stacks-O2" nest 300
	expect_code 0
	for format in perfetto chrome ftrace jsonl csv folded flame; do
		convert "$format"
		check "$format" "out.$format" || continue
		case $format in
		folded)
			grep -q ';main;run;nest_one;nest_two;nest_three;probed_leaf 200$' out.folded &&
				grep -q ';main;run;nest_one;left 200$' out.folded || problem "folded: $(cat out.folded)"
			;;
		flame) expect_found "frames $(tr ' ' ';' < out.folded | cut -d';' -f1-9 | awk -F';' '{ for (i = 1; i <= NF; i++) if ($i != "200") { p = p ";" $i; seen[p] } p = "" } END { for (p in seen) n++; print n + 1 }')" flame ;;
		*) expect_found "stacks 400" "$format" ;;
		esac
	done
	convert ctf
	if command -v babeltrace2 > /dev/null; then
		"$utap" script --json -q | grep -o '"addr":"0x[0-9a-f]*"' | tr -dc '0-9a-f\n' | sed 's/^add//' > want
		babeltrace2 out.ctf 2> why | grep -o 'stack = .*' | grep -o '0x[0-9A-F]*' | tr A-F a-f | sed 's/^0x//' > got
		sed -i 's/^0*//' want got
		cmp -s want got || problem "babeltrace2 reads other stacks: $(diff want got | head -4)"
	fi
	# Live, too.
	"$utap" trace -q --stack=fp --ring 16M -n 100 --to chrome -o live.chrome -e "$programs/stacks-O2:probed_leaf" -- "$programs/stacks-O2" nest 300 > said 2>&1 ||
		problem "trace --to chrome: $(head -2 said)"
	check chrome live.chrome && expect_found "stacks 100" 'live chrome'
	unset CHAIN
fi
end

# What trace-cmd says of a trace.dat, and utap of the same records: thread, time in ns, event and arguments, sorted.
trace_cmd_lines() { trace-cmd report -t -i "$1" 2> why | sed -n 's/^ *.*-\([0-9]*\) *\[[0-9]*\] *\([0-9]*\)\.\([0-9]*\): *\([^ :]*\): *([^)]*)\(.*\)$/\1 \2\3 \4\5/p' | sort; }
utap_lines()
{
	python3 -c 'import json, sys
for line in sys.stdin:
    e = json.loads(line)
    args = "".join(f" {k}=" + (v if k == "v" else json.dumps(v)) for k, v in e["args"].items())
    print(e["tid"], e["time_ns"], e["event"] + args)' | sort
}

begin 'formats: trace.dat read by trace-cmd'
if need trace-cmd trace-cmd; then
	target "$worker" 20 4
	run record -q --ring 16M -n 200000 -e "p:req $worker:handle_request n=%si:s64" -e "r:got $worker:handle_request v=\$retval" -p "$pid"
	expect_code 0
	finish
	convert trace-cmd
	trace_cmd_lines out.trace-cmd > got
	"$utap" script -q --json | utap_lines > want
	[ "$(wc -l < got)" = 200000 ] || problem "trace-cmd reads $(wc -l < got) records: $(head -2 why)"
	cmp -s want got || problem "trace-cmd reads other records: $(diff want got | head -4)"
	python=$(python3 -c 'import sys; print(sys.executable)') # not what only starts it
	# Pauses longer than an event's time has bits, strings longer than a page of the kernel's, two processes.
	run record -q -e 'p:path libc:open64 path=+0(%di):string' -e 'p:nap libc:clock_nanosleep' -- "$python" -c '
import os, time
for length in (10, 300, 4000):
    try:
        os.open("/" + "x" * length, 0)
    except OSError:
        pass
    time.sleep(0.3)
os.fork() or os.open("/dev/null", 0)'
	expect_code 0
	convert trace-cmd
	trace_cmd_lines out.trace-cmd > got
	"$utap" script -q --json | utap_lines > want
	grep -q 'path path="/x\{4000\}"' got && grep -q ' nap$' got || problem "not all is there: $(cut -c1-80 got | tail -3)"
	cmp -s want got || problem "trace-cmd reads other records: $(diff want got | cut -c1-200 | head -4)"
	# Live, into a pipe; and without a record.
	"$utap" trace -q -n 1000 --to trace-cmd -e 'libc:getpid' -- "$python" -c 'import os
for i in range(2000): os.getpid()' 2> stderr | cat > live.dat
	[ "$(trace-cmd report -i live.dat 2> why | grep -c ' getpid: ')" = 1000 ] || problem "live: $(head -2 stderr why)"
	run convert --to trace-cmd -o /dev/full
	expect_error 7 '/dev/full cannot be written'
fi
end

begin 'formats: perf reads calls, too'
if need perf linux-perf; then
	record_calls
	[ "$(perf script -i perf.data 2> why | wc -l)" = 20000 ] || problem "perf script: $(head -2 why)"
	perf data convert --to-json=perf.json -i perf.data 2> why > /dev/null || problem "perf data convert --to-json: $(head -2 why)"
	if perf data convert --to-ctf=perf.ctf -i perf.data > why 2>&1 && command -v babeltrace2 > /dev/null; then # where it is built in
		[ "$(babeltrace2 perf.ctf 2> why | grep -c 'utap:')" = 20000 ] || problem "perf data convert --to-ctf: $(head -2 why)"
	fi
	perf report --stdio -i perf.data 2> why | grep -q "Samples: .* of event 'utap:req'" || problem "perf report: $(head -2 why)"
fi
end

begin 'formats: flows of Perfetto'
if need protoc protobuf-compiler; then
	record_calls # of n in two threads: each number is there twice or not
	convert perfetto --flow n
	check perfetto out.perfetto
	"$utap" script -q -i perf.data | sed -n 's/.* req: .* n=\([0-9]*\).*/\1/p' | grep -v '^0$' | sort > numbers
	[ -s numbers ] || problem 'no numbers were recorded'
	expect_found "flows $(wc -l < numbers)" perfetto
	expect_found "tied $(uniq -D numbers | wc -l)" perfetto
	grep -o 'flow_ids: [0-9]*' decoded | sed 's/.* //' | sort > flows
	cmp -s numbers flows || problem "flows are not the numbers: $(diff numbers flows | head -3)"
	run convert --to chrome --flow n -i perf.data -o out.chrome
	expect_error 2 '--flow is for --to perfetto'
fi
end

begin "formats: hotspot's importer"
perfparser=/usr/lib/x86_64-linux-gnu/libexec/hotspot-perfparser
if need $perfparser hotspot; then
	run record -q --stack=fp --ring 16M -n 200 -e "$programs/stacks-O2:probed_leaf" -- "$programs/stacks-O2" nest 300
	expect_code 0
	timeout 60 $perfparser --input perf.data --output imported 2> why || problem "it fails: $(head -2 why)"
	for function in probed_leaf nest_three nest_two nest_one run main; do
		grep -aq "$function" imported || problem "$function is not in what it imported"
	done
fi
end

summary
