#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands in real containers, by podman: podman_test.py DEMI DEMI-KV CONFORM [XDP.so]

As container_test.py, whose cases these are, but the namespaces, the capabilities, /dev and the
filter of system calls are what podman and its runtime make of the arguments that `demi doctor
--container` prints, as root. The container has the network namespace that the test makes ("host"),
/usr and the build of this machine, and no image: nothing is fetched. Exits 77, with the reason,
where podman is not there or can start none.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import container_test as base
from container_test import PATIENCE_S, RAW, UNLIMITED, environment, ip, listed, values

CONFORM = XDP = STATE = None
UNFILTERED = "--security-opt=seccomp=unconfined"
CAPABILITIES = {**base.CAPABILITIES, "PERFMON": 38, "BPF": 39}
# The runtime would set more than a machine may allow.
LIMITS = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
names = iter(range(1000000))


def limit_words(words):
    locked = base.MEMLOCK
    if UNLIMITED in words:  # as far as that can be had
        locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return [*LIMITS, f"--ulimit=memlock={locked}:{locked}"]


def podman(*words):
    return ["podman", "--root", f"{STATE}/storage", "--runroot", f"{STATE}/run",
            "--storage-driver=vfs", "--cgroup-manager=cgroupfs", *words]


def make_root(folder):
    for name in ("usr", "proc", "sys", "dev", "etc", "run", "var", "tmp"):
        os.mkdir(os.path.join(folder, name))
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(folder, name))


def started(words, net, folder, name, *command):
    """A command in a container that was started with these arguments."""
    build = os.path.dirname(os.path.dirname(base.DEMI))
    settings = [f"--env={k}={v}" for k, v in environment(net).items() if k.startswith("DEMI_")]
    return podman("run", "--rm", f"--name={name}", "--cgroups=disabled", "--network=host",
                  "-v=/usr:/usr:ro", f"-v={build}:{build}:ro",
                  *[word for word in words if word != UNLIMITED], *limit_words(words), *settings,
                  "--rootfs", folder, *command)


class Case(base.Case):
    def setUp(self):
        super().setUp()
        make_root(self.folder)

    def run_in(self, words, *command, net=None):
        return subprocess.run(started(words, net, self.folder, f"demi{next(names)}", *command),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=4 * PATIENCE_S, check=False)

    def serve(self, words, net, *command, ready="listening on "):
        name, server = self.start(words, net, command, ready)
        self.addCleanup(self.end, server)
        pid = subprocess.run(podman("inspect", "-f", "{{.State.Pid}}", name), text=True,
                             capture_output=True, check=True).stdout.strip()
        mask = sum(1 << CAPABILITIES[cap] for cap in values(words, "--cap-add"))
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            status = dict(line.split(":", 1) for line in file)
        for field in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(status[field], 16), mask, f"{field} of {command}")
        self.assertEqual(status["Seccomp"].strip(), "0" if UNFILTERED in words else "2")
        return server

    def start(self, words, net, command, ready):
        """Locked memory of others, of the same user, counts where it is limited: they end."""
        give_up = time.monotonic() + PATIENCE_S
        while True:
            name = f"demi{next(names)}"
            server = subprocess.Popen(started(words, net, self.folder, name, *command),
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
            line = server.stdout.readline()
            if line.startswith(ready):
                return name, server
            said = server.communicate(timeout=PATIENCE_S)
            if "cannot be locked in memory" not in said[1] or time.monotonic() > give_up:
                self.fail(f"{line!r} {said}")
            time.sleep(0.5)

    def check_conformance(self, backend):
        done = self.run_in(["--cap-drop=ALL"], CONFORM, backend)
        self.assertEqual(done.returncode, 0, f"{done.stdout[-3000:]} {done.stderr[-1000:]}")
        self.assertGreater(done.stdout.count("[       OK ] "), 100, done.stdout[-3000:])


class Kernel(Case):
    """Needs nothing at all."""

    def test_conformance_of_sockets(self):
        for backend in ("epoll-tcp4", "epoll-udp6"):
            with self.subTest(backend):
                self.check_conformance(backend)

    def test_values_are_served(self):
        self.serve(listed("kernel"), "kernel", base.KV, "-b", "127.0.0.1", "-p", "6379",
                   ready="ready on ")
        self.set_and_get("127.0.0.1")


class Packet(base.Veth, base.OverDevice, Case):
    net = "packet:veth1"
    arguments = [RAW]


class Xdp(base.Veth, base.OverDevice, Case):
    """Of memory that is locked it needs no more than what this machine lets be locked."""

    net = "xdp:veth1,umem=4M,pool=1M"
    arguments = [base.ADMIN, RAW, "--cap-add=BPF", "--cap-add=PERFMON", UNLIMITED, UNFILTERED]

    @classmethod
    def setUpClass(cls):
        if not XDP:
            raise unittest.SkipTest("the library was built without the module xdp")
        super().setUpClass()

    def test_what_is_listed(self):
        most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        if 0 <= most < 64 << 20:
            self.assertEqual(listed(self.net), ["--cap-drop=ALL", *self.arguments])
            self.skipTest(f"no more than {most >> 20} MiB may be locked on this machine")
        super().test_what_is_listed()


def enter():
    """Goes on in namespaces of its own. The runtime wants the groups of processes of one kind: it
    gets an empty hierarchy where the machine has both."""
    if os.environ.get("PODMAN_TEST_INSIDE") == "yes":
        return
    if not shutil.which("podman"):
        print("skipped: no podman (apt-get install podman crun)")
        sys.exit(77)
    os.environ["PODMAN_TEST_INSIDE"] = "yes"
    inside = ["unshare", "--net", "--mount"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode != 0:
        print("skipped: network namespaces are not allowed here: run as root")
        sys.exit(77)
    script = """if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
        umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; fi
        ip link set lo up; exec "$@" """
    os.execvp("unshare", [*inside, "sh", "-c", script, "sh", sys.executable, *sys.argv])


def probe():
    """Ends as skipped where no container can be started."""
    with tempfile.TemporaryDirectory() as folder:
        make_root(folder)
        begun = time.monotonic()
        done = subprocess.run(started(["--cap-drop=ALL"], None, folder, "probe", "/bin/true"),
                              capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"skipped: podman starts no container here: {done.stderr.strip()}")
        sys.exit(77)
    print(f"a container takes {time.monotonic() - begun:.1f} s")


def main():
    global CONFORM, XDP, STATE
    enter()
    base.DEMI, base.KV, CONFORM = (os.path.abspath(sys.argv.pop(1)) for _ in range(3))
    if len(sys.argv) > 1 and sys.argv[1].endswith(".so"):
        XDP = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as STATE:
        try:
            probe()
            unittest.main(verbosity=2)
        finally:  # it leaves what it mounted there
            with open("/proc/self/mounts", encoding="utf-8") as file:
                mounts = [line.split()[1] for line in file if line.split()[1].startswith(STATE)]
            for path in reversed(mounts):
                subprocess.run(["umount", path], check=True)


if __name__ == "__main__":
    main()
