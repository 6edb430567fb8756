# SPDX-License-Identifier: MIT
# Run inside gdb: the program is stopped at sampled instructions of its own functions, and each variable is read twice, by gdb and from the fetch
# argument that utap gives. Prints one line "TOTAL ..." and a line for each difference.
#
#   gdb -q -batch -x dwarf_gdb.py PROGRAM      with UTAP, SAMPLE (how many places), SEED, FUNCTIONS (a pattern for their files), RUST=1 in the environment
import json
import os
import random
import re
import struct
import subprocess

import gdb

utap = os.environ["UTAP"]
sample = int(os.environ.get("SAMPLE", "100"))
random.seed(int(os.environ.get("SEED", "1")))
functions = os.environ["FUNCTIONS"]
counts = {}
reasons = {}


def count(what):
    counts[what] = counts.get(what, 0) + 1


def read(address, size):
    return int.from_bytes(bytes(gdb.selected_inferior().read_memory(address & (2**64 - 1), size)), "little")


def register(name):
    return int(gdb.newest_frame().read_register(name if name.startswith("r") else "r" + name)) & (2**64 - 1)


def vector(name):
    value = gdb.newest_frame().read_register(name)
    return sum((int(value["v2_int64"][i]) & (2**64 - 1)) << 64 * i for i in range(2))


def value_of(text, size, base):
    """The number that a fetch argument without its type brings."""
    if text.startswith("%xmm"):
        return vector(text[1:])
    if text.startswith("%"):
        return register(text[1:])
    if text.startswith("\\"):
        return int(text[1:])
    return read(address_of(text, base), size)


def address_of(text, base):
    """Where a fetch argument that reads memory reads."""
    if text.startswith("@+"):
        return base + int(text[2:], 0)
    if text.startswith("@"):
        return int(text[1:], 0)
    found = re.fullmatch(r"([+-]\d+)\((.*)\)", text)
    return int(found.group(1)) + value_of(found.group(2), 8, base)


