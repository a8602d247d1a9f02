#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs of the tree over drivers of DPDK that stack_command.py does not have: net_tap,
net_af_xdp, net_pcap; two workers; and what goes away beneath them:
dpdk_command.py PATH/TO/demi PATH/TO/demi-kv PATH/TO/demi-relay

In network namespaces of its own. Exits 77 where none can be made.
"""

import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

import stack_command as base
from stack_command import HOST4, OWN4, PATIENCE_S, Server, counters, ip, ping

RELAY = ""


def make_tap():
    ip("tuntap", "add", "mode", "tap", "multi_queue", "name", "demi0")
    with open("/proc/sys/net/ipv6/conf/demi0/keep_addr_on_down", "w", encoding="ascii") as file:
        file.write("1")  # the driver takes the interface down when it ends
    base.add_host_addresses("demi0")
    return "dpdk:net_tap0 iface=demi0"


def make_veth(driver):
    net = base.make_veth().replace("packet:", f"dpdk:{driver}0 iface=")
    for name in ("veth0", "veth1"):  # the drivers cannot tell of sums that were left to the device
        subprocess.run(["ethtool", "-K", name, "tx", "off"], check=True, capture_output=True)
    return net


def wakeups(process):
    """How often it slept; that of the thread that waits."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return int(dict(line.split(":") for line in file)["voluntary_ctxt_switches"])


class Tap(base.OverDevice, unittest.TestCase):
    """The kernel's interface and the port have one address, so ours is another."""

    interface, make_net = "demi0", staticmethod(make_tap)
    datagram = "1400"


class TapSleeps(unittest.TestCase):
    """The descriptor of net_tap's queue wakes: nobody looks at it now and then."""

    def setUp(self):
        self.net = make_tap()
        self.addCleanup(subprocess.run, ["ip", "link", "del", "demi0"], check=False,
                        capture_output=True)

    def wakeups_in(self, seconds, process):
        before = wakeups(process)
        time.sleep(seconds)
        return wakeups(process) - before

    def test_idle_server_is_woken_seldom_and_answers(self):
        with Server(self.net, base.DEMI, "echo", "-l", OWN4 + ":7000") as process:
            ping("kernel", OWN4 + ":7000", "-n", "100")
            base.wait_until(lambda: self.wakeups_in(1, process) < 40)  # by a timer: 100, or more
            ping("kernel", OWN4 + ":7000", "-n", "5", "-w", "0")

    def cpu_seconds_in(self, seconds, process):
        before = base.cpu_seconds(process)
        time.sleep(seconds)
        return base.cpu_seconds(process) - before

    def test_link_that_changes_is_told(self):
        with Server(self.net, base.DEMI, "echo", "-l", OWN4 + ":7000") as process:
            ping("kernel", OWN4 + ":7000", "-n", "100")
            for state, link_up in (("down", "0"), ("up", "1")):
                ip("link", "set", "demi0", state)
                await_link(process, link_up)
            ping("kernel", OWN4 + ":7000", "-n", "100")

    def test_interface_that_is_deleted_does_not_wake_for_ever(self):
        with Server(self.net, base.DEMI, "echo", "-l", OWN4 + ":7000") as process:
            ping("kernel", OWN4 + ":7000", "-n", "100")
            ip("link", "del", "demi0")
            base.wait_until(lambda: self.cpu_seconds_in(2, process) < 0.1)


def await_link(process, link_up):
    base.wait_until(lambda: counters(process)["port.link_up"].strip() == link_up)


