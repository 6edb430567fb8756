#!/bin/bash
# SPDX-License-Identifier: MIT
# The command line without any target: usage errors, exit codes, help, and that completion and man pages tell the same.
#
#   cli.sh PATH/TO/utap [SOURCE-DIRECTORY]
set -u

utap=$(realpath "${1:?path of utap}")
source=$(realpath "${2:-$(dirname "$0")/../..}")
commands="trace record script report convert stat top list probe detach"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
checks=0
failed=0

fail()
{
	echo "FAILED: $*"
	failed=$((failed + 1))
}

# Below an error in a probe's text: the text, and a caret at the column that the error names.
is_pointed()
{
	local column
	column=$(sed -n '1s/.*column \([0-9]*\): .*/\1/p' err)
	[ -n "$column" ] && [ "$(wc -l < err)" -eq 3 ] && [ "$(sed -n 3p err)" = "$(printf '%*s^' $((column + 1)) '')" ]
}

# options_of COMMAND: LETTER,-NAME of each option in its help; -NAME,-NAME of one without a letter
options_of()
{
	"$utap" "$1" --help | sed -n -e 's/^  -\(.\), -\(-[a-z-]*\).*/\1,\2/p' -e 's/^      -\(-[a-z-]*\).*/\1,\1/p'
}

# documented PAGE: the letters and -names that its lines of options tell
documented() { sed -n -e 's/\\-/-/g' -e '/^\.\(It \|Op \)\?Fl /s/^\.\(It \|Op \)\?Fl //p' "$1" | tr ' ,' '\n\n'; }

# expect CODE STREAM PATTERN ARG...: exit code, and a line on stdout (out) or stderr (err) that the pattern matches
expect()
{
	local code=$1 stream=$2 pattern=$3 got
	shift 3

	checks=$((checks + 1))
	timeout 20 "$utap" "$@" > out 2> err < /dev/null
	got=$?
	[ "$got" -eq "$code" ] || fail "utap $*: exit code $got, want $code: $(head -1 err)"
	grep -q -e "$pattern" "$stream" || fail "utap $*: no '$pattern' on $stream: $(head -2 "$stream")"
	# Errors are one sentence on stderr and nothing on stdout; help and results leave stderr alone.
	if [ "$stream" = err ] && [ "$code" -ne 0 ]; then
		[ -s out ] && fail "utap $*: an error, and yet output: $(head -1 out)"
		[ "$#" -gt 0 ] && [ "$(wc -l < err)" -ne 1 ] && ! is_pointed && fail "utap $*: not one line: $(cat err)"
	fi
	[ "$stream" = out ] && [ -s err ] && fail "utap $*: stderr: $(head -1 err)"
	return 0
}

# The whole
expect 2 err "Usage: utap COMMAND"
expect 0 out "Usage: utap COMMAND" --help
expect 0 out "Usage: utap COMMAND" help
expect 0 out "^utap [0-9]" --version
expect 0 out "^utap [0-9]" version
expect 2 err "there is no command 'trcae'; did you mean 'trace'?" trcae
expect 2 err "there is no command 'banana'; see utap --help" banana
expect 2 err "there is no command 'recrod'; did you mean 'record'?" help recrod
expect 2 err "a command is expected before '-p'" -p 1

# Each command: help, unknown options, too much
for command in $commands; do
	expect 0 out "^Usage: utap $command " "$command" --help
	expect 0 out "^Usage: utap $command " "$command" -h
	expect 0 out "^Usage: utap $command " help "$command"
	for code in 0 2 3 4 5 6 7; do
		grep -q "^  $code  " out || fail "utap help $command does not explain exit code $code"
	done
	expect 2 err "$command takes no option '--nonsense'; see utap $command --help" "$command" --nonsense
	expect 2 err "$command takes no option '-Z'" "$command" -Z

	# The same options in help and completion
	"$utap" "$command" --help | grep -o -e '--[a-z-]*' | grep -v -x -e '--' | sort -u > help.options
	bash -c "source '$source/completion/utap.bash'; _utap_options $command" | tr ' ' '\n' | sort -u > completion.options
	checks=$((checks + 1))
	cmp -s help.options completion.options ||
		fail "options of $command in help and completion differ: $(diff help.options completion.options | grep '^[<>]')"
	for option in $(options_of "$command"); do
		documented "$source/man/utap-$command.1" | grep -q -x -e "${option%,*}" -e "${option#*,}" ||
			fail "man/utap-$command.1 does not name ${option#*,}"
	done
	grep -q "Xr utap-$command 1" "$source/man/utap.1" || fail "man/utap.1 does not refer to utap-$command(1)"
	grep -q "Cm $command\$" "$source/man/utap.1" || fail "man/utap.1 does not name $command"
	[ -s "$source/man/utap-$command.1" ] || fail "there is no man/utap-$command.1"
	grep -q "'$command:" "$source/completion/_utap" || fail "completion/_utap does not name $command"
done
for option in $("$utap" trace --help | grep -o -e '--[a-z-]*' | sort -u); do
	[ "$option" = -- ] || grep -q -e "-${option#--}" "$source/man/utap.1" || fail "man/utap.1 does not name $option"
