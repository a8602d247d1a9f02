#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the relay over real connections.

    relay_test.py PATH [NAME...]    all tests, or those whose name contains one of these

Exit code: 0 all passed, 1 some failed.
"""

import concurrent.futures
import contextlib
import errno
import os
import pathlib
import queue
import random
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import types

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "kv"))
from kv_client import Server  # noqa: E402

PATIENCE_S = 20
DEADLINE_S = 280
CHURN = int(os.environ.get("TEST_CONNECTIONS", "1200")) // 8
SEED = int(os.environ.get("TEST_SEED", "0"), 0) or random.SystemRandom().getrandbits(32)

TESTS = []


def test(function):
    TESTS.append(function)
    return function


def wait_until(condition, what, patience=PATIENCE_S):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.01)


def text_of(address):
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def receive(sock, n):
    data = bytearray()
    while len(data) < n:
        part = sock.recv(min(n - len(data), 1 << 20))
        assert part, f"ended after {len(data)} of {n} bytes"
        data += part
    return bytes(data)


def rest(sock):
    data = bytearray()
    while part := sock.recv(1 << 20):
        data += part
    return bytes(data)


def pattern(n, seed):
    return random.Random(seed).randbytes(n)


class Target:
    """A TCP server in a thread of this program; serve(sock) has a connection."""

    def __init__(self, serve, port=0, family=socket.AF_INET):
        self.serve = serve
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.sock = socket.create_server((host, port), family=family, backlog=512)
        self.address = self.sock.getsockname()[:2]
        self.accepted = 0
        self.open = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.open:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            self.accepted += 1
            sock.settimeout(PATIENCE_S)
            threading.Thread(target=self.one, args=(sock,), daemon=True).start()

    def one(self, sock):
        with sock, contextlib.suppress(OSError, AssertionError):
            self.serve(sock)

    def close(self):
        self.open = False
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join()


def echo(sock):
    while data := sock.recv(1 << 16):
        sock.sendall(data)


def say(what):
    """A target that says its name, so that a client knows where it came to."""
    def serve(sock):
        sock.sendall(what)
        sock.recv(1)
    return serve


@contextlib.contextmanager
def relay(*targets, options=(), listen="127.0.0.1:0", **environment):
    server = Server([PATH, *options, listen, *(text_of(t.address) for t in targets)],
                    env=dict(os.environ, **environment))
    try:
        yield server
    finally:
        said = server.said()
        code = server.stop()
        assert code == 0, f"exit code {code}: {said}"


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def connect(server):
    sock = socket.create_connection(server.address, PATIENCE_S)
    sock.settimeout(PATIENCE_S)
    return sock


def open_files(server):
    return len(os.listdir(f"/proc/{server.child.pid}/fd"))


def ask(server):
    """The report of the relay, which comes in one piece: {what: number}."""
    line_of = re.compile(r"demi-relay: active .*\n")
    before = len(line_of.findall(server.said()))
    server.child.send_signal(signal.SIGUSR1)
    wait_until(lambda: len(line_of.findall(server.said())) > before, "a report")
    line = line_of.findall(server.said())[-1]
    return {name: int(n) for name, n in re.findall(r"([a-z][a-z ]*?) (\d+)", line)}


def target_report(server, target):
    ask(server)
    line = re.findall(f"demi-relay: target {re.escape(text_of(target.address))} .*",
                      server.said())[-1]
    return {name: int(n) for name, n in re.findall(r"([a-z][a-z ]*?) (\d+)", line)}


@contextlib.contextmanager
def closing(*things):
    try:
        yield things
    finally:
        for thing in things:
            thing.close()


# ---- TCP --------------------------------------------------------------------------------------

def exchange(server, rng):
    """Random bytes both ways at once, of random sizes."""
    with connect(server) as client:
        data = rng.randbytes(rng.choice((1, 100, 5000, 70000, 1500000)))
        sender = threading.Thread(target=lambda: (client.sendall(data),
                                                  client.shutdown(socket.SHUT_WR)))
        sender.start()
        got = rest(client)
        sender.join()
        assert got == data, f"{len(got)} bytes came back of {len(data)}, or others"


@test
def bytes_pass_unchanged():
    for options in ((), ("--workers", "2")):
        for engine in ("auto", "epoll"):
            with closing(Target(echo)) as (target,), \
                    relay(target, options=options, DEMI_ENGINE=engine) as server:
                rng = random.Random(SEED)
                for _ in range(20):
                    exchange(server, rng)
                assert ask(server)["clients"] == 20


@test
def either_family_on_either_side():
    for family in (socket.AF_INET, socket.AF_INET6):
        for listen in ("127.0.0.1:0", "[::1]:0", "[::]:0"):
            with closing(Target(echo, family=family)) as (target,), \
                    relay(target, listen=listen) as server:
                exchange(server, random.Random(SEED))
            with closing(UdpTarget(family=family)) as (target,), \
                    relay(target, listen=listen, options=("--udp",)) as server, \
                    udp_client(server) as client:
                udp_exchange(client, b"x" * 1000)
                if listen == "[::]:0":
                    with udp_client(server, "127.0.0.1") as mapped:
                        udp_exchange(mapped, b"y" * 1000)


@test
def half_close_of_the_client():
    """A request that ends with the client's end is answered."""
    def serve(sock):
        data = rest(sock)
        sock.sendall(b"%d" % len(data))

    with closing(Target(serve)) as (target,), relay(target) as server:
        for n in (0, 1, 300000):
            with connect(server) as client:
                client.sendall(b"x" * n)
                client.shutdown(socket.SHUT_WR)
                assert rest(client) == b"%d" % n


