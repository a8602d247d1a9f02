#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The counters of a process as another one reads them: stats_command.py PATH/TO/demi HELPER

HELPER is stats_process.c. Every test has a run directory of its own.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

DEMI = HELPER = ""
PATIENCE_S = 30
CLEARED = ("CONFIG_PATH", "LIBOS", "XDG_RUNTIME_DIR")
NOBODY = 65534


def environment(**extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_") and k not in CLEARED}
    return {**env, "DEMI_NET": "memory", **extra}


class Process:
    """A running helper: its own counters, and its child's number."""

    def __init__(self, *args, **env):
        self.process = subprocess.Popen([HELPER, *args], env=environment(**env), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.pid = self.process.pid
        self.own, self.child = {}, None
        for line in iter(self.process.stdout.readline, "ready\n"):
            if not line:
                raise AssertionError(f"ended: {self.process.communicate()}")
            name, value = line.split()
            if name == "child":
                self.child = int(value)
            else:
                self.own[name] = int(value) if value.isdigit() else value

    def kill(self):
        if self.child:
            os.kill(self.child, signal.SIGKILL)
            self.child = None
        if self.process.poll() is None:
            self.process.kill()
        return self.process.communicate(timeout=PATIENCE_S)

    def end(self):
        """Closes its standard input; returns its exit code and standard error."""
        _, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, err


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run_dir = pathlib.Path(folder.name)
        self.folder = self.run_dir / "demikernel"

    def start(self, *args, **env):
        env.setdefault("XDG_RUNTIME_DIR", str(self.run_dir))
        process = Process(*args, **env)
        self.addCleanup(process.kill)
        return process

    def demi(self, *args, user=None, **env):
        env.setdefault("XDG_RUNTIME_DIR", str(self.run_dir))
        return subprocess.run([DEMI, *args], env=environment(**env), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False,
                              user=user)

    def stats(self, pid):
        done = self.demi("info", "--stats", str(pid), "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        return json.loads(done.stdout)

    def stats_when(self, pid, condition):
        """The counters, as soon as they are so."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            stats = self.stats(pid)
            if condition(stats):
                return stats
        raise AssertionError(f"still not so: {stats}")

    def asleep(self, pid, threads=1):
        return self.stats_when(pid, lambda s: s["core.asleep"] >= threads)

    def check_failure(self, pid, *words):
        done = self.demi("info", "--stats", str(pid))
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        for word in words:
            self.assertIn(word, done.stderr)

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())


class Counters(Case):
    def test_process_asleep_shows_exact_counters(self):
        process = self.start("sleep", "1000")
        stats = self.asleep(process.pid)
        self.assertEqual(stats["core.completions"], 1000)
        self.assertEqual(stats["mem.buffers_in_use"], 1000)
        self.assertEqual(stats["core.libos"], "memory")
        self.assertEqual(stats["core.asleep"], 1)
        self.assertEqual(stats["mem.copies_foreign"], 0)

    def test_shortest_path_is_counted(self):
        stats = self.asleep(self.start("work", "1000").pid)
        self.assertEqual(stats["core.completions"], 2000)
        self.assertEqual(stats["mem.buffers_in_use"], 0)

    def test_log_and_its_device_are_counted(self):
        stats = self.asleep(self.start("log", "100", DEMI_STORE="memblk").pid)
        self.assertEqual(stats["store.appends"], 100)
        self.assertEqual(stats["store.batches"], 100)
        self.assertEqual(stats["store.payload_bytes"], 6400)
        self.assertGreater(stats["store.segments_free"], 0)
        self.assertGreaterEqual(stats["blk.writes"], 100)
        self.assertGreaterEqual(stats["blk.written_bytes"], 100 * 4096)
        self.assertGreaterEqual(stats["blk.fua_writes"] + stats["blk.flushes"], 100)
        self.assertEqual(stats["blk.errors"], 0)

    def test_outside_and_inside_have_the_same_names_and_values(self):
        for net in ("memory", "kernel"):
            with self.subTest(net=net):
                process = self.start("sleep", "10", DEMI_NET=net)
                stats = self.asleep(process.pid)
                self.assertEqual(stats.keys(), process.own.keys())
                changed = {k for k in stats if stats[k] != process.own[k]}
                self.assertLessEqual(changed, {"core.asleep", "core.sleeps", "core.polls",
                                               "core.array_reads", "kernel.direct_polls"})

    def test_table_has_a_line_for_each(self):
        process = self.start("sleep", "7", DEMI_NET="kernel")
        stats = self.asleep(process.pid)
        done = self.demi("info", "--stats", str(process.pid))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        table = dict(line.split() for line in done.stdout.splitlines())
        self.assertEqual(table.keys(), stats.keys())
        self.assertEqual(table["core.completions"], "7")
        self.assertIn(table["kernel.engine"], ("io_uring", "epoll"))

    def test_instances_are_summed(self):
        process = self.start("threads", "300", DEMI_WORKERS="2")
        stats = self.asleep(process.pid, threads=2)
        self.assertEqual(stats["core.completions"], 600)
        self.assertEqual(stats["mem.buffers_in_use"], 600)

    def test_threads_of_one_instance_count_together(self):
        process = self.start("threads", "300", DEMI_WORKERS="1")
        stats = self.stats_when(process.pid, lambda s: s["core.completions"] >= 600)
        self.assertEqual(stats["core.completions"], 600)


class Forks(Case):
    def test_child_without_the_library_leaves_the_file_alone(self):
        process = self.start("fork", "100")
        self.assertEqual(self.asleep(process.pid)["core.completions"], 100)
        self.check_failure(process.child, "keeps no statistics")
        os.kill(process.child, signal.SIGTERM)
        self.assertEqual(self.asleep(process.pid)["core.completions"], 100)

    def test_child_with_the_library_has_its_own(self):
        process = self.start("init", "100")
        end = time.monotonic() + PATIENCE_S
        while str(process.child) not in self.files() and time.monotonic() < end:
            pass
        child = self.stats_when(process.child, lambda s: s.get("core.asleep"))
        self.assertEqual(child["core.completions"], 200)
        self.assertEqual(child["mem.buffers_in_use"], 300)  # it has those of its parent too
        stats = self.asleep(process.pid)
        self.assertEqual(stats["core.completions"], 100)
        self.assertEqual(stats["mem.buffers_in_use"], 100)


class Ends(Case):
    def test_orderly_end_removes_the_file(self):
        process = self.start("exit", "1")
        self.assertEqual(process.end()[0], 0)
        self.assertEqual(self.files(), [])
        process = self.start("fini", "1")
        self.assertEqual(self.files(), [])
        self.check_failure(process.pid, "keeps no statistics")
        self.assertEqual(process.end()[0], 0)
        self.check_failure(process.pid, "no such process")

    def test_killed_process_is_gone_and_the_next_one_cleans(self):
        killed = self.start("sleep", "1")
        self.asleep(killed.pid)
        killed.kill()
        self.assertEqual(self.files(), [str(killed.pid)])
        self.check_failure(killed.pid, str(killed.pid), "is gone")
        living = self.start("sleep", "1")
        self.assertEqual(self.files(), [str(living.pid)])
        self.check_failure(killed.pid, "no such process")

    def test_number_used_again_is_not_mistaken(self):
        process = self.start("sleep", "1")
        file = self.folder / str(process.pid)
        data = bytearray(file.read_bytes())
        data[16] ^= 1  # it started at another time
        (self.folder / str(os.getpid())).write_bytes(
            data[:12] + os.getpid().to_bytes(4, sys.byteorder) + data[16:])
        self.check_failure(os.getpid(), "is gone")


class Trouble(Case):
    def test_directory_unusable_is_told_and_nothing_fails(self):
        self.folder.write_text("not a directory")
        process = self.start("exit", "5", DEMI_LOG="info")
        self.assertEqual(process.own["core.completions"], 5)
        code, err = process.end()
        self.assertEqual(code, 0)
        self.assertIn(str(self.folder), err)
        self.assertIn("Not a directory", err)
        self.assertEqual(self.start("exit", "5").end(), (0, ""))
        process = self.start("sleep", "5")
        self.check_failure(process.pid, "keeps no statistics")

    def test_directory_that_others_may_write_to_is_refused(self):
        self.folder.mkdir()
        self.folder.chmod(0o777)
        process = self.start("exit", "5", DEMI_LOG="info")
        self.assertIn("Operation not permitted", process.end()[1])
        self.assertEqual(self.files(), [])

    def test_symbolic_link_is_refused(self):
        (self.run_dir / "elsewhere").mkdir(mode=0o700)
        self.folder.symlink_to("elsewhere")
        self.assertEqual(self.start("exit", "5", DEMI_LOG="info").end()[0], 0)
        self.assertEqual(self.files(), [])

    def test_file_is_the_users_alone(self):
        process = self.start("sleep", "1")
        self.assertEqual((self.folder / str(process.pid)).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_file_damaged_is_failure(self):
        process = self.start("sleep", "1")
        self.asleep(process.pid)
        with open(self.folder / str(process.pid), "r+b") as file:
            file.seek(64)
            file.write(b"\xff" * 64)
        self.check_failure(process.pid, "damaged")
        process.process.kill()  # a truncated mapping would be its end anyway
        process.process.wait()
        for size in (1, 63, 64, 100):
            os.truncate(self.folder / str(process.pid), size)
            self.check_failure(process.pid, "damaged")

    def test_process_of_another_user_is_refused(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        process = self.start("sleep", "1", XDG_RUNTIME_DIR="")
        try:
            done = self.demi("info", "--stats", str(process.pid), user=NOBODY)
        except PermissionError:
            self.skipTest("another user may not run the command here")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("another user's", done.stderr)

    def test_root_reads_a_users_counters(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        if os.path.isdir(f"/run/user/{NOBODY}"):
            self.skipTest("the user has a run directory")
        command = [HELPER, "sleep", "3"]
        try:
            process = subprocess.Popen(command, env=environment(), user=NOBODY, text=True,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        except PermissionError:
            self.skipTest("another user may not run the helper here")
        self.addCleanup(shutil.rmtree, f"/dev/shm/demikernel-{NOBODY}", ignore_errors=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        while process.stdout.readline() not in ("ready\n", ""):
            pass
        self.assertEqual(self.asleep(process.pid)["core.completions"], 3)


class Usage(Case):
    def test_number_wrong_is_usage(self):
        for text in ("", "x", "0", "-1", "12x", " 1", "1K", "99999999999999999999"):
            with self.subTest(text=text):
                done = self.demi("info", "--stats", text)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done)
                self.assertIn("number of a process", done.stderr)

    def test_stats_and_config_exclude_each_other(self):
        done = self.demi("info", "--stats", "1", "--config")
        self.assertEqual((done.returncode, done.stdout), (2, ""), done)
        self.assertIn("exclude", done.stderr)

    def test_process_without_statistics_is_failure(self):
        self.check_failure(os.getpid(), "keeps no statistics", "DEMI_LOG")
        self.check_failure(2 ** 31 - 1, "no such process")


if __name__ == "__main__":
    DEMI, HELPER = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
