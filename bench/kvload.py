# SPDX-License-Identifier: MIT
"""Key-value servers as child processes, and load from redis-benchmark on them.

A server has the first processor for itself and the load the others, so that no scheduling luck is
measured. Children end with this process, however it ends.
"""

import csv
import ctypes
import os
import pathlib
import re
import resource
import select
import signal
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 10
LOAD_SECONDS = 60
CLIENTS = 50

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_server_cpu = None  # where servers run rather than on the first processor


class Failure(Exception):
    """Something a person must know; its text says what."""


def processors():
    """(of the server, of the load): the same when there is only one."""
    mine = sorted(os.sched_getaffinity(0), key=lambda cpu: (cpu != _server_cpu, cpu))
    return (mine[:1], mine[1:]) if len(mine) > 1 else (mine, mine)


def serve_where_the_disk_interrupts(folder=".", away=False):
    """Servers run on the processor that takes most interrupts of the folder's disk from now on, so
    that what the kernel does when a write is durable takes nothing of the load's; or away from
    it."""
    global _server_cpu
    _server_cpu = _disk_cpu(folder)
    if away and _server_cpu is not None:
        others = os.sched_getaffinity(0) - {_server_cpu}
        _server_cpu = min(others, default=_server_cpu)


def _disk_cpu(folder):
    """The processor that takes most interrupts of the folder's disk, or None: nobody knows."""
    number = os.stat(folder).st_dev
    device = os.path.realpath(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    while device not in ("/", "/sys") and not os.path.isdir(device + "/msi_irqs"):
        device = os.path.dirname(device)
    if not os.path.isdir(device + "/msi_irqs"):
        return None
    interrupts = set(os.listdir(device + "/msi_irqs"))
    with open("/proc/interrupts", encoding="ascii") as file:
        cpus = [int(word.removeprefix("CPU")) for word in file.readline().split()]
        sums = [0] * len(cpus)
        for line in file:
            number, *counts = line.split()
            if number.rstrip(":") in interrupts:
                sums = [a + int(b) for a, b in zip(sums, counts)]
    return cpus[sums.index(max(sums))]


def _child(cpus):
    def prepare():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, cpus)
    return prepare


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server; use it in a `with`."""

    host = "127.0.0.1"

    def __init__(self, name, command, port=None):
        self.name, self.port = name, port
        self.command = [os.path.abspath(command[0])] + [str(word) for word in command[1:]]
        self.process = None

    def __enter__(self):
        output = subprocess.PIPE if self.port is None else subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self.command, stdin=subprocess.DEVNULL, stdout=output,
                preexec_fn=_child(processors()[0]))
        except OSError as error:
            raise Failure(f"{self.name}: {self.command[0]}: {error.strerror}") from error
        try:
            if self.port is None:
                self.port = self._announced_port()
            self._await_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def _announced_port(self):
        """Reads "ready on ADDRESS:PORT" from its output."""
        deadline = time.monotonic() + START_SECONDS
        said = b""
        while time.monotonic() < deadline:
            if not select.select([self.process.stdout], [], [], 0.1)[0]:
                continue
            piece = os.read(self.process.stdout.fileno(), 4096)
            said += piece
            found = re.search(rb"ready on \S+:(\d+)\s", said)
            if found:
                return int(found[1])
            if not piece:
                break
        code = self.process.poll()
        how = f"ended with code {code}" if code is not None else "is not ready"
        raise Failure(f"{self.name} {how}: {' '.join(self.command)}: {said.decode()!r}")

    def _await_answer(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as client:
                    client.sendall(b"*1\r\n$4\r\nPING\r\n")
                    if client.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                time.sleep(0.02)
        raise Failure(f"{self.name} does not answer PING on port {self.port}")

    def _proc(self, name):
        try:
            return pathlib.Path(f"/proc/{self.process.pid}/{name}").read_text(encoding="ascii")
        except OSError as error:
            raise Failure(f"{self.name} has ended (code {self.process.poll()})") from error

    def cpu_seconds(self):
        """User and system time so far, of all its threads."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        return int(re.search(r"^VmRSS:\s+(\d+) kB", self._proc("status"), re.M)[1]) * 1024


def demi_kv(path):
    return Server("demi-kv", [path, "--port", "0", "--bind", "127.0.0.1"])


def demi_kv_log(path, folder, *options):
    """With a log of changes in a folder."""
    return Server("demi-kv --log", [path, "--port", "0", "--bind", "127.0.0.1",
                                    "--log", os.path.join(folder, "kv.log"), *options])


def epoll_kv(path):
    return Server("epoll server", [path, "--port", "0", "--bind", "127.0.0.1"])