@test
def half_close_of_the_target():
    """A client may go on to send after the target's end."""
    counts = []

    def serve(sock):
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        counts.append(len(rest(sock)))

    with closing(Target(serve)) as (target,), relay(target) as server, connect(server) as client:
        assert rest(client) == b"bye"
        client.sendall(b"y" * 400000)
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: counts == [400000], "the target has all bytes")


class Held:
    """A target whose connection the test has: held.sock()."""

    def __init__(self):
        self.arrived = queue.Queue()
        self.over = threading.Event()
        self.target = Target(self.serve)
        self.address = self.target.address

    def serve(self, sock):
        self.arrived.put(sock)
        self.over.wait()

    def sock(self):
        return self.arrived.get(timeout=PATIENCE_S)

    def close(self):
        self.over.set()
        self.target.close()


@contextlib.contextmanager
def both_sides(options=(), **environment):
    """(relay, client, target's connection)"""
    with closing(Held()) as (held,), relay(held, options=options, **environment) as server, \
            connect(server) as client:
        client.sendall(b"hello")
        side = held.sock()
        assert receive(side, 5) == b"hello"
        yield server, client, side


def ends_with_a_reset(sock):
    """Reads to the end: how much came, of what was not an end in order."""
    n = 0
    try:
        while part := sock.recv(1 << 20):
            n += len(part)
    except ConnectionResetError:
        return n
    raise AssertionError(f"a reset came as an end, after {n} bytes")


def is_turned_away(server):
    try:
        with connect(server) as client:
            return ends_with_a_reset(client) == 0
    except ConnectionResetError:  # before the connect had returned
        return True


