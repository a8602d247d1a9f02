#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bulk throughput of 64 KiB pushes over DPDK's memif, and that no byte of them is copied.

    bench/bulk_compare.py BULK [ROUNDS [ELEMENTS]]

Two processes, each spinning on a CPU of its own; the sender has eight pushes outstanding. Between
them is the memif alone, which copies each frame once, as a NIC does by DMA.

What is copied are all bytes that any counter of either process calls so: pushed ones that were
not referenced, held for too long, or waiting; pieces that were too short to be attached; frames or
elements that were not handed on as they came. In the settings of the claim nothing gives cause for
it: segments of 1,024 bytes, of which an element has a whole number, so that none has pieces of two;
and memory stays lent until it is acknowledged (push_hold_us), however long this machine takes the
processor away from the peer. A round is a gibibyte: long beside its beginning, when the pools are
new to this machine. The default settings, and Linux's TCP over loopback through the same program,
are there for comparison.
"""

import pathlib
import statistics
import sys

import devices
import figures

ROUNDS, ELEMENTS, DEPTH = 3, 16384, 8
ELEMENT_BYTES = 64 << 10
PORT = 7000
MSS, HEADERS = 1024, 52  # IPv4, TCP, timestamps
COPIES = ("copied_bytes", "rx_coalesced_bytes")
# what, device, settings of both ends
RUNS = (
    ("memif, in whole segments, lent until acknowledged", "dpdk memif",
     {"DEMI_NET_MTU": str(MSS + HEADERS), "DEMI_PUSH_HOLD_US": "1000000"}),
    ("memif, default settings", "dpdk memif", {}),
    ("kernel sockets, loopback", "kernel", {}),
)


def told(line, program):
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if "bytes" not in words:
        raise devices.Failure(f"bulk {program} says {line!r}")
    return {name: int(value) for name, value in words.items()}


def copied(counters):
    """Bytes, and frames that came in memory which cannot be handed on."""
    return (sum(value for name, value in counters.items() if name.endswith(COPIES)),
            counters.get("dev.rx_copied", 0))


def run(device, settings, bulk, elements):
    """What the sink and the sender say."""
    env = {**settings, "DEMI_POLL": "always"}
    with devices.open_device(device, ["dpdk"]) as ends:
        address = f"{ends.address}:{PORT}"
        with devices.Server(ends, bulk, "sink", address, **env) as sink:
            sender = devices.start([bulk, "send", address, elements, DEPTH], devices.cpus()[1],
                                   {**ends.client_env, **env})
            try:
                sent = told(devices.next_line(sender, 120), "send")
                taken = told(devices.next_line(sink.child), "sink")
            finally:
                sender.kill()
                sender.communicate()
    if taken["bytes"] != elements * ELEMENT_BYTES:
        raise devices.Failure(f"{taken['bytes']} bytes arrived of {elements * ELEMENT_BYTES}")
    return taken, sent


def measure(what, device, settings, bulk, rounds, elements):
    """Prints the rate of the sink; returns the most that a round copied, and of which size it was.
    """
    rates, bytes_copied, frames_copied, resent = [], 0, 0, 0
    for _ in range(rounds):
        both = run(device, settings, bulk, elements)
        rates.append(both[0]["bytes"] / both[0]["ns"])
        bytes_copied = max(bytes_copied, sum(copied(counters)[0] for counters in both))
        frames_copied = max(frames_copied, sum(copied(counters)[1] for counters in both))
        resent = max(resent, both[1].get("tcp.retransmits", 0))
    figures.tell(f"{what}, 64 KiB pushes", statistics.median(rates), "GB/s",
                 f"{min(rates):.2f} to {max(rates):.2f}; at most {bytes_copied:,} of "
                 f"{elements * ELEMENT_BYTES:,} bytes copied, {resent} segments resent")
    return bytes_copied, frames_copied


def main():
    bulk = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    elements = int(sys.argv[3]) if len(sys.argv) > 3 else ELEMENTS
    devices.enter()
    met = True
    try:
        for i, (what, device, settings) in enumerate(RUNS):
            bytes_copied, frames = measure(what, device, settings, bulk, rounds, elements)
            if i == 0:
                met = figures.judge(f"{what}: copied on the way", bytes_copied, "bytes", "<=", 0)
                met &= figures.judge(f"{what}: frames that were copied", frames, "frames", "<=", 0)
    except devices.Failure as reason:
        print(f"FAIL {reason}")
        met = False
    return 0 if met else 1


sys.exit(main())