def fetch(arg, base):
    text, kind = arg["fetch"].rsplit(":", 1)
    bits = re.fullmatch(r"[bf](\d+)@(\d+)/(\d+)", kind)
    if kind == "string" or kind.endswith("]"):
        return "address", address_of(text, base)
    if bits:
        width, first, size = map(int, bits.groups())
        return "number", (value_of(text, size // 8, base) >> first) & ((1 << width) - 1), width
    width = int(kind[1:])
    return "number", value_of(text, width // 8, base) & ((1 << width) - 1), width


def same(arg, value, base):
    got = fetch(arg, base)
    kind = value.type.strip_typedefs()
    if kind.code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
        value = value.referenced_value()
        kind = value.type.strip_typedefs()
    if got[0] == "address":
        if kind.code == gdb.TYPE_CODE_ARRAY:
            return got[1] == int(value.address), hex(got[1]), hex(int(value.address))
        return got[1] & (2**64 - 1) == int(value) & (2**64 - 1), hex(got[1]), str(value)
    if kind.code == gdb.TYPE_CODE_FLT:
        want = int.from_bytes(struct.pack("<d" if kind.sizeof == 8 else "<f", float(value)), "little")
    else:
        want = int(value)
    return got[1] == want & ((1 << got[2]) - 1), hex(got[1]), hex(want & (2**64 - 1))


def compare(arg, frame, base, where):
    text = ""
    name = re.sub(r"\.__(\d+)", r".\1", arg["name"]) if where["rust"] else arg["name"]
    try:
        frame.select()
        value = gdb.parse_and_eval(name)
        gone = value.is_optimized_out
        if not gone:
            str(value)
    except gdb.error as error:
        text = str(error)
        if "No symbol" in text and arg["fetch"]:
            count("unknown to gdb")  # it shows another frame, where an inlined function begins
            return
        gone = "optimized out" in text or "entry" in text or "No symbol" in text
        if not gone:
            count("gdb cannot")
            return
        value = None
    if not arg["fetch"]:
        if gone or "optimized out" in str(value):
            count("both optimized out" if "optimized out" in arg["why"] else "refused")
        elif "caller knows" in arg["why"]:
            count("known to the caller only")
        elif "optimized out" in arg["why"] and not arg["name"].count("."):
            count("only gdb")
            print("ONLY GDB %s at %s: %s = %.60s (%s)" % (arg["name"], where["text"], arg["type"], value, arg["why"]))
        else:
            count("refused")
            reasons[arg["why"]] = reasons.get(arg["why"], 0) + 1
        return
    if gone:
        count("only utap")
        print("ONLY UTAP %s at %s: %s (gdb: %.60s)" % (arg["name"], where["text"], arg["fetch"], text or value))
        return
    try:
        equal, ours, theirs = same(arg, value, base)
    except gdb.MemoryError:
        count("not readable")
        return
    except (gdb.error, AttributeError, TypeError, ValueError) as error:
        count("gdb cannot")
        return
    count("equal" if equal else "DIFFERENT")
    if "%xmm" in arg["fetch"]:
        count("of vectors")
    if not equal:
        print("DIFFERENT %s at %s: %s is %s, gdb says %s" % (arg["name"], where["text"], arg["fetch"], ours, theirs))


def look(address, load):
    done = subprocess.run([utap, "probe", "-q", "--json", "-x", program, "-D", hex(address - load), "$vars"], capture_output=True, text=True)
    if done.returncode:
        count("no place")
        return
    place = json.loads(done.stdout)[0]
    frame = gdb.newest_frame()
    mine = place["function"].split("::")[-1].split("(")[0]
    theirs = (frame.name() or "").split("(")[0].split("::")[-1]
    if mine.split("<")[0] != theirs.split("<")[0]:  # gdb shows the caller where an inlined function begins
        count("other frame")
        return
    where = {"text": "%s+%#x" % (place["function"], address - load), "rust": "rust" in str(frame.function().symtab)[-3:] or program_is_rust}
    count("places")
    for arg in place["args"]:
        compare(arg, frame, load + place["address"] - place["offset"], where)


gdb.execute("set pagination off")
gdb.execute("set confirm off")
gdb.execute("set print elements 8")
gdb.execute("set breakpoint pending off")
gdb.execute("set disable-randomization on")
program = os.path.realpath(gdb.objfiles()[0].filename)
program_is_rust = os.environ.get("RUST", "0") == "1"
gdb.execute("set language c")
static = int(gdb.parse_and_eval("(long)&main"))
gdb.execute("starti > /dev/null 2>&1 " + os.environ.get("ARGS", ""), to_string=True)
gdb.execute("set language c")
load = int(gdb.parse_and_eval("(long)&main")) - static
gdb.execute("set language auto")

# All instructions of the program's functions, without its libraries.
places = []
symbols = subprocess.run(["nm", "--defined-only", program], capture_output=True, text=True).stdout
starts = sorted({int(line.split()[0], 16) for line in symbols.splitlines() if line.split()[1] in "tTwW"})
for start in starts:
    block = None
    try:
        block = gdb.block_for_pc(start + load)
    except gdb.error:
        pass
    if not block or block.function is None and block.superblock is None:
        continue
    function = block
    while function and not function.function:
        function = function.superblock
    if not function or not re.search(functions, str(function.function.symtab.filename)):
        continue
    for insn in gdb.selected_inferior().architecture().disassemble(function.start, function.end - 1):
        places.append(insn["addr"])
places = sorted(set(places))
random.shuffle(places)
for address in places[: sample * 3]:
    try:
        gdb.Breakpoint("*%#x" % address, internal=True, temporary=True).silent = True
    except gdb.error:
        pass
stops = 0
while stops < sample:
    try:
        gdb.execute("continue", to_string=True)
    except gdb.error:
        break
    if not gdb.selected_inferior().pid:
        break
    stops += 1
    look(gdb.newest_frame().pc(), load)
for why in sorted(reasons, key=reasons.get, reverse=True):
    print("REFUSED %d: %s" % (reasons[why], why))
print("TOTAL " + ", ".join("%s %d" % (what, counts[what]) for what in sorted(counts)))
