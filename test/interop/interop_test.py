#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our stack against Linux's own, over tap and veth (packet, and xdp and dpdk where they are built),
or, in the virtual machine of test/vm/nic, over its NIC by DPDK.

    interop_test.py FOLDER [NAME...]    all tests, or those whose name contains one of these

FOLDER is the build folder. Prints the Test Anything Protocol. INTEROP=long in the environment: more
of everything, for minutes; INTEROP_CAPTURE=FOLDER: captures of what our side sends and receives.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import agreed  # noqa: E402
import netns  # noqa: E402
from netns import Link, NIC, ip  # noqa: E402

BUILD = pathlib.Path(sys.argv[1]).resolve()
LONG = os.environ.get("INTEROP") == "long"
CAPTURE = os.environ.get("INTEROP_CAPTURE")
SEED = int(os.environ.get("TEST_SEED", "0"), 0) or random.SystemRandom().getrandbits(31)
# A virtual machine without KVM is slow, and has one NIC.
SLOW = 6 if NIC else 1
CASE_S = 300 if LONG else 60 * SLOW  # the longest that one case may take
TOTAL_S = 3600 if LONG else 600 * SLOW
WORKERS = 1 if NIC else 3  # processes that run cases
AT_ONCE_S = 10 * SLOW  # even beside load; what ends a connection else takes longer
PORT = 7000
MB = 1000000

PEER, HTTP, IPERF = (str(BUILD / "test/interop" / name)
                     for name in ("interop-peer", "interop-http", "interop-iperf"))
KV, DEMI = str(BUILD / "apps/demi-kv"), str(BUILD / "tools/demi")
RELAY = str(BUILD / "apps/demi-relay")

TESTS = []


class Skip(Exception):
    pass


def case(*variants, **names):
    """Registers a test once for each tuple of arguments."""
    def register(f):
        for v in variants or [()]:
            v = v if isinstance(v, tuple) else (v,)
            TESTS.append((" ".join([f.__name__, *map(str, v)]), f, v))
        return f
    return register


def need(tool, package):
    if shutil.which(tool) is None:
        raise Skip(f"{tool} is not installed ({package})")
    return tool


def fewer(n):
    """A count that sanitizers, which are slow, reduce."""
    return n // 10 if NIC or os.environ.get("DEMI_TEST_VARIANT") in ("asan", "tsan") else n


def need_xdp():
    if not (BUILD / "src/demikernel/xdp.so").exists():
        raise Skip("the library was built without the module xdp")
    if netns.is_user_namespace():
        raise Skip("XDP programs are not allowed here: run as root")


def need_dpdk():
    if not (BUILD / "src/demikernel/dpdk.so").exists():
        raise Skip("the library was built without the module dpdk")


class Deadline:
    end = 0

    @classmethod
    def left(cls):
        return max(0.1, cls.end - time.monotonic())


