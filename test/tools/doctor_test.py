#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demi doctor on machines that are made up: doctor_test.py PATH/TO/demi SOURCES

Each machine is a folder with the files of /proc, /sys, /dev and /usr that the command looks at.
Each finding is seen both ways: on a machine that has what it asks for, and on the same without.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

DEMI = ""
SOURCES = None
PATIENCE_S = 30
CAPS = {"NET_ADMIN": 12, "NET_RAW": 13, "IPC_LOCK": 14, "SYS_ADMIN": 21, "BPF": 39,
        "PERFMON": 38}
NIC, BRIDGE = "0000:00:04.0", "0000:00:02.0"
GONE = None  # a file of the good machine that is not there
PCI = "/sys/bus/pci/devices/" + NIC
PMDS = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/"


class Link(str):
    """The target of a symbolic link."""


def status(*caps, uid=1000, gid=1000, groups=""):
    mask = sum(1 << CAPS[name] for name in caps)
    return (f"Name:\tdemi\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\n"
            f"Groups:\t{groups}\nCapInh:\t0000000000000000\nCapEff:\t{mask:016x}\n")


def limits(memlock):
    return f"Limit  Soft Limit  Hard Limit  Units\nMax locked memory  {memlock}  unlimited  bytes\n"


def interface(name, kind=1, flags="0x1003", carrier="1", **more):
    files = {"type": f"{kind}\n", "flags": f"{flags}\n", "carrier": f"{carrier}\n", "mtu": "1500\n"}
    files.update({key: f"{value}\n" for key, value in more.items()})
    return {f"/sys/class/net/{name}/{key}": value for key, value in files.items()}


def machine():
    """One that lacks nothing, with a user who has no capability."""
    files = {
        "/proc/self/status": status(), "/proc/self/limits": limits("unlimited"),
        "/proc/self/uid_map": "         0          0 4294967295\n",
        "/proc/sys/kernel/osrelease": "6.12.1-amd64\n",
        "/proc/sys/kernel/io_uring_disabled": "0\n",
        "/proc/net/protocols": "protocol  size\nPACKET  1600\nXDP  1024\n",
        "/proc/mounts": "/dev/nvme0n10 /other ext4 rw 0 0\n/dev/nvme0n1x / ext4 rw 0 0\n",
        "/proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\n",
        "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "32\n",
        "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages": "0\n",
        "/sys/module/nvme/parameters/poll_queues": "4\n",
        "/dev/net/tun": "", "/dev/vfio/vfio": "", "/dev/vfio/7": "", "/dev/ng0n1": "",
        "/dev/nvme0n1": "", "/dev/vhost-net": "", "/var/lib/logs/a.log": "", "/run/demi/x": "",
        PCI + "/class": "0x020000\n", PCI + "/driver": Link("../../drivers/vfio-pci"),
        PCI + "/iommu_group": Link("../../../../kernel/iommu_groups/7"),
        f"/sys/bus/pci/devices/{BRIDGE}/class": "0x060400\n",
        f"/sys/bus/pci/devices/{BRIDGE}/driver": Link("../../drivers/pcieport"),
        f"/sys/kernel/iommu_groups/7/devices/{NIC}": Link(PCI),
        f"/sys/kernel/iommu_groups/7/devices/{BRIDGE}": Link("x"),
    }
    for name in ("memif", "tap", "af_packet", "pcap", "af_xdp", "virtio"):
        files[f"{PMDS}librte_net_{name}.so.23.0"] = ""
        files[f"{PMDS}librte_net_{name}.so.23"] = Link(f"librte_net_{name}.so.23.0")
    files.update(interface("eth0"))
    files.update(interface("lo", kind=772))
    files["/sys/class/net/eth0/device/driver"] = Link("../../../bus/pci/drivers/e1000e")
    files["/sys/class/net/eth0/napi_defer_hard_irqs"] = "2\n"
    files["/sys/class/net/eth0/gro_flush_timeout"] = "200000\n"
    files.update(interface("demi0", owner="1000", group="-1", tun_flags="0x1002"))
    return files


