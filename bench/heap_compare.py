#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The heap against mimalloc and glibc: one program, unchanged, under each of them.

    bench/heap_compare.py HEAP_LOAD HEAP_LOAD_DEMI LIBDEMIKERNEL-MALLOC

Claims: under the preloaded heap every workload takes at most 1.5 times as long as under mimalloc
and no longer than under glibc, and at most 1.3 times the live bytes are resident. The sides
alternate; a figure is the median over rounds, a ratio the median of the ratios of each round. The
fourth side calls demi_malloc directly, in the same loops.
"""

import glob
import os
import re
import statistics
import subprocess
import sys

ROUNDS = 5
SECONDS = 60
MIMALLOC = "libmimalloc.so.2"
# Least favourable ratio of times; glibc's has 5 % for noise.
LIMITS = {"mimalloc": 1.50, "glibc": 1.05}
MEMORY_LIMIT = 1.30
WORKLOADS = {
    "pairs-64": "pairs, 64 B",
    "pairs-64-threads": "pairs, 64 B, 2 threads",
    "pairs-mixed": "pairs at once, 16 B to 4 KiB",
    "pairs-mixed-threads": "pairs at once, 16 B to 4 KiB, 2 threads",
    "replace": "pairs among 1,000 live, 16 B to 4 KiB",
    "replace-threads": "pairs among 1,000 live, 2 threads",
    "batches": "1,000 live, 16 B to 32 KiB",
    "batches-threads": "1,000 live, 16 B to 32 KiB, 2 threads",
    "remote": "freed by the other thread",
    "growth": "realloc to 64 KiB",
}


class Side:
    """One allocator: the program it runs in, and what its library must be called."""

    def __init__(self, name, program, preload, library):
        self.name, self.program, self.library = name, os.path.abspath(program), library
        self.environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
        if preload:
            self.environment["LD_PRELOAD"] = preload

    def run(self, workload):
        done = subprocess.run([self.program, workload], env=self.environment, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                              timeout=SECONDS)
        found = re.match(r"allocator (\S+)", done.stdout)
        if done.returncode != 0 or not found or self.library not in found[1]:
            sys.exit(f"FAIL {workload} under {self.name}: exit code {done.returncode}, "
                     f"{done.stdout!r}")
        return done.stdout


def find_sides(load, load_demi, preload):
    sides = [Side("preloaded", load, os.path.abspath(preload), "libdemikernel-malloc.so"),
             Side("direct", load_demi, None, "libdemikernel.so"),
             Side("glibc", load, None, "libc.so")]
    found = [path for folder in ("/usr/lib/*", "/usr/lib", "/usr/local/lib")
             for path in glob.glob(f"{folder}/{MIMALLOC}")]
    if found:
        sides.append(Side("mimalloc", load, found[0], "libmimalloc"))
    else:
        print(f"SKIP against mimalloc: {MIMALLOC} is not installed (make setup)")
    return sides


def measure(sides):
    """side -> workload -> nanoseconds of each round."""
    figures = {side.name: {workload: [] for workload in WORKLOADS} for side in sides}
    for number in range(ROUNDS):
        print(f"round {number + 1}/{ROUNDS} ...", flush=True)
        turn = number % len(sides)
        for workload in WORKLOADS:
            for side in sides[turn:] + sides[:turn]:
                ns = re.search(r"^ns (\S+)", side.run(workload), re.M)[1]
                figures[side.name][workload].append(float(ns))
    return figures


def ratio(figures, workload, other):
    """Median over rounds of our time over theirs."""
    pairs = zip(figures["preloaded"][workload], figures[other][workload])
    return statistics.median(ours / theirs for ours, theirs in pairs)


def verdict(what, figure, limit):
    word = "PASS" if round(figure, 2) <= limit else "FAIL"
    return f"{word} {what}: {figure:.2f}x, target <= {limit:.2f}x"


def compare_time(sides):
    figures = measure(sides)
    others = [side.name for side in sides if side.name in LIMITS]
    print(f"\nns per malloc and free, or per realloc; median of {ROUNDS} alternated rounds\n")
    print(f"{'':<40}" + "".join(f"{side.name:>11}" for side in sides) +
          "".join(f"{'/ ' + name:>11}" for name in others))
    for workload, title in WORKLOADS.items():
        times = [statistics.median(figures[side.name][workload]) for side in sides]
        ratios = [ratio(figures, workload, name) for name in others]
        print(f"{title:<40}" + "".join(f"{time:>11.1f}" for time in times) +
              "".join(f"{value:>11.2f}" for value in ratios))
    return [verdict(f"{title}, time against {name}", ratio(figures, workload, name), LIMITS[name])
            for name in others for workload, title in WORKLOADS.items()]


def compare_memory(sides):
    found = {}
    for side in sides:
        out = side.run("memory")
        found[side.name] = {name: int(resident) / int(live) for name, live, resident in
                            re.findall(r"^phase (.*): (\d+) (\d+)$", out, re.M)}
        found[side.name]["MiB left after all is freed"] = \
            int(re.search(r"^left (\d+)", out, re.M)[1]) / (1 << 20)
    print("\nbytes resident per byte live, about 64 MiB live\n")
    print(f"{'':<40}" + "".join(f"{side.name:>11}" for side in sides))
    ours = found["preloaded"]
    for phase in ours:
        print(f"{phase:<40}" + "".join(f"{found[side.name][phase]:>11.2f}" for side in sides))
    return [verdict(f"resident, {phase}", value, MEMORY_LIMIT)
            for phase, value in ours.items() if not phase.startswith("MiB")]


def main():
    sides = find_sides(*sys.argv[1:])
    verdicts = compare_time(sides) + compare_memory(sides)
    print("\n" + "\n".join(verdicts))
    return 1 if any(line.startswith("FAIL") for line in verdicts) else 0


sys.exit(main())