def is_broken(sock):
    poll = select.poll()
    poll.register(sock, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def assert_counted(server, what):
    report = ask(server)
    assert report[what] == 1, report


def fill(sock):
    """Sends until nothing more is taken for some time."""
    sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            sock.send(b"z" * 65536)


@test
def reset_of_one_side_resets_the_other():
    for engine in ("auto", "epoll"):
        with both_sides(DEMI_ENGINE=engine) as (server, client, side):
            side.sendall(b"half of it")
            assert receive(client, 10) == b"half of it"
            reset(side)
            assert ends_with_a_reset(client) == 0
            assert_counted(server, "reset by targets")
        with both_sides(DEMI_ENGINE=engine) as (server, client, side):
            reset(client)
            assert ends_with_a_reset(side) == 0
            assert_counted(server, "reset by clients")


@test
def reset_with_both_directions_busy_is_no_end():
    """A push is told of the reset first: what the pop is told then must not pass for an end."""
    def send_on(sock, errors):
        try:
            while True:
                sock.sendall(b"w" * 3000)
        except OSError as error:
            errors.append(error.errno)

    def talk(sock):
        with contextlib.suppress(OSError):
            for _ in range(random.randrange(400)):
                sock.send(b"t" * random.choice((1, 5000)), socket.MSG_DONTWAIT)
        reset(sock)

    with closing(Target(talk)) as (target,), relay(target) as server:
        for _ in range(60):
            with contextlib.suppress(ConnectionResetError), connect(server) as client:
                errors = []
                writer = threading.Thread(target=send_on, args=(client, errors))
                writer.start()
                try:
                    rest(client)
                finally:
                    writer.join()
                assert errors == [errno.ECONNRESET], "our kernel told one of the two"


@test
def reset_of_a_side_that_is_held_back_resets_the_other():
    with both_sides() as (server, client, side):
        fill(side)
        reset(side)
        wait_until(lambda: ask(server)["reset by targets"] == 1, "the relay sees it")
        assert ends_with_a_reset(client) > 0
    with both_sides() as (server, client, side):
        fill(client)
        reset(client)
        wait_until(lambda: ask(server)["reset by clients"] == 1, "the relay sees it")
        assert ends_with_a_reset(side) > 0


@test
def reset_of_a_side_that_had_ended_resets_the_other():
    with both_sides() as (server, client, side):
        side.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
        reset(side)
        wait_until(lambda: is_broken(client), "the client learns of it")
        assert_counted(server, "reset by targets")
    with both_sides() as (server, client, side):
        client.shutdown(socket.SHUT_WR)
        assert side.recv(1) == b""
        reset(client)
        wait_until(lambda: is_broken(side), "the target learns of it")
        assert_counted(server, "reset by clients")


@test
def target_that_is_killed_resets_its_clients():
    program = ("import socket, time\n"
               "s = socket.create_server(('127.0.0.1', 0))\n"
               "print(s.getsockname()[1], flush=True)\n"
               "c = s.accept()[0]\n"
               "c.sendall(c.recv(1))\n"
               "time.sleep(1000)\n")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child, \
            closing(Target(say(b"b"))) as (second,):
        try:
            first = types.SimpleNamespace(address=("127.0.0.1", int(child.stdout.readline())))
            with relay(first, second, options=("--check", "0")) as server, \
                    connect(server) as client:
                client.sendall(b"a")
                assert receive(client, 1) == b"a"
                client.sendall(b"never read")
                wait_until(lambda: ask(server)["bytes to targets"] == 11, "the target has it")
                child.kill()
                assert ends_with_a_reset(client) == 0
                child.wait()  # its listening socket may have gone after that connection
                assert {name_of(server) for _ in range(4)} == {b"b"}
        finally:
            child.kill()


@test
def slow_reader_stops_the_sender():
    def serve(sock):
        chunk = b"z" * 65536
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(chunk)

    with closing(Target(serve)) as (target,), relay(target) as server, connect(server) as client:
        client.recv(1)
        before = server.resident()

        def quiet():
            first = ask(server)["bytes to clients"]
            time.sleep(0.3)
            return ask(server)["bytes to clients"] == first
        wait_until(quiet, "the sender stops")
        assert server.resident() - before < 16 << 20, "memory grew"
        assert len(receive(client, 50 << 20)) == 50 << 20


@test
def many_connections_at_once():
    with closing(Target(echo)) as (target,), \
            relay(target, options=("--workers", "2")) as server:
        clients = [connect(server) for _ in range(200)]
        for turn in range(3):
            for i, client in enumerate(clients):
                client.sendall(pattern(1000 + i, i + turn))
            for i, client in enumerate(clients):
                assert receive(client, 1000 + i) == pattern(1000 + i, i + turn)
        assert ask(server)["active"] == 200
        for client in clients:
            client.close()
        wait_until(lambda: ask(server)["active"] == 0, "all have ended")


@test
def no_descriptor_leaks():
    with closing(Target(echo)) as (target,), \
            relay(target, options=("--check", "0")) as server:
        exchange(server, random.Random(1))
        wait_until(lambda: ask(server)["active"] == 0, "the first has ended")
        before = open_files(server)
        for i in range(60):
            exchange(server, random.Random(i))
        wait_until(lambda: open_files(server) == before, "as many descriptors as before")


def end_somehow(client, rng):
    manner = rng.randrange(5)
    if manner > 0:
        client.sendall(rng.randbytes(rng.choice((1, 1000, 100000))))
    if manner == 2:
        reset(client)
    elif manner == 3:
        client.recv(1)
    elif manner == 4:
        client.shutdown(socket.SHUT_WR)
        rest(client)


def churn(server, seed, connections):
    """Connections that begin and end in every manner."""
    rng = random.Random(seed)
    for _ in range(connections):
        with connect(server) as client:
            try:
                end_somehow(client, rng)
            except OSError as error:
                assert error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN), error


