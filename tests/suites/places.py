#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Places to probe in ELF files, one a line, as FILE:0xOFFSET: places.py functions|N FILE...

functions: where frame entries begin, so also functions of stripped files. N: every Nth instruction of the code that frame entries cover.
"""
import re
import subprocess
import sys


def lines_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def text_segment(path):
    """(vaddr, file offset, size) of the executable segment."""
    for line in lines_of("readelf", "-lW", path):
        words = line.split()
        if len(words) > 7 and words[0] == "LOAD" and "E" in words[6:8]:
            return int(words[2], 16), int(words[1], 16), int(words[4], 16)
    raise SystemExit(f"places.py: {path} has no code")


def frames(path):
    """Ranges of the frame entries, sorted."""
    found = set()
    for line in lines_of("readelf", "--debug-dump=frames", path):
        match = re.search(r"FDE .*pc=([0-9a-f]+)\.\.([0-9a-f]+)", line)
        if match:
            found.add((int(match[1], 16), int(match[2], 16)))
    return sorted(found)


def sections(path):
    """Names and addresses of sections of code, to leave out those that are no functions."""
    for line in lines_of("readelf", "-SW", path):
        match = re.match(r"\s*\[\s*\d+\]\s+(\S+)\s+PROGBITS\s+([0-9a-f]+)\s+[0-9a-f]+\s+([0-9a-f]+)", line)
        if match:
            yield match[1], int(match[2], 16), int(match[3], 16)


def functions(path):
    text = [(start, start + size) for name, start, size in sections(path) if name == ".text"]
    return [start for start, end in frames(path) if end > start and any(a <= start < b for a, b in text)]


def go_functions(path):
    return sorted(int(line.split()[0], 16) for line in lines_of("nm", path) if re.match(r"[0-9a-f]+ [Tt] \w+[./]", line))


def instructions(path, step):
    covered = frames(path)
    at = 0
    count = 0
    for line in lines_of("objdump", "-d", "-j", ".text", "--no-show-raw-insn", path):
        match = re.match(r"\s*([0-9a-f]+):\t", line)
        if not match:
            continue
        address = int(match[1], 16)
        while at < len(covered) and covered[at][1] <= address:
            at += 1
        if at < len(covered) and covered[at][0] <= address:
            count += 1
            if count % step == 0:
                yield address


def main():
    what = sys.argv[1]
    for path in sys.argv[2:]:
        vaddr, offset, size = text_segment(path)
        places = functions(path) or go_functions(path) if what == "functions" else instructions(path, int(what))
        for place in places:
            if vaddr <= place < vaddr + size:
                print(f"{path}:0x{place - vaddr + offset:x}")


main()
