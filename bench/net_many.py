#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What many connections cost the stack: a question of 64 bytes and its answer where each of 100,000
connections has its turn, beside few.

    net_many.py PROGRAM

PROGRAM is net_instructions.c. Instructions (callgrind) beside those with one connection, a packet
in each poll; and beside those with 64, of which 32 have a question in each poll: one connection
cannot have so many that are not each other's. Time of that too. Both sides have bursts of one size.

With many of them each connection is out of the caches when its turn comes, and has timers that the
wheel comes by at; the packets counted are those of a few of its rounds. Times are taken in turns,
because others use the machine too; the median of the ratios counts.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import net_instructions

ONE, FEW, MANY = 1, 64, 100000
BURST = 32
POLLS = "poll_host"
PACKET_NS = 300
ROUND_NS = 64 << 20  # of the wheel: a slot of its second level
SHORT, LONG = (rounds * ROUND_NS // PACKET_NS // BURST * BURST for rounds in (2, 5))  # packets
TIMED = 2000000
TIMES = 5


def is_counted(file, function):
    """All of the stack, with what of it the compiler puts into the function that polls."""
    return (function == POLLS or
            net_instructions.group_of(file, function) != net_instructions.GROUPS[0][0])


def instructions(program, packets, burst, connections):
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out")
        subprocess.run(
            ["valgrind", "--tool=callgrind", "--toggle-collect=server_works",
             f"--callgrind-out-file={out}", program, "copy", str(packets), str(burst),
             str(connections)],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=os.environ | net_instructions.NO_REP_MOVSB)
        return sum(cost for (file, function), cost in net_instructions.functions(out).items()
                   if is_counted(file, function))


def per_packet(program, burst, connections):
    few, many = (instructions(program, packets, burst, connections) for packets in (SHORT, LONG))
    return (many - few) / (LONG - SHORT)


def nanoseconds(program, connections):
    run = subprocess.run([program, "copy", str(TIMED), str(BURST), str(connections)], check=True,
                         capture_output=True, text=True).stdout
    return float(re.match(r"([\d.]+) ns", run)[1])


def judge(what, figures, ratio, target):
    good = ratio <= target
    print(f"{'PASS' if good else 'FAIL'} TCP: {what} of a question and its answer: "
          f"{ratio:.2f}x ({figures}), target <= {target}x")
    return good


def judge_instructions(program, burst, connections):
    few, many = (per_packet(program, burst, n) for n in (connections, MANY))
    return judge(f"instructions, {burst} in a poll,",
                 f"{few:.0f} with {connections}, {many:.0f} with {MANY} connections", many / few,
                 1.05)


def judge_time(program):
    pairs = [[nanoseconds(program, n) for n in (FEW, MANY)] for _ in range(TIMES)]
    few, many = (statistics.median(side) for side in zip(*pairs))
    return judge(f"time, {BURST} in a poll,",
                 f"{few:.0f} ns with {FEW}, {many:.0f} ns with {MANY} connections",
                 statistics.median(many / few for few, many in pairs), 2.0)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if shutil.which("valgrind") is None:
        print("SKIP valgrind is not installed (make setup)")
        return 77
    program = sys.argv[1]
    results = [judge_time(program), judge_instructions(program, 1, ONE),
               judge_instructions(program, BURST, FEW)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
