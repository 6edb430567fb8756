#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes a compressed perf.data of one that is not: compress.py frames|pieces IN OUT.

frames: a frame of zstd in each record, as perf can read them; pieces: one frame of all, cut anywhere.
"""
import struct
import subprocess
import sys

COMPRESSED, PIECE, CHUNK, MMAP_LEN = 27, 4000, 100000, 64 << 20


def compress(raw):
    return subprocess.run(["zstd", "-q", "-c"], input=raw, stdout=subprocess.PIPE, check=True).stdout


def cut(text, step):
    return [text[i : i + step] for i in range(0, len(text), step)]


with open(sys.argv[2], "rb") as file:
    old = file.read()
magic, size, attr_size, *sections = struct.unpack_from("<8s2Q6Q", old)
features = list(struct.unpack_from("<4Q", old, 72))
at, length = sections[2:4]
bits = [bit for bit in range(64) if features[0] >> bit & 1]
table = [struct.unpack_from("<2Q", old, at + length + 16 * i) for i in range(len(bits))]
raw = old[at : at + length]
pieces = cut(compress(raw), PIECE) if sys.argv[1] == "pieces" else [compress(chunk) for chunk in cut(raw, CHUNK)]
data = b"".join(struct.pack("<IHH", 81, 2, 8 + len(piece)) + piece for piece in pieces)
bits.append(COMPRESSED)
end = at + len(data) + 16 * len(bits)
table.append((end, 20))
order = sorted(range(len(bits)), key=lambda i: bits[i])
features[0] |= 1 << COMPRESSED
sections[3] = len(data)
head = struct.pack("<8s2Q6Q", magic, size, attr_size, *sections) + struct.pack("<4Q", *features) + old[104:at]
with open(sys.argv[3], "wb") as file:
    file.write(head + data + b"".join(struct.pack("<2Q", *table[i]) for i in order))
    file.write(struct.pack("<5I", 1, 1, 3, max(1, length // max(1, len(data))), MMAP_LEN))
