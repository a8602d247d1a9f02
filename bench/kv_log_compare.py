#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demi-kv --log against redis-server --appendonly yes --appendfsync always: durable SETs.

    bench/kv_log_compare.py DEMI_KV KV_LOAD [ROUNDS]

Claim: at least one and a half times the requests per second at 50 clients. Both keep their logs on
the file system of the current folder. Servers alternate, each fresh in every round; figures are
medians over rounds, ratios the medians of the ratios of each round.

Servers run on one processor, the load on the others: once where the disk interrupts, which also has
the kernel's part of each durable write then, and once on another.

The load is kv_load.c, which leaves its processor time to spare; redis-benchmark, which has one CPU
and may be what limits, is a second row. demi-kv without a log takes part, too: no log can let more
requests through than none.
"""

import sys
import tempfile

import figures
import kvload

ROUNDS = 5
SECONDS = 1
TARGET = 1.5
BENCHMARK_REQUESTS = 20_000
PLACES = {"beside": "on the disk's CPU", "apart": "on another CPU"}
PIPELINES = (1, 16)


def measure(place, server):
    """{load: figures} of one fresh server."""
    said = {pipeline: kvload.light_load(server, sys.argv[2], SECONDS, pipeline)
            for pipeline in PIPELINES}
    if place == "beside":
        slow = kvload.load(server, ("set",), BENCHMARK_REQUESTS, 1)["set"]
        said["benchmark"] = {"rps": slow["rps"], "p50": slow["p50"] * 1e3, "p99": slow["p99"] * 1e3}
    return said


def one_round(make):
    """{place: {load: figures}} of a fresh server in each place."""
    said = {}
    for place in PLACES:
        kvload.serve_where_the_disk_interrupts(away=place == "apart")
        with tempfile.TemporaryDirectory(prefix="kv-log-", dir=".") as folder, \
                make(folder) as server:
            said[place] = measure(place, server)
    return said


def print_rows(rounds, place, load, what):
    """What was measured of each server under one load."""
    for key, name, digits in (("rps", "requests/s", ",.0f"), ("p50", "us, median", ",.0f"),
                              ("p99", "us, 99 %", ",.0f"), ("longest", "us, longest", ",.0f"),
                              ("cpu_us", "us of its CPU each", ".2f"),
                              ("own", "CPU of the load", ".2f")):
        if key not in next(iter(rounds.values()))[0][place][load]:
            continue
        values = [kvload.median(said, place, load, key) for said in rounds.values()]
        print(f"{what + ', ' + name if key == 'rps' else '    ' + name:<46}" +
              "".join(f"{value:>14{digits}}" for value in values))


def judge(rounds, place, load, what):
    """The ratio of demi-kv --log to redis-server, as a figure; whether it is as claimed."""
    ours, theirs, _ = rounds.values()
    ratio = kvload.median_ratio(ours, theirs, place, load, "rps")
    each = [a[place][load]["rps"] / b[place][load]["rps"] for a, b in zip(ours, theirs)]
    details = " and ".join(f"{kvload.median(said, place, load, 'rps'):,.0f}"
                           for said in (ours, theirs))
    details += f" per s; rounds {min(each):.2f} to {max(each):.2f}"
    if load == "benchmark":
        figures.tell(what, ratio, "x", details)
        return True
    return figures.judge(what, ratio, "x", ">=", TARGET, details)


def main():
    rounds_wanted = int(sys.argv[3]) if len(sys.argv) > 3 else ROUNDS
    servers = [("demi-kv --log", lambda folder: kvload.demi_kv_log(sys.argv[1], folder)),
               ("redis-server", kvload.redis_log),
               ("no log", lambda _: kvload.demi_kv(sys.argv[1]))]
    rounds = kvload.alternate(servers, rounds_wanted, one_round)
    rows = [(place, pipeline, f"SET, pipeline {pipeline}, {where}")
            for place, where in PLACES.items() for pipeline in PIPELINES]
    rows.append(("beside", "benchmark", "SET, redis-benchmark, on the disk's CPU"))

    print(f"\n{kvload.CLIENTS} clients, durable SET of 3 bytes, medians of {rounds_wanted} "
          f"alternated rounds\n\n{'':<46}" + "".join(f"{name:>14}" for name in rounds))
    for row in rows:
        print_rows(rounds, *row)
    print()
    return 0 if all([judge(rounds, *row) for row in rows]) else 1


kvload.main(main)
