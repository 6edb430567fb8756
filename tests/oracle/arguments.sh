#!/bin/bash
# SPDX-License-Identifier: MIT
# The kernel's uprobe_events as oracle for arguments: the same lines, character by character, to the kernel and to utap, the same program; what
# each prints of every hit must be the same.
#
#   arguments.sh BUILD: PASS, FAIL and SKIP lines
set -u
build=$(realpath "${1:?build directory}")
program=$build/tests/oracle/oracle-arguments
utap=$build/utap
tracing=/sys/kernel/tracing
dir=$(mktemp -d /tmp/utap-arguments.XXXXXX)
group=utaporacle$$

forget() {
	[ -e "$tracing/events/$group/enable" ] || return
	echo 0 > "$tracing/events/$group/enable"
	sed -n "s|^[pr]:\($group/[^ ]*\).*|-:\1|p" "$tracing/uprobe_events" | while read -r line; do
		echo "$line" >> "$tracing/uprobe_events"
	done
}
trap 'forget; rm -rf "$dir"' EXIT

[ "$(id -u)" = 0 ] || { echo 'SKIP oracle arguments: needs root (uprobes of the kernel)'; exit 0; }
[ -w "$tracing/uprobe_events" ] || { echo "SKIP oracle arguments: $tracing/uprobe_events is not there"; exit 0; }

symbol() { nm "$program" | awk -v name="$1" '$3 == name { print $1 }'; }
offset=0x$(symbol arguments_work) # code and read-only data lie in the file as in memory
# @+OFFSET is counted from where the probed mapping has the file's first byte: data is found by its address.
global=0x$(symbol arguments_global)
text=0x$(symbol arguments_text)

# p or r, NAME, then arguments. What the kernel cannot do is not here: \"text" is (fault) with its uprobes. Offsets of struct node: text 8, bits 16, wide 24, s8 32, s16 36, s32 44, s64 64, names 88, chars 120, edge 128, absent 136
cases() {
	cat <<-'EOF'
	p registers %di %si %dx %cx %r8 %r9 %ax %bx %bp %r10 %r11 %r12 %r13 %r14 %r15 %sp
	p constants %cs %ss %ip
	p unsigned %si:u8 %si:u16 %si:u32 %si:u64
	p signed %si:s8 %si:s16 %si:s32 %si:s64
	p hexadecimal %si:x8 %si:x16 %si:x32 %si:x64
	p character %cx:char %si:u8
	p stack $stack $stack0 $stack1 $stack1:u16 $stack2 $stack40:s32
	p immediate \1 \-1:s32 \0x10:u8 \+010:u16
	p comm $comm c=$comm:string
	p memory +24(%di) +64(%di):s64 +32(%di):s8 -0(%di) +u24(%di):x64
	p nested +8(+0(%di)):x64 +24(+0(%di)):x64 +32(+0(%di)):s8 +0(+0($stack)):x8
	p deep +0(+8(+0(%di))):u8 +4(+8(+0(%di))):string +1(+0(+88(%di))):x64 +0(+88(%di)):char[3]
	p strings +0(%dx):string +0(+8(%di)):string +0(+8(+0(%di))):string s=+0(+128(%di)):ustring
	p fault +0(+136(%di)):string +0(%si):string +0(\0):string before=+0(%dx):string
	p stringarray +88(%di):string[4] one=+96(%di):string[1] two=+88(%di):ustring[2]
	p bits +16(%di):b3@0/32 +16(%di):b5@3/32 +16(%di):b24@8/32 %si:b4@2/32 +24(%di):b64@0/64 +24(%di):b1@63/64 +16(%di):b5@3/8
	p arrays +32(%di):s8[4] +36(%di):s16[4] +44(%di):s32[4] +64(%di):s64[3] +32(%di):u8[4] +32(%di):x8[4] +36(%di):x16[2]
	p bitarrays +44(%di):b8@4/32[4] +32(%di):b2@6/8[4]
	p chars +120(%di):char[7] +120(%di):char
	p many a=+32(%di):u8 b=+33(%di):u8 c=+34(%di):u8 d=+35(%di):u8 e=+36(%di):u16 f=+38(%di):u16 g=+40(%di):u16 h=+44(%di):u32 i=+48(%di):u32 j=+64(%di) k=+72(%di) l=$stack1 m=$stack2
	r result $retval $retval:s32 $retval:u8 %ax $stack $stack0
	r kept +0(%r12):x8 $comm %bx
	EOF
	echo "p file @+$global:s64 @+$text:string @+$text:char[5] @+$global:b12@4/64"
}

lines() { # as for uprobe_events
	cases | while read -r kind name arguments; do
		echo "$kind:$group/$name $program:$offset $arguments"
	done
}

run() { env -i setarch -R "$@"; }

# "event arguments", one line a hit, each event's hits in their order.
of_kernel() { sed -n 's/^.*: \([a-z]*\): ([^)]*) *\(.*\)$/\1 \2/p' "$tracing/trace" | sort -s -k1,1; }
of_utap() { sed -n 's/^.* \([a-z]*\): ([^)]*) *\(.*\)$/\1 \2/p' "$dir/utap" | sort -s -k1,1; }

lines > "$dir/lines"
echo > "$tracing/trace"
failed=0
while read -r line; do
	echo "$line" >> "$tracing/uprobe_events" && continue
	echo "FAIL oracle arguments: the kernel refuses $line"
	failed=1
done < "$dir/lines"
echo 1 > "$tracing/events/$group/enable"
run "$program" > "$dir/output" || { echo 'FAIL oracle arguments: the program failed'; failed=1; }
of_kernel > "$dir/of-kernel"
forget
echo > "$tracing/trace"

compared=0
while read -r _ name _; do # a place has one probe: a run for each
	grep "/$name " "$dir/lines" > "$dir/line"
	run "$utap" trace -q -o "$dir/utap" -F "$dir/line" -- "$program" > "$dir/output2" ||
		{ echo "FAIL oracle arguments: $name: utap failed"; failed=1; }
	cmp -s "$dir/output" "$dir/output2" || { echo "FAIL oracle arguments: $name: the output differs"; failed=1; }
	grep "^$name " "$dir/of-kernel" > "$dir/a"
	of_utap > "$dir/b"
	compared=$((compared + $(wc -l < "$dir/a")))
	if ! [ -s "$dir/a" ] || ! cmp -s "$dir/a" "$dir/b"; then
		echo "FAIL oracle arguments: $name differs (kernel, utap)"
		diff "$dir/a" "$dir/b" | head -6
		failed=1
	fi
done < <(cases)
[ $failed = 0 ] && echo "PASS oracle arguments: $(cases | wc -l) probes, $compared hits printed alike by the kernel and by utap"
exit $failed
