#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Durable appends and reads of a log against what else does that, on the same file system.

    bench/log_compare.py LOG_LOAD [SECONDS]

Claims, for records of 4 KiB: one at a time, at most 1.1 times the latency of a hand-written loop of
io_uring writes; 64 outstanding, the throughput of fio with the same pattern and of RocksDB's
write-ahead log with 64 writers, and twice that of SQLite's; read in order, 0.9 of fio's. Both read
as many bytes, and fio in blocks of 256 KiB, 4 in flight: with those of our reader (1 MiB, 2 in
flight) it is slower.

All sides work in one folder, which is made in the current one, in rounds that alternate; figures
are medians over the rounds, ratios medians of the ratios of each round. A side that is not
installed is skipped, and says so.
"""

import json
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
BYTES = 4096
OUTSTANDING = 64
STORE_BYTES = 1 << 30
READ_BYTES = 256 << 20
FIO = ["fio", "--name=x", "--ioengine=io_uring", "--direct=1", "--output-format=json"]


class Bench:
    def __init__(self, load, seconds, folder):
        self.load, self.seconds, self.folder = load, seconds, folder

    def run(self, command, **options):
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL, check=True, timeout=300, **options)
        return done.stdout

    def ours(self, what, *arguments, store="log"):
        """A device that is a file of its own, whose blocks are there from the beginning."""
        spec = f"file:{self.folder}/{store},size={STORE_BYTES},create"
        return float(self.run([self.load, what, "bench", *arguments],
                              env=dict(os.environ, DEMI_STORE=spec, LIBOS="")))

    def forget(self, name):
        for path in self.folder.glob(name + "*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    # One at a time: microseconds.
    def one(self):
        self.forget("log")
        return self.ours("one", str(self.seconds))

    def raw(self):
        return float(self.run([self.load, "raw", f"{self.folder}/raw", str(self.seconds)]))

    # 64 outstanding: records per second.
    def many(self):
        self.forget("log")
        return self.ours("many", str(self.seconds))

    def fio(self, *arguments):
        return json.loads(self.run([*FIO, f"--filename={self.folder}/fio", *arguments]))["jobs"][0]

    def fio_write(self):
        """Its file is laid out first, like our store."""
        self.fio("--rw=write", "--bs=1m", "--size=256m", "--end_fsync=1")
        job = self.fio("--rw=write", f"--bs={BYTES}", f"--iodepth={OUTSTANDING}", "--sync=dsync",
                       "--size=256m", "--overwrite=1", "--time_based", f"--runtime={self.seconds}")
        return job["write"]["iops"]

    def rocksdb(self):
        self.forget("rocks")
        out = self.run(["db_bench", "--benchmarks=fillrandom", "--sync=1", "--num=1000000",
                        f"--threads={OUTSTANDING}", f"--value_size={BYTES - 16}", "--key_size=16",
                        "--compression_type=none", f"--duration={self.seconds}",
                        f"--db={self.folder}/rocks", "--allow_concurrent_memtable_write=true"])
        line = next(row for row in out.splitlines() if row.startswith("fillrandom"))
        return float(line.split("micros/op")[1].split("ops/sec")[0])

    def sqlite(self):
        self.forget("sqlite")
        db = sqlite3.connect(self.folder / "sqlite", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE log (number INTEGER PRIMARY KEY, record BLOB)")
        record, n, start = bytes(BYTES - 16), 0, time.monotonic()
        while (took := time.monotonic() - start) < self.seconds:
            db.execute("INSERT INTO log (record) VALUES (?)", (record,))
            n += 1
        db.close()
        return n / took

    # Reading in order: bytes per second.
    def read(self):
        self.drop_caches()
        return self.ours("read", str(READ_BYTES), store="kept")

    def fio_read(self):
        self.drop_caches()
        job = self.fio("--rw=read", "--bs=256k", "--iodepth=4", f"--size={READ_BYTES}")
        return job["read"]["bw_bytes"]

    def drop_caches(self):
        """Nobody's reads come from memory: both are direct; the metadata may."""
        os.sync()


def missing(tool):
    return None if not tool or shutil.which(tool) else f"{tool} is not installed"


def claims(b):
    """(what, unit, ours, the other, its tool, least ratio, whether more is better)"""
    one = "4 KiB durably, one at a time"
    many = f"4 KiB durably, {OUTSTANDING} outstanding"
    return (
        (one, "us", b.one, ("io_uring loop", b.raw), None, 1 / 1.1, False),
        (many, "records/s", b.many, ("fio", b.fio_write), "fio", 1.0, True),
        (many, "records/s", b.many, ("RocksDB", b.rocksdb), "db_bench", 1.0, True),
        (many, "records/s", b.many, ("SQLite", b.sqlite), None, 2.0, True),
        ("read in order", "bytes/s", b.read, ("fio", b.fio_read), "fio", 0.9, True),
    )


def compare(what, unit, ours, other, target, more_is_better):
    name, theirs = other
    figures = []
    for number in range(ROUNDS):
        if number % 2:
            b = theirs()
            a = ours()
        else:
            a = ours()
            b = theirs()
        figures.append((a, b))
    ratio = statistics.median(a / b if more_is_better else b / a for a, b in figures)
    a, b = (statistics.median(column) for column in zip(*figures))
    verdict = "PASS" if ratio >= target else "FAIL"
    print(f"{what:<36}{unit:<11}{a:>16,.1f}{name:>15}{b:>16,.1f}{ratio:>8.2f}  >= {target:.2f}",
          flush=True)
    return f"{verdict} {what}: {ratio:.2f} times {name}'s, target >= {target:.2f}"


def main():
    load, seconds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="log-bench-", dir=".") as folder:
        b = Bench(load, seconds, pathlib.Path(folder).resolve())
        b.ours("fill", str(READ_BYTES), store="kept")
        print(f"records of 4 KiB, medians of {ROUNDS} alternated rounds of {seconds} s\n")
        for what, unit, ours, other, tool, target, more in claims(b):
            reason = missing(tool)
            if reason:
                verdicts.append(f"SKIP {what}, {other[0]}: {reason}")
                continue
            verdicts.append(compare(what, unit, ours, other, target, more))
    print("\n" + "\n".join(verdicts))
    return 1 if any(verdict.startswith("FAIL") for verdict in verdicts) else 0


sys.exit(main())
