#!/bin/sh
# SPDX-License-Identifier: MIT
# Make sure that what a step needs is installed. Usage: deps.sh build|demo|test ...
# As root (or with sudo that asks nothing) it installs with apt; otherwise it prints the one command to run.
set -eu

build='gcc libc6-dev make meson ninja-build pkg-config binutils libzydis-dev liblzma-dev libzstd-dev libiberty-dev zlib1g-dev libdw-dev uthash-dev libncurses-dev libcmocka-dev'
test='clang libclang-rt-14-dev gdb linux-perf strace binutils xz-utils python3 sqlite3 perl openssl redis-server g++ musl-tools nodejs bc procps util-linux libpython3.11-testsuite golang-go cargo default-jdk-headless systemtap-sdt-dev babeltrace2 trace-cmd protobuf-compiler libxml2-utils chromium zstd dwz debuginfod libdebuginfod1 curl'

wanted=
for group in "$@"; do
	case $group in
	build) wanted="$wanted $build" ;;
	demo) wanted="$wanted linux-perf" ;;
	test) wanted="$wanted $test" ;;
	*) echo "deps.sh: unknown group $group" >&2; exit 2 ;;
	esac
done

missing=
for package in $wanted; do
	# A program installed otherwise (a newer node, say) is as good as the package.
	case $package in
	nodejs) command -v node > /dev/null && continue ;;
	golang-go) command -v go > /dev/null && continue ;;
	cargo) command -v cargo > /dev/null && command -v rustc > /dev/null && continue ;;
	default-jdk-headless) command -v javac > /dev/null && command -v java > /dev/null && continue ;;
	esac
	dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
	sudo=sudo
else
	echo "These packages are missing; install them as root and run make again:" >&2
	echo "    apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
{ $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } > /tmp/utap-deps.$$ 2>&1 ||
	{ tail -20 /tmp/utap-deps.$$ >&2; rm -f /tmp/utap-deps.$$; exit 1; }
rm -f /tmp/utap-deps.$$