@test
def nothing_is_left_of_connections_that_end_in_every_manner():
    def hang_up(sock):
        sock.recv(random.choice((1, 100000)))
        if random.random() < 0.5:
            reset(sock)

    refusing = Target(echo)
    refusing.close()
    with closing(Target(echo), Target(hang_up)) as targets, \
            relay(*targets, refusing, options=("--check", "0.05", "--drain", "60")) as server:
        churn(server, SEED, 1)
        wait_until(lambda: ask(server)["active"] == 0, "the first has ended")
        most = open_files(server) + 3 * 2  # probes come and go
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: churn(server, SEED + i, CHURN), range(8)))
        wait_until(lambda: ask(server)["active"] == 0, "all have ended")
        assert ask(server)["clients"] == 8 * CHURN + 1
        wait_until(lambda: open_files(server) <= most, "as few descriptors as before")
        server.child.terminate()
        assert server.child.wait(PATIENCE_S) == 0, "no pair is left to wait for"


@test
def targets_take_turns():
    with closing(Target(say(b"a")), Target(say(b"b")), Target(say(b"c"))) as targets:
        with relay(*targets, options=("--check", "0")) as server:
            got = b""
            for _ in range(9):
                with connect(server) as client:
                    got += receive(client, 1)
            assert sorted(got) == sorted(b"abc" * 3), got
        with relay(*targets, options=("--check", "0", "--hash")) as server:
            got = set()
            for _ in range(6):
                with connect(server) as client:
                    got.add(receive(client, 1))
            assert len(got) == 1, got
        with relay(*targets, options=("--check", "0", "--least")) as server:
            clients = [connect(server) for _ in range(9)]
            got = b"".join(receive(client, 1) for client in clients)
            assert sorted(got) == sorted(b"abc" * 3), got
            for client in clients:
                client.close()


def name_of(server):
    with connect(server) as client:
        return client.recv(1)


@test
def target_that_dies_is_left_out_until_it_is_back():
    first, second = Target(say(b"a")), Target(say(b"b"))
    port = first.address[1]
    with relay(first, second, options=("--check", "0.1")) as server:
        first.close()
        assert {name_of(server) for _ in range(8)} == {b"b"}, "no client notices"
        wait_until(lambda: f"127.0.0.1:{port} is down" in server.said(), "it is down")
        again = Target(say(b"a"), port)
        wait_until(lambda: f"127.0.0.1:{port} is up" in server.said(), "it is up")
        assert {name_of(server) for _ in range(8)} == {b"a", b"b"}
        second.close()
        again.close()
        assert is_turned_away(server), "nobody is there"
        assert ask(server)["unreachable"] >= 1


