#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demi-kv against redis-server without persistence, on the same machine in the same run.

    bench/kv_compare.py DEMI_KV

Claims: at least as many requests per second within the noise, at least a fifth more requests for
each second of processor time that the server uses. Servers alternate, each fresh in every round;
figures are medians over rounds, ratios the medians of the ratios of each round.
"""

import sys

import kvload

ROUNDS = 5
REQUESTS = 1_500_000
PIPELINE = 16
TESTS = ("set", "get")  # SET first: it stores what GET asks for
CONNECTIONS = 1000
# figure, how it is called, what is printed, least ratio demi-kv / redis-server
TARGETS = (("rps", "requests/s", 0.97), ("per_cpu", "requests per CPU second", 1.20))


def one_round(make):
    """{test: {"rps", "per_cpu"}, "idle": bytes per connection} of one fresh server."""
    with make() as server:
        kvload.load(server, TESTS, 50_000, PIPELINE)  # warm: heap, tables, branch predictors
        idle = kvload.idle_connection_bytes(server, CONNECTIONS)
        figures = {"idle": idle}
        for test in TESTS:
            before = server.cpu_seconds()
            figures[test] = kvload.load(server, (test,), REQUESTS, PIPELINE)[test]
            used = server.cpu_seconds() - before
            figures[test]["per_cpu"] = REQUESTS / max(used, 0.01)
        return figures


def main():
    servers = [("demi-kv", lambda: kvload.demi_kv(sys.argv[1])), ("redis-server", kvload.redis)]
    rounds = kvload.alternate(servers, ROUNDS, one_round)

    ours, theirs = rounds["demi-kv"], rounds["redis-server"]
    print(f"\nredis-benchmark, {kvload.CLIENTS} clients, pipeline {PIPELINE}, 3-byte values, "
          f"median of {ROUNDS} alternated rounds of {REQUESTS:,} requests\n")
    print(f"{'':<30}{'demi-kv':>14}{'redis-server':>14}{'ratio':>8}{'target':>9}")
    failed = 0
    verdicts = []
    for key, what, target in TARGETS:
        for test in TESTS:
            a, b = kvload.median(ours, test, key), kvload.median(theirs, test, key)
            ratio = round(kvload.median_ratio(ours, theirs, test, key), 2)
            print(f"{test.upper() + ' ' + what:<30}{a:>14,.0f}{b:>14,.0f}{ratio:>8.2f}"
                  f"{f'>= {target:.2f}':>9}")
            verdict = "PASS" if ratio >= target else "FAIL"
            failed += verdict == "FAIL"
            verdicts.append(f"{verdict} {test.upper()} {what}: {ratio:.2f}x, "
                            f"target >= {target:.2f}x")
    a, b = kvload.median(ours, "idle"), kvload.median(theirs, "idle")
    print(f"{'bytes per idle connection':<30}{a:>14,.0f}{b:>14,.0f}"
          f"{f'{a / b:.2f}' if b > 0 else '':>8}\n")
    print("\n".join(verdicts))
    return 1 if failed else 0


kvload.main(main)