class VhostLink(unittest.TestCase):
    """net_vhost tells of its link by an interrupt, which most drivers in software have not."""

    def test_peer_that_comes_and_goes_wakes_who_sleeps(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "vhost.sock")
        with Server(f"dpdk:net_vhost0 iface={path}", base.DEMI, "echo", "-l", OWN4 + ":7000",
                    DEMI_NET_PROBE="no", DEMI_NET_ADDRESSES=OWN4 + "/24") as process:
            await_link(process, "0")
            self.assertEqual(int(counters(process)["port.link_interrupts"]), 0)
            peer = subprocess.Popen(
                [base.DEMI, "echo"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=base.environment(f"dpdk:net_virtio_user0 path={path}", DEMI_NET_PROBE="no",
                                     DEMI_NET_ADDRESSES=HOST4 + "/24"))
            self.addCleanup(peer.wait)
            self.addCleanup(peer.kill)
            await_link(process, "1")
            came = int(counters(process)["port.link_interrupts"])
            self.assertGreater(came, 0)
            peer.kill()
            await_link(process, "0")
            self.assertGreater(int(counters(process)["port.link_interrupts"]), came)


class Xdp(base.OverDevice, unittest.TestCase):
    """DPDK's own driver of AF_XDP, whose UMEM libxdp does not give back: leaks are checked but for
    that."""

    datagram = "1400"

    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", delete=False) as known:
            known.write("leak:xsk_umem__create\n")
        cls.addClassCleanup(os.unlink, known.name)
        patch = unittest.mock.patch.dict(os.environ, LSAN_OPTIONS="print_suppressions=0:"
                                         f"suppressions={known.name}")
        patch.start()
        cls.addClassCleanup(patch.stop)
        super().setUpClass()
        probe = subprocess.run([base.DEMI, "ping", HOST4 + ":9"], text=True, check=False,
                               env=base.environment(cls.net, DEMI_NET_PROBE="no"),
                               capture_output=True, timeout=PATIENCE_S)
        if "DPDK has no driver of that name" in probe.stderr:
            cls.tearDownClass()
            raise unittest.SkipTest("no AF_XDP by DPDK here: " +
                                    probe.stderr.strip().splitlines()[-1])

    @classmethod
    def make_net(cls):
        return make_veth("net_af_xdp")


# ---- captures -----------------------------------------------------------------------------------

OWN_MAC, HOST_MAC = bytes.fromhex("020000000009"), bytes.fromhex("020000000008")
OWN_IP, HOST_IP = socket.inet_aton(OWN4), socket.inet_aton(HOST4)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def arp_request():
    return (b"\xff" * 6 + HOST_MAC + b"\x08\x06" + struct.pack(">HHBBH", 1, 0x800, 6, 4, 1) +
            HOST_MAC + HOST_IP + b"\0" * 6 + OWN_IP)


def datagram(data):
    udp = struct.pack(">HHHH", 5000, 7000, 8 + len(data), 0) + data  # without a checksum
    head = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(udp), 7, 0, 64, 17)
    total = checksum(head + HOST_IP + OWN_IP)
    return (OWN_MAC + HOST_MAC + b"\x08\0" + head + struct.pack(">H", total) + HOST_IP + OWN_IP +
            udp)


def write_capture(path, frames):
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)


def read_capture(path):
    data = pathlib.Path(path).read_bytes()[24:]
    while data:
        _, _, length, _ = struct.unpack("<IIII", data[:16])
        yield data[16:16 + length]
        data = data[16 + length:]


