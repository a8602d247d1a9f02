#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What many connections cost the stack: a question and its answer where each connection has its
turn, with 100,000 of them beside 64; instructions (callgrind) and time.

    net_many.py PROGRAM

PROGRAM is net_instructions.c. A burst has 32 questions, each of another connection. With many of
them every connection is out of the caches when its turn comes, and has timers that fire between
two turns. The least of several times counts: others use the machine too.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

import net_instructions

FEW, MANY = 64, 100000
BURST = 32
SHORT, LONG = 320000, 640000  # packets, of which the first of a connection are not like the others
TIMED = 2000000
TIMES = 3
CLAIMS = (
    ("instructions", 1.05),
    ("time", 2.0),
)


def instructions(program, packets, connections):
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out")
        subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=server_works",
             f"--callgrind-out-file={out}", program, "tcp", str(packets), str(BURST),
             str(connections)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        groups = net_instructions.by_group(net_instructions.functions(out))
        return net_instructions.counted(groups)


def per_packet(program, connections):
    few, many = (instructions(program, packets, connections) for packets in (SHORT, LONG))
    return (many - few) / (LONG - SHORT)


def nanoseconds(program, connections):
    runs = (subprocess.run([program, "tcp", str(TIMED), str(BURST), str(connections)], check=True,
                           capture_output=True, text=True).stdout for _ in range(TIMES))
    return min(float(re.match(r"([\d.]+) ns", run)[1]) for run in runs)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if shutil.which("valgrind") is None:
        print("SKIP valgrind is not installed (make setup)")
        return 77
    missed = 0
    for (what, target), measure in zip(CLAIMS, (per_packet, nanoseconds)):
        few, many = (measure(sys.argv[1], n) for n in (FEW, MANY))
        missed += many / few > target
        print(f"{'PASS' if many / few <= target else 'FAIL'} TCP: {what} of a question and its "
              f"answer: {few:.0f} with {FEW} connections, {many:.0f} with {MANY}: ratio "
              f"{many / few:.2f}, target <= {target}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