class Machine:
    """A folder with those files, until the block ends."""

    def __init__(self, files, unusable=()):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        self.root.chmod(0o755)
        for path, content in files.items():
            if content is not GONE:
                self.put(self.root / path.lstrip("/"), content)
        for path in unusable:
            (self.root / path.lstrip("/")).chmod(0)

    @staticmethod
    def put(path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content)
        else:
            path.write_text(content, encoding="ascii")
            path.chmod(0o666)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()


def doctor(*args, as_nobody=False, **variables):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_")}
    env.update(variables)
    command = [DEMI, "doctor", *args]
    if as_nobody and os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE_S, check=False)


def examine(target, files, unusable=()):
    """(exit code, report) of one target on one machine."""
    with Machine(files, unusable) as made:
        done = doctor("--json", "--root", str(made.root), target, as_nobody=bool(unusable))
        assert done.returncode in (0, 1) and done.stderr == "", done
        return done.returncode, json.loads(done.stdout.replace(str(made.root), ""))["reports"][0]


class Case(unittest.TestCase):
    maxDiff = None

    def findings(self, target, files, unusable=()):
        """Check -> finding; the exit code has to agree with them."""
        code, report = examine(target, files, unusable)
        own = [f for f in report["findings"] if f["check"] != "module"]
        missing = any(f["level"] == "missing" for f in report["findings"])
        self.assertEqual(code, 1 if missing else 0, report)
        return {f["check"]: f for f in own}

    def good(self, target, check, **changed):
        files = {**machine(), **changed.pop("files", {})}
        finding = self.findings(target, files).get(check)
        self.assertIsNotNone(finding, f"{target}: nothing is said of {check}")
        self.assertEqual((finding["level"], finding["mend"]), ("fine", ""), finding)

    def bad(self, target, check, text, mend, level="missing", unusable=(), files=None):
        """On the machine with these changes; where there is a command it is given as a pattern."""
        found = self.findings(target, {**machine(), **(files or {})}, unusable)
        self.assertIn(check, found)
        finding = found[check]
        self.assertEqual(finding["level"], level, finding)
        self.assertRegex(finding["text"], text)
        self.assertRegex(finding["mend"], mend if mend else "^$")

    def both(self, target, check, text, mend, **bad):
        self.good(target, check)
        self.bad(target, check, text, mend, **bad)


class Capabilities(Case):
    def test_capability_missing_is_said_and_how_it_is_given(self):
        for target, name in (("packet:eth0", "NET_RAW"), ("xdp:eth0", "NET_ADMIN"),
                             ("xdp:eth0", "NET_RAW"), ("xdp:eth0", "BPF"),
                             ("xdp:eth0", "PERFMON"),
                             ("tap:new0", "NET_ADMIN"), ("dpdk:net_tap0", "NET_ADMIN"),
                             ("dpdk:net_af_xdp0", "SYS_ADMIN"),
                             ("dpdk:net_af_packet0 iface=eth0", "NET_ADMIN"),
                             ("dpdk:net_af_packet0 iface=eth0", "NET_RAW"),
                             ("dpdk:net_pcap0 iface=eth0", "NET_RAW")):
            with self.subTest(target=target, name=name):
                self.good(target, "CAP_" + name, files={"/proc/self/status": status(name)})
                mend = ("ip tuntap add mode tap user 1000 name new0 && ip link set new0 up"
                        if target == "tap:new0" else f"^setcap cap_{name.lower()}.ep PROGRAM$")
                others = [other for other in CAPS if other != name]
                self.bad(target, "CAP_" + name, "run as root, or give it", mend,
                         files={"/proc/self/status": status(*others)})

    def test_capability_of_a_user_namespace_counts_for_its_network_only(self):
        inside = {"/proc/self/status": status(*CAPS), "/proc/self/uid_map": "0 1000 1\n"}
        self.good("packet:eth0", "CAP_NET_RAW", files=inside)
        self.bad("dpdk:net_af_xdp0", "CAP_SYS_ADMIN", "run as root", "setcap", files=inside)


