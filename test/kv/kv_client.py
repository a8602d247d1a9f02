# SPDX-License-Identifier: MIT
"""A small RESP client, and the servers it talks to: standard library only."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

PATIENCE_S = 20


class Status(str):
    """A simple string: +OK"""


class Error(str):
    """An error reply: -ERR ..."""


class Verbatim(str):
    """A RESP3 verbatim string, without its format"""


class Closed(Exception):
    """The server closed the connection."""


def encode(*args):
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Client:
    def __init__(self, address, receive_buffer=None, send_buffer=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if send_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise Closed
        self.buf += data

    def line(self):
        while True:
            end = self.buf.find(b"\r\n")
            if end >= 0:
                break
            self.fill()
        line = bytes(self.buf[:end])
        del self.buf[:end + 2]
        return line

    def exactly(self, n):
        while len(self.buf) < n:
            self.fill()
        data = bytes(self.buf[:n])
        del self.buf[:n]
        return data

    def reply(self):
        """Reads one reply, of RESP2 or RESP3."""
        line = self.line()
        kind, rest = line[:1], line[1:].decode()
        if kind == b"+":
            return Status(rest)
        if kind == b"-":
            return Error(rest)
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        n = int(rest)
        if kind in b"$=":
            data = None if n < 0 else self.exactly(n + 2)[:-2]
            return Verbatim(data[4:].decode()) if kind == b"=" else data
        if kind in b"*~":
            return None if n < 0 else [self.reply() for _ in range(n)]
        if kind == b"%":
            return {plain(self.reply()): self.reply() for _ in range(n)}
        raise AssertionError(f"no reply begins with {line!r}")

    def call(self, *args):
        self.send(encode(*args))
        return self.reply()

    def rest(self):
        """Everything until the server closes."""
        data = bytes(self.buf)
        self.buf.clear()
        while True:
            more = self.sock.recv(65536)
            if not more:
                return data
            data += more


def plain(value):
    return value.decode() if isinstance(value, bytes) else value


def as_map(value):
    """A map reply of either protocol as a dict of text."""
    if isinstance(value, list):
        value = dict(zip(value[::2], value[1::2]))
    return {plain(k): plain(v) for k, v in value.items()}


def text(value):
    return str(value) if isinstance(value, str) else value.decode()


class Server:
    """A child process that serves; killed by its own id."""

    def __init__(self, command, address=None, **popen):
        self.folder = tempfile.TemporaryDirectory()
        # To append: said() moves the offset, which the child shares, and must not move its writes.
        self.errors = open(os.path.join(self.folder.name, "stderr"), "a+b")
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors,
                                      cwd=self.folder.name, **popen)
        self.address = address or self.read_address()

    def read_address(self):
        line = self.child.stdout.readline().decode()
        found = re.match(r"ready on \[?([0-9a-f.:]+?)\]?:(\d+)\n$", line)
        assert found, f"said {line!r}, and {self.said()!r}"
        return (found[1], int(found[2]))

    def said(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def client(self, **options):
        return Client(self.address, **options)

    def resident(self):
        """Bytes of memory in use."""
        with open(f"/proc/{self.child.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def peak(self):
        """The most bytes of memory that were ever in use."""
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as f:
            return int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M)[1]) * 1024

    def is_watched(self):
        """Whether ThreadSanitizer keeps four times the memory beside what is used."""
        with open(f"/proc/{self.child.pid}/maps", encoding="utf-8") as f:
            return "libtsan" in f.read()

    def cpu_seconds(self):
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def running(self):
        return self.child.poll() is None

    def stop(self, patience=PATIENCE_S):
        """Ends it with SIGTERM; its exit code."""
        if self.running():
            self.child.terminate()
        try:
            return self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return "killed"
        finally:
            self.child.stdout.close()
            self.errors.close()
            self.folder.cleanup()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def redis_program():
    """The real server: redis-tools has it under another name."""
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


def start_redis(*options):
    port = free_port()
    server = Server(["redis-server", "--port", str(port), "--save", "", "--appendonly", "no",
                     "--bind", "127.0.0.1", *options],
                    address=("127.0.0.1", port), executable=redis_program())
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            server.client().close()
            return server
        except OSError:
            assert server.running() and time.monotonic() < deadline, server.said()
            time.sleep(0.02)