done

# What and whom
for command in trace record stat; do
	expect 2 err "what is to be probed? give -e PROBE" "$command" -p 1
	expect 2 err "who is to be probed? give -p PID" "$command" -e malloc
	expect 2 err "either -p PID or a program to start ('true'), not both" "$command" -e malloc -p 1 -- true
	expect 2 err "'libc:x+zz': column 8: 'zz' is not an offset" "$command" -e libc:x+zz -p 1
	expect 2 err "'r:libc:malloc+4': column 14: a return probe is of a whole function" "$command" -e "r:libc:malloc+4" -p 1
	expect 2 err "-p 1x: '1x' is not a process id" "$command" -e malloc -p 1x
	expect 2 err "-n 0: a number above 0 is expected" "$command" -e malloc -n 0 -p 1
	expect 2 err "-d x: a number of seconds" "$command" -e malloc -d x -p 1
	expect 3 err "2147483647" "$command" -e malloc -p 2147483647
	printf 'malloc\n\nf %%dii\n' > probes
	expect 2 err "probes:3: column 3: there is no register '%dii'; did you mean %di?" "$command" -F probes -p 1
	# As the kernel prints them, and lines that take back others.
	printf 'p:g/one /bin/sh:0x0000000000000010 arg1=+0(%%di):string\n-:g/one\n\n# x\n-:g/one\n' > removed
	expect 2 err "removed:5: there is no such event above to be removed" "$command" -F removed -p 1
	printf 'p:g/one /bin/sh:0x10\n-:g/1\n' > removed
	expect 2 err "removed:2: column 5: '1' is not a name for an event" "$command" -F removed -p 1
	expect 2 err "column 6: '\$comm' is not an address" "$command" -e 'f +0($comm)' -p 1
	expect 3 err "-F absent: there is no such file" "$command" -F absent -p 1
	expect 7 err "absent/out cannot be written" "$command" -e malloc -o absent/out -p 1
done
expect 2 err "record takes no option '--graph'" record -e malloc --graph -p 1
expect 2 err "--graph is text; for JSON use --duration --json" trace -e malloc --graph --json -p 1
expect 2 err "--ring 4X: a size" record -e malloc --ring 4X -p 1

# A failed record leaves the directory as it was
rm -f perf.data perf.data.old
expect 3 err "2147483647" record -e malloc -p 2147483647
[ -e perf.data ] && fail "a failed record leaves a perf.data"
echo precious > perf.data
expect 3 err "2147483647" record -e malloc -p 2147483647
[ "$(cat perf.data)" = precious ] || fail "a failed record destroys the perf.data that was there"
[ -e perf.data.old ] && fail "a failed record leaves a perf.data.old"

# Files
for command in script report; do
	expect 3 err "absent" "$command" -i absent
	expect 2 err "perf.data" "$command"
	expect 2 err "'more' is too much" "$command" more
	: > empty
	expect 2 err "empty" "$command" -i empty
done
expect 2 err "convert to what? give --to FORMAT: ctf, perfetto, chrome" convert
expect 2 err "--to x: there is no such format; there are ctf" convert --to x
expect 2 err "--to x: there is no such format; there are ctf" trace --to x -e malloc -p 1
expect 2 err "that is a directory, not a stream" convert --to ctf
expect 2 err "--by x: time or calls is expected" convert --to folded --by x
expect 3 err "absent" convert --to csv -i absent
expect 2 err "empty" convert --to csv -i empty
expect 2 err "'more' is too much" convert --to csv more
expect 2 err "what --overwrite recorded is for utap convert" record --to csv --overwrite -e malloc -p 1
expect 2 err "--to csv or --json, not both" trace --to csv --json -e malloc -p 1
expect 2 err "what is to be listed" list
expect 2 err "'c' is too much" list a b c
expect 2 err "one process at a time" list -p 1,2
expect 3 err "absent" list ./absent
expect 3 err "absent" list --coverage ./absent
expect 2 err "'x\*' is too much" list --coverage /bin/true 'x*'
expect 2 err "--sample 0: a number from 1" list --coverage --sample 0 /bin/true
expect 0 out "^instructions  *[0-9].* 9[0-9]\.[0-9]*$\|100\.00$" list --coverage /bin/true
expect 0 out '"instructions":{"n":[0-9]*,"L1":' list --coverage --json /bin/true
expect 2 err "--explain PROBE is missing" probe -p 1
expect 2 err "one process is expected" probe --explain malloc
expect 2 err "column 3: \$retval is known only where a function returns" probe --explain 'x $retval' -p 1
expect 3 err "2147483647" probe --explain malloc -p 2147483647
expect 2 err "processes are expected" detach
expect 3 err "2147483647" detach -p 2147483647

# Full disks are noticed
checks=$((checks + 1))
"$utap" --help > /dev/full 2> err && fail "help to a full disk is reported as a success"

if [ "$failed" -gt 0 ]; then
	echo "$failed of $checks checks failed"
	exit 1
fi
echo "$checks checks passed"