class Kernel(Case):
    def test_io_uring_switched_off(self):
        for number, caps in (("2\n", tuple(CAPS)), ("1\n", ())):
            off = {"/proc/sys/kernel/io_uring_disabled": number,
                   "/proc/self/status": status(*caps)}
            for target, level in (("kernel", "advice"), ("file", "advice"), ("nvme", "missing")):
                self.both(target, "io_uring", "switched off",
                          r"^sysctl -w kernel\.io_uring_disabled=0$", level=level, files=off)
        self.good("kernel", "io_uring", files={"/proc/sys/kernel/io_uring_disabled": "1\n",
                                               "/proc/self/status": status("SYS_ADMIN")})

    def test_kernel_too_old_for_io_uring(self):
        self.both("kernel", "io_uring", "older than Linux 5.6", None, level="advice",
                  files={"/proc/sys/kernel/osrelease": "5.4.0\n"})

    def test_hugepages_missing(self):
        for few in ("31\n", "0\n", GONE):
            self.both("dpdk", "hugepages", "MiB are free: .*--no-huge",
                      "^sysctl -w vm.nr_hugepages", level="advice",
                      files={"/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": few})
        self.good("dpdk", "hugepages", files={
            "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "0\n",
            "/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages": "1\n"})

    def test_memlock_too_low(self):
        for target, level in (("file", "advice"), ("nvme", "advice"), ("xdp:eth0", "missing"),
                              ("dpdk:net_af_packet0 iface=eth0", "missing"),
                              ("dpdk:" + NIC, "missing")):
            low = {"/proc/self/limits": limits(1 << 20)}
            self.both(target, "memlock", "^1 MiB may be locked: ", "^ulimit -l unlimited$",
                      level=level, files=low)
            self.good(target, "memlock", files={**low, "/proc/self/status": status("IPC_LOCK")})
        self.good("file", "memlock", files={"/proc/self/limits": limits(64 << 20)})

    def test_af_xdp_missing(self):
        for target in ("xdp:eth0", "dpdk:net_af_xdp0 iface=eth0"):
            self.both(target, "AF_XDP", "CONFIG_XDP_SOCKETS", None,
                      files={"/proc/net/protocols": "protocol  size\nPACKET  1600\n"})