class Child:
    """A program on one of the two sides."""

    def __init__(self, command, env=None, inside=None):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_NET")}
        self.err = tempfile.TemporaryFile("a+b")  # which is read while it is written
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.err, preexec_fn=inside,
                                        bufsize=0,  # await_line sees what was not read
                                        env={**environment, **(env or {})})

    def said(self):
        self.err.seek(0)
        return self.err.read().decode(errors="replace")

    def await_line(self, pattern, patience=20 * SLOW):
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        line = self.process.stdout.readline().decode() if ready else "nothing in time"
        assert re.match(pattern, line), f"said {line!r}, {self.said()!r}"
        return self

    def finish(self, patience=None):
        """Its exit code and output, when it ends by itself."""
        try:
            out, _ = self.process.communicate(timeout=patience or Deadline.left())
        except subprocess.TimeoutExpired:  # it is ended when what it left is shown
            command = " ".join(self.process.args)
            raise AssertionError(f"not done in time: {command}: {self.said()!r}") from None
        return self.process.returncode, out.decode(errors="replace")

    def succeed(self, patience=None):
        code, out = self.finish(patience)
        assert code == 0, f"exit code {code}: {out[-800:]!r} {self.said()[-800:]!r}"
        return out

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        return self.finish(30 * SLOW)  # a leak check of a port of DPDK takes seconds

    def pause(self, seconds):
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def dispose(self):
        """Not by a kill at once: the kernel ends the requests of a ring some time after its
        process, and until then the port that was listened on is in use."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(AT_ONCE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()
        self.err.close()


class Net(Link):
    """A link, and programs on both its sides."""

    def __init__(self, *args, **kwargs):
        self.children, self.captures = [], 0
        if args[0] == "xdp":
            need_xdp()
        if args[0] == "dpdk":
            need_dpdk()
        super().__init__(*args, **kwargs)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind not in (None, Skip):
                self.explain()
        finally:
            for c in self.children:
                c.dispose()
            self.close()

    def explain(self):
        """What a failure left behind, as comments: connections of Linux, counters of ours."""
        if shutil.which("ss"):
            found = subprocess.run(["ss", "-tnoi"], check=False, stdout=subprocess.PIPE).stdout
            for line in found.decode().splitlines()[1:20]:
                print(f"#   {' '.join(line.split())[:300]}")
        for c in self.children:
            if c.is_ours and c.process.poll() is None:
                with contextlib.suppress(AssertionError):  # it may not have got so far
                    for name, value in counters(c).items():
                        if value and not name.startswith("mem."):
                            print(f"#   {name} {value}")

    def device(self, fault):
        spec = f"{'dpdk' if self.kind == 'nic' else self.kind}:{self.far}"
        if self.kind == "dpdk":
            spec = f"dpdk:net_af_packet0 iface={self.far}"
        if fault:
            seed = SEED + len(self.children)  # what fails is tried again with other faults
            spec = f"fault(seed={seed},{fault}):{spec}"
        if CAPTURE:
            self.captures += 1
            spec = f"pcap({CAPTURE}/{Deadline.name}-{self.captures}.pcapng):{spec}"
        return spec

    def ours(self, *command, fault=None, **env):
        settings = {"DEMI_NET": self.device(fault)}
        if self.kind != "xdp":  # which has what the kernel has
            settings.update(DEMI_NET_PROBE="off",
                            DEMI_NET_ADDRESSES=f"{self.OURS[4]}/24,{self.OURS[6]}/64")
        settings.update(env)
        return self.child(Child(list(command), settings, self.inside), is_ours=True)

    def linux(self, *command, **env):
        return self.child(Child(list(command), env))

    def child(self, c, is_ours=False):
        c.is_ours = is_ours
        self.children.append(c)
        return c

    def sides(self, server, fault=None):
        """Who serves, who connects: functions that start a program there."""
        def ours(*command):
            return self.ours(*command, fault=fault)
        return (ours, self.linux) if server == "ours" else (self.linux, ours)

    def address(self, server, version, port=PORT):
        host = (self.OURS if server == "ours" else self.LINUX)[version]
        return f"[{host}]:{port}" if version == 6 else f"{host}:{port}"


def exchange(net, server, version, *options, fault=None):
    """Streams between both sides, checked by both; `server` says whose the server is."""
    serve, connect = net.sides(server, fault)
    address = net.address(server, version)
    s = serve(PEER, "serve", address).await_line("ready")
    out = connect(PEER, "connect", address, f"seed={SEED}", *options).succeed()
    happened = counters(s) if fault and server == "ours" else None
    code, said = s.stop()
    assert code == 0, f"the server: {said!r} {s.said()!r}"
    for word, name in FAULT_COUNTERS.items() if happened else ():
        assert (happened[name] > 0) == (word in fault), f"{fault}: {name} is {happened[name]}"
    return out


FAULT_COUNTERS = {"loss=": "fault.lost", "corrupt=": "fault.corrupted", "delay=": "fault.delayed",
                  "reorder=": "fault.reordered", "duplicate=": "fault.duplicated"}


def counters(child):
    """Of a program of ours that runs. {} in a user namespace: there the folder of uid 0, where they
    are, is not ours."""
    if netns.is_user_namespace():
        return {}
    done = subprocess.run([DEMI, "info", "--stats", str(child.process.pid), "--json"], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, f"no counters: {done.stderr.decode()}"
    return json.loads(done.stdout)


# ---- bulk and many connections ----------------------------------------------------------------

EVERYWHERE = [(kind, server, version) for kind in ("tap", "packet")
              for server in ("ours", "linux's") for version in (4, 6)]


@case(*[(*e, mtu) for e in EVERYWHERE for mtu in (1500, 9000)],
      *[("xdp", server, version, mtu) for server in ("ours", "linux's") for version in (4, 6)
        for mtu in (1500, 3500)],
       *[("dpdk", server, version, 1500) for server in ("ours", "linux's") for version in (4, 6)],
      ("nic", "ours", 4, 1500), ("nic", "linux's", 6, 1500))
def bulk(kind, server, version, mtu):
    size = fewer(400 * MB if LONG else 16 * MB)
    with Net(kind, mtu) as net:
        exchange(net, server, version, f"up={size}", f"down={size}")


OFFLOADS = [",".join(name for i, name in enumerate(("checksum", "rx-checksum", "tso", "gro"))
                     if bits >> i & 1) or "none" for bits in range(16)]


NICS_THAT_CUT = ("igb", "virtio-queues")
NICS_OF_ONE_QUEUE = ("e1000e", "virtio")


def cuts(kind):
    """Whether the device makes segments of TCP's packets."""
    return kind != "nic" or os.environ["DEMI_TEST_NIC_KIND"] in NICS_THAT_CUT


@case(*[(kind, offloads, (4, 6)[(i + j) % 2]) for i, kind in enumerate(("tap", "packet"))
        for j, offloads in enumerate(OFFLOADS)],
      ("nic", "none", 4), ("nic", "checksum", 6), ("nic", "checksum,rx-checksum,tso,gro", 4),
      ("nic", "tso,checksum", 6))
def bulk_with_offloads(kind, offloads, version):
    """Each of them, or its software, carries the same bytes, which Linux checks; who cuts segments
    is counted."""
    with Net(kind) as net:
        s = net.ours(PEER, "serve", net.address("ours", version),
                     DEMI_NET_OFFLOAD=offloads).await_line("ready")
        size = fewer((20 if kind == "nic" else 8) * MB)
        net.linux(PEER, "connect", net.address("ours", version), f"seed={SEED}", f"up={size}",
                  f"down={size}").succeed()
        happened = counters(s)
        if happened:
            large = "tso" in offloads
            bytes_each = happened["dev.tx_bytes"] / happened["dev.tx_frames"]
            assert (bytes_each > 1514) == (large and cuts(kind)), happened
            assert (happened["offload.cut"] > 0) == (large and not cuts(kind)), happened
        code, said = s.stop()
        assert code == 0, said


