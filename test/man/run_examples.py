#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the programs of examples/ with both engines. Prints TAP.

    run_examples.py ECHO MEMORY_QUEUE
"""

import os
import socket
import subprocess
import sys
import time

SECONDS = 20
ENGINES = ("epoll", "io_uring")
CLIENTS = 40


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


def run_memory_queue(program, engine):
    done = subprocess.run([program], env=environment(engine), stdout=subprocess.PIPE,
                          timeout=SECONDS, check=True)
    if done.stdout != b"sum of 1 to 1000: 500500\n":
        raise RuntimeError(f"it printed {done.stdout!r}")


def has_io_uring(echo):
    """Whether echo gets as far as binding its port, which is taken, with io_uring."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([echo, str(taken.getsockname()[1])], env=environment("io_uring"),
                              stderr=subprocess.PIPE, timeout=SECONDS, check=False)
    return b"io_uring" not in done.stderr


def main():
    echo, memory_queue = sys.argv[1:]
    tests = [(name, function, program, engine) for engine in ENGINES
             for name, function, program in (("echo", run_echo, echo),
                                             ("memory_queue", run_memory_queue, memory_queue))]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, function, program, engine) in enumerate(tests, 1):
        title = f"{number} - {name} with {engine}"
        try:
            if engine == "io_uring" and not has_io_uring(echo):
                print(f"ok {title} # SKIP io_uring is not available here")
                continue
            function(program, engine)
            print(f"ok {title}", flush=True)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"not ok {title}\n# {error}", flush=True)
    sys.exit(1 if failed else 0)


main()