class Interfaces(Case):
    def test_interface_not_usable(self):
        for target in ("packet:eth0", "xdp:eth0", "dpdk:net_af_packet0 iface=eth0",
                       "dpdk:net_pcap0 iface=eth0",
                       "dpdk:net_pcap0 rx_iface_in=eth0 tx_iface=eth0",
                       "dpdk:net_af_xdp0 iface=eth0 start_queue=0"):
            for files, text, mend in (
                    (interface("eth0", flags="0x1002"), "is down", "^ip link set eth0 up$"),
                    (interface("eth0", carrier="0"), "no carrier", None),
                    (interface("eth0", kind=772), "no Ethernet", None)):
                self.both(target, "eth0", text, mend, files=files)
        self.bad("packet:eth9", "eth9", "no such interface", "^ip -brief link$")

    def test_interrupts_that_do_not_wait(self):
        for name in ("napi_defer_hard_irqs", "gro_flush_timeout"):
            self.both("xdp:eth0,busy_poll", "busy_poll", "do not wait for who polls",
                      "^echo 2 > .*/eth0/napi_defer_hard_irqs && echo 200000 > .*/eth0/gro_flush",
                      level="advice", files={f"/sys/class/net/eth0/{name}": "0\n"})

    def test_interfaces_none_usable(self):
        self.good("packet", "eth0")
        down = {**interface("eth0", flags="0x1002"), **interface("demi0", carrier="0")}
        self.bad("packet", "interfaces", "no Ethernet interface is up", "^ip link add veth0 ",
                 files=down)

    def test_tun_device_missing_or_not_usable(self):
        for target in ("tap:demi0", "tap", "dpdk:net_tap0"):
            self.both(target, "/dev/net/tun", "not there", "^modprobe tun$",
                      files={"/dev/net/tun": GONE})
            self.bad(target, "/dev/net/tun", "user 1000 may not",
                     "^setfacl -m u:1000:rw /dev/net/tun$", unusable=["/dev/net/tun"])

    def test_tap_of_another_user_needs_a_capability(self):
        self.assertNotIn("CAP_NET_ADMIN", self.findings("tap:demi0", machine()))
        other = interface("demi0", owner="7", group="-1", tun_flags="0x1002")
        self.bad("tap:demi0", "CAP_NET_ADMIN", "another user's",
                 "^ip link del demi0 && ip tuntap add", files=other)
        self.good("tap:demi0", "CAP_NET_ADMIN",
                  files={**other, "/proc/self/status": status("NET_ADMIN")})

    def test_tap_of_a_group_is_its_members(self):
        for group, given in (("1000", True), ("44", True), ("45", False), ("0", False)):
            files = {**machine(), **interface("demi0", owner="-1", group=group, tun_flags="0x1002"),
                     "/proc/self/status": status(groups="4 44 ")}
            self.assertEqual("CAP_NET_ADMIN" not in self.findings("tap:demi0", files), given, group)

    def test_tap_down_or_another_kind(self):
        down = interface("demi0", owner="1000", group="-1", tun_flags="0x1002", flags="0x1002")
        for target in ("tap:demi0", "tap"):
            self.both(target, "demi0", "is down", "^ip link set demi0 up$", files=down)
        self.bad("tap:eth0", "eth0", "no TAP interface: use packet:eth0",
                 "^demi doctor packet:eth0$")
        self.bad("tap:demi0", "demi0", "no TAP interface", "packet:demi0",  # a TUN one
                 files=interface("demi0", owner="1000", group="-1", tun_flags="0x1001"))


    def with_workers(self, number, files):
        with Machine({**machine(), **files}) as made:
            done = doctor("--json", "--root", str(made.root), "tap:demi0", DEMI_WORKERS=number)
        findings = json.loads(done.stdout)["reports"][0]["findings"]
        return {f["check"]: (f["level"], f["mend"]) for f in findings}

    def test_several_workers_want_several_queues(self):
        one = self.with_workers("2", {})
        self.assertEqual(one["queues"][0], "missing")
        self.assertIn("ip tuntap add mode tap multi_queue user 1000 name demi0", one["queues"][1])
        many = interface("demi0", owner="1000", group="-1", tun_flags="0x1102")
        self.assertNotIn("queues", self.with_workers("2", many))
        self.assertNotIn("queues", self.with_workers("1", {}))

    def test_several_workers_want_a_program(self):
        refused = {"/proc/sys/kernel/unprivileged_bpf_disabled": "2\n"}
        able = {"/proc/self/status": status("BPF")}
        advice = ("advice", "setcap cap_bpf+ep PROGRAM")
        self.assertEqual(self.with_workers("2", refused)["workers"], advice)
        self.assertEqual(self.with_workers("2", {**refused, **able})["workers"], ("fine", ""))
        self.assertEqual(self.with_workers("2", {})["workers"], ("fine", ""))
        self.assertNotIn("workers", self.with_workers("1", refused))


