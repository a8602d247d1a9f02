#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A server and clients of ours, of two workers each, over a memif:
memif_workers_command.py PATH/TO/demi PATH/TO/workers_process

In a network namespace of its own. Exits 77 where none can be made.
"""

import subprocess
import sys
import threading
import unittest

import stack_command as base
from stack_command import PATIENCE_S, Server, counters

WORKERS = ""


def by_worker(out):
    """What the workers of a workers_process counted, by names."""
    words = [line.split() for line in out.splitlines() if " connections " in line]
    return [{name: int(n) for name, n in zip(line[::2], line[1::2])} for line in words]


def line_of(process, stream):
    """The next line that a process writes; who has none by then is ended."""
    timer = threading.Timer(PATIENCE_S, process.kill)
    timer.start()
    try:
        return stream.readline()
    finally:
        timer.cancel()


class MemifWorkers(base.OverMemif):
    """The worker that sends chooses the queue, so what comes back does so by the same one."""

    MAC = ",mac=02:00:00:00:00:07"  # as a NIC: what the client knows of it stays true

    def serve(self, protocol, address, workers=2):
        net, extra = self.end("server", self.MAC)
        return Server(net, WORKERS, "serve", str(workers), protocol, address, **extra)

    def start_client(self, protocol, address, numbers, workers=2):
        net, extra = self.end("client")
        words = ("load", str(workers), protocol, address, *(str(number) for number in numbers))
        client = subprocess.Popen([WORKERS, *words], text=True, env=base.environment(net, **extra),
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        return client

    def load(self, protocol, address, numbers, workers=2):
        """Has clients send, and every element come back as it was: connections of each worker,
        elements of each connection, bytes of each element."""
        client = self.start_client(protocol, address, numbers, workers)
        out, err = client.communicate(timeout=2 * PATIENCE_S)
        self.assertEqual(client.returncode, 0, err)
        found = by_worker(out)
        self.assertEqual([worker["elements"] for worker in found],
                         [numbers[0] * numbers[1]] * workers)
        return found

    def check_none_was_another_workers(self, process):
        """Of the first clients: the next ones refuse what is sent again to those, by either worker.
        What no worker has a socket for is passed round, too, and taken by none."""
        seen = counters(process)
        for name in ("taken", "dropped"):
            self.assertEqual(seen["workers." + name].strip(), "0", seen)

    def check_each_worker(self, protocol, address, *loads):
        """Datagrams may be lost where an end has no CPU for a while: each once, at most, and the
        server has one more for each that was sent again, at most. A stream loses nothing."""
        server, more = self.serve(protocol, address), 0
        with server as process:
            for i, numbers in enumerate(loads):
                again = [worker["again"] for worker in self.load(protocol, address, numbers)]
                self.assertLessEqual(max(again), numbers[0] if protocol == "udp" else 0)
                more += sum(again) * numbers[2]
                if i == 0:
                    self.check_none_was_another_workers(process)
        sent = sum(connections * elements * size for connections, elements, size in loads)
        found = by_worker(server.out)
        for worker in found:
            self.assertGreaterEqual(worker["bytes"], sent, server.out)
            self.assertEqual(worker["connections"],
                             sum(numbers[0] for numbers in loads) if protocol == "tcp" else 0)
        self.assertLessEqual(sum(worker["bytes"] for worker in found), sent * len(found) + more,
                             server.out)

    def test_streams_are_whole_by_each_worker(self):
        for address in ("10.9.1.1:7000", "[fd19::1]:7000"):
            self.check_each_worker("tcp", address, (50, 100, 1000), (5, 20, 100000))

    def test_datagrams_are_whole_by_each_worker(self):
        for address in ("10.9.1.1:7000", "[fd19::1]:7000"):
            self.check_each_worker("udp", address, (50, 100, 1000), (5, 20, 20000))

    def test_client_of_one_worker_is_served_by_one(self):
        server = self.serve("tcp", "10.9.1.1:7000")
        with server as process:
            self.load("tcp", "10.9.1.1:7000", (50, 100, 1000), workers=1)
            self.check_none_was_another_workers(process)
        self.assertEqual([worker["connections"] for worker in by_worker(server.out)], [50, 0])
        self.assertIn("fewer queues (1) than this one (2): worker 1 reaches nobody", server.err)

    def test_client_of_more_workers_than_the_server_says_so(self):
        with self.serve("tcp", "10.9.1.1:7000", workers=1):
            client = self.start_client("tcp", "10.9.1.1:7000", (1, 1, 1000))
            line = line_of(client, client.stderr)
            while line and "does not take this client" not in line:
                line = line_of(client, client.stderr)
            self.assertIn("fewer queues than this end (2)", line)
            client.kill()
            client.wait()
            self.load("tcp", "10.9.1.1:7000", (50, 100, 1000), workers=1)

    def check_clients_that_are_killed(self, protocol):
        with self.serve(protocol, "10.9.1.1:7000") as process:
            for workers in (2, 1, 2, 1):
                before = int(counters(process).get("dev.tx_frames", 0))
                client = self.start_client(protocol, "10.9.1.1:7000", (10, 0, 1000), workers)
                base.wait_until(
                    lambda most=before + 1000: int(counters(process)["dev.tx_frames"]) > most)
                client.kill()
                client.wait()
            self.load(protocol, "10.9.1.1:7000", (50, 100, 1000))

    def test_clients_that_are_killed_make_room_for_the_next(self):
        self.check_clients_that_are_killed("tcp")
        self.check_clients_that_are_killed("udp")

    def await_both(self, process):
        lines = [line_of(process, process.stdout) for _ in range(2)]
        self.assertEqual(sorted(lines), ["worker 0 is reached\n", "worker 1 is reached\n"])

    def test_server_that_is_killed_and_comes_back_is_reached_by_each_worker(self):
        with self.serve("udp", "10.9.1.1:7000") as process:
            self.start_client("udp", "10.9.1.1:7000", (10, 0, 1000))
            self.await_both(process)
            process.kill()
            process.wait()
        with self.serve("udp", "10.9.1.1:7000") as process:
            self.await_both(process)


def main():
    global WORKERS
    base.enter_namespace()
    base.DEMI, WORKERS = (sys.argv.pop(1) for _ in range(2))
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
