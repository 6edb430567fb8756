#!/bin/sh
# SPDX-License-Identifier: MIT
# Measure what utap promises about cost. Usage: bench.sh BUILD [--quick] [GROUP...]   Groups: bench/bench.c.
# Comparisons with the kernel's uprobes need root; without it their rows say "skipped".
set -eu
build=$1
ninja -C "$build" --quiet utap bench-programs
exec "$build/bench/bench" "$@"