class Dpdk(Case):
    def test_drivers_missing(self):
        none = {path: GONE for path in machine() if path.startswith(PMDS)}
        self.both("dpdk", "drivers", "^0 drivers", "^apt-get install libdpdk-dev$", files=none)

    def test_driver_missing_names_its_package(self):
        for device, file, package in (
                ("net_memif0 role=client", "memif", "librte-net-memif23"),
                ("net_af_packet0", "af_packet", "librte-net-af-packet23"),
                ("eth_af_packet17", "af_packet", "librte-net-af-packet23"),
                ("net_virtio_user0", "virtio", "librte-net-virtio23")):
            name = device.split()[0].rstrip("017")
            files = {f"{PMDS}librte_net_{file}.so.23.0": GONE,
                     f"{PMDS}librte_net_{file}.so.23": GONE}
            with self.subTest(device=device):
                self.bad("dpdk:" + device, name, "no driver of that name",
                         f"^apt-get install {package}$", files=files)
                self.good("dpdk:" + device, name)

    def test_folder_of_memif_missing(self):
        self.good("dpdk:net_memif0 socket=/run/demi/a.sock", "socket")
        self.bad("dpdk:net_memif0 role=server socket=/run/none/a.sock", "socket",
                 "/run/none is not there", "^mkdir -p /run/none$")
        self.assertNotIn("socket", self.findings("dpdk:net_memif0 socket=@abstract/x", machine()))

    def test_vhost_missing(self):
        self.both("dpdk:net_virtio_user0 path=/dev/vhost-net", "/dev/vhost-net", "not there",
                  "^modprobe vhost-net$", files={"/dev/vhost-net": GONE})

    def test_nic_bound_to_the_kernels_driver(self):
        kernels = {PCI + "/driver": Link("../../drivers/e1000e"), PCI + "/net/eth0/type": "1\n"}
        for target, level in (("dpdk:" + NIC, "missing"), ("dpdk", "advice")):
            self.both(target, NIC, "bound to e1000e, not to vfio-pci: the kernel has it as eth0",
                      f"^modprobe vfio-pci; echo vfio-pci > {PCI}/driver_override; echo {NIC} > ",
                      level=level, files=kernels)
        virtio = {PCI + "/driver": Link("../../drivers/virtio-pci"),
                  PCI + "/virtio2/net/eth1/type": "1\n"}
        self.bad("dpdk:" + NIC, NIC, "the kernel has it as eth1", "driver_override", files=virtio)
        self.bad("dpdk:" + NIC, NIC, "bound to no driver", "driver_override",
                 files={PCI + "/driver": GONE})

    def test_nic_that_stays_with_the_kernels_driver(self):
        files = {PCI + "/driver": Link("../../drivers/mlx5_core"), PCI + "/iommu_group": GONE}
        self.good("dpdk:" + NIC, NIC, files=files)
        self.assertNotIn("IOMMU", self.findings("dpdk:" + NIC, {**machine(), **files}))

    def test_nic_not_there_or_another_device(self):
        self.bad("dpdk:0000:00:09.0", "0000:00:09.0", "no such device", "^lspci ")
        self.bad("dpdk:" + BRIDGE, BRIDGE, "no network device", None)
        self.bad("dpdk", "NICs", "there is none", None, level="advice", files={
            PCI + "/class": "0x010802\n"})

    def test_iommu_missing(self):
        for vendor, word in (("GenuineIntel", "intel_iommu=on"), ("AuthenticAMD", "amd_iommu=on")):
            self.both("dpdk:" + NIC, "IOMMU", "no IOMMU, or it is off", word + ".*update-grub",
                      files={PCI + "/iommu_group": GONE,
                             "/proc/cpuinfo": f"vendor_id\t: {vendor}\n"})

    def test_iommu_group_shared_with_the_kernel(self):
        other = "0000:00:05.0"
        self.assertTrue({other, BRIDGE}.isdisjoint(self.findings("dpdk:" + NIC, machine())))
        files = {f"/sys/kernel/iommu_groups/7/devices/{other}": Link("x"),
                 f"/sys/bus/pci/devices/{other}/driver": Link("../../drivers/ahci")}
        self.bad("dpdk:" + NIC, other, "same IOMMU group, and bound to ahci", other, files=files)

    def test_vfio_devices_missing_or_not_usable(self):
        for path in ("/dev/vfio/vfio", "/dev/vfio/7"):
            self.both("dpdk:" + NIC, path, "not there", "^modprobe vfio-pci$", files={path: GONE})
            self.bad("dpdk:" + NIC, path, "may not open", f"^setfacl -m u:1000:rw {path}$",
                     unusable=[path])


