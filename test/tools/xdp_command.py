#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs of the tree over AF_XDP, at an interface that the kernel goes on using:
xdp_command.py PATH/TO/demi PATH/TO/demi-kv

Two network namespaces: the peer's, in which this process is, and the one with our programs and a
kernel of the same addresses beside them. Exits 77 where that cannot be.
"""

import errno
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))
import netns  # noqa: E402

DEMI = KV = ""
PATIENCE_S = 30
OWN4, HOST4 = "10.9.0.2", "10.9.0.1"
OWN6, HOST6 = "fd09::2", "fd09::1"
SPACE = None  # of our programs


def inside():
    netns.call("setns", SPACE, netns.CLONE_NEWNET)


def run_inside(*words):
    return subprocess.run(words, check=True, preexec_fn=inside, capture_output=True, text=True)


def make_link():
    netns.ip("link add host0 type veth peer name demi0")
    for name in ("host0", "demi0"):
        netns.set_off(name, netns.CHECKSUMS + netns.SEGMENTS)
    netns.ip(f"addr add {HOST4}/24 dev host0")
    netns.ip(f"addr add {HOST6}/64 dev host0 nodad")
    netns.ip("link set host0 up")
    netns.ip(f"link set demi0 netns /proc/{os.getpid()}/fd/{SPACE}")
    for words in ("link set lo up", f"addr add {OWN4}/24 dev demi0",
                  f"addr add {OWN6}/64 dev demi0 nodad", "link set demi0 up"):
        run_inside("ip", *words.split())


def kernel_socket(kind=socket.SOCK_STREAM):
    """A socket of the kernel where our programs are."""
    made = []

    def make():  # a namespace is of the thread
        inside()
        made.append(socket.socket(socket.AF_INET, kind))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def environment(**extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_")}
    env.update(DEMI_NET="xdp:demi0", **extra)
    return env


class Server:
    """A program over the device, until the block ends; it must end well, unless it was killed."""

    def __init__(self, *command, ready, **extra):
        self.process = subprocess.Popen(command, env=environment(**extra), text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        preexec_fn=inside)
        line = self.process.stdout.readline()
        if not line.startswith(ready):
            self.process.kill()
            raise AssertionError(f"{line!r} {self.process.communicate()}")

    def __enter__(self):
        return self.process

    def __exit__(self, kind, *_):
        killed = self.process.poll() == -signal.SIGKILL
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        if kind is None and self.process.returncode != 0 and not killed:
            raise AssertionError(f"ended with {self.process.returncode}: {out} {err}")
        if kind is not None:  # why may be what it wrote
            print(f"the server ended with {self.process.returncode}: {out} {err}", file=sys.stderr)


def serve_kv(address="::", **extra):
    return Server(KV, "-b", address, "-p", "6379", ready="ready on ", **extra)


def redis(address, *words):
    done = subprocess.run(["redis-cli", "-h", address, *words], check=True, text=True,
                          capture_output=True, timeout=PATIENCE_S)
    return done.stdout.strip()


def counters(process):
    out = subprocess.run([DEMI, "info", "--stats", str(process.pid)], text=True, check=True,
                         capture_output=True).stdout
    return dict(line.split(None, 1) for line in out.splitlines() if " " in line)


def echo(sock):
    """Answers one connection, in a thread."""
    def work():
        conn, _ = sock.accept()
        with conn:
            while data := conn.recv(65536):
                conn.sendall(data)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ask(conn, *words):
    """One command, and its answer of one line."""
    conn.sendall((" ".join(words) + "\r\n").encode())
    answer = b""
    while not answer.endswith(b"\r\n"):
        part = conn.recv(4096)
        if not part:
            raise AssertionError("end of the connection")
        answer += part
    return answer


class Shared(unittest.TestCase):
    def setUp(self):
        make_link()

    def tearDown(self):
        netns.ip("link del host0")

    def has_program(self):
        return "prog/xdp" in run_inside("ip", "link", "show", "demi0").stdout

    def test_key_value_server_serves_redis_clients(self):
        if not shutil.which("redis-benchmark"):
            self.skipTest("no redis-benchmark")
        with serve_kv() as process:
            for address in (OWN4, OWN6):
                self.assertEqual(redis(address, "set", "a", "b"), "OK")
                self.assertEqual(redis(address, "get", "a"), "b")
                subprocess.run(["redis-benchmark", "-h", address, "-n", "5000", "-c", "20", "-q",
                                "-t", "set,get"], check=True, capture_output=True,
                               timeout=PATIENCE_S)
            seen = counters(process)
            self.assertGreater(int(seen["tcp.accepts"]), 80)
            self.assertEqual(int(seen["dev.rx_copied"]), 0)
        self.assertFalse(self.has_program())

    def test_kernel_serves_on_beside_us(self):
        with kernel_socket() as listener, serve_kv():
            listener.bind((OWN4, 7000))
            listener.listen()
            thread = echo(listener)
            with socket.create_connection((OWN4, 7000), timeout=PATIENCE_S) as theirs, \
                    socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as ours:
                for i in range(100):
                    theirs.sendall(b"%d\n" % i)
                    self.assertEqual(theirs.recv(100), b"%d\n" % i)
                    self.assertEqual(ask(ours, "PING"), b"+PONG\r\n")
            thread.join()
            if shutil.which("ping"):
                for address in (OWN4, OWN6):
                    subprocess.run(["ping", "-c", "1", "-W", "5", address], check=True,
                                   capture_output=True)
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection((OWN4, 7001), timeout=PATIENCE_S)

    def test_port_is_one_s_alone(self):
        with kernel_socket() as listener:
            listener.bind((OWN4, 6379))
            listener.listen()
            done = subprocess.run([KV, "-b", "::", "-p", "6379"], env=environment(), text=True,
                                  capture_output=True, check=False, timeout=PATIENCE_S,
                                  preexec_fn=inside)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("Address already in use", done.stderr)
        with serve_kv(), kernel_socket() as listener:
            with self.assertRaises(OSError) as caught:
                listener.bind((OWN4, 6379))
            self.assertEqual(caught.exception.errno, errno.EADDRINUSE)
        with kernel_socket() as listener:
            listener.bind((OWN4, 6379))

    def test_client_of_ours_meets_kernel_servers(self):
        with socket.create_server((HOST4, 7000)) as listener:
            thread = echo(listener)
            done = subprocess.run([DEMI, "ping", "--json", "-n", "500", HOST4 + ":7000"],
                                  env=environment(), text=True, capture_output=True, check=False,
                                  timeout=PATIENCE_S, preexec_fn=inside)
            self.assertEqual(done.returncode, 0, done.stderr)
            json.loads(done.stdout)
            thread.join()

    def test_datagrams_of_many_fragments(self):
        with Server(DEMI, "echo", "-u", "-l", OWN4 + ":7000", ready="listening on "):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect((OWN4, 7000))
                for size in (1, 1472, 1473, 20000, 60000):
                    data = os.urandom(size)
                    sock.send(data)
                    self.assertEqual(sock.recv(65536), data)

    def test_killed_process_leaves_nothing(self):
        with serve_kv() as process:
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")
                self.assertTrue(self.has_program())
                process.kill()
                process.wait()
                self.assertFalse(self.has_program())
                with self.assertRaises(ConnectionResetError):  # the kernel knows of none
                    ask(conn, "PING")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection((OWN4, 6379), timeout=PATIENCE_S)
        with serve_kv():
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")

    def test_second_process_on_the_queue_is_told(self):
        with serve_kv():
            done = subprocess.run([KV, "-b", OWN4, "-p", "6380"], env=environment(), text=True,
                                  capture_output=True, check=False, timeout=PATIENCE_S,
                                  preexec_fn=inside)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("somebody else has queue 0 of demi0", done.stderr)
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")

    def test_neighbour_that_moves_is_followed(self):
        with serve_kv(OWN4):
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")
                netns.ip("link set host0 address 02:00:00:00:00:77")
                run_inside("ip", "neigh", "replace", HOST4, "lladdr", "02:00:00:00:00:77",
                           "dev", "demi0")
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")

    def test_addresses_that_come_and_go_are_followed(self):
        with serve_kv() as process:
            with self.assertRaises(OSError):  # nobody has it yet
                socket.create_connection(("10.9.0.3", 6379), timeout=0.2)
            run_inside("ip", "addr", "add", "10.9.0.3/24", "dev", "demi0")
            with socket.create_connection(("10.9.0.3", 6379), timeout=PATIENCE_S) as conn, \
                    socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as other:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")
                run_inside("ip", "addr", "del", "10.9.0.3/24", "dev", "demi0")
                deadline = time.monotonic() + PATIENCE_S  # the server has let go of it
                while int(counters(process)["stack.sockets"]) > 3:
                    self.assertLess(time.monotonic(), deadline)
                    self.assertEqual(ask(other, "PING"), b"+PONG\r\n")
                self.assertEqual(ask(other, "PING"), b"+PONG\r\n")
            for family, address in ((4, "10.9.0.4/24"), (6, "fd09::4/64")):
                run_inside("ip", "addr", "add", address, "dev", "demi0",
                           *(["nodad"] if family == 6 else []))
                self.assertEqual(redis(address.split("/")[0], "ping"), "PONG")

    def test_routes_that_come_and_go_are_followed(self):
        self.check_route("via", HOST4)

    def test_routes_without_a_gateway_are_followed(self):
        self.check_route("dev", "demi0")

    def check_route(self, *way):
        netns.ip("addr replace 10.77.0.1/32 dev lo")
        netns.ip("link set lo up")
        run_inside("ip", "route", "add", "10.77.0.0/16", *way)
        with serve_kv(OWN4) as process:
            def connect():
                conn = socket.socket()
                conn.settimeout(PATIENCE_S)
                conn.bind(("10.77.0.1", 0))
                conn.connect((OWN4, 6379))
                return conn
            with connect() as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")
                run_inside("ip", "route", "del", "10.77.0.0/16")
                before = int(counters(process)["ip.no_route"])
                conn.sendall(b"PING\r\n")
                deadline = time.monotonic() + PATIENCE_S
                while int(counters(process)["ip.no_route"]) == before:
                    self.assertLess(time.monotonic(), deadline)
                    self.assertEqual(redis(OWN4, "ping"), "PONG")
                run_inside("ip", "route", "add", "10.77.0.0/16", *way)
                self.assertEqual(conn.recv(100), b"+PONG\r\n")

    def test_mtu_that_is_lowered_is_kept_to(self):
        with serve_kv(OWN4) as process:
            data = b"x" * 300000
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                conn.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%s\r\n" % (len(data), data))
                self.assertEqual(conn.recv(100), b"+OK\r\n")
                run_inside("ip", "link", "set", "demi0", "mtu", "1000")
                for _ in range(3):
                    conn.sendall(b"GET a\r\n")
                    got = b""
                    while len(got) < len(b"$300000\r\n") + len(data) + 2:
                        got += conn.recv(65536)
                    self.assertEqual(got, b"$300000\r\n" + data + b"\r\n")
            self.assertGreater(int(counters(process)["tcp.path_mtu_lowered"]), 0)

    def test_interface_that_was_down_goes_on(self):
        with serve_kv(OWN4):
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")
                run_inside("ip", "link", "set", "demi0", "down")
                conn.sendall(b"PING\r\n")
                time.sleep(0.5)  # how long it is down
                run_inside("ip", "link", "set", "demi0", "up")
                self.assertEqual(conn.recv(100), b"+PONG\r\n")

    def test_whole_queue_is_taken_and_that_is_said(self):
        server = serve_kv(OWN4, DEMI_NET_ADDRESSES=OWN4 + "/24", DEMI_NET_PROBE="no")
        with kernel_socket() as listener:
            listener.bind((OWN4, 7000))
            listener.listen()
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                self.assertEqual(ask(conn, "PING"), b"+PONG\r\n")
            with self.assertRaises(ConnectionRefusedError):  # by our stack
                socket.create_connection((OWN4, 7000), timeout=PATIENCE_S)
        server.process.send_signal(signal.SIGINT)
        _, err = server.process.communicate(timeout=PATIENCE_S)
        self.assertIn("the kernel, which has addresses on demi0, receives nothing", err)

    def test_interface_without_an_address_says_what_to_do(self):
        run_inside("ip", "addr", "flush", "dev", "demi0")
        done = subprocess.run([KV, "-b", OWN4], env=environment(), text=True, check=False,
                              capture_output=True, timeout=PATIENCE_S, preexec_fn=inside)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("ip addr add", done.stderr)


def main():
    global DEMI, KV, SPACE
    DEMI, KV = sys.argv.pop(1), sys.argv.pop(1)
    try:
        netns.enter()
        SPACE = netns.other_namespace()
    except netns.NotAllowed as reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    if netns.is_user_namespace():
        print("skipped: XDP programs are not allowed here: run as root")
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
