# SPDX-License-Identifier: MIT
"""Two hosts in network namespaces of their own: Linux, and one whose frames our stack takes.

The process that calls enter() is Linux's side from then on. Over tap, our programs run in the same
namespace, behind the TAP interface; over packet, dpdk and xdp (veth), in another one, where the
far end of the pair is: without an address of Linux's, or, over xdp, with ours, which are both
Linux's and the stack's. Nothing is left behind: the namespaces end with the process.

In a virtual machine with a NIC (test/vm/nic), which is a host by itself, the kind is nic: Linux has
the interface host0.
"""

import ctypes
import fcntl
import os
import pathlib
import socket
import struct
import subprocess
import threading

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
NIC = os.environ.get("DEMI_TEST_NIC")
LIBC = ctypes.CDLL(None, use_errno=True)
SIOCETHTOOL = 0x8946
# Over a veth pair Linux hands TCP's frames with unfinished checksums, and larger than the MTU,
# unless these are off: ETHTOOL_STXCSUM; ETHTOOL_STSO, _SGSO, _SGRO.
CHECKSUMS = (0x17,)
SEGMENTS = (0x1f, 0x24, 0x2c)


class NotAllowed(Exception):
    pass


def call(name, *args):
    if getattr(LIBC, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)


def setting(name, value):
    path = pathlib.Path("/proc/sys/net", name)
    if path.exists():
        path.write_text(str(value), encoding="ascii")


def ip(*words):
    subprocess.run(["ip", *" ".join(map(str, words)).split()], check=True)


def enter():
    """Into a namespace of our own; NotAllowed says why not."""
    user = os.geteuid()
    if NIC:
        return
    try:
        try:
            call("unshare", CLONE_NEWNET)
        except OSError:
            call("unshare", CLONE_NEWUSER | CLONE_NEWNET)
            pathlib.Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
    except OSError:
        raise NotAllowed("network namespaces are not allowed here: run as root") from None
    try:
        ip("link set lo up")
        ip("link add probe0 type veth peer name probe1")
        ip("link del probe0")
    except FileNotFoundError:
        raise NotAllowed("ip(8) is not installed (iproute2)") from None
    except subprocess.CalledProcessError:
        raise NotAllowed("no veth interfaces in this kernel") from None
    setting("ipv6/conf/default/accept_dad", 0)
    setting("ipv4/tcp_max_syn_backlog", 8192)
    setting("core/somaxconn", 8192)


def is_user_namespace():
    """Whether uid 0 is somebody else outside."""
    return pathlib.Path("/proc/self/uid_map").read_text(encoding="ascii").split()[:2] != ["0", "0"]


def other_namespace():
    """A descriptor of a further namespace; ours stays what it is."""
    made = []

    def make():  # unshare is of the thread
        call("unshare", CLONE_NEWNET)
        made.append(os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net",
                            os.O_RDONLY | os.O_CLOEXEC))
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def set_off(name, commands):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in commands:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sQ", name.encode(), ctypes.addressof(value)).ljust(40, b"\0")
            fcntl.ioctl(s, SIOCETHTOOL, request)


class Link:
    """Interfaces between Linux and our stack: with addresses on Linux's side."""

    LINUX = {4: "10.0.0.1", 6: "fd00:1::1"}
    OURS = {4: "10.0.0.2", 6: "fd00:1::2"}

    def __init__(self, kind, mtu=1500, checksums=False, queues=False):
        self.kind, self.mtu, self.fd, self.is_there = kind, mtu, None, True
        if kind == "tap":
            if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
                raise NotAllowed("/dev/net/tun cannot be opened: run as root")
            self.near, self.far = "demi0", "demi0"
            ip("tuntap add dev demi0 mode tap", "multi_queue" if queues else "")
            ip("link set demi0 txqueuelen 10000")
        elif kind == "nic":
            self.near, self.far = "host0", NIC
        else:
            self.near, self.far = "veth0", "veth1"
            wide = "numtxqueues 4 numrxqueues 4" if queues and kind == "xdp" else ""
            ip("link add veth0", wide, "type veth peer name veth1", wide)
            self.fd = other_namespace()
            for end in ("veth0", "veth1"):
                set_off(end, SEGMENTS if checksums else CHECKSUMS + SEGMENTS)
            if kind == "xdp":
                self.share_far()
            else:
                self.move_far()
        self.up()

    def up(self):
        ip("link set", self.near, "mtu", self.mtu, "up")
        ip("addr add", self.LINUX[4] + "/24 dev", self.near)
        ip("addr add", self.LINUX[6] + "/64 dev", self.near, "nodad")

    def move_far(self):
        """Into the other namespace, where it has no address, and so no traffic of Linux's."""
        ip(f"link set veth1 netns /proc/{os.getpid()}/fd/{self.fd}")
        write = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > "\
            "/proc/sys/net/ipv6/conf/veth1/disable_ipv6; "
        command = f"{write} ip link set veth1 mtu {self.mtu} up"
        subprocess.run(["sh", "-c", command], check=True, preexec_fn=self.inside,
                       stderr=subprocess.DEVNULL)

    def share_far(self):
        """Into the other namespace, for a kernel and a stack that have the same addresses."""
        ip(f"link set veth1 netns /proc/{os.getpid()}/fd/{self.fd}")
        # While the kernel makes sure of its link-local address, it asks for no neighbour for us.
        subprocess.run(["sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/veth1/accept_dad"],
                       check=False, preexec_fn=self.inside, stderr=subprocess.DEVNULL)
        for words in ("link set lo up", f"addr add {self.OURS[4]}/24 dev veth1",
                      f"addr add {self.OURS[6]}/64 dev veth1 nodad",
                      f"link set veth1 mtu {self.mtu} up"):
            self.ip_inside(words)

    def ip_inside(self, words):
        subprocess.run(["ip", *words.split()], check=True, preexec_fn=self.inside)

    def inside(self):
        """In a child: into our stack's namespace."""
        if self.fd is not None:
            call("setns", self.fd, CLONE_NEWNET)

    def close(self):
        if self.kind == "nic":
            ip("addr del", self.LINUX[4] + "/24 dev", self.near)
            ip("addr del", self.LINUX[6] + "/64 dev", self.near)
            ip("neigh flush dev", self.near)
        elif self.is_there:
            ip("link del", self.near)
        if self.fd is not None:
            os.close(self.fd)