class Storage(Case):
    def test_path_not_usable(self):
        self.good("file:/var/lib/logs/a.log", "path")
        self.good("file:/var/lib/logs/new.log,size=1G,create", "path")
        self.good("/var/lib/logs/a.log", "path")
        self.bad("file:/var/lib/none/a.log", "path", "/var/lib/none is not there",
                 "^mkdir -p /var/lib/none$")
        self.bad("fault(seed=7):/var/lib/logs/a.log", "path", "may not be written",
                 "^setfacl .* /var/lib/logs/a.log$", unusable=["/var/lib/logs/a.log"])

    def test_nvme_device_missing(self):
        self.good("nvme", "/dev/ng0n1")
        self.good("nvme", "/dev/nvme0n1")
        self.bad("nvme", "devices", "no /dev/ngXnY", None, files={"/dev/ng0n1": GONE})
        self.bad("nvme", "devices", "no /dev/ngXnY", "^modprobe nvme$", files={
            "/dev/ng0n1": GONE, "/sys/module/nvme/parameters/poll_queues": GONE})
        self.bad("nvme:/dev/ng3n1", "/dev/ng3n1", "not there", "^modprobe nvme$")
        self.bad("nvme:/dev/nvme0n1", "/dev/nvme0n1", "no NVMe namespace", None)
        self.bad("nvme:/dev/ng0n1", "/dev/ng0n1", "may not open", "^setfacl",
                 unusable=["/dev/ng0n1"])

    def test_nvme_device_mounted(self):
        for what in ("/dev/nvme0n1", "/dev/nvme0n1p12"):
            self.both("nvme:/dev/ng0n1", "/dev/nvme0n1", f"^({what} is mounted)$",
                      f"^umount {what}$", files={"/proc/mounts": f"{what} /mnt ext4 rw 0 0\n"})

    def test_nvme_kernel_too_old(self):
        self.both("nvme", "Linux", "Linux 6.1 is wanted", None, files={
            "/proc/sys/kernel/osrelease": "6.0.9\n", "/proc/self/status": status("SYS_ADMIN")})
        older = {"/proc/sys/kernel/osrelease": "6.1.0-13-amd64\n"}
        self.assertNotIn("CAP_SYS_ADMIN", self.findings("nvme", machine()))
        self.bad("nvme", "CAP_SYS_ADMIN", "before Linux 6.2", "^setcap cap_sys_admin", files=older)
        self.good("nvme", "CAP_SYS_ADMIN",
                  files={**older, "/proc/self/status": status("SYS_ADMIN")})

    def test_nvme_without_polled_queues(self):
        self.both("nvme", "poll_queues", "by interrupts", "poll_queues=4", level="advice",
                  files={"/sys/module/nvme/parameters/poll_queues": "0\n"})


class Needs(Case):
    """What a container is given: all that is asked for, and nothing else."""

    def container(self, *targets, files=None):
        with Machine({**machine(), **(files or {})}) as made:
            done = doctor("--container", "--root", str(made.root), *targets)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_each_backend(self):
        drop, tun = "--cap-drop=ALL", "--device=/dev/net/tun"
        admin, raw, lock = "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--ulimit=memlock=-1:-1"
        for target, words in (
                ("kernel", []), ("loop", []), ("memory", []), ("memblk", []),
                ("packet:eth0", [raw]), ("tap:new0", [admin, tun]), ("tap:demi0", [tun]),
                ("xdp:eth0", [admin, raw, "--cap-add=BPF", "--cap-add=PERFMON",
                               lock, "--security-opt=seccomp=unconfined"]), ("file", [lock]),
                ("dpdk:net_memif0", []), ("dpdk:net_tap0", [admin, tun]),
                ("dpdk:net_af_packet0 iface=eth0", [admin, raw, lock]),
                ("dpdk:net_pcap0 iface=eth0", [raw]), ("dpdk:net_pcap0 rx_pcap=/a.pcap", []),
                ("dpdk:net_pcap0 rx_iface=lo tx_iface=eth0", [raw]),
                ("dpdk:" + NIC, ["--device=/dev/vfio/vfio", "--device=/dev/vfio/7", lock]),
                ("nvme:/dev/ng0n1", ["--device=/dev/ng0n1", "--device=/dev/nvme0n1", lock,
                                     "--security-opt=seccomp=unconfined"])):
            with self.subTest(target=target):
                self.assertEqual(self.container(target), [drop, *words])
                _, report = examine(target, machine())
                self.assertEqual(report["container"].split(), [drop, *words])

    def test_several_together_have_each_once(self):
        self.assertEqual(self.container("tap:a", "tap:b", "packet:eth0"),
                         ["--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW",
                          "--device=/dev/net/tun"])
        self.assertEqual(
            self.container("nvme:/dev/ng0n10", "nvme:/dev/ng0n1",
                           files={"/dev/ng0n10": "", "/proc/mounts": ""})[1:4],
            ["--device=/dev/ng0n10", "--device=/dev/nvme0n10", "--device=/dev/ng0n1"])


    def test_document_says_the_same(self):
        text = (SOURCES / "doc/containers.md").read_text(encoding="utf-8")
        rows = [line.strip("| ").split(" | ") for line in text.splitlines()
                if line.startswith("| `") and "DEMI_NET" not in line]
        self.assertGreater(len(rows), 10)
        for targets, words in rows:
            for target in re.findall(r"`(.*?)`", targets):
                with self.subTest(target=target):
                    self.assertEqual("`" + " ".join(self.container(target)) + "`", words)


