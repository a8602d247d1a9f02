#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a packet costs beyond the port: instructions of an echo server over DPDK's net_ring, through
the public interface, less those of a loop over the same port that only turns the frame round.

    dpdk_instructions.py PROGRAM [FUNCTIONS]

PROGRAM (dpdk_instructions.c) runs under callgrind twice for each figure; the difference of the two
is the steady state. A round is as many packets in as out: one of each, or a burst. FUNCTIONS: how
many of the most expensive functions are listed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

FEW, MANY = 2000, 6000  # packets in
BURST, CONNECTIONS = 32, 16
# name, text, the packets of a round, target
ALONE = (("udp", "UDP", 1, 420), ("tcp", "TCP", 1, 650),
         ("bare-tcp", "TCP without options", 1, None))
BURSTS = (("udp-burst", f"UDP, {BURST} at once", BURST, None),
          ("tcp-burst", f"TCP, one on each of {CONNECTIONS} connections", CONNECTIONS, None))


def run(program, what, rounds, counted_in, is_last=False):
    """Instructions inside a function."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out")
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--toggle-collect={counted_in}",
             f"--callgrind-out-file={out}", program, what, str(rounds)],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{what}: {done.stderr}")
        with open(out, encoding="utf-8") as file:
            total = int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M)[1])
        if len(sys.argv) == 3 and is_last:
            report(out)
        return total


def report(out):
    done = subprocess.run(["callgrind_annotate", "--auto=no", out], check=True, text=True,
                          stdout=subprocess.PIPE)
    lines = [line for line in done.stdout.splitlines() if re.match(r" *[\d,]+ \(", line)]
    print("\n".join(lines[:int(sys.argv[2])]))


def per_packet(program, what, in_round, counted_in):
    few = run(program, what, FEW // in_round, counted_in)
    many = run(program, what, MANY // in_round, counted_in, True)
    return (many - few) / ((MANY // in_round - FEW // in_round) * in_round) / 2


def compare(program, raw, claims):
    """Prints what each load costs beyond the raw loop; returns how many targets were missed."""
    missed = 0
    for what, text, in_round, target in claims:
        works = "server_works" if in_round == 1 else "burst_works"
        whole = per_packet(program, what, in_round, works)
        is_met = target is None or whole - raw <= target
        missed += not is_met
        word = "FIGURE" if target is None else "PASS" if is_met else "FAIL"
        print(f"{word} {text}: {whole - raw:.1f} instructions per packet "
              f"beyond the raw loop ({whole:.1f} in all)"
              f"{f', target <= {target}' if target else ''}")
    return missed


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    if shutil.which("valgrind") is None:
        print("SKIP valgrind is not installed (make setup)")
        return 77
    program = sys.argv[1]
    raw = per_packet(program, "raw", 1, "port_works")
    burst = per_packet(program, "raw-burst", BURST, "port_works")
    print(f"net_ring, 64 bytes of payload: the raw loop takes {raw:.1f} instructions per packet, "
          f"{burst:.1f} with {BURST} at once")
    missed = compare(program, raw, ALONE) + compare(program, burst, BURSTS)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
