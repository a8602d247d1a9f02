#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the programs of examples/ with both engines. Prints TAP.

    run_examples.py NAME PROGRAM [NAME PROGRAM...]

A program that was not built, for want of a library that it needs, is skipped.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

SECONDS = 20
ENGINES = ("epoll", "io_uring")
CLIENTS = 40
ROUNDS = 20
IDLE_SECONDS = 0.5
LAST_LINES = {
    "encrypt": "on the log: 42 bytes, unreadable\ndecrypted: 14 bytes, attack at dawn\n"
               "a forged record fails its pop with: Bad message",
    "filter": "sum of the multiples of 3 up to 100: 1683",
    "map": "a forged element fails its pop with: Bad message",
    "memory_queue": "sum of 1 to 1000: 500500",
    "merge": "the same buffer: yes",
    "partition": "worker 0: 400 elements\nworker 1: 300 elements\nworker 2: 300 elements",
    "pipeline": "20000 readings, all there",
    "sort": "heartbeat\nrequest 1\nrequest 2\nbackup",
}


def environment(engine):
    return dict(os.environ, DEMI_ENGINE=engine)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, server):
    """Connects as soon as the server listens."""
    deadline = time.monotonic() + SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        except ConnectionRefusedError:
            pass
    raise RuntimeError(f"the server does not listen (exit code {server.poll()})")


def exchange(clients):
    """Each client sends a message of its own size and gets it back."""
    messages = [bytes([i]) * (i * 997 + 1) for i in range(len(clients))]
    for client, message in zip(clients, messages):
        client.sendall(message)
    for client, message in zip(clients, messages):
        got = b""
        while len(got) < len(message):
            part = client.recv(65536)
            if not part:
                raise RuntimeError("the server closed a connection")
            got += part
        if got != message:
            raise RuntimeError("a client got other bytes than it sent")


def run_echo(program, engine):
    port = free_port()
    server = subprocess.Popen([program, str(port)], env=environment(engine))
    try:
        clients = [connect(port, server) for _ in range(CLIENTS)]
        exchange(clients)
        for client in clients[::2]:
            client.close()
        exchange(clients[1::2])
    finally:
        server.kill()
        server.wait()


def run_eventfd(program, engine):
    """An echo server in a loop of its own, which sleeps when there is nothing to do."""
    port = free_port()
    server = subprocess.Popen([program, str(port)], env=environment(engine),
                              stdout=subprocess.PIPE)
    try:
        clients = [connect(port, server) for _ in range(CLIENTS)]
        exchange(clients)
        for client in clients[::2]:
            client.close()
        for _ in range(ROUNDS):
            exchange(clients[1::2])
        used = processor_time(server.pid)
        time.sleep(IDLE_SECONDS)
        used = processor_time(server.pid) - used
        if used > IDLE_SECONDS / 10:
            raise RuntimeError(f"it used {used} s of processor time in {IDLE_SECONDS} idle seconds")
        server.send_signal(signal.SIGTERM)
        out, _ = server.communicate(timeout=SECONDS)
        if server.returncode != 0 or int(out.split()[0]) < CLIENTS:
            raise RuntimeError(f"exit code {server.returncode}, it printed {out!r}")
    finally:
        server.kill()
        server.wait()


def processor_time(pid):
    """Seconds, of user and system."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_qconnect(program, engine):
    echo = pathlib.Path(program).with_name("echo")
    ports = free_port(), free_port()
    servers = [subprocess.Popen([echo, str(ports[0])], env=environment(engine)),
               subprocess.Popen([program, str(ports[1]), str(ports[0])],
                                env=environment(engine))]
    try:
        connect(ports[0], servers[0]).close()
        clients = [connect(ports[1], servers[1]) for _ in range(CLIENTS)]
        exchange(clients)
        for client in clients[::2]:
            client.close()
        exchange(clients[1::2])
    finally:
        for server in servers:
            server.kill()
            server.wait()


def run_to_its_end(program, engine):
    """Runs a program that ends by itself, and says what is expected of it."""
    done = subprocess.run([program], env=environment(engine), stdout=subprocess.PIPE,
                          timeout=SECONDS, check=True)
    printed = done.stdout.decode()
    if not printed.endswith(LAST_LINES[os.path.basename(program)] + "\n"):
        raise RuntimeError(f"it printed {printed!r}")


def run_frame(program, engine):
    done = subprocess.run([program], env=environment(engine), stdout=subprocess.PIPE,
                          timeout=SECONDS, check=True)
    if done.stdout != b"stressed\ndesserts\nreward\n":
        raise RuntimeError(f"it printed {done.stdout!r}")


def has_io_uring(echo):
    """Whether echo gets as far as binding its port, which is taken, with io_uring."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([echo, str(taken.getsockname()[1])], env=environment("io_uring"),
                              stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    return b"io_uring" not in done.stderr


def main():
    programs = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    own = {"echo": run_echo, "eventfd_epoll": run_eventfd, "eventfd_libuv": run_eventfd,
           "qconnect": run_qconnect, "frame": run_frame}
    names = sorted(own.keys() | LAST_LINES.keys())
    tests = [(name, own.get(name, run_to_its_end), programs.get(name), engine)
             for engine in ENGINES for name in names]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function, program, engine) in enumerate(tests, 1):
        title = f"{number} - {name} with {engine}"
        try:
            if program is None:
                print(f"ok {title} # SKIP it was not built: see doc/dependencies.md")
                continue
            if engine == "io_uring" and not has_io_uring(programs["echo"]):
                print(f"ok {title} # SKIP io_uring is not available here")
                continue
            function(program, engine)
            print(f"ok {title}", flush=True)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"not ok {title}\n# {error}", flush=True)
    sys.exit(1 if failed else 0)


main()