class Usage(Case):
    def test_all_backends_without_an_argument(self):
        with Machine(machine()) as made:
            done = doctor("--json", "--root", str(made.root))
        targets = [r["target"] for r in json.loads(done.stdout)["reports"]]
        self.assertEqual(targets, ["kernel", "memory", "loop", "tap", "packet", "dpdk", "xdp",
                                   "memblk", "file", "nvme"])
        info = subprocess.run([DEMI, "info", "--json"], capture_output=True, text=True,
                              timeout=PATIENCE_S, check=True).stdout
        known = {b["name"] for b in json.loads(info)["backends"]}
        self.assertEqual(known - set(targets), set(), "the library has more than is looked at")

    def test_targets_are_read_as_the_configuration_is(self):
        for target in ("packet:eth0,mtu=1400,ring=64", "PACKET:eth0",
                       "pcap(/a\\)(:tap:x):packet:eth0", "fault:packet:eth0",
                       "pcap(/tmp/a,limit=64M):fault(loss=1%):packet:eth0"):
            self.good(target, "eth0")

    def test_text_has_findings_commands_and_needs(self):
        with Machine(machine()) as made:
            done = doctor("--root", str(made.root), "packet:eth0", "tap:demi0")
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertIn("Linux 6.12, user 1000, capabilities: none".split(), lines)
        self.assertIn("-> setcap cap_net_raw+ep PROGRAM".split(), lines)
        self.assertIn("in a container: --cap-drop=ALL --device=/dev/net/tun".split(), lines)
        self.assertRegex(done.stdout, r"(?m)^  fine     eth0 +it is up, MTU 1500, e1000e$")
        self.assertRegex(done.stdout, r"(?m)^  missing  CAP_NET_RAW ")

    def test_wrong_usage(self):
        for args in (("nothing",), ("--nothing",), ("packets:eth0",), ("",), ("pcap(/a)",),
                     ("--root", "/nowhere"), ["kernel"] * 33, ("packet:" + "x" * 400,)):
            done = doctor(*args)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done)
            self.assertTrue(done.stderr.startswith("demi doctor: "), done)

    def test_module_that_the_library_lacks_is_said_as_by_info(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_")}
        for name, packages in (("dpdk", "libdpdk-dev"),
                               ("xdp", "libxdp-dev libbpf-dev libmnl-dev clang")):
            with tempfile.TemporaryDirectory() as folder:
                pathlib.Path(folder, name + ".so").write_bytes(b"garbage")
                env["DEMI_MODULE_PATH"] = folder
                outs = [subprocess.run([DEMI, *words], env=env, capture_output=True, text=True,
                                       timeout=PATIENCE_S, check=False).stdout
                        for words in (("info", "--json"), ("doctor", "--json", name))]
            said = next(b["missing"] for b in json.loads(outs[0])["backends"] if b["name"] == name)
            finding = json.loads(outs[1])["reports"][0]["findings"][0]
            self.assertIn("is cut off, or no library", said)
            self.assertEqual((finding["check"], finding["level"], finding["text"]),
                             ("module", "missing", said))
            self.assertEqual(finding["mend"], f"apt-get install {packages} && make install")

    def test_this_machine_is_looked_at(self):
        done = doctor("kernel", "memory")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open("/proc/sys/kernel/osrelease", encoding="ascii") as file:
            version = ".".join(file.read().split(".")[:2])
        self.assertIn(f"Linux {version}, user {os.geteuid()}", done.stdout)


def main():
    global DEMI, SOURCES
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    DEMI = os.path.abspath(sys.argv.pop(1))
    SOURCES = pathlib.Path(sys.argv.pop(1))
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        print("skipped: no setpriv: root may open everything")
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
