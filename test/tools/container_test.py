#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands with what `demi doctor` lists and nothing else: container_test.py DEMI DEMI-KV [DPDK.so]

In a user namespace and a network namespace that it makes. A command runs as in a container that is
started with the arguments that `demi doctor --container` prints: it has those capabilities, in
/dev those devices, the usual 64 KiB of locked memory unless more is listed, and no io_uring. The
kernel is the peer, at the other end of a veth or of the TAP interface. Without any single one of
the arguments the command has to fail, and `demi doctor` has to say why. Exits 77 where such
namespaces cannot be made.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

DEMI = KV = DPDK = None
PATIENCE_S = 60
OWN, HOST = "10.9.0.2", "10.9.0.1"
CAPABILITIES = {"NET_ADMIN": 12, "NET_RAW": 13}
IO_URING = 425  # the first of three system calls
MEMLOCK = 64 << 10
UNLIMITED = "--ulimit=memlock=-1:-1"

# Capabilities are taken away last, as they are needed to take the devices away.
SCRIPT = """set -e
folder=$1 devices=$2 bounding=$3
shift 3
mount -t tmpfs none "$folder"
for path in /dev/null /dev/zero /dev/full /dev/random /dev/urandom $devices; do
    mkdir -p "$folder${path%/*}"
    : >"$folder$path"
    mount --bind "$path" "$folder$path"
done
mkdir "$folder/dev/shm"
mount -t tmpfs none "$folder/dev/shm"
mount --rbind "$folder/dev" /dev
exec setpriv --bounding-set="$bounding" --inh-caps=-all --ambient-caps=-all "$@"
"""


def ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True)


class Filter(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8),
                ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(Filter))]


def forbid_io_uring():
    """As the default filter of containers has it: EPERM."""
    load, at_least, above, end = 0x20, 0x35, 0x25, 0x06
    steps = (Filter * 5)(Filter(load, 0, 0, 0), Filter(at_least, 0, 2, IO_URING),
                         Filter(above, 1, 0, IO_URING + 2), Filter(end, 0, 0, 0x00050001),
                         Filter(end, 0, 0, 0x7fff0000))
    if ctypes.CDLL(None).prctl(22, 2, ctypes.byref(Program(len(steps), steps)), 0, 0) != 0:
        raise OSError("no seccomp")


def limits(words):
    """What a container limits in the process that becomes the command."""
    def limit():
        if UNLIMITED not in words:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK, MEMLOCK))
        forbid_io_uring()
    return limit


def environment(net):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_")}
    if net:
        env["DEMI_NET"] = net
    if net != "kernel":
        env.update(DEMI_NET_ADDRESSES=OWN + "/24", DEMI_NET_PROBE="no")
    return env


def values(words, option):
    return [word.split("=", 1)[1] for word in words if word.startswith(option + "=")]


def listed(target):
    """The arguments that demi doctor lists for a target."""
    done = subprocess.run([DEMI, "doctor", "--container", target], env=environment(None),
                          capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return done.stdout.split()


def contained(words, folder, *command):
    """A command in a container that was started with these arguments."""
    known = ("--cap-drop=ALL", "--cap-add=", "--device=", UNLIMITED)
    assert words[0] == known[0] and all(word.startswith(known) for word in words), words
    bounding = ["-all"] + ["+" + cap.lower() for cap in values(words, "--cap-add")]
    return ["unshare", "--mount", "sh", "-c", SCRIPT, "container", folder,
            " ".join(values(words, "--device")), ",".join(bounding), *command]


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def run_in(self, words, *command, net=None):
        return subprocess.run(contained(words, self.folder, *command), env=environment(net),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              preexec_fn=limits(words), timeout=PATIENCE_S, check=False)

    def serve(self, words, net, *command, ready="listening on "):
        """A server in a container; it has to end well when the test ends."""
        server = subprocess.Popen(contained(words, self.folder, *command), env=environment(net),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, preexec_fn=limits(words))
        line = server.stdout.readline()
        if not line.startswith(ready):
            self.fail(f"{line!r} {server.communicate(timeout=PATIENCE_S)}")
        self.addCleanup(self.end, server)
        mask = sum(1 << CAPABILITIES[cap] for cap in values(words, "--cap-add"))
        with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
        for name in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(status[name], 16), mask, f"{name} of {command}")
        self.assertEqual(status["Seccomp"].strip(), "2")
        return server

    def end(self, server):
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=PATIENCE_S)
        self.assertEqual(server.returncode, 0, f"{out} {err}")

    def ping(self, address, *options):
        done = subprocess.run([DEMI, "ping", "--json", *options, address],
                              env=environment("kernel"), capture_output=True, text=True,
                              timeout=PATIENCE_S, check=False)
        self.assertEqual(done.returncode, 0, done)

    def set_and_get(self, host):
        value = os.urandom(100000)
        with socket.create_connection((host, 6379), timeout=PATIENCE_S) as conn:
            conn.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n%b\r\n" % (len(value), value))
            conn.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n")
            want, got = b"+OK\r\n$%d\r\n%b\r\n" % (len(value), value), b""
            while len(got) < len(want):
                part = conn.recv(1 << 20)
                self.assertTrue(part, f"end after {len(got)} of {len(want)} bytes")
                got += part
        self.assertEqual(got, want)

    def findings(self, words, target):
        """(exit code, check -> level) of demi doctor in the container."""
        done = self.run_in(words, DEMI, "doctor", "--json", target)
        self.assertEqual(done.stderr, "", done)
        report = json.loads(done.stdout)["reports"][0]
        return done.returncode, {f["check"]: f["level"] for f in report["findings"]}


