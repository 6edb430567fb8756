#!/bin/sh
# SPDX-License-Identifier: MIT
# The rooms use only the rooms that docs/architecture.md allows them, and the code that runs in targets nothing but wire/.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
bad=0

allowed() {
	case $1 in
	wire) echo '' ;;
	base) echo '' ;;
	isa) echo 'base' ;;
	object) echo 'base wire' ;;
	bpf) echo 'base wire isa' ;;
	runtime) echo 'wire' ;;
	probe) echo 'base wire object isa bpf' ;;
	process) echo 'base' ;;
	engine) echo 'base wire process' ;;
	patch) echo 'base wire isa object process engine' ;;
	trace) echo 'base wire' ;;
	session) echo 'base wire isa object bpf probe process engine patch trace' ;;
	format) echo 'base wire trace' ;;
	cli) echo 'base wire isa object bpf probe process engine patch trace session format' ;;
	*) echo '-' ;;
	esac
}

for dir in "$root"/src/*/; do
	room=$(basename "$dir")
	rooms=$(allowed "$room")
	if [ "$rooms" = - ]; then
		echo "FAIL layers: src/$room is not in docs/architecture.md's list (nor in this test's)"
		bad=1
		continue
	fi
	for used in $(grep -rhoE '^#include "[a-z_0-9]+/' "$dir" --include='*.c' --include='*.h' --include='*.S' |
		sed 's/.*"\(.*\)\//\1/' | sort -u); do
		case " $rooms $room utap " in
		*" $used "*) ;;
		*)
			echo "FAIL layers: src/$room includes $used/, which is not below it:"
			grep -rnE "^#include \"$used/" "$dir" | head -3
			bad=1
			;;
		esac
	done
done
# One caller of ptrace, one writer of text.
if grep -rnlE '\bptrace\(' "$root/src" --include='*.c' | grep -v '^'"$root"'/src/engine/' | grep .; then
	echo 'FAIL layers: only engine/ may call ptrace'
	bad=1
fi
[ $bad = 0 ] && echo 'PASS layers'
exit $bad
