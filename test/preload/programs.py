#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs that were not built for Demikernel, under the preloaded malloc. Prints TAP.

    programs.py start|git|gcc|python|redis LIBDEMIKERNEL-MALLOC WITNESS

Every process of a program testifies where its memory is (witness.c): one outside the heap is a
failure.
"""

import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 100
MIB = 1 << 20
SAYS_WHO = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "A Test"), ("EMAIL", "test@example.org"))}


class Skip(Exception):
    """A program that is not here; says which."""


def need(*names):
    """Skips the test unless these programs are installed."""
    for name in names:
        if not shutil.which(name):
            raise Skip(f"{name} is not installed (make setup)")


class Preloaded:
    """Runs programs with the heap, in a folder of their own; ends them with the block."""

    def __init__(self, library, witness):
        self.library = os.path.abspath(library)
        self.witness = os.path.abspath(witness)
        self.scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.folder = pathlib.Path(self.scratch.name)
        self.testimony = self.folder / "witness"
        self.testimony.touch()
        self.plain = dict(os.environ, LC_ALL="C", HOME=self.scratch.name,
                          GIT_CONFIG_NOSYSTEM="1", **SAYS_WHO)
        self.plain.pop("LD_PRELOAD", None)
        self.environment = dict(self.plain, LD_PRELOAD=f"{self.library}:{self.witness}",
                                DEMI_WITNESS=str(self.testimony))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scratch.cleanup()

    def run(self, *command, preload=True, cwd=None, environment=None, **options):
        """Runs a command that must succeed; returns what it printed."""
        env = dict(self.environment if preload else self.plain, **(environment or {}))
        done = subprocess.run(command, cwd=cwd or self.folder, env=env, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=PATIENCE_S, **options)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, command))}: exit code {done.returncode}\n"
                                 f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def check_processes(self, *names, least=1):
        """At least that many processes ran, these among them, and all had the heap."""
        lines = [line.split() for line in self.testimony.read_text().splitlines()]
        outside = [line for line in lines if line[-1] != "heap"]
        seen = {line[1] for line in lines}
        if outside or len(lines) < least or not seen.issuperset(names):
            raise AssertionError(f"{len(lines)} processes, {sorted(seen)}, of which "
                                 f"{len(outside)} outside, as {outside[:5]}")
        self.testimony.write_text("")


def loaded(pid, library):
    return library in pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


# start: what happens before main()

def start_many_times(use):
    """many short processes"""
    use.run("sh", "-c", "i=0; while [ $i -lt 100 ]; do env true || exit 1; i=$((i + 1)); done")
    use.check_processes("true", least=100)


def start_bound_now(use):
    """all symbols bound at start"""
    use.run("true", environment={"LD_BIND_NOW": "1"})
    use.check_processes("true")


def start_debugged_loader(use):
    """the loader allocates for its own messages"""
    use.run("true", environment={"LD_DEBUG": "files,symbols,bindings",
                                 "LD_DEBUG_OUTPUT": str(use.folder / "loader")})
    use.check_processes("true")


def start_with_little_address_space(use):
    """little address space: the heap takes less, or glibc allocates"""
    for mib in (4096, 512, 64):
        def limit(mib=mib):
            resource.setrlimit(resource.RLIMIT_AS, (mib * MIB, mib * MIB))
        use.run("git", "--version", preexec_fn=limit)
        use.run("sh", "-c", "echo a b c | tr ' ' '\\n' | sort -r", preexec_fn=limit)


DEBUGGED = """
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype = c.malloc_usable_size.restype = ctypes.c_size_t
c.malloc_usable_size.argtypes = [ctypes.c_size_t]
assert c.malloc_usable_size(c.malloc(1001)) == 1001
"""


def start_reads_the_environment(use):
    """DEMI_DEBUG is known to the first allocation: every object has its exact size"""
    use.run(sys.executable, "-c", DEBUGGED, environment={"DEMI_DEBUG": "heap"})
    use.check_processes()


def start_without_standard_streams(use):
    """descriptors 0, 1 and 2 closed"""
    use.run("sh", "-c", "exec 0<&- 1>&- 2>&-; env true")
    use.check_processes("true")


# git

def git_history(use):
    """init, add, commit, gc, clone, fsck"""
    need("git")
    here, there = use.folder / "here", use.folder / "there"
    shutil.copytree(ROOT / "src", here / "src")
    shutil.copytree(ROOT / "test", here / "test", ignore=shutil.ignore_patterns("__pycache__"))
    use.run("git", "init", "-q", here)
    for number in range(10):
        (here / "src" / f"new_{number}.txt").write_text("line\n" * 1000 * (number + 1))
        use.run("git", "add", "-A", cwd=here)
        use.run("git", "commit", "-qm", f"commit {number}", cwd=here)
    use.run("git", "gc", "-q", "--aggressive", "--prune=now", cwd=here)
    use.run("git", "clone", "-q", "--no-local", here, there)
    use.run("git", "fsck", "--full", "--strict", cwd=there)
    assert use.run("git", "rev-list", "--count", "HEAD", cwd=there).strip() == "10"
    assert use.run("git", "diff", "--no-index", here / "src", there / "src") == ""
    use.check_processes("git", least=30)


# gcc

def gcc_same_objects(use):
    """gcc -O2 makes the same objects as without it, and links them"""
    need("gcc")
    sources = sorted((ROOT / "apps" / "demi-kv").glob("*.c"))[:12]
    flags = ["-std=gnu17", "-O2", "-g0", "-fPIC", "-D_GNU_SOURCE", f"-I{ROOT / 'include'}"]
    objects = {}
    for preload in (False, True):
        folder = use.folder / ("with" if preload else "without")
        folder.mkdir()
        use.run("gcc", *flags, "-c", *sources, cwd=folder, preload=preload)
        use.run("gcc", "-shared", "-o", "all", *sorted(folder.glob("*.o")), cwd=folder,
                preload=preload)
        objects[preload] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(objects[True]) == len(sources) + 1
    assert objects[True] == objects[False], "other objects than without the heap"
    use.check_processes("gcc", "cc1", "as", "ld", least=2 * len(sources))


CXX = r"""
#include <cassert>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