def redis():
    """The Redis server, keeping nothing on disk."""
    port = free_port()
    return Server("redis-server", [
        ROOT / "scripts" / "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "no", "--loglevel", "warning"], port)


def redis_log(folder, *options):
    """The Redis server, which writes and syncs its log before it answers."""
    port = free_port()
    return Server("redis-server appendfsync always", [
        ROOT / "scripts" / "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--dir", folder,
        "--loglevel", "warning", *options], port)


def load(server, tests, requests, pipeline, seconds=LOAD_SECONDS):
    """Runs redis-benchmark on a server (its name, host, port): {test: {"rps", "p50", "p99"}}, times
    in milliseconds."""
    command = ["redis-benchmark", "-h", server.host, "-p", str(server.port), "-t", ",".join(tests),
               "-c", str(CLIENTS), "-P", str(pipeline), "-n", str(requests), "--csv"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds, preexec_fn=_child(processors()[1]),
                              check=False)
    except FileNotFoundError as error:
        raise Failure("redis-benchmark is not installed (make setup)") from error
    except subprocess.TimeoutExpired as error:
        what = f"{server.name}: {' '.join(command)}"
        raise Failure(f"{what}: not done in {seconds} s") from error
    rows = {row["test"].split(" ")[0].lower(): row
            for row in csv.DictReader(done.stdout.splitlines()) if row.get("rps")}
    if done.returncode != 0 or any(test not in rows for test in tests):
        raise Failure(f"{server.name}: {' '.join(command)}: {done.stderr.strip() or done.stdout}")
    return {test: {"rps": float(rows[test]["rps"]), "p50": float(rows[test]["p50_latency_ms"]),
                   "p99": float(rows[test]["p99_latency_ms"])} for test in tests}


class LightLoad:
    """kv_load.c on a server, from `with` on; wait() says {"rps", "own" (part of a CPU), "p50",
    "p99", "longest" (us), "cpu_us" (of the server, for each request)}."""

    def __init__(self, server, program, seconds, pipeline=1, keys=1, clients=CLIENTS):
        self.server = server
        self.seconds = seconds
        self.command = [os.path.abspath(program)] + [
            str(word) for word in (server.port, clients, seconds, pipeline, keys)]

    def __enter__(self):
        self.used = self.server.cpu_seconds()
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=_child(processors()[1]))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        """Ends it, with its figures so far."""
        self.process.terminate()
        return self.wait()

    def wait(self):
        what = f"{self.server.name}: {' '.join(self.command)}"
        try:
            out, err = self.process.communicate(timeout=self.seconds + START_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{what}: does not end") from error
        if self.process.returncode != 0:
            raise Failure(f"{what}: {err.strip()}")
        rps, own, p50, p99, longest, requests = map(float, out.split())
        used = self.server.cpu_seconds() - self.used
        return {"rps": rps, "own": own, "p50": p50, "p99": p99, "longest": longest,
                "cpu_us": 1e6 * used / max(requests, 1)}


def light_load(server, program, seconds, pipeline):
    """What a load of some seconds says."""
    with LightLoad(server, program, seconds, pipeline) as load_:
        return load_.wait()


def idle_connection_bytes(server, count=1000):
    """Resident memory of the server for each connection that does nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(count + 100, hard) if hard != resource.RLIM_INFINITY else count + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    count = min(count, max(soft, wanted) - 100)
    before = server.resident_bytes()
    clients = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(("127.0.0.1", server.port), 5))
        for client in (clients[0], clients[-1]):  # all are accepted when the last is answered
            client.sendall(b"*1\r\n$4\r\nPING\r\n")
            client.settimeout(5)
            client.recv(64)
        return (server.resident_bytes() - before) / count
    except OSError as error:
        raise Failure(f"{server.name}: {len(clients)} of {count} connections: {error}") from error
    finally:
        for client in clients:
            client.close()


def alternate(servers, rounds, one_round):
    """What one_round says of each server (name, how it is made), in turn; who begins changes."""
    said = {name: [] for name, _ in servers}
    for number in range(rounds):
        for name, make in servers if number % 2 == 0 else servers[::-1]:
            print(f"round {number + 1}/{rounds}: {name} ...", flush=True)
            said[name].append(one_round(make))
    return said


def median(rounds, *keys):
    """The median of one figure over rounds of nested dictionaries."""
    values = []
    for figures in rounds:
        for key in keys:
            figures = figures[key]
        values.append(figures)
    return statistics.median(values)


def median_ratio(ours, theirs, *keys):
    """The median of ours / theirs over pairs of rounds: neighbours in time, which compare best on a
    machine whose speed wanders."""
    return statistics.median(median([a], *keys) / max(median([b], *keys), 1e-9)
                             for a, b in zip(ours, theirs))


def main(body):
    """Runs body; a signal or a Failure ends it with its children cleaned up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(body())
    except Failure as failure:
        print(f"failed: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
