#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redis-benchmark on demi-kv over a port of DPDK, and over AF_XDP, against the same on the sockets
of the kernel.

    bench/kv_devices_compare.py DEMI_KV MODULES [ROUNDS [SECONDS]]

MODULES: those that the build has, with commas. The client is Linux's in any case, at the other end
of a veth pair; the port is DPDK's net_af_packet at our end. So the kernel's path through both
interfaces, and its sockets at the client, are on the way on all sides: what differs is what takes
the frames at the server's interface, the kernel's TCP or ours. The veth hands frames on as they are
on a wire. Servers, in default mode, alternate, each fresh in every round, on a CPU of their own.
"""

import pathlib
import statistics
import sys

import devices
import figures
import kvload

ROUNDS, SECONDS = 3, 1.5
PORT = 6379
TESTS = ("set", "get")  # SET first: it stores what GET asks for
PIPELINES = (1, 16)
# what, how it is made, the module it needs
KERNEL = "kernel sockets"
SIDES = (
    (KERNEL, lambda: devices.link("kernel", "xdp"), None),
    ("DPDK", devices.DEVICES["dpdk af_packet"], "dpdk"),
    ("AF_XDP", devices.DEVICES["xdp"], "xdp"),
)


class Server(devices.Server):
    """demi-kv at one end, as kvload wants it."""

    def __init__(self, name, ends, demi_kv):
        self.name, self.host, self.port = name, ends.address, PORT
        super().__init__(ends, demi_kv, "-b", ends.address, "-p", PORT, ready="ready on ")


def one_round(name, make, demi_kv, seconds):
    """{(test, pipeline): {"rps", "p50", "cpu": us of the server for a request}}"""
    said = {}
    with make() as ends, Server(name, ends, demi_kv) as server:
        for pipeline in PIPELINES:
            rates = kvload.load(server, TESTS, 10_000 * pipeline, pipeline)  # warm
            for test in TESTS:
                requests = int(rates[test]["rps"] * seconds)
                before = server.cpu_seconds()
                figure = kvload.load(server, (test,), requests, pipeline)[test]
                figure["cpu"] = (server.cpu_seconds() - before) * 1e6 / requests
                said[test, pipeline] = figure
    return said


def tell(name, rounds):
    """Prints a side's figures, and its rates beside those of the kernel's sockets, round by round.
    """
    for pipeline in PIPELINES:
        for test in TESTS:
            def median(key, of=rounds[name], case=(test, pipeline)):
                return statistics.median(figures_of[case][key] for figures_of in of)
            what = f"{test.upper()}, -P {pipeline}, {name}"
            figures.tell(what, median("rps") / 1000, "thousand requests/s",
                         f"p50 {median('p50'):.3f} ms, {median('cpu'):.1f} us of the server's CPU "
                         "for each")
            if name != KERNEL:
                ratio = statistics.median(
                    ours[test, pipeline]["rps"] / theirs[test, pipeline]["rps"]
                    for ours, theirs in zip(rounds[name], rounds[KERNEL]))
                figures.tell(f"{what} beside kernel sockets", ratio, "x")


def main():
    demi_kv = pathlib.Path(sys.argv[1]).resolve()
    modules = sys.argv[2].split(",")
    count = int(sys.argv[3]) if len(sys.argv) > 3 else ROUNDS
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else SECONDS
    devices.enter()
    sides = [(name, lambda name=name, make=make: (name, make)) for name, make, module in SIDES
             if module is None or module in modules]
    try:
        rounds = kvload.alternate(sides, count, lambda made: one_round(*made(), demi_kv, seconds))
    except devices.Missing as reason:
        print(f"SKIP {reason}")
        return 77
    except devices.Failure as reason:
        raise kvload.Failure(reason) from reason
    for name, _ in sides:
        tell(name, rounds)
    for name, _, module in SIDES:
        if name not in rounds:
            print(f"SKIP {name}: the library was built without {module}")
    return 0


kvload.main(main)