class Kernel(Case):
    """Needs nothing at all."""

    def test_nothing_is_listed(self):
        self.assertEqual(listed("kernel"), ["--cap-drop=ALL"])
        code, levels = self.findings(["--cap-drop=ALL"], "kernel")
        self.assertEqual((code, levels), (0, {"io_uring": "advice"}))

    def test_interface_that_sys_does_not_show_is_not_called_missing(self):
        for target in ("packet:lo", "tap:lo"):
            command = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys; exec "$@"',
                       "hidden", DEMI, "doctor", "--json", target]
            done = subprocess.run(command, env=environment(None), capture_output=True, text=True,
                                  timeout=PATIENCE_S, check=False)
            findings = json.loads(done.stdout)["reports"][0]["findings"]
            self.assertEqual([(f["level"], f["mend"]) for f in findings if f["check"] == "lo"],
                             [("advice", "mount -t sysfs sysfs /sys")], done)

    def test_echo_is_served_by_epoll(self):
        words = listed("kernel")
        server = self.serve(words, "kernel", DEMI, "echo", "-l", "127.0.0.1:7000")
        self.ping("127.0.0.1:7000", "-n", "500")
        out = subprocess.run(["nsenter", "--mount", "--target", str(server.pid), DEMI, "info",
                              "--stats", str(server.pid)], text=True, capture_output=True,
                             check=True).stdout
        self.assertRegex(out, r"(?m)^kernel\.engine +epoll$")

    def test_datagrams_are_served(self):
        self.serve(listed("kernel"), "kernel", DEMI, "echo", "-u", "-l", "127.0.0.1:7001")
        self.ping("127.0.0.1:7001", "-u", "-n", "500")

    def test_values_are_served(self):
        self.serve(listed("kernel"), "kernel", KV, "-b", "127.0.0.1", "-p", "6379",
                   ready="ready on ")
        self.set_and_get("127.0.0.1")


class OverDevice:
    """What each device has to do with what is listed for it, and cannot do with less."""

    net = ""
    interface = None  # that the process makes: the kernel's end of it needs an address
    arguments = []

    def give_address(self):
        if self.interface:
            ip("addr", "replace", HOST + "/24", "dev", self.interface)
            ip("link", "set", self.interface, "up")

    def test_what_is_listed(self):
        words = listed(self.net)
        self.assertEqual(words, ["--cap-drop=ALL", *self.arguments])
        code, levels = self.findings(words, self.net)
        self.assertEqual(code, 0, levels)

    def test_echo_is_served(self):
        self.serve(listed(self.net), self.net, DEMI, "echo", "-l", "0.0.0.0:7000")
        self.give_address()
        self.ping(OWN + ":7000", "-n", "500")
        self.ping(OWN + ":7000", "-n", "20", "-s", "100K")

    def test_datagrams_are_served(self):
        self.serve(listed(self.net), self.net, DEMI, "echo", "-u", "-l", "0.0.0.0:7000")
        self.give_address()
        self.ping(OWN + ":7000", "-u", "-n", "500")

    def test_values_are_served(self):
        self.serve(listed(self.net), self.net, KV, "-b", OWN, "-p", "6379", ready="ready on ")
        self.give_address()
        self.set_and_get(OWN)

    def test_nothing_works_without_each(self):
        words = listed(self.net)
        for word in self.arguments:
            with self.subTest(without=word):
                less = [other for other in words if other != word]
                done = self.run_in(less, DEMI, "echo", "-l", "0.0.0.0:7000", net=self.net)
                self.assertEqual(done.returncode, 1, done)
                self.assertIn("cannot start the library", done.stderr)
                code, levels = self.findings(less, self.net)
                value = word.split("=")[1]
                check = "CAP_" + value if word.startswith("--cap-add") else value
                self.assertEqual((code, levels[check]), (1, "missing"))


