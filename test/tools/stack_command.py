#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs of the tree over a TAP interface and over a veth, against the kernel:
stack_command.py PATH/TO/demi PATH/TO/demi-kv

In network namespaces of its own. Exits 77 where none can be made.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

DEMI = KV = ""
PATIENCE_S = 30
OWN4, HOST4 = "10.9.0.2", "10.9.0.1"
OWN6, HOST6 = "fd09::2", "fd09::1"
ADDRESSES = f"{OWN4}/24,{OWN6}/64"


def ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True)


def add_host_addresses(interface):
    ip("addr", "add", HOST4 + "/24", "dev", interface)
    ip("addr", "add", HOST6 + "/64", "dev", interface, "nodad")
    ip("link", "set", interface, "up")


def make_tap():
    ip("tuntap", "add", "mode", "tap", "name", "demi0")
    add_host_addresses("demi0")
    return "tap:demi0"


def make_veth():
    if not shutil.which("ethtool"):
        raise unittest.SkipTest("no ethtool: offloads of the veth cannot be turned off")
    ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
    for name in ("veth0", "veth1"):  # frames as they are on a wire
        subprocess.run(["ethtool", "-K", name, "tso", "off", "gso", "off", "gro", "off"],
                       check=True, capture_output=True)
    ip("link", "set", "veth1", "up")
    add_host_addresses("veth0")
    return "packet:veth1"


def environment(net, **extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_")}
    env.update(DEMI_NET=net, **extra)
    if net != "kernel":
        env.setdefault("DEMI_NET_ADDRESSES", ADDRESSES)
    return env


class Server:
    """A program that serves, until the block ends; it must end well."""

    def __init__(self, net, *command, ready="listening on ", **extra):
        self.process = subprocess.Popen(command, env=environment(net, **extra), text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line.startswith(ready):
            self.process.kill()
            raise AssertionError(f"{line!r} {self.process.communicate()}")

    def __enter__(self):
        return self.process

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        if kind is None and self.process.returncode != 0:
            raise AssertionError(f"ended with {self.process.returncode}: {out} {err}")


def ping(net, target, *args, **extra):
    done = subprocess.run([DEMI, "ping", "--json", *args, target], env=environment(net, **extra),
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise AssertionError(f"demi ping ended with {done.returncode}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


class OverDevice:
    """What must work over any device; the peer is the kernel."""

    net = ""

    def test_kernel_client_is_answered(self):
        with Server(self.net, DEMI, "echo", "-l", "0.0.0.0:7000"):
            ping("kernel", OWN4 + ":7000", "-n", "2000")
            ping("kernel", OWN4 + ":7000", "-n", "2000", "-c", "20")
            ping("kernel", OWN4 + ":7000", "-n", "50", "-s", "200K")

    def test_kernel_client_over_ipv6_is_answered(self):
        with Server(self.net, DEMI, "echo", "-l", f"[{OWN6}]:7000"):
            ping("kernel", f"[{OWN6}]:7000", "-n", "1000")

    def test_kernel_server_answers(self):
        with Server("kernel", DEMI, "echo", "-l", HOST4 + ":7000"):
            ping(self.net, HOST4 + ":7000", "-n", "2000")
            ping(self.net, HOST4 + ":7000", "-n", "50", "-s", "200K")

    def test_datagrams_both_ways(self):
        with Server(self.net, DEMI, "echo", "-u", "-l", "0.0.0.0:7000"):
            ping("kernel", OWN4 + ":7000", "-u", "-n", "1000")
            ping("kernel", OWN4 + ":7000", "-u", "-n", "50", "-s", "20K")
        with Server("kernel", DEMI, "echo", "-u", "-l", HOST4 + ":7000"):
            ping(self.net, HOST4 + ":7000", "-u", "-n", "1000")

    def test_key_value_server_serves_redis_clients(self):
        with Server(self.net, KV, "-b", OWN4, "-p", "6379", ready="ready on "):
            with socket.create_connection((OWN4, 6379), timeout=PATIENCE_S) as conn:
                value = os.urandom(300000)
                conn.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
                conn.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
                want = b"+OK\r\n$%d\r\n%b\r\n" % (len(value), value)
                got = b""
                while len(got) < len(want):
                    part = conn.recv(1 << 20)
                    self.assertTrue(part, f"end after {len(got)} of {len(want)} bytes")
                    got += part
                self.assertEqual(got, want)
            if shutil.which("redis-benchmark"):
                subprocess.run(["redis-benchmark", "-h", OWN4, "-n", "5000", "-c", "20", "-q",
                                "-t", "set,get"], check=True, capture_output=True,
                               timeout=PATIENCE_S)

    def test_bad_link_delivers_everything(self):
        bad = "fault(seed=1,loss=1%,reorder=1%,duplicate=1%,corrupt=0.5%):" + self.net
        with Server(bad, DEMI, "echo", "-l", OWN4 + ":7000", DEMI_NET_PROBE="no") as process:
            ping("kernel", OWN4 + ":7000", "-n", "20", "-w", "0", "-s", "100K")
            out = subprocess.run([DEMI, "info", "--stats", str(process.pid)], text=True,
                                 capture_output=True, check=True).stdout
            self.assertNotIn("fault.lost 0", " ".join(out.split()))

    def test_capture_is_written(self):
        with tempfile.TemporaryDirectory() as folder:
            capture = os.path.join(folder, "a.pcapng")
            with Server(f"pcap({capture}):" + self.net, DEMI, "echo", "-l", OWN4 + ":7000"):
                ping("kernel", OWN4 + ":7000", "-n", "10", "-w", "0")
            with open(capture, "rb") as file:
                self.assertEqual(file.read(4), b"\x0a\x0d\x0d\x0a")
            self.assertGreater(os.path.getsize(capture), 20 * 128)

    def test_counters_are_seen_from_outside(self):
        with Server(self.net, DEMI, "echo", "-l", "0.0.0.0:7000") as process:
            ping("kernel", OWN4 + ":7000", "-n", "100", "-w", "0")
            out = subprocess.run([DEMI, "info", "--stats", str(process.pid)], text=True,
                                 capture_output=True, check=True).stdout
            counters = dict(line.split(None, 1) for line in out.splitlines() if " " in line)
            self.assertEqual(counters["tcp.accepts"].strip(), "1", out)
            self.assertEqual(counters["stack.pushed_bytes"].strip(), "6400", out)

    def test_address_of_the_host_is_in_use(self):
        done = subprocess.run([DEMI, "echo"], text=True, capture_output=True, check=False,
                              env=environment(self.net, DEMI_NET_ADDRESSES=HOST4 + "/24",
                                              DEMI_NET_PROBE="wait"), timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"net_addresses: {HOST4} is in use", done.stderr)


class Tap(OverDevice, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.net = make_tap()

    @classmethod
    def tearDownClass(cls):
        ip("link", "del", "demi0")


class Packet(OverDevice, unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.net = make_veth()

    @classmethod
    def tearDownClass(cls):
        ip("link", "del", "veth0")


def main():
    global DEMI, KV
    if os.environ.get("STACK_COMMAND_INSIDE") != "yes":
        probe = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], check=False,
                               capture_output=True, text=True)
        if probe.returncode != 0:
            print(f"skipped: no network namespace: {probe.stderr.strip()}")
            sys.exit(77)
        os.environ["STACK_COMMAND_INSIDE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    ip("link", "set", "lo", "up")
    DEMI, KV = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