@test
def probes_find_a_dead_target_before_a_client_does():
    first, second = Target(say(b"a")), Target(say(b"b"))
    with closing(second), relay(first, second, options=("--check", "0.1")) as server:
        first.close()
        wait_until(lambda: "is down" in server.said(), "a probe finds it")


@test
def target_that_failed_without_probes_is_tried_again():
    first = Target(say(b"a"))
    port = first.address[1]
    with relay(first, options=("--check", "0")) as server:
        first.close()
        assert is_turned_away(server)
        assert "is down" in server.said()
        with closing(Target(say(b"a"), port)):
            def serves():
                with contextlib.suppress(ConnectionResetError):
                    return name_of(server) == b"a"
                return False
            wait_until(serves, "it is tried again")
            assert "is up" in server.said()
            assert f"target 127.0.0.1:{port} up" in (ask(server) and server.said())


@contextlib.contextmanager
def silent_target():
    """Listens, and has no room for a connection: what comes is dropped."""
    with socket.socket() as sock, contextlib.ExitStack() as fillers:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(4):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(sock.getsockname())
        yield types.SimpleNamespace(address=sock.getsockname())


@test
def target_that_is_silent_is_left_out():
    with silent_target() as silent, closing(Target(say(b"b"))) as (second,):
        with relay(silent, second,
                   options=("--check", "0", "--connect-timeout", "0.2")) as server:
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda _: name_of(server), range(24))) == {b"b"}
        options = ("--check", "0.05", "--check-timeout", "0.1", "--fall", "4")
        with relay(silent, second, options=options) as server:
            wait_until(lambda: "is down" in server.said(), "probes find it")
            assert target_report(server, silent)["probes failed"] == 4
            assert {name_of(server) for _ in range(4)} == {b"b"}


@test
def clients_that_are_not_allowed_are_turned_away():
    with closing(Target(echo)) as (target,):
        with relay(target, options=("--allow", "10.0.0.0/8")) as server:
            assert is_turned_away(server)
            assert ask(server)["denied"] == 1
        with relay(target, options=("--allow", "10.1.2.3", "--allow", "127.0.0.0/31")) as server:
            exchange(server, random.Random(2))


@test
def more_than_max_connections_are_turned_away():
    with closing(Target(echo)) as (target,), \
            relay(target, options=("--max-connections", "2")) as server:
        clients = [connect(server) for _ in range(2)]
        for client in clients:
            client.sendall(b"x")
            receive(client, 1)
        assert is_turned_away(server)
        assert ask(server)["refused"] == 1
        for client in clients:
            client.close()
        wait_until(lambda: ask(server)["active"] == 0, "room again")
        exchange(server, random.Random(3))


@test
def idle_connections_end_and_busy_ones_do_not():
    with closing(Target(echo)) as (target,), \
            relay(target, options=("--idle", "0.8", "--check", "0")) as server, \
            connect(server) as idle, connect(server) as busy:
        ended = False
        start = time.monotonic()
        while not ended and time.monotonic() - start < PATIENCE_S:
            busy.sendall(b"x")
            receive(busy, 1)
            ended = bool(select.select([idle], [], [], 0.05)[0])
        assert ended and time.monotonic() - start > 0.7
        busy.sendall(b"y")
        receive(busy, 1)
        assert ask(server)["idle"] == 1


@test
def sigterm_lets_connections_end():
    with closing(Target(echo)) as (target,), relay(target) as server:
        client = connect(server)
        client.sendall(b"a")
        receive(client, 1)
        server.child.terminate()

        def refused():
            try:
                connect(server).close()
            except ConnectionRefusedError:
                return True
            return False
        wait_until(refused, "it does not listen any more")
        data = pattern(200000, 4)
        client.sendall(data)
        assert receive(client, len(data)) == data
        assert server.running()
        client.close()
        assert server.child.wait(PATIENCE_S) == 0


@test
def sigterm_does_not_wait_for_ever():
    with closing(Target(echo)) as (target,), \
            relay(target, options=("--drain", "0.2", "--workers", "2")) as server, \
            connect(server) as client:
        client.sendall(b"a")
        receive(client, 1)
        server.child.terminate()
        assert server.child.wait(PATIENCE_S) == 0


