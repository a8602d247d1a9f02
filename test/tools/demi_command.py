#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demi command as a user runs it: demi_command.py PATH/TO/demi

Loopback only. Exits 77 when this machine cannot run the kernel library OS at all.
"""

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

DEMI = ""
PATIENCE_S = 30
CLEARED = ("CONFIG_PATH", "LIBOS")
ENGINES = ("io_uring", "epoll")
RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: close resets the connection


def environment(**extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_") and k not in CLEARED}
    env.update(extra)
    return env


def demi(*args, **env):
    return subprocess.run([DEMI, *args], env=environment(**env), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)


class Echo:
    """A running `demi echo`; ends with the block."""

    def __init__(self, *args, listen="127.0.0.1:0", **env):
        self.process = subprocess.Popen([DEMI, "echo", "--listen", listen, *args],
                                        env=environment(**env), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.process.kill()
            raise AssertionError(f"no address: {line!r} {self.process.communicate()}")
        self.address = line.split()[-1]
        self.port = int(self.address.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number=None):
        """Exit code, standard output and standard error of its orderly end."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


class Usage(unittest.TestCase):
    def check(self, done, code, out="", err=""):
        self.assertEqual(done.returncode, code, done)
        self.assertIn(out, done.stdout)
        self.assertIn(err, done.stderr)

    def test_help_names_every_command(self):
        for args in (("--help",), ("help",), ("-?",)):
            done = demi(*args)
            self.check(done, 0)
            for name in ("info", "echo", "ping", "doctor", "log"):
                self.assertIn(name, done.stdout)

    def test_help_of_a_command_shows_its_options(self):
        self.check(demi("help", "ping"), 0, "--connections")
        self.check(demi("ping", "--help"), 0, "Usage: demi ping")
        self.check(demi("help", "echo"), 0, "--listen")
        self.check(demi("help", "nothing"), 2, err="nothing")

    def test_version_is_that_of_the_library(self):
        version = json.loads(demi("info", "--json").stdout)["version"]
        self.check(demi("--version"), 0, f"demi {version}\n")

    def test_command_missing_or_unknown_is_usage(self):
        self.check(demi(), 2, err="command is missing")
        self.check(demi("pong"), 2, err="unknown command 'pong'")

    def test_options_wrong_are_usage(self):
        for args in (("info", "x"), ("info", "--nothing"), ("ping",), ("ping", "localhost"),
                     ("ping", "127.0.0.1:1", "127.0.0.1:2"), ("ping", "127.0.0.1:1", "--size", "0"),
                     ("ping", "127.0.0.1:1", "--count", "many"),
                     ("ping", "127.0.0.1:1", "--udp", "--size", "65508"),
                     ("ping", "127.0.0.1:1", "--connections", "-1"), ("echo", "--listen", "7000"),
                     ("echo", "--listen", "127.0.0.1:70000"), ("echo", "--count", "0"),
                     ("echo", "more")):
            with self.subTest(args=args):
                done = demi(*args)
                self.check(done, 2, err="demi " + args[0])
                self.assertEqual(done.stdout, "")

    def test_output_full_is_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([DEMI, "info"], env=environment(), stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot write", done.stderr)


class Info(unittest.TestCase):
    def test_text_names_what_is_there(self):
        done = demi("info")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("demikernel ", done.stdout)
        self.assertIn("kernel", done.stdout)
        self.assertIn("memory", done.stdout)

    def test_json_tells_what_to_do_about_what_is_missing(self):
        backends = json.loads(demi("info", "--json").stdout)["backends"]
        self.assertTrue(any(b["name"] == "kernel" and b["available"] for b in backends))
        for backend in backends:
            self.assertEqual(backend["missing"] == "", backend["available"], backend)
            self.assertTrue(backend["summary"], backend)

    def test_devices_of_logs_are_listed(self):
        backends = {b["name"]: b for b in json.loads(demi("info", "--json").stdout)["backends"]}
        for name, engines in (("memblk", ("memory",)), ("file", ("io_uring", "threads")),
                              ("nvme", ("io_uring", ""))):
            self.assertEqual(backends[name]["kind"], "storage")
            self.assertIn(backends[name]["engine"], engines)
        if not glob.glob("/dev/ng*"):
            self.assertRegex(backends["nvme"]["missing"], "/dev/ng|Linux 6.1|io_uring")
        self.assertRegex(demi("info").stdout, r"\n  file +storage +(io_uring|threads) +logs ")

    def test_config_tells_value_default_and_origin(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("# comment\nspin_us: 5\n")
            file.flush()
            done = demi("info", "--config", "--json", DEMI_CONFIG=file.name, DEMI_WORKERS="2")
            config = json.loads(done.stdout)["config"]
            self.assertEqual(config["spin_us"]["value"], "5")
            self.assertEqual(config["spin_us"]["default"], "10")
            self.assertEqual(config["spin_us"]["origin"], f"{file.name}:2")
            self.assertEqual(config["workers"]["origin"], "environment DEMI_WORKERS")
            self.assertEqual(config["net"]["origin"], "default")
            text = demi("info", "--config", DEMI_CONFIG=file.name).stdout
            self.assertRegex(text, rf"spin_us +5 +{file.name}:2, default 10\n")
            self.assertRegex(text, r"workers +1 +default\n")

    def test_config_wrong_is_code_2_and_says_why(self):
        done = demi("info", "--config", DEMI_NET="rdma")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        for word in ("DEMI_NET", "rdma", "not in this build", "kernel, memory"):
            self.assertIn(word, done.stderr)

    def test_config_warning_is_given_once(self):
        done = demi("info", "--config", DEMI_SPINUS="1")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(done.stderr.count("DEMI_SPINUS"), 1, done.stderr)


class BadConfig(unittest.TestCase):
    def check(self, *words, **env):
        """demi_init refuses: nothing is listening, code 2, the words on standard error."""
        done = demi("echo", "--listen", "127.0.0.1:0", **env)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done)
        for word in words:
            self.assertIn(word, done.stderr)

    def check_file(self, text, *words):
        with tempfile.NamedTemporaryFile("wb", suffix=".yaml") as file:
            file.write(text)
            file.flush()
            self.check(file.name, *words, DEMI_CONFIG=file.name)

    def test_environment_wrong_is_told(self):
        self.check("DEMI_SPIN_US", "'2ms'", "0 to 1000000", DEMI_SPIN_US="2ms")
        self.check("DEMI_NET", "'tokenring'", "kernel, memory", DEMI_NET="tokenring")
        self.check("LIBOS", "catnip", "dpdk", "catnap", LIBOS="catnip")
        self.check("cannot open", DEMI_CONFIG="/nonexistent.yaml")
        self.check("is a directory", DEMI_CONFIG="/tmp")

    def test_file_wrong_is_told(self):
        self.check_file(b"net: kernel\nspinus: 3\n", ":2:", "'spinus'", "spin_us", "max_queues")
        self.check_file(b"engine: select\n", ":1:", "'select'", "auto, io_uring, epoll")
        self.check_file(b"- net\n", "mapping")
        self.check_file(b"net: \xff\xfe\n", "UTF-8")
        self.check_file(b"net: 'kernel\n", "valid YAML")
        self.check_file(b"log: warn\nlog: info\n", ":2:", "twice")

    def test_reference_file_runs_with_warnings(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("catnip:\n  my_ipv4_addr: 10.0.0.1\ndpdk:\n  eal_init: ['-c', '0xff']\n")
            file.flush()
            with Echo("--once", CONFIG_PATH=file.name, LIBOS="catnap") as echo:
                done = demi("ping", echo.address, "--count", "1")
                self.assertEqual(done.returncode, 0, done)
                code, _, err = echo.end()
            self.assertEqual(code, 0)
            self.assertIn("'catnip' has no effect", err)
            self.assertIn("'dpdk' has no effect", err)


class RoundTrips(unittest.TestCase):
    def ping(self, echo, *args, code=0, **env):
        done = demi("ping", echo.address, "--json", *args, **env)
        self.assertEqual(done.returncode, code, done)
        return json.loads(done.stdout)

    def check_all(self, result, count):
        self.assertEqual((result["sent"], result["answered"]), (count, count))
        self.assertEqual((result["lost"], result["corrupt"]), (0, 0))
        trip = result["round_trip_us"]
        order = [trip[k] for k in ("min", "p50", "p90", "p99", "p99.9", "max")]
        self.assertEqual(order, sorted(order))
        self.assertGreater(trip["min"], 0)
        self.assertEqual(sum(row["count"] for row in result["histogram"]), count)

    def test_sizes_over_both_protocols_and_engines(self):
        for engine in ENGINES:
            for udp in ((), ("--udp",)):
                with Echo(*udp, DEMI_ENGINE=engine) as echo:
                    for size in ("1", "7", "64", "1473", "16K", "60000"):
                        with self.subTest(engine=engine, udp=udp, size=size):
                            result = self.ping(echo, *udp, "--size", size, "--count", "200",
                                               DEMI_ENGINE=engine)
                            self.check_all(result, 200)

    def test_large_message_is_gathered(self):
        for engine in ENGINES:
            with self.subTest(engine=engine), Echo(DEMI_ENGINE=engine) as echo:
                result = self.ping(echo, "--size", "3M", "--count", "20", DEMI_ENGINE=engine)
                self.check_all(result, 20)

    def test_many_connections_share_the_probes(self):
        with Echo() as echo:
            result = self.ping(echo, "--connections", "100", "--count", "5000")
            self.check_all(result, 5000)
            code, out, _ = echo.end(signal.SIGINT)
        self.assertEqual(code, 0)
        self.assertIn("100 connections", out)

    def test_ipv6_and_names(self):
        if not has_ipv6():
            self.skipTest("no IPv6 on loopback")
        for udp in ((), ("--udp",)):
            with Echo(*udp, listen="[::1]:0") as echo:
                self.assertTrue(echo.address.startswith("[::1]:"), echo.address)
                self.check_all(self.ping(echo, *udp, "--count", "100"), 100)

    def test_name_localhost_is_looked_up(self):
        for listen, family, option in (("127.0.0.1:0", socket.AF_INET, "-4"),
                                       ("[::1]:0", socket.AF_INET6, "-6")):
            try:
                socket.getaddrinfo("localhost", 0, family)
            except socket.gaierror:
                continue
            with Echo(listen=listen) as echo:
                echo.address = f"localhost:{echo.port}"
                self.check_all(self.ping(echo, option, "--count", "10"), 10)

    def test_rate_is_kept(self):
        with Echo("--udp") as echo:
            result = self.ping(echo, "--udp", "--rate", "1000", "--count", "300", "--warmup", "0")
        self.check_all(result, 300)
        self.assertGreater(result["elapsed_s"], 0.25)

    def test_text_report_has_quantiles_and_bars(self):
        with Echo() as echo:
            done = demi("ping", echo.address, "--count", "100")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("100 sent, 100 answered, 0 lost", done.stdout)
        for word in ("min ", "p50 ", "p90 ", "p99 ", "p99.9 ", "max ", " us ", "#"):
            self.assertIn(word, done.stdout)
        self.assertEqual(done.stderr, "")

    def test_waiting_modes_all_answer(self):
        for poll in ("always", "never", "adaptive"):
            with self.subTest(poll=poll), Echo(DEMI_POLL=poll) as echo:
                self.check_all(self.ping(echo, "--count", "200", DEMI_POLL="never"), 200)


class Ends(unittest.TestCase):
    def test_signal_ends_echo_with_statistics(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with Echo() as echo:
                demi("ping", echo.address, "--count", "10", "--warmup", "0", "--size", "5")
                code, out, err = echo.end(number)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("1 connection, 10 pieces, 50 bytes sent back, 0 failures", out)

    def test_count_ends_echo(self):
        with Echo("--count", "2") as echo:
            for _ in range(2):
                self.assertEqual(demi("ping", echo.address, "--count", "3").returncode, 0)
            self.assertEqual(echo.end()[0], 0)
        with Echo("--udp", "--once") as echo:
            done = demi("ping", echo.address, "--udp", "--count", "1", "--warmup", "0")
            self.assertEqual(done.returncode, 0, done)
            self.assertEqual(echo.end()[0], 0)

    def test_address_taken_is_failure(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = demi("echo", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("Address already in use", done.stderr)

    def test_nobody_listens_is_failure(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            for udp in ((), ("--udp",)):
                done = demi("ping", f"127.0.0.1:{port}", *udp, "--timeout", "2000")
                self.assertEqual(done.returncode, 1, done)
                self.assertIn("Connection refused", done.stderr)

    def test_peer_silent_ends_by_timeout(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            done = demi("ping", address, "--timeout", "200", "--json")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("timed out", done.stderr)
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            done = demi("ping", address, "--udp", "--timeout", "20", "--warmup", "0", "--json")
        self.assertEqual(done.returncode, 1, done)
        result = json.loads(done.stdout)
        self.assertEqual((result["sent"], result["lost"], result["answered"]), (20, 20, 0))


class Peers(unittest.TestCase):
    """Against plain sockets: what no demi peer would do."""

    def serve(self, handle, kind=socket.SOCK_STREAM):
        """Runs handle(socket) beside the test; returns the address."""
        sock = socket.socket(type=kind)
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        sock.settimeout(PATIENCE_S)

        def run():
            with sock, contextlib.suppress(OSError):
                if kind == socket.SOCK_STREAM:
                    with sock.accept()[0] as connection:
                        handle(connection)
                else:
                    handle(sock)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return "%s:%d" % sock.getsockname()

    def test_reply_in_pieces_is_gathered(self):
        def handle(connection):
            while data := connection.recv(65536):
                for i in range(0, len(data), 10):
                    connection.sendall(data[i:i + 10])

        done = demi("ping", self.serve(handle), "--size", "95", "--count", "50")
        self.assertEqual(done.returncode, 0, done)

    def test_reply_wrong_is_corrupt(self):
        def handle(connection):
            while data := connection.recv(65536):
                connection.sendall(data[:-1] + bytes([data[-1] ^ 1]))

        done = demi("ping", self.serve(handle), "--json", "--warmup", "0")
        self.assertEqual(done.returncode, 1, done)
        result = json.loads(done.stdout)
        self.assertEqual((result["corrupt"], result["answered"]), (1, 0))

    def test_peer_ends_after_some_ends_ping(self):
        def handle(connection):
            for _ in range(10):
                connection.sendall(connection.recv(64, socket.MSG_WAITALL))
            connection.recv(64, socket.MSG_WAITALL)

        done = demi("ping", self.serve(handle), "--json", "--warmup", "0", "--count", "1000000")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("given up", done.stderr)
        result = json.loads(done.stdout)
        self.assertEqual((result["sent"], result["answered"], result["lost"]), (11, 10, 1))

    def test_signal_ends_ping_with_what_there_is(self):
        started = threading.Event()

        def handle(connection):
            for i in range(1000000):
                data = connection.recv(64, socket.MSG_WAITALL)
                if not data:
                    break
                if i == 10:  # no reply: it is under way when the signal comes
                    started.wait(PATIENCE_S)
                    ping.send_signal(signal.SIGINT)
                    continue
                connection.sendall(data)

        ping = subprocess.Popen([DEMI, "ping", self.serve(handle), "--json", "--warmup", "0",
                                 "--count", "1000000"], env=environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.set()
        out, err = ping.communicate(timeout=PATIENCE_S)
        self.assertEqual((ping.returncode, err), (0, ""), out)
        result = json.loads(out)
        self.assertEqual((result["sent"], result["answered"], result["lost"]), (10, 10, 0))

    def test_datagrams_lost_and_doubled_are_counted(self):
        def handle(sock):
            for i in range(50):
                data, peer = sock.recvfrom(65536)
                for _ in range({3: 0, 7: 2}.get(i % 10, 1)):
                    sock.sendto(data, peer)

        address = self.serve(handle, socket.SOCK_DGRAM)
        done = demi("ping", address, "--udp", "--json", "--count", "50", "--warmup", "0",
                    "--timeout", "500")
        self.assertEqual(done.returncode, 1, done)
        result = json.loads(done.stdout)
        self.assertEqual((result["sent"], result["answered"], result["lost"]), (50, 45, 5))
        self.assertGreaterEqual(result["stray"], 4)

    def test_echo_serves_a_client_that_closes_early(self):
        with Echo() as echo:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", echo.port)) as client:
                    client.sendall(b"x" * 100000)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with socket.create_connection(("127.0.0.1", echo.port)) as client:
                client.settimeout(PATIENCE_S)
                client.sendall(b"still here")
                client.shutdown(socket.SHUT_WR)
                with client.makefile("rb") as replies:
                    self.assertEqual(replies.read(), b"still here")
            self.assertEqual(echo.end(signal.SIGINT)[0], 0)

    def test_echo_keeps_datagram_boundaries(self):
        with Echo("--udp") as echo, socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE_S)
            client.connect(("127.0.0.1", echo.port))
            for size in (0, 1, 1000, 65507):
                client.send(b"y" * size)
                self.assertEqual(client.recv(65536), b"y" * size)


def main():
    global DEMI
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    DEMI = os.path.abspath(sys.argv.pop(1))
    done = demi("info", "--json")
    if done.returncode == 0 and not any(b["name"] == "kernel" and b["available"]
                                        for b in json.loads(done.stdout)["backends"]):
        print("skipped: the kernel library OS is not available on this machine")
        sys.exit(77)
    unittest.main()


if __name__ == "__main__":
    main()