ADMIN, RAW, TUN = "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--device=/dev/net/tun"


def need_dpdk():
    if not DPDK:
        raise unittest.SkipTest("the library was built without DPDK (libdpdk-dev)")


class Veth:
    """A pair of interfaces; the kernel has an address on one of them."""

    @classmethod
    def setUpClass(cls):
        if not shutil.which("ethtool"):
            raise unittest.SkipTest("no ethtool: offloads of the veth cannot be turned off")
        ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        for name in ("veth0", "veth1"):  # frames as they are on a wire
            subprocess.run(["ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro",
                            "off"], check=True, capture_output=True)
            ip("link", "set", name, "up")
        ip("addr", "add", HOST + "/24", "dev", "veth0")

    @classmethod
    def tearDownClass(cls):
        ip("link", "del", "veth0")


class Packet(Veth, OverDevice, Case):
    net = "packet:veth1"
    arguments = [RAW]


class NewTap(OverDevice, Case):
    net = "tap:demi0"
    interface = "demi0"
    arguments = [ADMIN, TUN]


class GivenTap(OverDevice, Case):
    """One that was made before, for the user of the process."""

    net = "tap:demi1"
    interface = "demi1"
    arguments = [TUN]

    @classmethod
    def setUpClass(cls):
        ip("tuntap", "add", "mode", "tap", "user", "0", "name", cls.interface)
        ip("link", "set", cls.interface, "up")

    @classmethod
    def tearDownClass(cls):
        ip("link", "del", cls.interface)


class DpdkPacket(Veth, OverDevice, Case):
    net = "dpdk:net_af_packet0 iface=veth1"
    arguments = [ADMIN, RAW, UNLIMITED]

    @classmethod
    def setUpClass(cls):
        need_dpdk()
        super().setUpClass()


class DpdkPcap(Veth, OverDevice, Case):
    net = "dpdk:net_pcap0 rx_iface_in=veth1 tx_iface=veth1"
    arguments = [RAW]

    @classmethod
    def setUpClass(cls):
        need_dpdk()
        super().setUpClass()


class DpdkTap(OverDevice, Case):
    net = "dpdk:net_tap0 iface=demi2"
    interface = "demi2"
    arguments = [ADMIN, TUN]

    @classmethod
    def setUpClass(cls):
        need_dpdk()

    def give_address(self):
        # The kernel's end has the link address of ours.
        ip("link", "set", self.interface, "address", "02:00:00:00:00:99")
        super().give_address()


class DpdkMemif(Case):
    """Two containers that share a folder, and have nothing else."""

    def test_echo_is_served_without_anything(self):
        need_dpdk()
        with tempfile.TemporaryDirectory() as folder:
            net = f"dpdk:net_memif0 role=server id=0 socket={folder}/memif.sock"
            words = listed(net)
            self.assertEqual(words, ["--cap-drop=ALL"])
            self.serve(words, net, DEMI, "echo", "-l", "0.0.0.0:7000")
            client = contained(words, self.folder, DEMI, "ping", "-n", "500", OWN + ":7000")
            env = environment(net.replace("role=server", "role=client"))
            done = subprocess.run(client, env={**env, "DEMI_NET_ADDRESSES": "10.9.0.3/24"},
                                  capture_output=True, text=True, preexec_fn=limits(words),
                                  timeout=PATIENCE_S, check=False)
            self.assertEqual(done.returncode, 0, done)
            self.assertIn("500 sent, 500 answered", done.stdout)


def enter():
    """Goes on in namespaces of its own, as root there."""
    if os.environ.get("CONTAINER_TEST_INSIDE") == "yes":
        return
    inside = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    probe = subprocess.run([*inside, "sh", "-c", "ip link set lo up && mount -t tmpfs none /dev && "
                            "mount -t sysfs none /sys && setpriv --version"],
                           capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        print(f"skipped: no user namespace with a network: {probe.stderr.strip()}")
        sys.exit(77)
    os.environ["CONTAINER_TEST_INSIDE"] = "yes"
    os.execvp("unshare", [*inside, sys.executable, *sys.argv])


def main():
    global DEMI, KV, DPDK
    enter()
    ip("link", "set", "lo", "up")
    subprocess.run(["mount", "-t", "sysfs", "none", "/sys"], check=True)  # of this network
    DEMI, KV = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))
    if len(sys.argv) > 1 and sys.argv[1].endswith(".so"):
        DPDK = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RUNTIME_DIRECTORY"] = folder  # of DPDK, also where /run is not ours
        unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
