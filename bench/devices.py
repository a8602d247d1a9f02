# SPDX-License-Identifier: MIT
"""A server over each device that the library has, and a client that reaches it.

enter() moves the process into a network namespace of its own, where the clients are. A device is a
context manager of Ends: what it makes is gone at its end.
"""

import contextlib
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "test" / "interop"))
import netns  # noqa: E402
from netns import ip  # noqa: E402

PATIENCE_S = 20
TAP = "demi0"
PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """Something a person must know; its text says what."""


class Missing(Exception):
    """Why a device cannot be had here."""


class Ends:
    """Of a link: how a server is started, and a client, and the address of the server. Where the
    link leads back to the process that has it, nobody can be a client (has_client)."""

    def __init__(self, net, address="10.0.0.2", inside=None, client_net="kernel", ready=None):
        self.address, self.inside, self.ready = address, inside, ready
        self.has_client = client_net is not None
        self.server_env = {"DEMI_NET": net}
        self.client_env = {"DEMI_NET": client_net}
        if net.split(":")[0] not in ("kernel", "xdp"):
            self.server_env |= {"DEMI_NET_ADDRESSES": address + "/24", "DEMI_NET_PROBE": "no"}


def cpus():
    """(of the server, of the load)"""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        raise Missing("it needs two CPUs, one for the server and one for the client")
    return mine[:1], mine[1:2]


def environment(extra):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DEMI_", "LIBOS"))}
    return {**clean, **extra}


def start(command, cpu, env, inside=None, stderr=None, **options):
    """A child on one CPU, in a namespace, which ends with this process."""
    def prepare():
        netns.call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cpu)
        if inside:
            inside()
    # Not buffered: next_line looks whether there is a line.
    return subprocess.Popen([str(word) for word in command], env=environment(env), bufsize=0,
                            stdout=subprocess.PIPE, preexec_fn=prepare,
                            stdin=options.get("stdin", subprocess.DEVNULL), stderr=stderr)


def next_line(child, seconds=PATIENCE_S):
    """What it prints next, for a child that prints line by line."""
    if not select.select([child.stdout], [], [], seconds)[0]:
        raise Failure(f"{' '.join(child.args)} says nothing for {seconds} s")
    return child.stdout.readline().decode().strip()


class Server:
    """A program over a device, until the block ends."""

    def __init__(self, ends, *command, ready="listening on ", **env):
        self.child = start(command, cpus()[0], {**ends.server_env, **env}, ends.inside)
        try:
            line = next_line(self.child)
            if not line.startswith(ready):
                raise Failure(f"{' '.join(self.child.args)} over {ends.server_env['DEMI_NET']} "
                              f"says {line!r}")
            if ends.ready:
                ends.ready()
        except BaseException:
            self.__exit__()
            raise
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGINT)
        try:
            self.child.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()

    def cpu_seconds(self):
        """User and system time so far, of all its threads."""
        stat = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- the devices


@contextlib.contextmanager
def kernel():
    yield Ends("kernel", address="127.0.0.1")


@contextlib.contextmanager
def own(net):
    """Of one process alone."""
    yield Ends(net, client_net=None)


@contextlib.contextmanager
def link(net, kind):
    """Over a veth pair or a TAP interface: {} stands for its name."""
    if "xdp" in net and netns.is_user_namespace():
        raise Missing("XDP programs are not allowed here: run as root")
    try:
        made = netns.Link(kind)
    except netns.NotAllowed as reason:
        raise Missing(str(reason)) from None
    try:
        yield Ends(net.format(made.far), address=made.OURS[4], inside=made.inside)
    finally:
        made.close()


@contextlib.contextmanager
def dpdk_tap():
    """DPDK's net_tap makes the interface, and takes it away with its server."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise Missing("/dev/net/tun cannot be opened: run as root")

    def ready():
        ip(f"link set {TAP} up")
        ip(f"addr add 10.0.0.1/24 dev {TAP}")
    yield Ends(f"dpdk:net_tap0 iface={TAP}", ready=ready)


@contextlib.contextmanager
def dpdk_memif():
    """Two processes of ours, and no kernel between them."""
    folder = tempfile.mkdtemp()
    port = f"id=0 socket={folder}/memif.sock"
    ends = Ends(f"dpdk:net_memif0 role=server {port}",
                client_net=f"dpdk:net_memif0 role=client {port}")
    ends.client_env |= {"DEMI_NET_ADDRESSES": "10.0.0.1/24", "DEMI_NET_PROBE": "no"}
    try:
        yield ends
    finally:
        shutil.rmtree(folder)


# name: what makes it
DEVICES = {
    "kernel": kernel,
    "packet": lambda: link("packet:{}", "packet"),
    "tap": lambda: link("tap:{}", "tap"),
    "xdp": lambda: link("xdp:{}", "xdp"),
    "loop": lambda: own("loop"),
    "dpdk af_packet": lambda: link("dpdk:net_af_packet0 iface={}", "packet"),
    "dpdk af_xdp": lambda: link("dpdk:net_af_xdp0 iface={}", "packet"),
    "dpdk pcap": lambda: link("dpdk:net_pcap0 rx_iface_in={0} tx_iface={0}", "packet"),
    "dpdk tap": dpdk_tap,
    "dpdk memif": dpdk_memif,
    "dpdk ring": lambda: own("dpdk:net_ring0"),
}


def module_of(name):
    """The module that a device needs, if it does."""
    word = name.split()[0]
    return word if word in ("dpdk", "xdp") else None


def open_device(name, modules):
    """The context manager of a device; Missing when the build has no such module."""
    module = module_of(name)
    if module and module not in modules:
        raise Missing(f"the library was built without {module}")
    return DEVICES[name]()


def enter():
    """Ends the program as skipped where no namespace can be made."""
    try:
        netns.enter()
        cpus()
    except (netns.NotAllowed, Missing) as reason:
        print(f"SKIP {reason}")
        sys.exit(77)
