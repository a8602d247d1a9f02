#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an idle server costs over each device, and what it costs that it sleeps.

    bench/idle_compare.py DEMI IDLE_CLIENT MODULES [WORD]

MODULES: those that the build has, with commas; WORD is in the name of what is run. A server, `demi
echo` in its default mode, has one connection, over which nothing comes for some seconds: its CPU
time, of all its threads, in /proc. Before that the client, which spins on a CPU of its own, asks
without a pause; and now and then after a time of rest, when the server has to wake up. The same is
done with a server that spins: the difference of the first replies after a rest is the price.

Claim: less than 1 % of a core while it is idle.
"""

import pathlib
import subprocess
import sys
import time

import devices
import figures

REQUESTS, GAPS, GAP_MS = 2000, 48, 100
IDLE_S = 5
MOST_PERCENT = 1  # of a core
PORT = 7000
MODES = ("adaptive", "always")


def figures_of(line, word, count):
    words = line.split()
    if len(words) != count + 1 or words[0] != word:
        raise devices.Failure(f"idle-client says {line!r} and not {word!r}")
    return [float(figure) for figure in words[1:]]


def part_of_core(server, seconds):
    before, start = server.cpu_seconds(), time.monotonic()
    time.sleep(seconds)
    return (server.cpu_seconds() - before) / (time.monotonic() - start)


def ask(ends, client_program, server, idle_s):
    """(busy, median and longest after a rest, in us, and the part of a core while idle)"""
    client = devices.start([client_program, f"{ends.address}:{PORT}", REQUESTS, GAPS, GAP_MS],
                           devices.cpus()[1], {**ends.client_env, "DEMI_POLL": "always"},
                           stdin=subprocess.PIPE)
    try:
        patience = GAPS * (GAP_MS + 16) / 1000 + devices.PATIENCE_S
        lines = [devices.next_line(client, patience)]
        while lines[-1] not in ("idle", ""):
            lines.append(devices.next_line(client, patience))
        if lines[-1] != "idle":
            raise devices.Failure(f"idle-client ended with {client.wait()}")
        used = part_of_core(server, idle_s)
        client.stdin.close()
        figures_of(client.stdout.read().decode().strip(), "last", 1)
        if client.wait(devices.PATIENCE_S) != 0:
            raise devices.Failure(f"idle-client ended with {client.returncode}")
    finally:
        client.kill()
        client.wait()
    return (*figures_of(lines[0], "busy", 1), *figures_of(lines[1], "first", 2), used)


def rest_alone(name, ends, demi):
    """Of a server that nobody can reach."""
    with devices.Server(ends, demi, "echo", "-l", f"{ends.address}:{PORT}") as server:
        time.sleep(1)
        used = part_of_core(server, IDLE_S)
    print(f"{name:<16}{used * 100:>9.2f} %   (nobody else is on its link: no connection)")
    return used


def measure(name, ends, demi, client_program):
    """Prints a row and the price; returns the part of a core."""
    said = {}
    for mode in MODES:
        with devices.Server(ends, demi, "echo", "-l", f"{ends.address}:{PORT}",
                            **({} if mode == "adaptive" else {"DEMI_POLL": mode})) as server:
            said[mode] = ask(ends, client_program, server, IDLE_S if mode == "adaptive" else 0.1)
    busy, first, longest, used = said["adaptive"]
    spinning = said["always"]
    print(f"{name:<16}{used * 100:>9.2f} %{busy:>11.1f}{spinning[0]:>11.1f}{first:>13.1f}"
          f"{longest:>13.1f}{spinning[1]:>13.1f}", flush=True)
    figures.tell(f"{name}, price of sleeping, first reply after {GAP_MS} ms of rest",
                 first - spinning[1], "us", f"{first:.1f}; {spinning[1]:.1f} of who spins")
    return used


def judge(name, modules, demi, client_program):
    """Whether a device is not over the bound: False only when it was measured, or failed."""
    try:
        with devices.open_device(name, modules) as ends:
            how = measure if ends.has_client else lambda *words: rest_alone(*words[:3])
            used = how(name, ends, demi, client_program)
    except devices.Missing as reason:
        print(f"SKIP {name}: {reason}")
        return True
    except devices.Failure as reason:
        print(f"FAIL {name}: {reason}")
        return False
    return figures.judge(f"{name}, idle server", used * 100, "% of a core", "<", MOST_PERCENT)


def main():
    demi, client_program = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    modules = sys.argv[3].split(",")
    word = sys.argv[4] if len(sys.argv) > 4 else ""
    devices.enter()
    print(f"demi echo with one connection, {IDLE_S} s idle; 64 bytes, us: round trips without a "
          f"pause, and the first\nafter {GAP_MS} ms of rest (median and longest of {GAPS}), of a "
          "server in default mode and of one that spins\n")
    print(f"{'':<16}{'CPU idle':>11}{'busy':>11}{'spinning':>11}{'first':>13}{'longest':>13}"
          f"{'spinning':>13}")
    met = [judge(name, modules, demi, client_program)
           for name in devices.DEVICES if word in name]
    return 0 if all(met) else 1


sys.exit(main())