struct alignas(256) Wide { char bytes[256]; };

static void work(int seed)
{
    std::map<std::string, std::vector<int>> table;
    for (int i = 0; i < 20000; i++)
        table[std::to_string((i * 7919 + seed) % 5000)].push_back(i);
    for (int i = 0; i < 1000; i++) {
        auto wide = std::make_unique<Wide>();
        assert(reinterpret_cast<unsigned long>(wide.get()) % 256 == 0);
        try { throw std::runtime_error("thrown " + std::to_string(i)); }
        catch (const std::exception &e) { assert(std::string(e.what()).size() > 7); }
    }
}

int main()
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back(work, i);
    for (auto &thread : threads)
        thread.join();
}
"""


def gcc_cxx_program(use):
    """a C++ program: new, aligned new, exceptions, threads"""
    need("g++")
    (use.folder / "program.cc").write_text(CXX)
    use.run("g++", "-std=c++17", "-O2", "-pthread", "-o", "program", "program.cc")
    use.run("./program")
    use.check_processes("cc1plus", "program")


# python

PYTHON = r"""
import ctypes, json, multiprocessing, os, subprocess, sys, threading

def in_heap():
    c = ctypes.CDLL(None)
    c.malloc.restype = ctypes.c_void_p
    window = (ctypes.c_size_t * 3)() # struct dk_heap_window
    c.dk_heap_get_window(window)
    return 0 <= c.malloc(100) - window[0] < window[1]

def table(seed):
    rows = [{"id": i, "name": "x" * (i * seed % 300), "list": list(range(i % 50))}
            for i in range(2000)]
    return sum(len(row["name"]) for row in json.loads(json.dumps(rows)))

def child(seed):
    return table(seed) if in_heap() else -1

