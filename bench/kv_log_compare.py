#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demi-kv --log against redis-server --appendonly yes --appendfsync always: durable SETs.

    bench/kv_log_compare.py DEMI_KV

Claim: at least one and a half times the requests per second at 50 clients. Both keep their logs on
the file system of the current folder. Servers alternate, each fresh in every round; figures are
medians over rounds, ratios the medians of the ratios of each round.

The servers run on the processor that takes the disk's interrupts, the load on the others.

demi-kv without a log takes part, too: without pipelining redis-benchmark, which has one CPU, may be
what limits the rate, and no log can let more requests through than none.
"""

import sys
import tempfile

import kvload

ROUNDS = 5
REQUESTS = 20_000
PIPELINES = (1, 16)
TARGETS = {1: 1.5, 16: 1.5}  # pipeline: least ratio


def one_round(make):
    """{pipeline: {"set": figures}} of one fresh server."""
    with tempfile.TemporaryDirectory(prefix="kv-log-", dir=".") as folder, make(folder) as server:
        kvload.load(server, ("set",), 2_000, 1)
        return {pipeline: kvload.load(server, ("set",), REQUESTS * pipeline, pipeline)
                for pipeline in PIPELINES}


def main():
    servers = [("demi-kv", lambda folder: kvload.demi_kv_log(sys.argv[1], folder)),
               ("redis-server", kvload.redis_log),
               ("no log", lambda _: kvload.demi_kv(sys.argv[1]))]
    kvload.serve_where_the_disk_interrupts()
    rounds = kvload.alternate(servers, ROUNDS, one_round)

    ours, theirs, no_log = (rounds[name] for name, _ in servers)
    print(f"\nredis-benchmark, {kvload.CLIENTS} clients, durable SET of 3 bytes, median of "
          f"{ROUNDS} alternated rounds of {REQUESTS:,} requests (times the pipeline)\n")
    print(f"{'':<34}{'demi-kv':>12}{'redis-server':>14}{'ratio':>8}{'target':>9}")
    failed = 0
    verdicts = []
    for pipeline in PIPELINES:
        keys = (pipeline, "set")
        ratio = round(kvload.median_ratio(ours, theirs, *keys, "rps"), 2)
        target = TARGETS.get(pipeline)
        for key, what in (("rps", "requests/s"), ("p50", "ms, median"), ("p99", "ms, 99%")):
            a, b = (kvload.median(r, *keys, key) for r in (ours, theirs))
            digits = ",.0f" if key == "rps" else ".3f"
            note = f"{ratio:>8.2f}{f'>= {target:.2f}' if target else '':>9}" if key == "rps" else ""
            print(f"{f'SET, pipeline {pipeline}, {what}':<34}{a:>12{digits}}{b:>14{digits}}{note}")
        most = kvload.median_ratio(no_log, theirs, *keys, "rps")
        print(f"{'  demi-kv without a log':<34}{kvload.median(no_log, *keys, 'rps'):>12,.0f}"
              f"{'':>14}{most:>8.2f}")
        if target:
            verdict = "PASS" if ratio >= target else "FAIL"
            failed += verdict == "FAIL"
            verdicts.append(f"{verdict} durable SET, {kvload.CLIENTS} clients, "
                            f"pipeline {pipeline}: {ratio:.2f}x, target >= {target:.2f}x")
    print("\n" + "\n".join(verdicts))
    return 1 if failed else 0


kvload.main(main)
