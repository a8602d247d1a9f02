#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long a request waits while the log of a key-value server is rewritten.

    bench/kv_log_rewrite.py DEMI_KV KV_LOAD [MIB]

demi-kv --log and redis-server with appendfsync always each get a keyspace of so many MiB (1024),
and are asked for durable SETs by 50 clients: for some seconds, and then for as long as
BGREWRITEAOF takes. The figures are the longest times from a request to its answer.
"""

import socket
import sys
import tempfile
import time

import figures
import kvload

VALUE_BYTES = 10_000
AT_ONCE = 64  # SETs
CALM_SECONDS = 3
REWRITE_SECONDS = 120


class Client:
    """Says commands, and hears short answers."""

    def __init__(self, server):
        self.sock = socket.create_connection((server.host, server.port), 30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, *words):
        self.sock.sendall(encode(*words))

    def hear(self, least):
        """At least so many bytes."""
        said = b""
        while len(said) < least:
            piece = self.sock.recv(65536)
            if not piece:
                raise kvload.Failure(f"the server ended a connection after {said[-80:]!r}")
            said += piece
        return said

    def is_rewriting(self):
        self.send("INFO", "persistence")
        said = self.hear(1)
        while b"aof_rewrite_in_progress:" not in said or not said.endswith(b"\r\n"):
            said += self.hear(1)
        return b"aof_rewrite_in_progress:1" in said or b"aof_rewrite_scheduled:1" in said


def encode(*words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def fill(client, mib):
    value = bytes(VALUE_BYTES)
    count = (mib << 20) // VALUE_BYTES
    for first in range(0, count, AT_ONCE):
        batch = range(first, min(first + AT_ONCE, count))
        client.sock.sendall(b"".join(encode("SET", f"filled:{i}", value) for i in batch))
        said = client.hear(5 * len(batch))
        if said != b"+OK\r\n" * len(batch):
            raise kvload.Failure(f"SET was answered {said[:80]!r}")


def rewrite(server, client, program):
    """What a load says that goes on while the log is rewritten, and how long that takes."""
    with kvload.LightLoad(server, program, REWRITE_SECONDS) as load:
        client.send("BGREWRITEAOF")
        client.hear(5)
        begun = time.monotonic()
        while client.is_rewriting():
            if load.process.poll() is not None:
                raise kvload.Failure(f"{server.name}: the log is not rewritten in "
                                     f"{REWRITE_SECONDS} s")
            time.sleep(0.02)
        took = time.monotonic() - begun
        return load.stop() | {"took": took}


def measure(make, program, mib):
    with tempfile.TemporaryDirectory(prefix="kv-log-", dir=".") as folder, \
            make(folder) as server, Client(server) as client:
        fill(client, mib)
        calm = kvload.light_load(server, program, CALM_SECONDS, 1)
        return calm, rewrite(server, client, program)


def main():
    mib = int(sys.argv[3]) if len(sys.argv) > 3 else 1024
    kvload.serve_where_the_disk_interrupts()
    servers = [("demi-kv --log", lambda folder: kvload.demi_kv_log(
                    sys.argv[1], folder, "--log-rewrite-min", "1gb")),
               ("redis-server", lambda folder: kvload.redis_log(
                    folder, "--auto-aof-rewrite-percentage", "0"))]
    for name, make in servers:
        print(f"{name}: {mib} MiB ...", flush=True)
        calm, busy = measure(make, sys.argv[2], mib)
        for what, said in (("before", calm), (f"while {mib} MiB are rewritten", busy)):
            figures.tell(f"{name}, longest answer to a durable SET {what}",
                         said["longest"] / 1e3, "ms",
                         f"99 % in {said['p99'] / 1e3:.2f}, {said['rps']:,.0f} per s" +
                         (f", took {said['took']:.1f} s" if "took" in said else ""))
    return 0


kvload.main(main)
