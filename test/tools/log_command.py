#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""demi log as a user runs it: log_command.py PATH/TO/demi"""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import tempfile
import unittest

DEMI = ""
PATIENCE_S = 60


def demi_log(*args, data=b"", code=0):
    """Runs it; what it printed to standard output, and to standard error."""
    args = [arg if isinstance(arg, bytes) else str(arg) for arg in args]
    done = subprocess.run([DEMI, "log", *args], input=data, capture_output=True,
                          timeout=PATIENCE_S, check=False)
    if done.returncode != code:
        raise AssertionError(f"{args}: {done.returncode}, not {code}: "
                             f"{done.stdout[-1000:]!r} {done.stderr[-1000:]!r}")
    return done.stdout, done.stderr.decode()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def seal(block, crc_at, size):
    """The checksum at crc_at, over size bytes with itself as zero."""
    block[crc_at:crc_at + 4] = bytes(4)
    block[crc_at:crc_at + 4] = struct.pack("<I", crc32c(block[:size]))


class Logs(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.image = pathlib.Path(self.folder.name) / "image"

    def create(self, *names, size="2M"):
        demi_log("create", "--size", size, "--segment", "64K", self.image, *names[:1])
        for name in names[1:]:
            demi_log("create", self.image, name)

    def append(self, records, *name):
        demi_log("append", self.image, *name, data="".join(f"{r}\n" for r in records).encode())

    def damage(self, offset):
        with open(self.image, "r+b") as image:
            image.seek(offset)
            byte = image.read(1)[0]
            image.seek(offset)
            image.write(bytes([byte ^ 0x10]))

    def edit_metadata(self, edit):
        """Changes each entry of the present checkpoint, with good checksums (format.h)."""
        image = bytearray(self.image.read_bytes())
        meta_bytes = struct.unpack_from("<Q", image, 40)[0]
        regions = [32 * 4096 + 2 * region * meta_bytes for region in (0, 1)]
        at = max(regions, key=lambda region: struct.unpack_from("<Q", image, region + 32))
        size = struct.unpack_from("<I", image, at + 12)[0]
        head = bytearray(image[at:at + size])
        entry = 64
        while entry < size:
            kind, length = struct.unpack_from("<HH", head, entry)
            edit(head, entry, kind)
            entry += length
        seal(head, 8, size)
        for copy in (0, 1):
            image[at + copy * meta_bytes:at + copy * meta_bytes + size] = head
        self.image.write_bytes(image)

    def dump(self, *name):
        """Places: of each record, and of the batch that it is in."""
        records, batches, batch = {}, {}, None
        for line in demi_log("dump", self.image, *name)[0].decode().splitlines():
            if found := re.match(r"batch .* bytes at (\d+),", line):
                batch = int(found[1])
            elif found := re.match(r"  record (\d+): at (\d+),", line):
                records[int(found[1])] = int(found[2])
                batches[int(found[1])] = batch
        return records, batches

    def test_lines_come_back_in_order_over_several_appends(self):
        lines = [f"line {i} {'x' * (i % 700)}" for i in range(3000)]
        self.create(size="8M")
        for start in range(0, 3000, 1000):
            self.append(lines[start:start + 1000])
        self.assertEqual(demi_log("cat", self.image)[0].decode().splitlines(), lines)
        self.assertEqual(demi_log("cat", "-r", 2990, "-n", 5, self.image)[0].decode().splitlines(),
                         lines[2990:2995])
        self.assertIn(b"records 0 to 3000: 3000 good, 0 damaged", demi_log("verify", self.image)[0])

    def test_records_of_any_bytes(self):
        self.create("a")
        whole = bytes(range(256)) * 150
        demi_log("append", "--whole", self.image, "a", data=whole)
        demi_log("append", "--null", self.image, "a", data=b"one\ntwo\0three\0")
        self.assertEqual(demi_log("cat", "-w", "-n", 1, self.image, "a")[0], whole)
        self.assertEqual(demi_log("cat", "-0", "-r", 1, self.image, "a")[0], b"one\ntwo\0three\0")

    def test_list_and_stat_say_what_is_there(self):
        self.create("b", "a")
        self.append(range(10), "b")
        rows = [line.split() for line in demi_log("list", self.image)[0].decode().splitlines()[1:]]
        self.assertEqual([(r[0], r[1], r[2], r[4]) for r in rows],
                         [("0", "0", "0", "a"), ("0", "10", "10", "b")])
        stat = demi_log("stat", self.image)[0].decode()
        self.assertRegex(stat, r"segment bytes +65536\n")
        self.assertRegex(stat, r"logs +2\n")

    def test_verify_names_the_records_that_are_damaged(self):
        self.create("a", "b")
        for _ in range(6):
            self.append(["y" * 5000, "z" * 5000], "a")
            self.append(["w" * 100], "b")
        records, batches = self.dump("a")
        self.damage(records[3] + 4000)
        self.damage(batches[6] + 50)  # the header: all its records
        out = demi_log("verify", self.image, code=1)[0].decode()
        self.assertIn(f"log a, record 3: damaged: 5000 bytes at {records[3]}\n", out)
        self.assertRegex(out, f"log a, records 6 to 7: lost: \\d+ bytes at {batches[6]}\n")
        self.assertIn("log a: records 0 to 12: 9 good, 3 damaged\n", out)
        self.assertIn("log b: records 0 to 6: 6 good, 0 damaged\n", out)
        # What is good is still there.
        out, err = demi_log("cat", self.image, "a", code=1)
        self.assertEqual(len(out.splitlines()), 9)
        for record in (3, 6, 7):
            self.assertIn(f"record {record}: Input/output error", err)
        self.assertEqual(len(demi_log("cat", self.image, "b")[0].splitlines()), 6)
        demi_log("verify", self.image, "b")

    def test_verify_names_copies_that_are_damaged(self):
        self.create()
        self.append(range(5))
        self.damage(16 * 4096 + 30)
        out = demi_log("verify", self.image, code=1)[0].decode()
        self.assertIn("superblock, copy 2: damaged: 4096 bytes at 65536\n", out)
        self.assertIn("5 good, 0 damaged", out)
        self.damage(30)
        self.assertIn("both superblocks are damaged", demi_log("list", self.image, code=1)[1])

    def test_log_with_impossible_metadata_is_refused_alone(self):
        def edit(head, entry, kind):
            if kind == 2 and head[entry + 96:entry + 97] == b"a":  # a log: its first record
                struct.pack_into("<Q", head, entry + 16, 1 << 63)
        self.create("a", "b")
        self.append(range(10), "a")
        self.append(range(20), "b")
        self.edit_metadata(edit)
        out = demi_log("verify", self.image, code=1)[0].decode()
        self.assertIn("log a: refused: the metadata says of it what cannot be\n", out)
        self.assertIn("log b: records 0 to 20: 20 good, 0 damaged\n", out)
        self.assertIn("refused", demi_log("cat", self.image, "a", code=1)[1])
        self.assertIn("refused", demi_log("verify", self.image, "a", code=1)[1])
        self.append(["more"], "b")
        self.assertEqual(len(demi_log("cat", self.image, "b")[0].splitlines()), 21)
        self.assertRegex(demi_log("list", self.image)[0].decode(), r"refused +\d+  a\n")
        self.assertTrue(json.loads(demi_log("list", "-j", self.image)[0])[0]["refused"])
        demi_log("unlink", self.image, "a")
        demi_log("verify", self.image)

    def test_what_is_wrong_is_said(self):
        text = pathlib.Path(self.folder.name) / "text"
        text.write_text("somebody's\n" * 10000)
        self.assertIn("no store", demi_log("list", text, code=1)[1])
        self.assertIn("something else", demi_log("create", text, code=1)[1])
        self.assertIn("cannot open", demi_log("cat", self.image, code=1)[1])
        self.assertIn("verbs", demi_log("frob", self.image, code=2)[1])
        self.assertIn("a verb and a device", demi_log("list", code=2)[1])
        self.assertIn("must be a number", demi_log("create", "--size", "4X", self.image, code=2)[1])
        self.create()
        self.assertIn("already", demi_log("create", self.image, code=1)[1])
        self.assertIn("No such file", demi_log("cat", self.image, "other", code=1)[1])
        self.assertIn("exists", demi_log("create", self.image, "log", code=1)[1])
        whole = b"x" * 70000
        self.assertIn("Message too long",
                      demi_log("append", "-w", self.image, data=whole, code=1)[1])
        demi_log("create", "--force", text)
        self.assertEqual(demi_log("cat", text)[0], b"")

    def test_list_and_stat_as_json(self):
        self.create("b", "a")
        demi_log("create", self.image, b"\xfc\xe4")
        self.append(range(10), "b")
        demi_log("trim", "--from", 4, self.image, "b")
        logs = json.loads(demi_log("list", "--json", self.image)[0])
        self.assertEqual([log["name"] for log in logs], ["a", "b", "\xfc\xe4"])
        self.assertEqual({key: logs[1][key] for key in logs[1] if key != "bytes"},
                         {"name": "b", "first": 4, "end": 10, "records": 6, "refused": False})
        self.assertEqual(logs[1]["bytes"] % 65536, 0)
        stat = json.loads(demi_log("stat", "--json", self.image)[0])
        self.assertEqual((stat["segment_bytes"], stat["logs"]), (65536, 3))
        self.assertRegex(stat["uuid"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        text = demi_log("stat", self.image)[0].decode()
        self.assertEqual(len(stat), len(text.splitlines()))

    def test_trim_drops_records_and_frees_segments(self):
        def free():
            return json.loads(demi_log("stat", "-j", self.image)[0])["segments_free"]
        self.create("a", size="4M")
        self.append([f"{i} {'x' * 9000}" for i in range(100)], "a")
        before = free()
        demi_log("trim", "--from", 90, self.image, "a")
        self.assertGreater(free(), before + 5)
        out = demi_log("cat", self.image, "a")[0].decode().splitlines()
        self.assertEqual([line.split()[0] for line in out], [str(i) for i in range(90, 100)])
        self.assertIn("has records 90 to 100",
                      demi_log("trim", "-r", 101, self.image, "a", code=1)[1])
        self.assertIn("has records", demi_log("trim", "-r", 89, self.image, "a", code=1)[1])
        self.assertIn("--from", demi_log("trim", self.image, "a", code=2)[1])
        self.assertIn("No such file", demi_log("trim", "-r", 1, self.image, "b", code=1)[1])
        demi_log("trim", "--from", 100, self.image, "a")
        self.assertEqual(demi_log("cat", self.image, "a")[0], b"")
        self.append(["next"], "a")
        self.assertEqual(demi_log("cat", "-r", 100, self.image, "a")[0], b"next\n")
        demi_log("verify", self.image)

    def test_unlink_removes_a_log_and_no_other(self):
        self.create("a", "b")
        self.append(range(10), "a")
        self.append(range(20), "b")
        self.assertIn("a log is wanted", demi_log("unlink", self.image, code=2)[1])
        demi_log("unlink", self.image, "a")
        self.assertIn("No such file", demi_log("cat", self.image, "a", code=1)[1])
        self.assertIn("No such file", demi_log("unlink", self.image, "a", code=1)[1])
        self.assertEqual(len(demi_log("cat", self.image, "b")[0].splitlines()), 20)
        demi_log("create", self.image, "a")
        self.assertEqual(demi_log("cat", self.image, "a")[0], b"")
        demi_log("verify", self.image)

    def test_newer_version_is_refused(self):
        self.create()
        image = bytearray(self.image.read_bytes())
        for at in (0, 16 * 4096):
            block = image[at:at + 4096]
            struct.pack_into("<I", block, 8, 2)
            seal(block, 12, 4096)
            image[at:at + 4096] = block
        self.image.write_bytes(image)
        for verb in ("list", "cat", "verify", "append"):
            self.assertIn("newer version", demi_log(verb, self.image, code=1)[1])
        self.assertIn("newer version", demi_log("create", self.image, "log", code=1)[1])
        self.assertEqual(self.image.read_bytes(), image)

    def test_device_of_another_process_is_refused(self):
        self.create()
        self.append(range(3))
        with open(self.image, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_SH)  # who reads
            self.assertEqual(demi_log("cat", self.image)[0], b"0\n1\n2\n")
            self.assertIn("in use by another process", demi_log("append", self.image, code=1)[1])
            fcntl.flock(other, fcntl.LOCK_EX)
            self.assertIn("in use by another process", demi_log("cat", self.image, code=1)[1])

    def test_read_only_device_is_read_alone(self):
        self.create()
        self.append(range(3))
        device = f"file:{self.image},read_only"
        self.assertEqual(demi_log("cat", device)[0], b"0\n1\n2\n")
        demi_log("verify", device)
        self.assertIn("Read-only", demi_log("append", device, data=b"4\n", code=1)[1])
        self.assertIn("read-only", demi_log("create", device, "other", code=1)[1])
        self.assertEqual(demi_log("cat", device)[0], b"0\n1\n2\n")

    def test_name_that_is_too_long_is_refused(self):
        self.create("n" * 255)
        self.assertIn("too long", demi_log("create", self.image, "n" * 256, code=1)[1])

    def test_truncated_image_is_refused(self):
        self.create()
        self.append(range(100))
        os.truncate(self.image, os.path.getsize(self.image) - 65536)
        self.assertIn("shorter", demi_log("verify", self.image, code=1)[1])

    def test_progress_is_shown_on_a_terminal_only(self):
        self.create(size="16M")
        self.append(["x" * 60000] * 100)
        master, slave = pty.openpty()
        done = subprocess.run([DEMI, "log", "verify", self.image], stdout=subprocess.PIPE,
                              stderr=slave, stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
                              check=True)
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        self.assertIn(b"%", shown)
        self.assertNotIn(b"%", done.stdout)
        self.assertEqual(demi_log("verify", self.image)[1], "")


if __name__ == "__main__":
    DEMI = sys.argv.pop(1)
    unittest.main(verbosity=2)