@test
def bad_arguments_are_refused():
    good = ["127.0.0.1:0", "127.0.0.1:1"]
    for arguments in ([], good[:1], ["nonsense", good[1]], ["127.0.0.1", good[1]],
                      ["127.0.0.1:70000", good[1]], ["::1:80", good[1]], ["[::1]", good[1]],
                      ["127.0.0.1:", good[1]], [good[0], "127.0.0.1:x"],
                      ["--workers", "0", *good], ["--workers", "x", *good],
                      ["--allow", "10.0.0.0/33", *good], ["--allow", "x", *good],
                      ["--idle", "-1", *good], ["--idle", "nan", *good], ["--drain", "", *good],
                      ["--max-connections", "0", *good], ["--deny-larger", "65536", *good],
                      ["--nonsense", *good], [good[0], *[good[1]] * 65],
                      [good[0], "127.0.0.1:0"], ["127.0.0.1:7", "127.0.0.1:7"],
                      ["--rise", "0", *good], ["--fall", "x", *good],
                      ["--check-timeout", "0", *good], ["--deny-larger", "5", *good],
                      ["--probe", "x", *good], ["-u", "--probe", "", *good],
                      ["-u", "--probe", "\\q", *good], ["-u", "--probe", "\\x1", *good],
                      ["-u", "--probe", "x" * 513, *good], ["-u", "--expect", "x", *good],
                      ["-u", "--probe", "x", "--check", "0", *good]):
        done = subprocess.run([PATH, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=PATIENCE_S, check=False)
        assert done.returncode == 64, f"{arguments}: {done}"
        assert done.stderr, arguments
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run([PATH, text_of(taken.getsockname()), good[1]], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S)
        said = f"bind {text_of(taken.getsockname())}: Address already in use: another process"
        assert done.returncode == 1 and said in done.stderr.decode(), done


@test
def reports_come_by_themselves():
    with closing(Target(echo)) as (target,), \
            relay(target, options=("--stats", "0.1")) as server:
        wait_until(lambda: server.said().count("demi-relay: active") >= 3, "three reports")
        assert f"target {text_of(target.address)} up" in server.said()


# ---- UDP --------------------------------------------------------------------------------------

class UdpTarget:
    """Answers each datagram with its name and the datagram."""

    def __init__(self, name=b"", port=0, family=socket.AF_INET):
        self.name = name
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
        self.address = self.sock.getsockname()[:2]
        self.peers = set()
        self.mute = False
        self.open = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.open:
            with contextlib.suppress(OSError):
                data, peer = self.sock.recvfrom(65536)
                if not self.open:
                    return
                self.peers.add(peer)
                if not self.mute:
                    self.sock.sendto(self.name + data, peer)

    def close(self):
        self.open = False
        with udp_socket_for(self.address) as waker:
            waker.sendto(b"", self.address)
        self.thread.join()
        self.sock.close()


def udp_socket_for(address):
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.socket(family, socket.SOCK_DGRAM)


def udp_client(server, host=None):
    address = (host or server.address[0], server.address[1])
    sock = udp_socket_for(address)
    sock.settimeout(PATIENCE_S)
    sock.connect(address)
    return sock


def udp_exchange(client, data, name=b""):
    client.send(data)
    got = client.recv(65536)
    assert got == name + data, f"got {len(got)} bytes for {len(data)}, or others"


@test
def udp_clients_have_a_socket_each():
    for options in ((), ("--workers", "3")):
        with closing(UdpTarget()) as (target,), \
                relay(target, options=("--udp", *options)) as server:
            clients = [udp_client(server) for _ in range(20)]
            for n in (1, 0, 1400, 30000):
                for i, client in enumerate(clients):
                    udp_exchange(client, pattern(n, i))
            assert len(target.peers) == 20
            assert ask(server)["active"] == 20
            for client in clients:
                client.close()


@test
def udp_burst_of_new_clients_is_not_mixed_up():
    """While their sockets are made datagrams come to those of others; and each has its own port."""
    with closing(UdpTarget()) as (target,), relay(target, options=("--udp",)) as server:
        clients = []
        for _ in range(15):
            burst = [udp_client(server) for _ in range(60)]
            for k in range(3):
                for i, client in enumerate(burst):
                    client.send(b"%d %d" % (i, k))
            for i, client in enumerate(burst):
                got = {client.recv(100) for _ in range(3)}
                assert got == {b"%d %d" % (i, k) for k in range(3)}, f"{i}: {got}"
            clients += burst
        report = ask(server)
        assert report["dropped"] == 0 and report["active"] == len(clients), report
        assert report["bytes to targets"] == report["bytes to clients"] > 0, report
        assert len(target.peers) == len(clients)
        for client in clients:
            client.close()


@test
def udp_client_that_is_gone_does_not_take_its_target_down():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(PATIENCE_S)
        with relay(types.SimpleNamespace(address=sock.getsockname()), options=("--udp",)) as server:
            for n in range(1, 4):
                with udp_client(server) as client:
                    client.send(b"x")
                    peer = sock.recvfrom(10)[1]
                sock.sendto(b"too late", peer)
                wait_until(lambda: ask(server)["reset by clients"] == n, "it is refused")
            assert "is down" not in server.said()


@test
def udp_datagram_that_is_too_large_for_a_target_does_not_take_it_down():
    with closing(UdpTarget()) as (target,), \
            relay(target, listen="[::1]:0", options=("--udp",)) as server, \
            udp_client(server) as client:
        udp_exchange(client, b"x")
        client.send(b"y" * 65520)
        wait_until(lambda: ask(server)["failed"] == 1, "it cannot be sent")
        udp_exchange(client, b"z")
        assert "is down" not in server.said()


@test
def udp_idle_clients_are_forgotten():
    with closing(UdpTarget()) as (target,), \
            relay(target, options=("--udp", "--idle", "0.3")) as server:
        before = open_files(server)
        client = udp_client(server)
        udp_exchange(client, b"a")
        wait_until(lambda: ask(server)["active"] == 0, "it is forgotten")
        assert open_files(server) == before
        udp_exchange(client, b"b")
        assert len(target.peers) == 2
        client.close()


@test
def udp_target_that_is_gone_is_left_out():
    first, second = UdpTarget(b"a"), UdpTarget(b"b")
    with closing(second), relay(first, second, options=("--udp",)) as server:
        first.close()
        client = udp_client(server)
        client.settimeout(0.1)

        def answered():
            client.send(b"x")
            with contextlib.suppress(TimeoutError):
                return client.recv(10) == b"bx"
            return False
        wait_until(answered, "the other target answers")
        client.close()


UDP_PROBES = ("--udp", "--probe", "pi\\x6eg\\0", "--check", "0.1", "--check-timeout", "0.4",
              "--rise", "2", "--fall", "2")


def udp_names(server, n):
    """The first letters of the answers that n new clients get."""
    names = set()
    for _ in range(n):
        with udp_client(server) as client:
            client.send(b"x")
            names.add(client.recv(10)[:1])
    return names


@test
def udp_target_that_is_silent_is_left_out_until_its_probes_pass():
    targets = UdpTarget(b"a"), UdpTarget(b"b")
    with closing(*targets), relay(*targets, options=(*UDP_PROBES, "--expect", "")) as server, \
            udp_client(server) as client:
        wait_until(lambda: target_report(server, targets[0])["probes passed"] > 1, "probes pass")
        assert udp_names(server, 4) == {b"a", b"b"}
        client.send(b"x")
        first = targets[client.recv(10) == b"bx"]
        second = targets[first is targets[0]]
        first.mute = True
        wait_until(lambda: "is down, probing it" in server.said(), "probes find it")
        assert target_report(server, first)["probes failed"] >= 2
        assert udp_names(server, 4) == {second.name}
        wait_until(lambda: ask(server)["moved"] >= 1, "its clients leave it")
        client.send(b"y")
        assert client.recv(10) == second.name + b"y"
        before = target_report(server, first)["probes passed"]
        first.mute = False
        wait_until(lambda: "is up" in server.said(), "it is back")
        assert target_report(server, first)["probes passed"] >= before + 2
        assert udp_names(server, 4) == {b"a", b"b"}


@test
def udp_target_that_stops_is_left_out_until_it_is_back():
    for expect in ((), ("--expect", "a")):
        with closing(UdpTarget(b"ab")) as (second,):
            first = UdpTarget(b"a")
            with relay(first, second, options=(*UDP_PROBES, *expect)) as server:
                wait_until(lambda: target_report(server, first)["probes passed"] > 1, "they pass")
                first.close()
                wait_until(lambda: "is down" in server.said(), "a probe is refused")
                assert udp_names(server, 4) == {b"a"} and server.said().count("is down") == 1
                with closing(UdpTarget(b"a", first.address[1])):
                    wait_until(lambda: "is up" in server.said(), "it is back")


@test
def udp_target_with_another_answer_is_left_out():
    first, second = UdpTarget(b"a"), UdpTarget(b"b")
    with closing(first, second), \
            relay(first, second, options=(*UDP_PROBES, "--expect", "b\\x70ing\\0")) as server:
        wait_until(lambda: "is down" in server.said(), "its answers are wrong")
        assert udp_names(server, 4) == {b"b"}
        assert target_report(server, first)["probes passed"] == 0


@test
def udp_target_that_never_answers_passes_where_no_answer_is_expected():
    with closing(UdpTarget()) as (target,), relay(target, options=UDP_PROBES) as server:
        target.mute = True
        wait_until(lambda: target_report(server, target)["probes passed"] > 3, "probes pass")
        assert target_report(server, target)["probes failed"] == 0
        assert "is down" not in server.said()


@test
def udp_sigterm_ends_it_with_clients_and_probes_there():
    with closing(UdpTarget()) as (target,), \
            relay(target, options=(*UDP_PROBES, "--expect", "", "--workers", "2")) as server:
        clients = [udp_client(server) for _ in range(20)]
        for client in clients:
            udp_exchange(client, b"x")
        target.mute = True
        failed = target_report(server, target)["probes failed"]
        wait_until(lambda: target_report(server, target)["probes failed"] > failed, "one is there")
        server.child.terminate()
        assert server.child.wait(PATIENCE_S) == 0
        for client in clients:
            client.close()


@test
def udp_filters():
    options = ("--udp", "--deny-larger", "100", "--allow", "127.0.0.1")
    with closing(UdpTarget()) as (target,), relay(target, options=options) as server, \
            udp_client(server) as client:
        udp_exchange(client, b"x" * 100)
        client.send(b"y" * 101)
        udp_exchange(client, b"z")
    for workers in ("1", "2"):
        options = ("--udp", "--allow", "10.0.0.0/8", "--workers", workers)
        with closing(UdpTarget()) as (target,), relay(target, options=options) as server, \
                udp_client(server) as client:
            client.settimeout(0.2)
            client.send(b"x")
            try:
                client.recv(1)
                raise AssertionError("it was served")
            except TimeoutError:
                pass


# ---- running ----------------------------------------------------------------------------------

def run(function):
    started = time.monotonic()
    try:
        function()
    except Exception:  # pylint: disable=broad-except
        print(f"FAIL {function.__name__}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok   {function.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
    return True


def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    signal.alarm(DEADLINE_S)
    print(f"TEST_SEED={SEED}", flush=True)
    chosen = [f for f in TESTS if not sys.argv[2:] or any(n in f.__name__ for n in sys.argv[2:])]
    failed = sum(not run(function) for function in chosen)
    print(f"{len(chosen) - failed} of {len(chosen)} passed")
    sys.exit(1 if failed else 0)


PATH = os.path.abspath(sys.argv[1])
main()
