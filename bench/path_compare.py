#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One stream of our stack, and one of Linux's, over the same bad path; and several through one
bottleneck.

    bench/path_compare.py goodput|fairness PATH PATH_SEND [ROUNDS [SECONDS [WORD]]]

WORD is in the name of what is run: all, without one.

Three namespaces, joined by two veth pairs:

    sender  veth  [ path: PATH over two packet sockets, faults ]  veth  receiver

The path (path.c) is a process of its own. The same program sends over Linux's sockets, and over our
stack on a packet socket of the same interface, to the same receiver on Linux; it asks for the same
congestion control, and has the same buffer to send from. In each round the path loses, or delays,
the same frames of both, by their number: it has one seed for each round. Goodput is what the
receiver's program got, from its first byte on, of a stream that lasts some seconds.

Path and senders run before other processes, and sleep when they have nothing to do: what Linux's
TCP does, it does in interrupts, and so before others, too.

Claims: at least what Linux carries; shares of two streams with a Jain index of at least 0.95.
"""

import os
import pathlib
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test" / "interop"))
import netns  # noqa: E402
from netns import ip  # noqa: E402

MODE, PATH, SEND = sys.argv[1:4]
RECEIVER, LINUX = "10.0.0.1", "10.0.0.2"
OURS = ("10.0.0.3", "10.0.0.4")  # of stacks on the sender's interface, beside Linux
PORT = 7000
BUFFER = 4 << 20  # of a sender, and of the receiver
JAIN = 0.95
WORD = sys.argv[6] if len(sys.argv) > 6 else ""

# name, faults of the path: of data alone (tx), or both ways
GOODPUTS = (
    ("1 % lost", "delay=10ms,tx.loss=1%"),
    ("3 % late", "delay=10ms,rate=50Mbit,queue=64K,tx.reorder=3%,tx.reorder_by=5ms"),
)
CONGESTION = ("cubic", "reno")
BOTTLENECK = "delay=10ms,rate=20Mbit,queue=50K"


PR_SET_PDEATHSIG = 1


def in_namespace(fd):
    def enter():
        netns.call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        netns.call("setns", fd, netns.CLONE_NEWNET)
    return enter


class Path:
    """Both hosts and what is between them. This process is the receiver."""

    def __init__(self):
        netns.enter()
        self.sender, self.middle = netns.other_namespace(), netns.other_namespace()
        for near, far, fd in (("s0", "s1", self.sender), ("r0", "r1", None)):
            ip("link add", near, "type veth peer name", far)
            for end in (near, far):
                netns.set_off(end, netns.CHECKSUMS + netns.SEGMENTS)
            self.move(far, self.middle)
            if fd is not None:
                self.move(near, fd)
        # No windows that were learnt by a stream before: ours begins with nothing, too.
        self.run(self.sender, "ip link set lo up; ip link set s0 up; "
                 f"ip addr add {LINUX}/24 dev s0; cd /proc/sys/net/ipv4; "
                 f"echo 1 > tcp_no_metrics_save; echo 4096 {BUFFER} {BUFFER} > tcp_wmem")
        self.run(self.middle, "ip link set s1 up; ip link set r1 up; "
                 "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        self.run(None, f"ip link set r0 up; ip addr add {RECEIVER}/24 dev r0; "
                 f"echo 4096 {BUFFER} {BUFFER} > /proc/sys/net/ipv4/tcp_rmem")

    @staticmethod
    def move(name, fd):
        ip(f"link set {name} netns /proc/{os.getpid()}/fd/{fd}")

    @staticmethod
    def run(fd, command):
        subprocess.run(["sh", "-ec", command], check=True,
                       preexec_fn=in_namespace(fd) if fd is not None else None)

    def start(self, command, fd, awaited, **env):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("DEMI_", "LIBOS"))}
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 text=True, preexec_fn=in_namespace(fd), env={**clean, **env})
        ready, _, _ = select.select([child.stdout], [], [], 20)
        line = child.stdout.readline() if ready else "nothing"
        if line.strip() != awaited:
            child.kill()
            child.communicate()
            raise RuntimeError(f"{command[0]} says {line!r}")
        return child

    def over(self, faults, seed):
        return self.start([PATH, "packet:s1,promiscuous,ring=8192",
                           f"fault(seed={seed},pool=64M,hold=65536,{faults}):"
                           "packet:r1,promiscuous,ring=8192"], self.middle, "ready")

    def send(self, side, port, congestion, seconds):
        """side: "linux", or the number of a stack of ours."""
        env = {"DEMI_POLL": "never", "DEMI_NET": "kernel"}
        if side != "linux":
            env |= {"DEMI_NET": f"packet:s0,mac=02:00:00:00:01:0{side}",
                    "DEMI_NET_ADDRESSES": f"{OURS[side]}/24", "DEMI_NET_PROBE": "off",
                    "DEMI_NET_SEND_BYTES": str(BUFFER)}
        return self.start([SEND, f"{RECEIVER}:{port}", congestion, str(seconds)], self.sender,
                          "connected", **env)


class Sink:
    """Takes one stream, and notes how much there was when."""

    def __init__(self, port):
        self.listener = socket.create_server((RECEIVER, port))
        self.listener.settimeout(30)
        self.history, self.error = [], None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            self.take()
        except OSError as error:
            self.error = error

    def take(self):
        stream, _ = self.listener.accept()
        room, total = bytearray(1 << 20), 0
        with stream:
            stream.settimeout(10)
            while True:
                try:
                    n = stream.recv_into(room)
                except ConnectionResetError:
                    return
                except TimeoutError:  # the path lost the reset, which is sent once
                    if total == 0:
                        raise
                    return
                if n == 0:
                    return
                total += n
                self.history.append((time.monotonic(), total))

    def until(self, t):
        """Bytes that had come by then."""
        done = 0
        for at, total in self.history:
            if at > t:
                break
            done = total
        return done

    def rate(self, start, end):
        """Megabits per second between two times after the first byte of the stream."""
        first = self.history[0][0]
        return (self.until(first + end) - self.until(first + start)) * 8e-6 / (end - start)

    def close(self):
        self.thread.join(30)
        self.listener.close()
        if self.error or not self.history:
            raise RuntimeError(f"nothing arrived: {self.error}")


def end_of(child, how=None):
    if how:
        how(child)
    out, _ = child.communicate(timeout=30)
    if child.returncode != 0:
        raise RuntimeError(f"exit code {child.returncode} of {child.args}: {out}")
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", out)}


def stream_all(net, sides, congestion, faults, seed, seconds):
    """Streams side by side: [(its sink, what its sender says)], and what the path says."""
    path = net.over(faults, seed)
    sinks = [Sink(PORT + i) for i in range(len(sides))]
    senders = [net.send(side, PORT + i, congestion, seconds) for i, side in enumerate(sides)]
    said = [end_of(s) for s in senders]
    for sink in sinks:
        sink.close()
    happened = end_of(path, subprocess.Popen.terminate)
    if happened["unwanted"] > 0:
        print(f"  NOTE: the path dropped {happened['unwanted']} frames that it was not to")
    return list(zip(sinks, said)), happened


def row(name, said, figure, happened):
    lost = happened["lost"] + happened["queue_full"]
    again = sum(s["retrans"] for s in said)
    rtt_ms = max(s["rtt_us"] for s in said) / 1000
    print(f"  {name:<18} {figure:>24}   lost {lost:>5}, late {happened['reordered']:>5}, "
          f"sent again {again:>5}, round trip {rtt_ms:.1f} ms", flush=True)


def one_goodput(net, side, congestion, faults, seed, seconds):
    ((sink, said),), happened = stream_all(net, [side], congestion, faults, seed, seconds)
    rate = sink.rate(0, seconds - 0.1)
    row("Linux" if side == "linux" else "our stack", [said], f"{rate:.2f} Mbit/s", happened)
    return rate


def goodput(net, rounds, seconds):
    missed = 0
    for name, faults in GOODPUTS:
        for congestion in CONGESTION:
            if WORD not in f"{name}, {congestion}":
                continue
            print(f"\n{name}, {congestion} ({faults}):")
            ours, linux = [], []
            for r in range(rounds):
                for side, figures in ((0, ours), ("linux", linux))[::1 if r % 2 else -1]:
                    figures.append(one_goodput(net, side, congestion, faults, 1 + r, seconds))
            ratio = statistics.median(a / b for a, b in zip(ours, linux))
            verdict = "PASS" if round(ratio, 2) >= 1 else "FAIL"
            missed += verdict == "FAIL"
            print(f"{verdict} {name}, {congestion}: {ratio:.2f}x of Linux's goodput "
                  f"({statistics.median(ours):.1f} Mbit/s and {statistics.median(linux):.1f}), "
                  "target >= 1.00x", flush=True)
    return missed


def jain(shares):
    return sum(shares) ** 2 / (len(shares) * sum(s * s for s in shares))


def fairness(net, rounds, seconds):
    missed = 0
    warm_up = seconds / 5
    for name, sides in (("two of Linux", ("linux", "linux")), ("two of ours", (0, 1)),
                        ("ours and Linux's", (0, "linux")), ("Linux's and ours", ("linux", 0))):
        if WORD not in name:
            continue
        indices = []
        print(f"\n{name}, cubic ({BOTTLENECK}), after {warm_up:.0f} s of {seconds:.0f}:")
        for r in range(rounds):
            streams, happened = stream_all(net, sides, "cubic", BOTTLENECK, 1 + r, seconds)
            end = seconds - 1  # the second one begins a little later
            shares = [sink.rate(warm_up, end) for sink, _ in streams]
            indices.append(jain(shares))
            row(f"Jain index {indices[-1]:.3f}", [said for _, said in streams],
                " and ".join(f"{s:.2f}" for s in shares) + " Mbit/s", happened)
        index = statistics.median(indices)
        if name == "two of Linux":
            print(f"  {name}: {index:.3f}, for comparison")
            continue
        verdict = "PASS" if index >= JAIN else "FAIL"
        missed += verdict == "FAIL"
        print(f"{verdict} {name}, Jain's index: {index:.3f}, target >= {JAIN}", flush=True)
    return missed


def main():
    if os.geteuid() != 0:
        print("SKIP packet sockets and interfaces of its own: run as root")
        return 77
    try:
        net = Path()
    except netns.NotAllowed as reason:
        print(f"SKIP {reason}")
        return 77
    run = {"goodput": goodput, "fairness": fairness}[MODE]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else {"goodput": 5, "fairness": 3}[MODE]
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else {"goodput": 10, "fairness": 20}[MODE]
    return 1 if run(net, rounds, seconds) else 0


sys.exit(main())
