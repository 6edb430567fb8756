#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Reads a file of one of utap's formats strictly and prints what is in it, sorted: "begins N", "ends N", "hits N", "threads N" ..; or says what is wrong.

formats.py FORMAT FILE     (perfetto: the text of protoc --decode)

"stacks N": events with a user stack; each has to contain the functions of $CHAIN (outermost first, with ';' between), where that is set.
"""
import csv
import io
import json
import os
import re
import sys
from collections import Counter, defaultdict


class Wrong(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Wrong(what)


def check_stack(names):
    """Function names, the outermost first; returns 1, for counting."""
    chain = ";" + ";".join(names) + ";"
    check(f";{os.environ.get('CHAIN', '')};" in chain or "CHAIN" not in os.environ, f"a strange stack: {chain}")
    return 1


def bare(frame):
    return re.sub(r"\+0x[0-9a-f]+$", "", frame)


class Nesting:
    """Begins and ends of each thread, in the order of time."""

    def __init__(self):
        self.open = defaultdict(list)
        self.time = defaultdict(int)
        self.count = Counter()

    def event(self, thread, kind, time, name=None):
        check(time >= self.time[thread], f"time of {thread} goes back to {time}")
        self.time[thread] = time
        self.count[kind] += 1
        if kind == "begins":
            self.open[thread].append(name)
        elif kind == "ends":
            check(self.open[thread], f"an end without a begin in {thread} at {time}")
            self.open[thread].pop()

    def close(self, may_be_open):
        left = sum(len(stack) for stack in self.open.values())
        check(may_be_open or not left, f"{left} begins without an end")
        return dict(self.count, threads=len(self.time))


def chrome(text):
    nesting = Nesting()
    named = set()
    lost = stacks = 0
    trace = json.loads(text)
    frames = trace.get("stackFrames", {})

    def stack_of(number):
        frame = frames[number]
        return (stack_of(frame["parent"]) if "parent" in frame else []) + [frame["name"]]

    for event in trace["traceEvents"]:
        if "sf" in event:
            stacks += check_stack(stack_of(event["sf"]))
        thread = (event["pid"], event["tid"])
        time = round(event["ts"] * 1000)
        if event["ph"] == "M":
            check(isinstance(event["args"]["name"], str), "a name is no string")
            named.add(thread)
        elif event["ph"] == "C":
            lost += sum(event["args"].values())
        else:
            check(thread in named, f"{thread} has no name")
            nesting.event(thread, {"B": "begins", "E": "ends", "i": "hits"}[event["ph"]], time, event.get("name"))
    return dict(nesting.close(False), lost=lost, stacks=stacks)


def jsonl(text):
    counts = Counter()
    for line in text.splitlines():
        event = json.loads(line)
        if "lost" in event:
            counts["lost"] += event["lost"]
        else:
            counts["hits"] += 1
            check(isinstance(event["args"], dict), "no args")
            if "stack" in event:
                counts["stacks"] += check_stack([frame.get("symbol", "?") for frame in event["stack"]][::-1])
    return dict(counts)


def csv_(text):
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    check(text.endswith("\r\n"), "the last line does not end with CR LF")
    check(rows[0][:3] == ["time_ns", "cpu", "pid"] and rows[0][-1] == "more", "a strange header")
    time = 0
    for row in rows[1:]:
        check(len(row) == len(rows[0]), f"{len(row)} columns instead of {len(rows[0])}: {row}")
        check(int(row[0]) >= time, "time goes back")
        time = int(row[0])
    column = rows[0].index("stack") if "stack" in rows[0] else None
    stacks = sum(check_stack([bare(frame) for frame in row[column].split(";")[::-1]]) for row in rows[1:] if column)
    return {"hits": len(rows) - 1, "stacks": stacks}


# What importers of the kernel's trace file look for.
FTRACE = re.compile(r" *(?P<comm>.{1,16})-(?P<tid>\d+) +\( *(?P<tgid>\d+)\) \[(?P<cpu>\d{3,})\] [.dXnNhHs0-9]{5} +(?P<sec>\d+)\.(?P<usec>\d{6}): "
                    r"(?P<event>[^ :]+): (?P<rest>.*)")


def ftrace_lines(text, frames=None):
    check(text.startswith("# tracer: nop\n#\n"), "no header")
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if frames is not None and re.fullmatch(r".*-\d+ +\( *\d+\) \[\d+\] [^ ]{5} +\d+\.\d{6}: <user stack trace>", line):
            frames.append([])
            continue
        if frames is not None and line.startswith(" => "):
            frames[-1].append(bare(line[4:]))
            continue
        match = FTRACE.fullmatch(line)
        check(match, f"not a line of ftrace: {line}")
        yield match, int(match["sec"]) * 1000000 + int(match["usec"])


def ftrace(text):
    hits = 0
    stacks = []
    for match, _ in ftrace_lines(text, stacks):
        check(re.match(r"\(0x[0-9a-f]+( <- 0x[0-9a-f]+)?\)( [^ =]+=.+)?$", match["rest"]), f"no place: {match[0]}")
        hits += 1
    return {"hits": hits, "stacks": sum(check_stack(stack[::-1]) for stack in stacks), "lost": sum(int(n) for n in re.findall(r"(?m)^# lost: (\d+) of ", text))}


def systrace(text):
    nesting = Nesting()
    for match, time in ftrace_lines(text):
        check(match["event"] == "tracing_mark_write", "another event")
        part = match["rest"].split("|")
        check(part[1] == match["tgid"] and len(part) == (2 if part[0] == "E" else 3), f"a strange mark: {match[0]}")
        nesting.event(match["tid"], {"B": "begins", "E": "ends", "I": "hits"}[part[0]], time, part[-1])
    return nesting.close(False)


def folded(text):
    weight = 0
    for line in text.splitlines():
        match = re.fullmatch(r"([^;]+)(;[^;]+)* ([1-9]\d*)", line)
        check(match, f"not a folded stack: {line}")
        check_stack(line.rsplit(" ", 1)[0].split(";"))
        weight += int(match[3])
    check(len(set(line.rsplit(" ", 1)[0] for line in text.splitlines())) == len(text.splitlines()), "a stack comes twice")
    return {"weight": weight}


def perfetto(text):
    nesting = Nesting()
    tracks, names, categories = {}, set(), set()
    counts = Counter()
    functions, frames, callstacks, mappings = {}, {}, {}, set()
    stacks = 0
    flows = Counter()
    packets = text.split("packet {\n")
    check(not packets[0].strip(), f"not packets: {packets[0][:100]}")
    check("clock_snapshot" in packets[1] and "primary_trace_clock: 3" in packets[1], "no clock snapshot")
    for packet in packets[1:]:
        check(not re.search(r"(?m)^ *\d+[:{ ]", packet), f"an unknown field: {packet}")

        def number(field):
            match = re.search(rf"(?m)^ *{field}: (-?\w+)$", packet)
            return match and match[1]

        names |= set(re.findall(r"event_names \{\s+iid: (\d+)\s+name: \"", packet))
        categories |= set(re.findall(r"event_categories \{\s+iid: (\d+)\s+name: \"", packet))
        functions.update(re.findall(r"function_names \{\s+iid: (\d+)\s+str: \"(.*)\"", packet))
        mappings |= set(re.findall(r"mappings \{\s+iid: (\d+)\s+path_string_ids: \1\s", packet))
        for iid, name, mapping in re.findall(r"frames \{\s+iid: (\d+)\s+function_name_id: (\d+)\s+mapping_id: (\d+)\s+rel_pc: \d+", packet):
            check(name in functions and mapping in mappings, f"frame {iid} has no name or mapping")
            frames[iid] = functions[name]
        for iid, body in re.findall(r"callstacks \{\s+iid: (\d+)\s+((?:frame_ids: \d+\s+)+)", packet):
            callstacks[iid] = [frames[frame] for frame in re.findall(r"\d+", body)]
        if "track_descriptor" in packet:
            tracks[number("uuid")] = re.sub(r".*(thread|process|counter) \{.*", r"\1", packet, flags=re.S)
        if "track_event" not in packet:
            continue
        kind, track = number("type"), number("track_uuid")
        check(number("timestamp_clock_id") == "3", "another clock")
        if kind == "TYPE_COUNTER":
            check(tracks[track] == "counter", "no counter's track")
            counts[track] = int(number("counter_value"))
            continue
        check(tracks.get(track) == "thread", f"no thread's track: {packet}")
        check(kind == "TYPE_SLICE_END" or (number("name_iid") in names and number("category_iids") in categories), f"no name: {packet}")
        flows.update(re.findall(r"(?m)^ *flow_ids: (\d+)$", packet))
        if number("callstack_iid"):
            stacks += check_stack(callstacks[number("callstack_iid")])
        kind = {"TYPE_SLICE_BEGIN": "begins", "TYPE_SLICE_END": "ends", "TYPE_INSTANT": "hits"}[kind]
        nesting.event(track, kind, int(number("timestamp")))
    return dict(nesting.close(True), lost=sum(counts.values()), stacks=stacks, flows=flows.total(), tied=sum(n for n in flows.values() if n > 1))


def main():
    readers = {"chrome": chrome, "jsonl": jsonl, "csv": csv_, "ftrace": ftrace, "systrace": systrace, "folded": folded, "perfetto": perfetto}
    with open(sys.argv[2], encoding="utf-8", newline="") as file:
        text = file.read()
    try:
        result = readers[sys.argv[1]](text)
    except (Wrong, ValueError, KeyError, IndexError, csv.Error) as error:
        print(f"{sys.argv[1]}: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return 1
    print(" ".join(f"{key} {value}" for key, value in sorted(result.items()) if value))
    return 0


sys.exit(main())
