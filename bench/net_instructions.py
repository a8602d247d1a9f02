#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a packet costs in the stack: instructions of src/net and what is below it, loop device
included, without the public interface.

    net_instructions.py PROGRAM [FUNCTIONS]

PROGRAM (net_instructions.c) runs under callgrind twice for each figure; the difference of the two
is the steady state, and repeats to the instruction. What the program itself does, in place of an
application and of the library that polls, is listed and not counted. FUNCTIONS: how many of the
most expensive functions are listed too.

Of a stream in large packets the instructions of both ends are counted, for each byte. The C library
is asked not to copy with `rep movsb`, which callgrind counts as an instruction for each byte.
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

SHORT, LONG = 3200, 9600  # packets
BURST = 32
PUSHES = 300, 900  # of a stream
PUSH_BYTES = 65536
BULK_TARGET = 0.25  # per byte
NO_REP_MOVSB = {"GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824"}

CLAIMS = (
    ("udp", "UDP: received, and one sent", 600),
    ("tcp", "TCP: data received, and the reply sent", 1000),
    ("ack", "TCP: acknowledgement received", 350),
)

# Of a function's file, the first that matches; where a function begins with one that is inlined,
# the file is that one's, and its name tells.
NAMES = {"dk_udp_": "UDP", "dk_tcp_": "TCP"}
GROUPS = (
    ("program, not counted", r"bench/"),
    ("checksums", r"src/base/checksum"),
    ("device", r"src/drv/"),
    ("buffers", r"src/mem/"),
    ("TCP", r"src/net/(tcp/|wire/tcp)"),
    ("UDP", r"src/net/(udp|wire/udp)"),
    ("link and IP, in and out", r"src/net/"),
    ("timers", r"src/base/"),
    ("C library", r""),
)


def functions(path):
    """Instructions of each (file, function) in a callgrind.out file, without those it calls."""
    names, costs = {}, collections.Counter()
    at = file = None
    skip = False

    def name(text):
        number, _, rest = text.partition(" ")
        return names.setdefault(number, rest)

    with open(path, encoding="utf-8") as out:
        for line in out:
            key, _, value = line.rstrip("\n").partition("=")
            if key == "fl":
                file = name("f" + value)
            elif key in ("fi", "fe", "cfi", "cfl"):
                name("f" + value)
            elif key == "fn":
                at = (file, name("n" + value))
            elif key == "cfn":
                name("n" + value)
            elif key == "calls":
                skip = True  # the next line is what is called
            elif re.match(r"[-+*\d]", line):
                if not skip:
                    costs[at] += int(line.split()[1])
                skip = False
    return costs


def run(program, what, packets, burst, counted_in="server_works"):
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out")
        subprocess.run(
            ["valgrind", "--tool=callgrind", f"--toggle-collect={counted_in}",
             f"--callgrind-out-file={out}", program, what, str(packets), str(burst)],
            check=True, stderr=subprocess.PIPE, env=os.environ | NO_REP_MOVSB)
        return functions(out)


def per_packet(program, what, burst):
    """Instructions per packet of each (file, function)."""
    few, many = (run(program, what, n, burst) for n in (SHORT, LONG))
    return {at: (cost - few[at]) / (LONG - SHORT) for at, cost in many.items()}


def per_byte(program):
    few, many = (run(program, "bulk", n, 1, "both_work") for n in PUSHES)
    return {at: (cost - few[at]) / (PUSHES[1] - PUSHES[0]) / PUSH_BYTES
            for at, cost in many.items()}


def group_of(file, function):
    for prefix, name in NAMES.items():
        if function.startswith(prefix):
            return name
    path = (file or "").rpartition("/../")[2]  # from the root of the source on
    return next(name for name, pattern in GROUPS if re.match(pattern, path))


def by_group(costs):
    groups = collections.Counter()
    for at, cost in costs.items():
        groups[group_of(*at)] += cost
    return groups


def counted(groups):
    return sum(cost for name, cost in groups.items() if name != GROUPS[0][0])


def print_groups(columns):
    for name, _ in GROUPS[1:] + GROUPS[:1]:
        if name == GROUPS[0][0]:
            print(f"  {'together':<40}" + "".join(f"{counted(c):>10.1f}" for c in columns))
        print(f"  {name:<40}" + "".join(f"{c[name]:>10.1f}" for c in columns))


def print_functions(what, costs, most, digits=1):
    print(f"\n{what}")
    for (file, function), cost in sorted(costs.items(), key=lambda item: -item[1])[:most]:
        print(f"  {cost:8.{digits}f}  {function} ({group_of(file, function)})")


def print_segments(program):
    """Of segments of 1448 bytes, with checksums; every second one is acknowledged."""
    alone, burst, group = (counted(by_group(per_packet(program, *which)))
                           for which in (("full", 1), ("full", BURST), ("gro", BURST)))
    print(f"a full segment received: {alone:.1f} instructions, {BURST} at once {burst:.1f} each, "
          f"as a group {group:.1f} each")


def bulk(program, most):
    """Whether a stream in large packets costs little enough."""
    costs = per_byte(program)
    groups = by_group(costs)
    if most:
        print_functions("bulk", costs, most, 4)
    print("a byte of a stream in packets of 64 KiB, sent and received: "
          + ", ".join(f"{name} {groups[name]:.3f}"
                      for name, _ in GROUPS[1:] if groups[name] > 5e-4))
    figure = counted(groups)
    print(f"{'PASS' if figure < BULK_TARGET else 'FAIL'} TCP: a byte of a stream in large packets: "
          f"{figure:.3f} instructions, target < {BULK_TARGET}")
    return figure < BULK_TARGET


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    program, most = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 0
    if shutil.which("valgrind") is None:
        print("SKIP valgrind is not installed (make setup)")
        return 77
    costs = {what: per_packet(program, what, 1) for what, _, _ in CLAIMS}
    groups = {what: by_group(costs[what]) for what in costs}
    print("64 bytes of payload, loop device: instructions per packet that arrives, alone")
    print(f"  {'':<40}" + "".join(f"{what:>10}" for what, _, _ in CLAIMS))
    print_groups([groups[what] for what, _, _ in CLAIMS])
    bursts = [counted(by_group(per_packet(program, what, BURST))) for what, _, _ in CLAIMS]
    print(f"  {f'together, {BURST} at once':<40}" + "".join(f"{b:>10.1f}" for b in bursts))
    for what, _, _ in CLAIMS:
        if most:
            print_functions(what, costs[what], most)
    print_segments(program)
    missed = 0 if bulk(program, most) else 1
    for what, text, target in CLAIMS:
        figure = counted(groups[what])
        missed += figure >= target
        print(f"{'PASS' if figure < target else 'FAIL'} {text}: {figure:.1f} instructions, "
              f"target < {target}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
