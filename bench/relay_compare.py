#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demi-relay against HAProxy in TCP mode with one thread, on the same machine in the same run.

    bench/relay_compare.py DEMI_RELAY RELAY_LOAD

Claims: at least the throughput of HAProxy as it is configured by default. Both have one thread, no
log and no checks of the target. Two other configurations of HAProxy are shown beside it, without a
target: with buffers of 256 KiB instead of 16, which is what demi-relay receives into at most when a
stream fills them; and with splice(2), which moves data inside the kernel without a copy to HAProxy.
Under each load the relays take short turns, each fresh every time; figures are medians over rounds,
ratios the medians of the ratios of each round. A relay has the first processor, the load the
others.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import kvload
from kvload import ROOT, Failure, processors

ROUNDS = 11
SECONDS = 0.7
# name, mode of relay-load, connections, unit, how many of it are one of the printed, target
LOADS = (("bulk, 1 stream", "bulk", 1, "MB/s", 1e6, 1.0),
         ("bulk, 8 streams", "bulk", 8, "MB/s", 1e6, 1.0),
         ("64 bytes, 64 connections", "small", 64, "requests/s", 1, 1.0))

CONFIG = """\
global
    nbthread 1
    maxconn 4096{tuning}
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
{options}
listen relay
    bind 127.0.0.1:{port}
    server target 127.0.0.1:{target}
"""
LARGE_BUFFERS = "\n    tune.bufsize 262144"
SPLICE = """\
    option splice-request
    option splice-response
"""


def on_cpus(cpus):
    return lambda: os.sched_setaffinity(0, cpus)


class Relay:
    """A relay in front of a target; use it in a `with`."""

    def __init__(self, name, target):
        self.name, self.target = name, target
        self.port = kvload.free_port()
        self.folder = tempfile.TemporaryDirectory()
        self.process = None

    def command(self):
        if self.name == "demi-relay":
            return [sys.argv[1], "--check", "0", f"127.0.0.1:{self.port}",
                    f"127.0.0.1:{self.target}"]
        options = SPLICE if "splice" in self.name else ""
        tuning = LARGE_BUFFERS if "buffers" in self.name else ""
        path = pathlib.Path(self.folder.name) / "haproxy.cfg"
        path.write_text(CONFIG.format(port=self.port, target=self.target, options=options,
                                      tuning=tuning),
                        encoding="ascii")
        return [str(ROOT / "scripts" / "haproxy"), "-db", "-q", "-f", str(path)]

    def __enter__(self):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            preexec_fn=on_cpus(processors()[0]))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.__exit__()
        raise Failure(f"{self.name} does not listen")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if "haproxy" in self.name else signal.SIGKILL)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def cpu_seconds(self):
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name, mode, connections):
    """{"rate", "per_cpu"}: what went through per second, and per second of the relay's CPU."""
    command = [sys.argv[2], mode, str(connections), str(SECONDS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          preexec_fn=on_cpus(processors()[1])) as load:
        try:
            target = int(load.stdout.readline().split()[1])
            with Relay(name, target) as relay:
                before, started = relay.cpu_seconds(), time.monotonic()
                load.stdin.write(f"{relay.port}\n")
                load.stdin.flush()
                rate = float(load.stdout.readline() or "nan")
                share = (relay.cpu_seconds() - before) / (time.monotonic() - started)
        finally:
            if load.poll() is None:
                load.kill()
    if not rate > 0:
        raise Failure(f"{name}: nothing went through")
    return {"rate": rate, "per_cpu": rate / max(share, 0.01)}


def main():
    names = ("demi-relay", "haproxy", "haproxy, large buffers", "haproxy, splice")
    if subprocess.run([ROOT / "scripts" / "haproxy", "--present"], check=False).returncode != 0:
        raise Failure("haproxy is not there (make setup)")
    rounds = {name: [{} for _ in range(ROUNDS)] for name in names}
    for load, mode, connections, *_ in LOADS:
        for number in range(ROUNDS):
            print(f"{load}: round {number + 1}/{ROUNDS} ...", flush=True)
            for name in names if number % 2 == 0 else names[::-1]:
                rounds[name][number][load] = measure(name, mode, connections)

    print(f"\nloopback, relay on one processor, median of {ROUNDS} alternated rounds of "
          f"{SECONDS} s; ratio demi-relay / haproxy\n")
    print(f"{'':<38}{'demi-relay':>12}{'haproxy':>12}{'ratio':>7}{'256 KiB':>12}{'ratio':>7}"
          f"{'splice':>12}{'ratio':>7}")
    failed = 0
    verdicts = []
    ours, *theirs = (rounds[name] for name in names)
    for load, _, _, unit, scale, target in LOADS:
        for key, what in (("rate", unit), ("per_cpu", f"{unit} per CPU")):
            print(f"{f'{load}, {what}':<38}{kvload.median(ours, load, key) / scale:>12,.0f}" +
                  "".join(f"{kvload.median(r, load, key) / scale:>12,.0f}"
                          f"{kvload.median_ratio(ours, r, load, key):>7.2f}" for r in theirs))
        ratio = round(kvload.median_ratio(ours, theirs[0], load, "rate"), 2)
        verdict = "PASS" if ratio >= target else "FAIL"
        failed += verdict == "FAIL"
        verdicts.append(f"{verdict} {load}: {ratio:.2f}x of haproxy, target >= {target:.2f}x")
    print("\n" + "\n".join(verdicts))
    return 1 if failed else 0


kvload.main(main)
