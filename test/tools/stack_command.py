#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs of the tree over a TAP interface, a veth, and ports of DPDK, against the kernel;
and two of them over a memif: stack_command.py PATH/TO/demi PATH/TO/demi-kv [PATH/TO/dpdk.so]

In network namespaces of its own. Exits 77 where none can be made.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

DEMI = KV = DPDK = ""
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


def need_dpdk():
    if not DPDK:
        raise unittest.SkipTest("the library was built without DPDK (libdpdk-dev)")


def environment(net, **extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_")}
    env.update(DEMI_NET=net, **extra)
    if net != "kernel":
        env.setdefault("DEMI_NET_ADDRESSES", ADDRESSES)
    return env


class Server:
    """A program that serves, until the block ends; it must end well, and leaves what it wrote."""

    out = err = ""

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
        killed = self.process.poll() == -signal.SIGKILL  # by the test
        self.process.send_signal(signal.SIGINT)
        self.out, self.err = self.process.communicate(timeout=PATIENCE_S)
        ended = f"ended with {self.process.returncode}: {self.out} {self.err}"
        if kind is None and self.process.returncode != 0 and not killed:
            raise AssertionError(ended)
        if kind is not None:  # why may be what it wrote
            print(f"the server {ended}", file=sys.stderr)


def wait_until(holds):
    """Waits with patience until what is asked holds."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > give_up:
            raise AssertionError("it does not come about")
        time.sleep(0.05)


def ping(net, target, *args, **extra):
    done = subprocess.run([DEMI, "ping", "--json", *args, target], env=environment(net, **extra),
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise AssertionError(f"demi ping ended with {done.returncode}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def counters(process):
    """The counters of a program, by name."""
    done = subprocess.run([DEMI, "info", "--stats", str(process.pid)], text=True, check=False,
                          capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"demi info ended with {done.returncode}: {done.stderr}")
    return dict(line.split(None, 1) for line in done.stdout.splitlines() if " " in line)


def cpu_seconds(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class OnInterface:
    """Tests of a class have an interface, which is made and deleted with it."""

    interface = "veth0"
    net = ""

    @classmethod
    def setUpClass(cls):
        cls.net = cls.make_net()

    @classmethod
    def tearDownClass(cls):
        ip("link", "del", cls.interface)


class OverDevice(OnInterface):
    """What must work over any device; the peer is the kernel."""

    datagram = "20K"

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
            ping("kernel", OWN4 + ":7000", "-u", "-n", "50", "-s", self.datagram)
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
            self.benchmark(OWN4)

    def benchmark(self, host):
        if shutil.which("redis-benchmark"):
            subprocess.run(["redis-benchmark", "-h", host, "-n", "5000", "-c", "20", "-q",
                            "-t", "set,get"], check=True, capture_output=True, timeout=PATIENCE_S)

    def test_key_value_server_serves_redis_clients_over_ipv6(self):
        if not shutil.which("redis-cli"):
            self.skipTest("no redis-cli")
        with Server(self.net, KV, "-b", OWN6, "-p", "6379", ready="ready on "):
            for words, want in (("SET a b", "OK"), ("GET a", "b")):
                done = subprocess.run(["redis-cli", "-h", OWN6, *words.split()], check=True,
                                      text=True, capture_output=True, timeout=PATIENCE_S)
                self.assertEqual(done.stdout.strip(), want)
            self.benchmark(OWN6)

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
    interface, make_net = "demi0", staticmethod(make_tap)


class Packet(OverDevice, unittest.TestCase):
    make_net = staticmethod(make_veth)


class DpdkVeth(OverDevice, unittest.TestCase):
    """DPDK's net_af_packet, which has the kernel put fragments together, and then cuts them off."""

    datagram = "1400"

    @classmethod
    def make_net(cls):
        need_dpdk()
        net = make_veth().replace("packet:", "dpdk:net_af_packet0 iface=")
        # The driver cannot tell of sums that were left to the device.
        subprocess.run(["ethtool", "-K", "veth0", "tx", "off"], check=True, capture_output=True)
        return net


class OverMemif(unittest.TestCase):
    """Two processes, and no kernel between them: the ends of a memif of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.socket = os.path.join(folder.name, "memif.sock")

    def end(self, role, more=""):
        last = {"server": "1", "client": "2"}[role]
        return (f"dpdk:net_memif0 role={role} id=0 socket={self.socket}{more}",
                {"DEMI_NET_ADDRESSES": f"10.9.1.{last}/24,fd19::{last}/64", "DEMI_NET_PROBE": "no"})


class DpdkMemif(OverMemif):
    """One worker at either end."""

    def setUp(self):
        need_dpdk()
        super().setUp()

    def serve(self, *words, more=""):
        net, extra = self.end("server", more)
        return Server(net, DEMI, "echo", *words, **extra)

    def ping(self, target, *words, more=""):
        net, extra = self.end("client", more)
        return ping(net, target, *words, **extra)

    def test_streams_are_whole_and_nothing_is_copied(self):
        with self.serve("-l", "10.9.1.1:7000") as process:
            self.ping("10.9.1.1:7000", "-n", "1000", "-c", "10")
            self.ping("10.9.1.1:7000", "-n", "50", "-s", "64K")
            seen = counters(process)
            self.assertGreater(int(seen["dev.tx_attached"]), 50 * 40, seen)
            self.assertEqual(int(seen["dev.rx_copied"]), 0, seen)
        with self.serve("-l", "[fd19::1]:7000"):
            self.ping("[fd19::1]:7000", "-n", "1000")

    def test_link_and_counters_of_the_driver_are_told(self):
        with self.serve("-u", "-l", "10.9.1.1:7000") as process:
            client = self.start_client()
            wait_until(lambda: int(counters(process)["port.rx_good_packets"]) > 20)
            self.assertEqual(counters(process)["port.link_up"].strip(), "1")
            client.kill()
            client.wait()
            wait_until(lambda: counters(process)["port.link_up"].strip() == "0")
            self.assertGreaterEqual(int(counters(process)["port.link_changes"]), 2)

    def test_datagrams_are_whole(self):
        with self.serve("-u", "-l", "10.9.1.1:7000"):
            self.ping("10.9.1.1:7000", "-u", "-n", "1000")
            self.ping("10.9.1.1:7000", "-u", "-n", "50", "-s", "20K")
        with self.serve("-u", "-l", "[fd19::1]:7000"):
            self.ping("[fd19::1]:7000", "-u", "-n", "1000")

    def test_copies_both_ways_work_too(self):
        with self.serve("-l", "10.9.1.1:7000", more=",copy") as process:
            self.ping("10.9.1.1:7000", "-n", "50", "-s", "64K", more=",copy")
            self.assertEqual(int(counters(process)["dev.tx_attached"]), 0)

    def test_mtu_that_the_port_cannot_have_is_said(self):
        with self.assertRaisesRegex(AssertionError, "MTU of 9000 is more than the port can have"):
            self.ping("10.9.1.1:7000", more=",mtu=9000")

    def start_client(self):
        net, extra = self.end("client")
        words = ("ping", "--json", "-u", "-n", "1000000000", "10.9.1.1:7000")  # until it is killed
        client = subprocess.Popen([DEMI, *words], text=True, env=environment(net, **extra),
                                  stdout=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        return client

    def test_client_that_is_killed_and_comes_back_is_served_again(self):
        with self.serve("-u", "-l", "10.9.1.1:7000") as process:
            for _ in range(3):
                before = int(counters(process)["dev.tx_frames"])
                client = self.start_client()
                self.wait_for_datagrams(process, before)
                client.kill()
                client.wait()
            self.ping("10.9.1.1:7000", "-u", "-n", "1000")

    def test_server_that_is_killed_and_comes_back_is_reached_again(self):
        mac = ",mac=02:00:00:00:00:07"  # as a NIC: what the client knows of it stays true
        with self.serve("-u", "-l", "10.9.1.1:7000", more=mac) as process:
            self.start_client()
            self.wait_for_datagrams(process, 0)
            process.kill()
            process.wait()
        with self.serve("-u", "-l", "10.9.1.1:7000", more=mac) as again:
            self.wait_for_datagrams(again, 0)

    def wait_for_datagrams(self, process, before):
        for _ in range(PATIENCE_S * 10):
            seen = counters(process)
            if int(seen.get("dev.tx_frames", 0)) > before + 20:
                return
            time.sleep(0.1)
        self.fail(f"nothing is answered: {seen}")

    def test_client_without_a_server_says_so(self):
        net, extra = self.end("client")
        done = subprocess.run([DEMI, "ping", "10.9.1.1:7000"], env=environment(net, **extra),
                              text=True, capture_output=True, check=False, timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("a client of memif needs its server first", done.stderr)

    def test_second_process_at_the_same_end_fails_and_the_first_goes_on(self):
        with self.serve("-u", "-l", "10.9.1.1:7000") as process:
            self.start_client()
            self.wait_for_datagrams(process, 0)
            for role, words in (("client", "timed out|No route"), ("server", "already in use")):
                net, extra = self.end(role)
                done = subprocess.run([DEMI, "ping", "10.9.1.1:7000"], text=True, check=False,
                                      env=environment(net, **extra), capture_output=True,
                                      timeout=PATIENCE_S)
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stderr, words)
            self.wait_for_datagrams(process, int(counters(process)["dev.tx_frames"]))

    def test_huge_pages_that_are_missing_are_said_and_done_without(self):
        free = 0
        for pages in pathlib.Path("/sys/kernel/mm/hugepages").glob("hugepages-*"):
            size_kb = int(pages.name.split("-")[1].removesuffix("kB"))
            free += size_kb * int((pages / "free_hugepages").read_text(encoding="ascii"))
        if free >= 64 << 10:
            self.skipTest("there are huge pages")
        done = subprocess.run([DEMI, "ping", "-u", "-n", "1", "10.9.1.1:7000"], text=True,
                              env=environment("dpdk:net_null0", DEMI_LOG="info",
                                              DEMI_NET_PROBE="no"),
                              capture_output=True, check=False, timeout=PATIENCE_S)
        self.assertIn("of huge pages are free: goes on without them (--no-huge)", done.stderr)
        self.assertNotIn("cannot start the library", done.stderr)

    def test_driver_that_is_missing_is_named(self):
        done = subprocess.run([DEMI, "ping", "10.9.1.1:7000"], text=True, capture_output=True,
                              env=environment("dpdk:net_nothing0"), check=False, timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('no port "net_nothing0": DPDK has no driver of that name', done.stderr)

    def test_idle_server_sleeps(self):
        with self.serve("-l", "10.9.1.1:7000") as process:
            self.ping("10.9.1.1:7000", "-n", "100")
            used = []
            while len(used) < 3 and min(used, default=1) >= 0.05:
                used.append(self.cpu_seconds_in(5, process))
        self.assertLess(used[-1], 0.05, f"more than 1 % of a CPU, each time: {used}")

    def cpu_seconds_in(self, seconds, process):
        """Beside load the same wake-ups cost more: one time of several is enough."""
        before = cpu_seconds(process)
        time.sleep(seconds)
        return cpu_seconds(process) - before


def enter_namespace():
    """Runs this program anew in a network namespace of its own, and returns there."""
    if os.environ.get("STACK_COMMAND_INSIDE") != "yes":
        probe = subprocess.run(["unshare", "--net", "ip", "link", "set", "lo", "up"], check=False,
                               capture_output=True, text=True)
        if probe.returncode != 0:
            print(f"skipped: no network namespace: {probe.stderr.strip()}")
            sys.exit(77)
        os.environ["STACK_COMMAND_INSIDE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    ip("link", "set", "lo", "up")


def main():
    global DEMI, KV, DPDK
    enter_namespace()
    DEMI, KV = sys.argv.pop(1), sys.argv.pop(1)
    if len(sys.argv) > 1 and sys.argv[1].endswith(".so"):
        DPDK = sys.argv.pop(1)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
