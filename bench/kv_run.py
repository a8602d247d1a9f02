#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `make run` shows: demi-kv and a plain epoll server under the same load.

    bench/kv_run.py DEMI_KV EPOLL_KV
"""

import sys
import time

import kvload

ROUNDS = 3
BUDGET_SECONDS = 35
LOAD_SECONDS = 20
LOADS = ((16, 300_000), (1, 40_000))  # pipeline, requests of each kind per round
TESTS = ("get", "set")


def measure(servers):
    """Rounds, alternating the servers: {server: {pipeline: [figures]}}."""
    figures = {name: {pipeline: [] for pipeline, _ in LOADS} for name, _ in servers}
    started = time.monotonic()
    for number in range(ROUNDS):
        for name, make in servers if number % 2 == 0 else servers[::-1]:
            with make() as server:
                for pipeline, requests in LOADS:
                    note = f"round {number + 1}/{ROUNDS}: {name}, pipeline {pipeline}"
                    print(f"{note} ...", flush=True)
                    # SET first: it stores what GET asks for.
                    figures[name][pipeline].append(
                        kvload.load(server, TESTS[::-1], requests, pipeline, LOAD_SECONDS))
        if time.monotonic() - started > BUDGET_SECONDS * (number + 1) / (number + 2):
            break
    return figures


def main():
    demi_kv, epoll_kv = sys.argv[1:]
    servers = [("demi-kv", lambda: kvload.demi_kv(demi_kv)),
               ("epoll server", lambda: kvload.epoll_kv(epoll_kv))]
    figures = measure(servers)
    rounds = len(figures["demi-kv"][LOADS[0][0]])
    print(f"\nredis-benchmark, {kvload.CLIENTS} clients over loopback, 3-byte values, "
          f"median of {rounds} round{'s' if rounds > 1 else ''}; times in ms\n")
    print(f"{'':<5}{'pipeline':>8}  {'server':<14}{'requests/s':>12}{'p50':>9}{'p99':>9}")
    for test in TESTS:
        for pipeline, _ in LOADS:
            for name, _ in servers:
                rps, p50, p99 = (kvload.median(figures[name][pipeline], test, key)
                                 for key in ("rps", "p50", "p99"))
                print(f"{test.upper():<5}{pipeline:>8}  {name:<14}"
                      f"{rps:>12,.0f}{p50:>9.3f}{p99:>9.3f}")
    return 0


kvload.main(main)
