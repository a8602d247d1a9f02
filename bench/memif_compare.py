#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Echo of 64 bytes between two processes over a memif, each spinning on a core of its own: through
the library, UDP and TCP, beside the raw port, and beside Linux's TCP on loopback.

    bench/memif_compare.py MEMIF_ECHO [ROUNDS [MILLISECONDS]]

The raw loop (memif_raw.c) sends frames as long as those of the sockets. All have the same at both
ends, so that a round trip is four packets through the library, two into it and two out of it.

A pair is measured one after the other, in changing order, on the same two cores; a ratio is the
median over the rounds. How long a cache line takes to the other core and back is sampled before,
between and after: on a virtual machine it changes when the CPUs are moved, and then the pair is
measured again, as when others ran on the cores. Who may (root) runs before other processes.
"""

import contextlib
import ctypes
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import figures  # noqa: E402

PROGRAM = sys.argv[1]
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 7
MILLISECONDS = int(sys.argv[3]) if len(sys.argv) > 3 else 300
MANY = 64
UDP_FRAME, TCP_FRAME = 64 + 42, 64 + 66  # with TCP's timestamps
SERVER, CLIENT = "10.9.0.1", "10.9.0.2"
EAL = "--no-huge --no-shconf -m 256"  # of both
LATE_S = 30
MOVED = 1.5  # between two samples of the cache line
SHARE = 0.8  # that an end has of its core, at least
TRIES = 4    # of a pair
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)

class Failure(Exception):
    pass


# name: what is served, what is asked; "{socket}" is the memif's, "{port}" is what the server told
SIDES = {
    "raw, as UDP": (["raw", "{socket}"], ["raw", "{socket}", str(UDP_FRAME)]),
    "raw, as TCP": (["raw", "{socket}"], ["raw", "{socket}", str(TCP_FRAME)]),
    "UDP": (["udp"], ["udp"]),
    "TCP": (["tcp"], ["tcp", "1"]),
    "TCP, many": (["tcp"], ["tcp", str(MANY)]),
    "Linux TCP": (["linux", "1"], ["linux", "{port}", "1"]),
    "Linux TCP, many": (["linux", str(MANY)], ["linux", "{port}", str(MANY)]),
}
PAIRS = (("UDP", "raw, as UDP"), ("TCP", "raw, as TCP"), ("TCP", "Linux TCP"),
         ("TCP, many", "Linux TCP, many"))


def on_core(core):
    """What spins must not outlive who started it."""
    def enter():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, {core})
        os.setsid()  # which has a priority of its own in Linux's scheduler ("autogroup")
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -20)
            pathlib.Path("/proc/self/autogroup").write_text("-20")
    return enter


def environment(role, socket):
    address = SERVER if role == "server" else CLIENT
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DEMI_", "LIBOS"))}
    return {**clean, "DEMI_POLL": "always", "DEMI_NET_PROBE": "no",
            "DEMI_NET_ADDRESSES": f"{address}/24",
            "DEMI_NET": f"dpdk:net_memif0 role={role} id=0 socket={socket},eal={EAL}",
            "MEMIF_EAL": EAL}


def start(role, core, socket, *words):
    return subprocess.Popen([PROGRAM, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, preexec_fn=on_core(core),
                            env=environment(role, socket))


def until_ready(server):
    """What a server says before it is ready: its port, or nothing."""
    said = []
    for line in server.stdout:
        if line == "ready\n":
            return said
        said.append(line.strip())
    raise Failure(f"the server ended: {server.communicate()[1]}")


def on_cpu_ns(process):
    """How long a process was on a CPU."""
    return int(pathlib.Path(f"/proc/{process.pid}/schedstat").read_text().split()[0])


def run(name, cores):
    """Nanoseconds from message to message, and the lesser of the shares that both ends had of their
    CPU."""
    served, asked = SIDES[name]
    with tempfile.TemporaryDirectory(prefix="memif-") as folder:
        socket = os.path.join(folder, "memif")
        server = start("server", cores[0], socket, "serve",
                       *(word.format(socket=socket) for word in served))
        client = None
        try:
            said = until_ready(server)
            began, used = time.monotonic_ns(), on_cpu_ns(server)
            words = [word.format(socket=socket, port=said[0] if said else "") for word in asked]
            client = start("client", cores[1], socket, "ask", str(MILLISECONDS), *words)
            out, err = client.communicate(timeout=LATE_S)
            if client.returncode != 0:
                server.kill()
                raise Failure(f"{name}: who asks: {err}\nwho serves: {server.communicate()[1]}")
            share = (on_cpu_ns(server) - used) / (time.monotonic_ns() - began)
            ns, client_share = map(float, out.split())
            return ns, min(share, client_share)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{name}: nothing in {LATE_S} s") from late
        finally:
            for process in (server, client):
                if process and process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()


def floor(cores):
    done = subprocess.run([PROGRAM, "floor", *map(str, cores)], check=True, text=True,
                          stdout=subprocess.PIPE, timeout=LATE_S)
    return float(done.stdout)


def once(pair, number, cores):
    """Nanoseconds of both sides of a pair, and of the cache line around them; the least share."""
    found, lines, least = {}, [floor(cores)], 1
    for name in pair if number % 2 == 0 else pair[::-1]:
        found[name], share = run(name, cores)
        least = min(least, share)
        lines.append(floor(cores))
    print(f"  {pair[0]}: {found[pair[0]]:.0f} ns; {pair[1]}: {found[pair[1]]:.0f} ns; cache line "
          f"{', '.join(f'{ns:.0f}' for ns in lines)} ns; {least * 100:.0f} % of the cores",
          flush=True)
    return found[pair[0]], found[pair[1]], lines, least


def measure(pair, number, cores):
    """The same, of CPUs that stay where they are, and that others leave alone."""
    for _ in range(TRIES):
        ours, theirs, lines, share = once(pair, number, cores)
        if max(lines) <= MOVED * min(lines) and share >= SHARE:
            break
    else:
        print(f"  NOTE: disturbed in each of {TRIES} tries")
    return ours, theirs, statistics.median(lines)


def beside_raw(name, measured, most, most_ns):
    """Judges a round trip beside the raw one; returns how many targets were missed."""
    ours, raw, _ = zip(*measured)
    ratio = statistics.median(a / b for a, b in zip(ours, raw))
    beyond = statistics.median((a - b) / 4 for a, b in zip(ours, raw))
    times = f"{statistics.median(ours):.0f} ns and {statistics.median(raw):.0f}"
    return 2 - (figures.judge(f"{name} echo, round trip", ratio, "x of the raw loop's", "<=", most,
                              times) +
                figures.judge(f"{name} echo, beyond the raw loop", beyond, "ns per packet", "<=",
                              most_ns))


def beside_linux(measured, many):
    ours, theirs, _ = zip(*measured)
    ratio = statistics.median(b / a for a, b in zip(ours, theirs))
    ours_many, theirs_many, _ = zip(*many)
    rate = statistics.median(b / a for a, b in zip(ours_many, theirs_many))
    return 2 - (figures.judge("TCP echo, round trip of Linux's on loopback", ratio, "x of ours",
                              ">=", 3, f"{statistics.median(theirs):.0f} ns and "
                              f"{statistics.median(ours):.0f}") +
                figures.judge(f"TCP echo, {MANY} connections, messages per second of the server's "
                              "core", rate, "x of Linux's", ">=", 3,
                              f"{1e6 / statistics.median(ours_many):.0f} thousand and "
                              f"{1e6 / statistics.median(theirs_many):.0f}"))


def main():
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        print("SKIP two processes that spin need two cores")
        return 77
    measured = {pair: [] for pair in PAIRS}
    for number in range(ROUNDS):
        print(f"round {number + 1}/{ROUNDS}")
        for pair in PAIRS:
            measured[pair].append(measure(pair, number, cores))
    lines = [line for pair in PAIRS for *_, line in measured[pair]]
    print(f"\nmedians of {ROUNDS} rounds")
    figures.tell("cache line to the other core and back", statistics.median(lines), "ns",
                 f"{min(lines):.0f} to {max(lines):.0f}")
    udp, tcp, linux, many = (measured[pair] for pair in PAIRS)
    missed = beside_raw("UDP", udp, 1.25, 125) + beside_raw("TCP", tcp, 1.5, 200) + \
        beside_linux(linux, many)
    return 1 if missed else 0


try:
    sys.exit(main())
except Failure as failure:
    print(f"FAIL {failure}")
    sys.exit(1)