assert in_heap()
wanted = [table(seed) for seed in range(8)]
found = [0] * 8
def thread(seed):
    found[seed] = table(seed)
threads = [threading.Thread(target=thread, args=(seed,)) for seed in range(8)]
for t in threads: t.start()
with multiprocessing.get_context("fork").Pool(4) as pool:  # forks while threads allocate
    forked = pool.map(child, range(8))
for t in threads: t.join()
assert found == wanted and forked == wanted, (found, forked, wanted)
for i in range(10):
    out = subprocess.run([sys.executable, "-c", "print('x' * 100000)"], check=True,
                         stdout=subprocess.PIPE).stdout
    assert len(out) == 100001
"""


def python_workload(use):
    """json, threads, subprocess, fork by multiprocessing"""
    use.run(sys.executable, "-c", PYTHON)
    use.check_processes(least=11)


def python_all_by_malloc(use):
    """the same, with every small object by malloc too"""
    use.run(sys.executable, "-c", PYTHON, environment={"PYTHONMALLOC": "malloc"})
    use.check_processes(least=11)


# redis

class Redis:
    """A server under the heap, and what is asked of it."""

    def __init__(self, use):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.use = use
        command = [ROOT / "scripts" / "redis-server", "--port", self.port, "--bind", "127.0.0.1",
                   "--dir", use.folder, "--save", "", "--loglevel", "warning"]
        self.log = open(use.folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            command, env=use.environment, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log)

    def __enter__(self):
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", int(self.port)), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.__exit__()
        raise AssertionError("redis-server does not listen: " +
                             (self.use.folder / "log").read_text(encoding="utf-8"))

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def ask(self, *words):
        return self.use.run("redis-cli", "-p", self.port, *words).strip()

    def await_info(self, section, line):
        deadline = time.monotonic() + PATIENCE_S
        while line not in self.ask("info", section).splitlines():
            assert time.monotonic() < deadline, f"never {line}"
            time.sleep(0.02)


def redis_benchmark_and_bgsave(use):
    """redis-benchmark -n 20000, then a dump by a forked child"""
    need("redis-benchmark", "redis-cli", "redis-check-rdb")
    with Redis(use) as redis:
        assert loaded(redis.process.pid, use.library), "the library is not in its maps"
        out = use.run("redis-benchmark", "-p", redis.port, "-n", "20000", "-q", "-r", "10000",
                      "-d", "100", "-t", "set,get,incr,lpush,lrange_100,hset,zadd,mset")
        assert len(re.findall("requests per second", out)) >= 8, out
        keys = int(redis.ask("dbsize"))
        assert keys > 8000, keys
        assert "started" in redis.ask("bgsave")
        redis.await_info("persistence", "rdb_bgsave_in_progress:0")
        redis.await_info("persistence", "rdb_last_bgsave_status:ok")
        assert f"{keys} keys read" in use.run("redis-check-rdb", use.folder / "dump.rdb")
        assert redis.ask("flushall") == "OK"
        assert redis.ask("set", "after", "flush") == "OK"
    use.check_processes("redis-server", "redis-benchmark", "redis-cli", "redis-check-rdb")


def tests_of(name):
    return [function for key, function in globals().items() if key.startswith(name + "_")]


def report(number, function, library, witness):
    """Runs one test; prints one TAP point and returns whether it failed."""
    title = f"{number} - {function.__name__}: {function.__doc__}"
    try:
        with Preloaded(library, witness) as use:
            function(use)
    except Skip as reason:
        print(f"ok {title} # SKIP {reason}", flush=True)
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"not ok {title}\n# " + f"{type(error).__name__}: {error}".replace("\n", "\n# "),
              flush=True)
        return True
    else:
        print(f"ok {title}", flush=True)
    return False


def main():
    name, library, witness = sys.argv[1:]
    tests = tests_of(name)
    print(f"1..{len(tests)}", flush=True)
    failed = [report(number, function, library, witness)
              for number, function in enumerate(tests, 1)]
    sys.exit(1 if any(failed) else 0)


main()