class Pcap(unittest.TestCase):
    """What comes is in one file, what leaves is written to another."""

    def test_replies_to_a_capture_are_written(self):
        sent = [b"hello %d" % i for i in range(50)]
        with tempfile.TemporaryDirectory() as folder:
            come, left = (os.path.join(folder, name) for name in ("come.pcap", "left.pcap"))
            write_capture(come, [arp_request()] + [datagram(data) for data in sent])
            net = (f"dpdk:net_pcap0 rx_pcap={come} tx_pcap={left},"
                   f"mac={OWN_MAC.hex(':')}")
            with Server(net, base.DEMI, "echo", "-u", "-l", "0.0.0.0:7000", DEMI_NET_PROBE="no",
                        DEMI_NET_ADDRESSES=OWN4 + "/24") as process:
                base.wait_until(
                    lambda: int(counters(process).get("udp.tx_datagrams", 0)) == len(sent))
            frames = list(read_capture(left))
        replies = [frame for frame in frames if frame[:12] == HOST_MAC + OWN_MAC]
        self.assertEqual(replies[0][12:14], b"\x08\x06")
        self.assertEqual(replies[0][20:22], b"\0\x02")  # a reply
        self.assertEqual([frame[42:] for frame in replies[1:]], sent)
        for frame in replies[1:]:
            self.assertEqual(checksum(frame[14:34]), 0)
            self.assertEqual(frame[26:38], OWN_IP + HOST_IP + struct.pack(">HH", 7000, 5000))

    def test_capture_that_is_missing_is_said(self):
        done = subprocess.run([base.DEMI, "echo"], text=True, capture_output=True, check=False,
                              env=base.environment("dpdk:net_pcap0 rx_pcap=/nowhere/a.pcap"),
                              timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('no port "net_pcap0,rx_pcap=/nowhere/a.pcap"', done.stderr)


# ---- two workers --------------------------------------------------------------------------------

class TwoWorkers(base.OnInterface):
    """A relay, each of whose workers has a queue of the port; the kernel is at both its ends."""

    def relay(self, net):
        return Server(net, RELAY, "-w", "2", OWN4 + ":7000", HOST4 + ":7001", ready="ready on ")

    def test_many_connections_are_served_and_nothing_is_lost(self):
        with Server("kernel", base.KV, "-b", HOST4, "-p", "7001", ready="ready on "), \
                self.relay(self.net) as process:
            if not shutil.which("redis-benchmark"):
                self.skipTest("no redis-benchmark")
            for more in (["-n", "10000", "-P", "4"], ["-n", "1000", "-d", "20000"]):
                subprocess.run(["redis-benchmark", "-h", OWN4, "-p", "7000", "-c", "20", "-q",
                                "-t", "set,get", *more], check=True, capture_output=True,
                               timeout=2 * PATIENCE_S)
            self.check_passed(counters(process), 80)

    def test_pieces_are_whole(self):
        with Server("kernel", base.DEMI, "echo", "-l", HOST4 + ":7001"), \
                self.relay(self.net) as process:
            ping("kernel", OWN4 + ":7000", "-n", "2000", "-c", "20")
            ping("kernel", OWN4 + ":7000", "-n", "50", "-s", "200K")
            self.check_passed(counters(process), 20)

    def check_passed(self, found, accepts):
        """What came to the worker that had no socket for it was counted, and reached the other."""
        self.assertGreaterEqual(int(found["tcp.accepts"]), accepts, found)
        self.assertEqual(found["workers.dropped"].strip(), "0", found)
        self.assertEqual(found["workers.passed"], found["workers.taken"], found)

    def test_each_worker_receives(self):
        with tempfile.TemporaryDirectory() as folder:
            capture = os.path.join(folder, "a.pcapng")
            with Server("kernel", base.DEMI, "echo", "-l", HOST4 + ":7001"), \
                    self.relay(f"pcap({capture}):" + self.net):
                ping("kernel", OWN4 + ":7000", "-n", "2000", "-c", "20")
            for path in (capture, capture + ".1"):
                self.assertGreater(os.path.getsize(path), 100 * 64, path)


class TapWorkers(TwoWorkers, unittest.TestCase):
    interface, make_net = "demi0", staticmethod(make_tap)


class VethWorkers(TwoWorkers, unittest.TestCase):
    @classmethod
    def make_net(cls):
        return make_veth("net_af_packet") + " qpairs=2"

    def test_port_with_too_few_queues_says_so(self):
        net = self.net.replace("qpairs=2", "qpairs=1")
        done = subprocess.run([RELAY, "-w", "2", OWN4 + ":7000", HOST4 + ":7001"], text=True,
                              env=base.environment(net), capture_output=True, check=False,
                              timeout=PATIENCE_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("the port has 1 queues, and each worker needs one", done.stderr)


def main():
    global RELAY
    base.enter_namespace()
    base.DEMI, base.KV, RELAY = (sys.argv.pop(1) for _ in range(3))
    base.DPDK = "there"
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