@case(*[(("tap", "packet")[i % 2], offloads, (4, 6)[i // 2 % 2],
         ("timestamps", "bare")[(i // 4 + i) % 2]) for i, offloads in enumerate(OFFLOADS)])
def wire_with_offloads(kind, offloads, version, options):
    """A capture of what is sent: tshark finds every checksum good, and no frame too long. And
    groups are formed, with timestamps and without, where they are to be."""
    tool = need("tshark", "tshark")
    stamps = "yes" if options == "timestamps" else "no"
    with Net(kind) as net, tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "wire.pcapng")
        s = net.ours(PEER, "serve", net.address("ours", version), DEMI_NET_OFFLOAD=offloads,
                     DEMI_NET_TIMESTAMPS=stamps,
                     DEMI_NET=f"pcap({file}):{kind}:{net.far}").await_line("ready")
        size = fewer(2 * MB)
        client = net.linux(PEER, "connect", net.address("ours", version), f"seed={SEED}",
                           f"up={size}", f"down={size}")
        while client.process.poll() is None:
            s.pause(0.005)  # so that frames come together, whoever has the CPU
            time.sleep(0.001)
        client.succeed()
        happened = counters(s)
        s.stop()
        if happened:
            assert (happened["gro.frames"] > 0) == ("gro" in offloads), happened
        out = net.linux(tool, "-r", str(file), "-o", "tcp.check_checksum:TRUE", "-o",
                        "ip.check_checksum:TRUE", "-T", "fields", "-E", "separator=,", "-e",
                        "tcp.checksum.status", "-e", "ip.checksum.status", "-e", "frame.len", "-e",
                        "tcp.len", "-e", "tcp.options.timestamp.tsval", "-Y",
                        f"tcp.srcport == {PORT}").succeed()
        frames = [line.split(",") for line in out.split()]
        assert sum(int(f[3]) for f in frames) >= size, "fewer bytes than were received"
        for f in frames:
            assert f[0] == "1" and f[1] in ("1", "") and int(f[2]) <= 1514, f
            assert (f[4] != "") == (options == "timestamps"), f


@case(("packet", "ours", 4), ("packet", "linux's", 6))
def bulk_with_unfinished_checksums(kind, server, version):
    with Net(kind, checksums=True) as net:
        exchange(net, server, version, f"up={fewer(16 * MB)}", f"down={fewer(16 * MB)}")


@case(("tap", "ours", 4), ("packet", "linux's", 6), ("packet", "ours", 4))
def short_connections(kind, server, version):
    n = fewer(100000 if LONG else 10000)
    with Net(kind) as net:
        netns.setting("ipv4/ip_local_port_range", "1100 65000")
        netns.setting("ipv4/tcp_tw_reuse", 1)  # ports that Linux has in TIME-WAIT, with timestamps
        exchange(net, server, version, f"connections={n}", "at_once=32", "up=300", "down=3000",
                 "either_ends_first")


@case(("tap", "ours", 4), ("tap", "linux's", 6), ("packet", "ours", 6), ("packet", "linux's", 4),
      ("xdp", "ours", 4), ("xdp", "linux's", 6), ("dpdk", "ours", 6), ("dpdk", "linux's", 4))
def thousand_at_once(kind, server, version):
    with Net(kind) as net:
        out = exchange(net, server, version, "connections=1000", "at_once=1000", "together",
                       "up=8000", "down=8000")
        assert "1000 at once" in out, out


@case("tap")
def other_bytes_are_noticed(kind):
    """That these tests can fail: an echo server does not send what is expected."""
    with Net(kind) as net:
        address = net.address("ours", 4)
        net.ours(DEMI, "echo", "--listen", address).await_line("listening on")
        client = net.linux(PEER, "connect", address, "up=100000", "down=100000")
        code, _ = client.finish()
        assert code == 1 and "bytes differ" in client.said(), client.said()


# ---- a bad network ----------------------------------------------------------------------------

FAULTS = {
    "loss": "loss=2%",
    "delay": "delay=2ms,jitter=1ms",
    "reorder": "reorder=5%,reorder_by=1ms",
    "duplicate": "duplicate=5%",
    "corrupt": "corrupt=1%",
    "all": "loss=1%,delay=500us,jitter=500us,reorder=2%,reorder_by=1ms,duplicate=2%,corrupt=0.5%",
}


@case(*[(name, kind, server, version) for i, name in enumerate(FAULTS)
        for j, (kind, server, version) in enumerate(EVERYWHERE)
        if LONG or name == "all" and j % 3 == 0 or j in (i % 8, (i + 5) % 8)])
def bulk_over(name, kind, server, version):
    size = 20 * MB if LONG else 2 * MB  # what faults do must show
    with Net(kind) as net:
        exchange(net, server, version, f"up={size}", f"down={size}", fault=FAULTS[name])


@case(("tap", "ours", 4), ("packet", "linux's", 6))
def many_connections_over_all_faults(kind, server, version):
    with Net(kind) as net:
        exchange(net, server, version, f"connections={fewer(2000 if LONG else 400)}", "at_once=100",
                 "up=20000", "down=20000", "either_ends_first", fault=FAULTS["all"])


# ---- what is agreed on, over a bad network ------------------------------------------------------

BAD = {
    "loss": "loss=2%",
    "reorder": "reorder=5%,reorder_by=3ms",
    "duplicate": "duplicate=5%",
    "all": "loss=2%,jitter=1ms,reorder=2%,reorder_by=3ms,duplicate=2%,corrupt=0.5%",
}
DELAY_MS = 2  # each way
PLACES = (("tap", 4), ("tap", 6), ("packet", 4), ("packet", 6))
ON_OFF = [(True, False)] * len(agreed.OPTIONS)
COVERED = agreed.covering([tuple(BAD), PLACES, ("ours", "linux's"), *ON_OFF, *ON_OFF])


def names_of(on):
    return "+".join(option for option, is_on in zip(agreed.OPTIONS, on) if is_on) or "nothing"


def check_agreement(said, version, options, fault):
    """All say the same of the connection, and it is what both ends have; figures are sane."""
    mss = agreed.segment_bytes(version, options)
    for who, s in said.items():
        assert s.options() == options, f"{who} has {s.options()}, wanted {options}"
        assert s.figures["mss"] == mss, f"{who}: {s.figures}, wanted {mss}"
        assert 1 <= s.figures["cwnd"] <= 10000, f"{who}: {s.figures}"
        # A process that does not run counts delays too short, never by a way that has none.
        assert s.figures["min_rtt_us"] >= 500 * DELAY_MS, f"{who}: {s.figures}"
        few = s.figures.get("acked", 0) < 500 * mss  # none of so few may have been lost
        assert "loss=" not in fault or who == "ss" or few or s.figures["retrans"] > 0, \
            f"{who} sent nothing again: {s.figures}"
    ours, linux, ss = said["ours"].scales, said["linux"].scales, said["ss"].scales
    assert ss == linux == ours[::-1], f"window scales: ours {ours}, Linux {linux}, ss {ss}"


def watch(client, ours):
    """What ss says of Linux's side, and the counters of ours, when all has arrived and the
    connection is still there; then it may end."""
    client.await_line("all is here", Deadline.left())
    ss = agreed.Ss(PORT)
    happened = counters(ours)
    client.process.send_signal(signal.SIGUSR1)
    return ss, happened


@case(*[(bad, kind, version, server, names_of(row[:4]), names_of(row[4:]))
        for bad, (kind, version), server, *row in COVERED])
def agree(bad, kind, version, server, ours_on, linux_on):
    """Bulk both ways, with options on and off on either side."""
    need("ss", "iproute2")
    size = 20 * MB if LONG else 2 * MB  # what faults do must show
    ours_on, linux_on = (set(on.split("+")) & set(agreed.OPTIONS) for on in (ours_on, linux_on))
    fault = f"{BAD[bad]},delay={DELAY_MS}ms,mark=5%"
    with Net(kind) as net:
        agreed.set_linux(linux_on)

        def ours(*command):
            return net.ours(*command, fault=fault, **agreed.for_ours(ours_on))
        serve, connect = (ours, net.linux) if server == "ours" else (net.linux, ours)
        address = net.address(server, version)
        wanted = ours_on & linux_on
        for _ in range(5):
            s = serve(PEER, "serve", address, "info").await_line("ready")
            c = connect(PEER, "connect", address, "info", "keep", f"seed={SEED}", f"up={size}",
                        f"down={size}")
            ss, happened = watch(c, s if server == "ours" else c)
            client_said = c.succeed()
            code, server_said = s.stop()
            assert code == 0, f"{server_said!r} {s.said()!r}"
            said = {"ours": client_said, "linux": server_said}
            if server == "ours":
                said = {"ours": server_said, "linux": client_said}
            said = {who: agreed.Info(text) for who, text in said.items()}
            # Else so much was lost in a row that it is no fault: a SYN, which is sent again without
            # ECN (RFC 3168, 6.1.1.1), or a segment, over and over, as in a black hole.
            if ("ecn" not in wanted or "ecn" in said["ours"].options()) and \
                    not happened.get("tcp.path_mtu_black_holes"):
                break
        check_agreement({**said, "ss": ss}, version, wanted, fault)
        if happened:
            assert (happened["fault.marked"] > 0) == ("ecn" in wanted), happened


# ---- unmodified clients of our programs -------------------------------------------------------

def kv(net, version=4, **options):
    return net.ours(KV, "--bind", net.OURS[version], "--port", "6379",
                    **options).await_line("ready on")


@case(("tap", 4, 1500), ("tap", 6, 1500), ("packet", 4, 9000), ("packet", 6, 1500))
def ping(kind, version, mtu):
    tool = need("ping", "iputils-ping")
    with Net(kind, mtu) as net:
        kv(net, version)
        for size, count in ((56, 20), (mtu - 48, 5), (mtu, 5), (60000, 5)):
            out = net.linux(tool, "-n", "-c", str(count), "-i", "0.01", "-W", "10", "-s", str(size),
                            net.OURS[version]).succeed()
            assert f" {count} received" in out and "wrong data" not in out, out


@case(("tap", 4), ("packet", 6))
def curl(kind, version):
    tool = need("curl", "curl")
    with Net(kind) as net, tempfile.TemporaryDirectory() as folder:
        address = net.address("ours", version, 80)
        net.ours(HTTP, address).await_line("ready")
        document = random.Random(SEED).randbytes(fewer(10 * MB))
        there, back = pathlib.Path(folder, "there"), pathlib.Path(folder, "back")
        there.write_bytes(document)
        url = f"http://{address}/document"
        base = [tool, "-sS", "-g", "--fail", "--noproxy", "*"]
        net.linux(*base, "-H", "Expect:", "-T", str(there), url).succeed()
        net.linux(*base, "-o", str(back), url).succeed()
        want, got = (hashlib.sha256(d).hexdigest() for d in (document, back.read_bytes()))
        assert got == want, "the document differs"
        many = [x for _ in range(20) for x in ("-o", "/dev/null", url)]
        net.linux(*base, "--parallel", "--parallel-max", "10", *many).succeed()


# What the buffers of both sides hold, when they have grown: unread when the client ends the test.
UNDER_WAY = (16 + 8) << 20


@case(("tap", 4), ("tap", 6), ("packet", 4), ("packet", 6))
def iperf3(kind, version):
    tool = need("iperf3", "iperf3")
    with Net(kind) as net:
        net.ours(IPERF, net.address("ours", version, 5201)).await_line("ready")
        for options in ([], ["--reverse"], ["--parallel", "8"], ["--parallel", "4", "--reverse"]):
            size = 50 * MB
            out = net.linux(tool, "-c", net.OURS[version], "-n", str(size), "--json", "-i", "0",
                            *options).succeed()
            received = json.loads(out)["end"]["sum_received"]["bytes"]
            assert received >= size - UNDER_WAY, f"{options}: {received} of {size}"


@case(("tap", 4), ("packet", 4), ("packet", 6), ("nic", 4), ("nic", 6))
def redis_tools(kind, version):
    cli, benchmark = need("redis-cli", "redis-tools"), need("redis-benchmark", "redis-tools")
    with Net(kind) as net:
        server = kv(net, version)
        host = ["-h", net.OURS[version]]
        assert net.linux(cli, *host, "set", "k", "v" * 50000).succeed() == "OK\n"
        assert net.linux(cli, *host, "get", "k").succeed() == "v" * 50000 + "\n"
        for options in (["-c", "50"], ["-c", "200", "-P", "16"], ["-c", "20", "-d", "20000"]):
            out = net.linux(benchmark, *host, "-t", "set,get,incr", "-n", str(fewer(5000)), "-q",
                            *options).succeed()
            assert out.count("requests per second") >= 3 and "rror" not in out, out
        code, _ = server.stop()
        assert code == 0, f"demi-kv ended with {code}"


# ---- our tools, unchanged ---------------------------------------------------------------------

@case(*[(kind, server, version, protocol) for kind, server, version in EVERYWHERE
        for protocol in ("tcp", "udp") if (protocol == "tcp") == (version == 4) or LONG],
      ("nic", "ours", 4, "udp"), ("nic", "linux's", 6, "tcp"))
def demi_ping(kind, server, version, protocol):
    udp = ["--udp"] if protocol == "udp" else []
    with Net(kind) as net:
        serve, connect = net.sides(server)
        address = net.address(server, version)
        s = serve(DEMI, "echo", "--listen", address, *udp).await_line("listening on")
        sizes = ((64, 500), (1400, 100), (9000, 100)) if udp else ((64, 500), (100000, 50))
        for size, count in sizes:
            out = connect(DEMI, "ping", address, *udp, "-s", str(size), "-n", str(fewer(count)),
                          "--json").succeed()
            assert json.loads(out)["lost"] == 0, out
        code, said = s.stop()
        assert code == 0, said


# ---- addresses that are learnt ----------------------------------------------------------------

@contextlib.contextmanager
def dnsmasq(net):
    """A DHCP server and router on Linux's side; gives the file of its leases."""
    tool = need("dnsmasq", "dnsmasq-base")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        leases = pathlib.Path(folder, "leases")
        server = net.linux(tool, "--no-daemon", "--port=0", "--conf-file=/dev/null", "--pid-file=",
                           "--user=root", f"--interface={net.near}", "--bind-dynamic",
                           f"--dhcp-leasefile={leases}", "--no-ping", "--enable-ra",
                           "--dhcp-range=10.0.0.50,10.0.0.60,2m", "--dhcp-option=option:mtu,1400",
                           "--dhcp-range=fd00:1::,ra-only,64,600",
                           f"--ra-param={net.near},mtu:1400,10,600")
        while "sockets bound" not in server.said():
            assert server.process.poll() is None, server.said()
            time.sleep(0.02)
        yield leases
        server.stop()


@case("tap", "packet")
def addresses_of_a_server_and_a_router(kind):
    """Leased, formed, used; and given back at the end."""
    with Net(kind) as net, dnsmasq(net) as leases:
        s = net.ours(DEMI, "echo", "--listen", "[::]:7000", DEMI_NET_ADDRESSES="dhcp,auto",
                     DEMI_NET_PROBE="background", DEMI_LOG="info").await_line("listening on", 20)
        found = {"4": re.search(r"dhcp: (10\.0\.0\.[56]\d)\n", s.said()),
                 "6": re.search(r"auto: (fd00:1::[0-9a-f:]+)\n", s.said())}
        assert found["4"] and found["6"], s.said()
        assert f" {found['4'][1]} " in leases.read_text(encoding="ascii"), "not leased"
        for address in (found["4"][1], f"[{found['6'][1]}]"):
            out = net.linux(DEMI, "ping", f"{address}:7000", "-n", "50", "-s", "20000",
                            "--json").succeed()
            assert json.loads(out)["lost"] == 0, out
        code, said = s.stop()
        assert code == 0, said
        patience = time.monotonic() + 5
        while found["4"][1] in leases.read_text(encoding="ascii"):
            assert time.monotonic() < patience, "the lease was not given back"
            time.sleep(0.05)


@case("tap", "packet")
def lease_that_was_not_given_back_is_asked_for_again(kind):
    """RFC 2131 section 3.2: after a kill, or by choice; not after one that was given back."""
    if netns.is_user_namespace():
        raise Skip("the user's folder is not ours in a user namespace")
    with Net(kind) as net, dnsmasq(net) as leases, tempfile.TemporaryDirectory() as folder:
        def begin(release):
            s = net.ours(DEMI, "echo", "--listen", "0.0.0.0:7000", DEMI_NET_ADDRESSES="dhcp",
                         DEMI_NET_PROBE="background", DEMI_LOG="info", XDG_RUNTIME_DIR=folder,
                         DEMI_NET_DHCP_RELEASE=release).await_line("listening on", 20)
            return s, re.search(r"dhcp: (10\.0\.0\.[56]\d)\n", s.said())[1]

        def questions():
            """What the server was asked since the last time."""
            said = net.children[0].said()
            new, questions.seen = said[questions.seen:], len(said)
            return re.findall(r"DHCP(DISCOVER|REQUEST|RELEASE)", new)
        questions.seen = 0
        notes = pathlib.Path(folder, "demikernel")
        s, first = begin("yes")
        assert questions() == ["DISCOVER", "REQUEST"]
        s.kill()
        s, second = begin("no")
        assert questions() == ["REQUEST"] and second == first
        s.stop()
        assert first in leases.read_text(encoding="ascii") and list(notes.glob("lease-*"))
        s, third = begin("yes")
        assert questions() == ["REQUEST"] and third == first
        s.stop()
        assert not list(notes.glob("lease-*"))
        begin("yes")[0].stop()
        assert questions()[:3] == ["RELEASE", "DISCOVER", "REQUEST"]
        # An address that is none of the server's: it says so, and there is another.
        s, _ = begin("no")
        s.stop()
        note, = notes.glob("lease-*")
        note.write_text("10.0.9.9 0\n", encoding="ascii")
        questions()
        s, fourth = begin("yes")
        assert questions() == ["REQUEST", "DISCOVER", "REQUEST"] and fourth == first
        s.stop()


@case("tap")
def formed_addresses_are_the_same_at_each_start(kind):
    """RFC 7217: and not of the link address, unless that is wanted."""
    with Net(kind) as net, dnsmasq(net):
        def formed(**env):
            s = net.ours(DEMI, "echo", "--listen", "[::]:7000", DEMI_NET_ADDRESSES="auto",
                         DEMI_NET_PROBE="background", DEMI_LOG="info", **env)
            s.await_line("listening on", 20)
            s.stop()
            return re.search(r"auto: fd00:1::([0-9a-f:]+)\n", s.said())[1], s.said()
        (first, said), (second, _) = formed(), formed()
        assert first == second or "machine-id" in said, (first, second, said)
        assert "ff:fe" not in first, first
        assert "ff:fe" in formed(DEMI_NET_IDENTIFIERS="eui64")[0]


@case(("dhcp", "no DHCP server answers"), ("auto", "no router advertises itself"))
def nobody_to_learn_an_address_of(source, why):
    with Net("tap") as net:
        netns.setting("ipv6/conf/demi0/forwarding", 0)
        s = net.ours(DEMI, "echo", "--listen", "[::]:7000", DEMI_NET_ADDRESSES=source,
                     DEMI_NET_WAIT_S="2")
        code, _ = s.finish(10)
        assert code != 0 and why in s.said(), s.said()


# ---- workers ---------------------------------------------------------------------------------

@case(*[(kind, version, fault) for kind in ("tap", "packet", "xdp") for version in (4, 6)
        for fault in (None, "loss=1%")], ("nic", 4, None), ("nic", 6, None))
def workers_relay_streams(kind, version, fault):
    """Two workers, a queue each, accept and connect: no packet comes to the wrong one, where the
    device can say which comes where. AF_XDP cannot, and has two queues each."""
    if kind == "nic" and os.environ["DEMI_TEST_NIC_KIND"] in NICS_OF_ONE_QUEUE:
        raise Skip("the NIC has one queue")
    with Net(kind, queues=True) as net:
        target = net.address("linux's", version, PORT + 1)
        server = net.linux(PEER, "serve", target).await_line("ready")
        relay = net.ours(RELAY, "--workers", "2", "--check", "0", net.address("ours", version),
                         target, fault=fault).await_line("ready on")
        net.linux(PEER, "connect", net.address("ours", version), f"seed={SEED}",
                  f"connections={fewer(200)}", "at_once=50", "up=20000", "down=20000").succeed()
        happened = counters(relay)
        if happened:
            assert happened["tcp.accepts"] >= fewer(200), happened["tcp.accepts"]
            assert (happened["workers.taken"] > 0) == (kind == "xdp"), happened["workers.taken"]
            # Where nothing is passed nothing is dropped. Else a worker that is not scheduled for a
            # while is like a network that is full for a while.
            passed, dropped = happened["workers.passed"], happened["workers.dropped"]
            assert dropped * 10 <= passed, f"{dropped} dropped, {passed} passed"
        assert relay.stop()[0] == 0, relay.said()
        assert server.stop()[0] == 0, server.said()


# ---- ends -------------------------------------------------------------------------------------

def dial(net, version=4, port=PORT):
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    s.settimeout(10)
    s.connect((net.OURS[version], port))
    return s


def receive(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        assert more, f"ended after {len(data)} of {n} bytes"
        data += more
    return data


def echoing(net):
    s = net.ours(DEMI, "echo", "--listen", net.address("ours", 4)).await_line("listening on")
    c = dial(net)
    c.sendall(b"x" * 1000)
    receive(c, 1000)
    return s, c


@case("tap", "packet", "xdp", "dpdk")
def orderly_exit_ends_connections(kind):
    """SIGTERM: the client learns of it at once."""
    with Net(kind) as net:
        s, c = echoing(net)
        with c:
            started = time.monotonic()
            code, said = s.stop()
            assert code == 0, said
            assert c.recv(1) == b""
            assert time.monotonic() - started < AT_ONCE_S


@case("tap", "packet", "xdp", "dpdk")
def exit_without_close_ends_connections(kind):
    """A program that is stopped by its own `exit` within a stream of ours: nobody is left."""
    with Net(kind) as net:
        address = net.address("linux's", 4)
        with socket.create_server((net.LINUX[4], PORT)) as listener:
            listener.settimeout(10)
            client = net.ours(PEER, "connect", address, "up=1000", "down=1000")
            s, _ = listener.accept()
            with s:
                s.settimeout(10)
                receive(s, 40 + 1000)
                client.process.terminate()
                ended = time.monotonic()
                with contextlib.suppress(ConnectionResetError):
                    assert s.recv(1) == b""
                assert time.monotonic() - ended < AT_ONCE_S
            client.finish()


@case("tap", "packet", "xdp", "dpdk", "nic")
def killed_and_begun_again_resets_its_old_connections(kind):
    with Net(kind) as net:
        s, c = echoing(net)
        with c:
            s.kill()
            net.ours(DEMI, "echo", "--listen", net.address("ours", 4)).await_line("listening on")
            c.sendall(b"anyone there?")
            try:
                data = c.recv(1)
                raise AssertionError(f"{data!r} of a connection that nobody has")
            except ConnectionResetError:
                pass
            with dial(net) as other:
                other.sendall(b"y")
                receive(other, 1)


@case("tap", "packet", "xdp", "dpdk")
def killed_leaves_no_peer_waiting_longer_than_its_timeout(kind):
    with Net(kind) as net:
        s, c = echoing(net)
        with c:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500)
            s.kill()
            c.sendall(b"anyone there?")
            started = time.monotonic()
            try:
                c.recv(1)
                raise AssertionError("data of nobody")
            except OSError as e:
                assert not isinstance(e, TimeoutError) or e.errno, "still waiting"
            assert time.monotonic() - started < 8


@case("tap", "packet", "xdp", "dpdk")
def killed_peer_ends_connections_of_ours(kind):
    """Linux resets, or ends, for a process that is killed; ours goes on serving."""
    with Net(kind) as net:
        address = net.address("ours", 4)
        net.ours(PEER, "serve", address).await_line("ready")
        client = net.linux(PEER, "connect", address, f"up={1000 * MB}", f"down={1000 * MB}",
                           "connections=20", "at_once=20")
        time.sleep(0.3)
        client.kill()
        net.linux(PEER, "connect", address, "up=100000", "down=100000").succeed()


@case("tap", "packet", "xdp", "dpdk")
def vanished_peer_times_out(kind):
    """A peer that is silent: the user timeout of ours ends it."""
    with Net(kind) as net:
        address = net.address("linux's", 4)
        net.linux(PEER, "serve", address).await_line("ready")
        client = net.ours(PEER, "connect", address, f"up={1000000 * MB}", f"down={1000000 * MB}",
                          "together", "timeout_ms=1500")
        client.await_line("1 at once").await_line("1 carry")
        netns.ip("addr del", f"{net.LINUX[4]}/24 dev {net.near}")
        code, out = client.finish(15)
        said = client.said()
        assert code == 1 and re.search("timed out|No route|unreachable", said), f"{out} {said}"


@case(*[(kind, what, server) for kind in ("packet", "xdp", "dpdk") for what in ("down", "deleted")
        for server in ("ours", "linux's")])
def interface_that_goes_under_load_ends_connections(kind, what, server):
    """All connections of ours end with an error, and the process goes on until it is told to end,
    or has nothing to do. It has something to send on each: a connection that only waits for its
    peer is for keepalive to end. Linux's have no time-out of theirs, which might end them first."""
    timeout = ["timeout_ms=1500"]
    with Net(kind) as net:
        address = net.address(server, 4 if what == "down" else 6)
        serve, connect = net.sides(server)
        s = serve(PEER, "serve", address, *(timeout if server == "ours" else []))
        s.await_line("ready")
        c = connect(PEER, "connect", address, f"up={1000000 * MB}", f"down={1000000 * MB}",
                    "connections=4", "at_once=4", "together",
                    *(timeout if server != "ours" else []))
        c.await_line("4 at once").await_line("4 carry")
        net.ip_inside("link set veth1 down" if what == "down" else "link del veth1")
        net.is_there = what == "down"
        end = time.monotonic() + 20
        if server == "ours":
            while s.said().count("\n") < 4 and time.monotonic() < end:
                time.sleep(0.05)
            assert s.process.poll() is None, "the server ended by itself"
        code, out = s.stop() if server == "ours" else c.finish(end - time.monotonic())
        said = (s if server == "ours" else c).said()
        assert code == 1 and out.endswith("0 good, 4 bad\n"), f"{out!r} {said!r}"
        assert len(re.findall("timed out|Network is down|[Uu]nreachable|No route", said)) == 4, said


@case(*[(kind, what) for kind in ("packet", "xdp", "dpdk") for what in ("down", "deleted")])
def interface_that_goes_while_windows_are_closed_ends_connections(kind, what):
    """Nothing is in flight then, and no probe of a window leaves."""
    with Net(kind) as net:
        address = net.address("linux's", 4 if what == "down" else 6)
        server = net.linux(PEER, "serve", address).await_line("ready")
        client = net.ours(PEER, "connect", address, f"up={1000 * MB}", "connections=4",
                          "at_once=4", "together", "timeout_ms=1500").await_line("4 at once")
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)  # what a window has room for is there
        net.ip_inside("link set veth1 down" if what == "down" else "link del veth1")
        net.is_there = what == "down"
        code, out = client.finish(20)
        said = client.said()
        assert code == 1 and out.endswith("0 good, 4 bad\n"), f"{out!r} {said!r}"
        assert len(re.findall("timed out|Network is down|[Uu]nreachable|No route", said)) == 4, said


@case(("xdp", 4), ("xdp", 6))
def link_address_that_changes_costs_no_byte(kind, version):
    """Linux, which sends to the old one, learns of it from the stack and goes on at once."""
    with Net(kind) as net:
        address, mac = net.address("ours", version), "02:00:00:00:0a:0b"
        s = net.ours(PEER, "serve", address).await_line("ready")
        size = fewer(20 * MB)
        c = net.linux(PEER, "connect", address, f"seed={SEED}", f"up={size}", f"down={size}",
                      "connections=4", "at_once=4", "together").await_line("4 at once")
        net.ip_inside(f"link set veth1 address {mac}")
        changed = time.monotonic()
        while mac not in net.linux("ip", "neigh", "show", net.OURS[version]).succeed():
            assert time.monotonic() < changed + AT_ONCE_S, "Linux was not told"
            time.sleep(0.02)
        c.succeed()
        code, said = s.stop()
        assert code == 0, said


@case("xdp")
def routes_that_differ_in_their_metrics(kind):
    """Behind Linux is an address; another gateway, which is not there, is worse, or second."""
    with Net(kind) as net:
        ip("addr add 10.9.9.9/32 dev lo")
        net.linux(PEER, "serve", f"10.9.9.9:{PORT}").await_line("ready")
        worse, better = "10.0.0.99 metric 20", f"{net.LINUX[4]} metric 10"
        hops = f"nexthop via {net.LINUX[4]} dev veth1 nexthop via 10.0.0.99 dev veth1"
        for routes in ((f"via {worse}", f"via {better}"), (f"via {better}", f"via {worse}"),
                       (hops,)):
            for route in routes:
                net.ip_inside(f"route add 10.9.9.0/24 {route}")
            net.ours(PEER, "connect", f"10.9.9.9:{PORT}", "up=100000", "down=100000").succeed()
            for _ in routes:
                net.ip_inside("route del 10.9.9.0/24")
        ip("addr del 10.9.9.9/32 dev lo")


@case("xdp")
def host_in_no_network(kind):
    """Its address is a /32; the gateway is on the link because the kernel was told so."""
    with Net(kind) as net:
        net.linux(PEER, "serve", f"0.0.0.0:{PORT}").await_line("ready")
        net.ip_inside(f"addr del {net.OURS[4]}/24 dev veth1")
        net.ip_inside(f"addr add {net.OURS[4]}/32 dev veth1")
        net.ip_inside(f"route add default via {net.LINUX[4]} dev veth1 onlink")
        net.ours(PEER, "connect", net.address("linux's", 4), "up=100000", "down=100000").succeed()


@case(("nic", "ours"), ("nic", "linux's"))
def cable_that_is_out_for_a_second_costs_no_byte(kind, server):
    def cable(to):
        with open(os.environ["DEMI_TEST_MONITOR"], "w", encoding="ascii") as monitor:
            monitor.write(f"set_link nic0 {to}\n")
    with Net(kind) as net:
        serve, connect = net.sides(server)
        address = net.address(server, 4)
        s = serve(PEER, "serve", address).await_line("ready")
        size = fewer(20 * MB)
        c = connect(PEER, "connect", address, f"up={size}", f"down={size}", "connections=4",
                    "at_once=4", "together").await_line("4 at once")
        cable("off")
        time.sleep(1)
        assert c.process.poll() is None, "it was over before the cable was out"
        cable("on")
        c.succeed()
        code, said = s.stop()
        assert code == 0, said


@case("tap", "packet", "xdp", "dpdk")
def refused_connection_fails_at_once(kind):
    with Net(kind) as net:
        started = time.monotonic()
        client = net.ours(PEER, "connect", net.address("linux's", 4))
        code, _ = client.finish(10)
        assert code == 1 and "refused" in client.said(), client.said()
        kv(net)
        try:
            dial(net).close()
            raise AssertionError("connected to nobody")
        except ConnectionRefusedError:
            pass
        assert time.monotonic() - started < AT_ONCE_S


@case(("tap", 4), ("packet", 6))
def address_in_use_is_an_error(kind, version):
    length = {4: 24, 6: 64}[version]
    with Net(kind) as net:
        c = net.ours(DEMI, "echo", "--listen", f":{PORT}", DEMI_NET_PROBE="wait",
                     DEMI_NET_ADDRESSES=f"{net.LINUX[version]}/{length}")
        code, _ = c.finish(15)
        assert code != 0 and net.LINUX[version] in c.said(), c.said()


@case(("tap", 4), ("packet", 6))
def address_in_use_is_found_in_the_background(kind, version):
    length = {4: 24, 6: 64}[version]
    with Net(kind) as net:
        c = net.ours(DEMI, "echo", "--listen", f":{PORT}", DEMI_NET_PROBE="background",
                     DEMI_NET_ADDRESSES=f"{net.LINUX[version]}/{length}")
        c.await_line("listening on")
        end = time.monotonic() + 10
        while "not used any more" not in c.said() and time.monotonic() < end:
            time.sleep(0.05)
        assert re.search(f"{net.LINUX[version]} is in use by another host, [0-9a-f:]+: it is not",
                         c.said()), c.said()


# ---- the run ----------------------------------------------------------------------------------

def on_alarm(*_):
    raise AssertionError(f"not done after {CASE_S} seconds")


def outcome(name, function, arguments, end):
    """Runs a case: (whether it is good, its line of the protocol without the number, remarks)."""
    if time.monotonic() > end:
        return False, name, ["no time was left"]
    Deadline.end = time.monotonic() + CASE_S - 2
    Deadline.name = name.replace(" ", "-").replace("'", "")
    signal.alarm(CASE_S)
    started = time.monotonic()
    good, remarks = True, []
    try:
        function(*arguments)
    except (Skip, netns.NotAllowed) as reason:
        name = f"{name} # SKIP {reason}"
    except Exception as e:  # pylint: disable=broad-except
        text = traceback.format_exc() if not isinstance(e, AssertionError) else str(e)
        where = traceback.extract_tb(e.__traceback__)[-1].lineno
        good, remarks = False, [f"  {line}" for line in f"line {where}: {text}".splitlines()]
    finally:
        signal.alarm(0)
    return good, name, remarks + [f"{time.monotonic() - started:.1f} s"]


def work(tests, queue, results, end):
    """In a process with namespaces of its own: takes cases until there are no more."""
    netns.enter()
    signal.signal(signal.SIGALRM, on_alarm)
    while number := os.read(queue, 2):
        done = outcome(*tests[int.from_bytes(number, "little")], end)
        results.send(json.dumps(done).encode())


def start_workers(tests, end):
    """Cases mostly wait, so several run at once; the socket where their results arrive."""
    queue, filled = os.pipe()
    os.write(filled, b"".join(i.to_bytes(2, "little") for i in range(len(tests))))
    os.close(filled)
    arrived, results = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for _ in range(WORKERS):
        if os.fork() == 0:
            arrived.close()
            try:
                work(tests, queue, results, end)
            except BaseException:  # pylint: disable=broad-except
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(0)
    os.close(queue)
    results.close()
    return arrived


def main():
    wanted = sys.argv[2:]
    tests = [t for t in TESTS if not wanted or any(w in t[0] for w in wanted)]
    tests = [t for t in tests if ("nic" in t[2]) == bool(NIC)]
    try:
        netns.enter()
    except netns.NotAllowed as reason:
        print(f"1..0 # SKIP {reason}")
        return 77
    print(f"1..{len(tests)}\n# TEST_SEED={SEED}", flush=True)
    number = num_good = 0
    with start_workers(tests, time.monotonic() + TOTAL_S) as arrived:
        while done := arrived.recv(1 << 20):
            good, name, remarks = json.loads(done)
            number, num_good = number + 1, num_good + good
            print(f"{'' if good else 'not '}ok {number} {name}")
            print("\n".join(f"# {line}" for line in remarks), flush=True)
    return 0 if num_good == len(tests) else 1


sys.exit(main())
