#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What scripts/run-tests makes of the log of a run: each case, and why it failed.

    run_tests_test.py SOURCE_FOLDER

A meson of our own, first on PATH, leaves the log that a test wants.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(sys.argv[1]).resolve() / "scripts/run-tests"
MESON = """#!/bin/sh
mkdir -p "$3/meson-logs"
cp "$3/given" "$3/meson-logs/testlog.json"
"""
UNITTEST = """F.E
======================================================================
ERROR: test_b (__main__.B)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "b.py", line 4, in test_b
    b()

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "b.py", line 6, in test_b
    c()
OSError: [Errno 5] no answer

======================================================================
FAIL: test_a (__main__.A)
----------------------------------------------------------------------
Traceback (most recent call last):
  File "b.py", line 9, in test_a
    self.assertEqual(1, 2)
AssertionError: 1 != 2
and more

----------------------------------------------------------------------
Ran 3 tests in 0.1s

FAILED (failures=1, errors=1)
"""


def results(**entry):
    """The lines of RESULTS for one test: (result, name, reason)."""
    entry = {"name": "demikernel:s / t", "result": "FAIL", "returncode": 1, "stdout": "", **entry}
    with tempfile.TemporaryDirectory() as folder:
        meson, out = pathlib.Path(folder, "meson"), pathlib.Path(folder, "out")
        meson.write_text(MESON, encoding="ascii")
        meson.chmod(0o755)
        pathlib.Path(folder, "given").write_text(json.dumps(entry) + "\n", encoding="ascii")
        subprocess.run([SCRIPT, "plain", folder, out], check=False,
                       env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})
        lines = [line.split("\t") for line in out.read_text(encoding="utf-8").splitlines()]
    return [(result, name.removeprefix("s/t").removeprefix(": "), reason)
            for result, _, name, reason in lines]


class Cases(unittest.TestCase):
    def check(self, wanted, **entry):
        self.assertEqual(results(**entry), wanted)

    def test_case_that_failed_has_the_comments_behind_it(self):
        self.check([("pass", "a", ""), ("fail", "b", "line 3: not in time; 2.0 s"),
                    ("pass", "c", "")],
                   stdout="1..3\n# SEED=1\nok 1 a\n# 1.0 s\nnot ok 2 b\n#   line 3: not in time\n"
                   "# 2.0 s\nok 3 c\n# 1.0 s\n")

    def test_comment_about_the_group_is_no_reason(self):
        self.check([("fail", "a", "0x1 != 0x2; /x/y_test.c:6: error: Failure!")],
                   stdout="1..1\nnot ok 1 - a\n# 0x1 != 0x2\n# /x/y_test.c:6: error: Failure!\n"
                   "# not ok - tests\n")

    def test_case_that_names_only_a_place_has_what_was_written(self):
        self.check([("fail", "a", "/x/y.c:6: error: Failure!: push returned EIO")],
                   stdout="1..1\nnot ok 1 - a\n# /x/y.c:6: error: Failure!\n",
                   stderr="push returned EIO\n")

    def test_many_comments_are_no_more_than_a_line(self):
        (_, _, reason), = results(stdout="1..1\nnot ok 1 a\n" + "# more\n" * 9)
        self.assertEqual(reason, "more; more; more")
        (_, _, reason), = results(stdout=f"1..1\nnot ok 1 a\n# {'x' * 9999}\n")
        self.assertEqual(len(reason), 400)

    def test_program_that_ended_early_says_why(self):
        self.check([("pass", "a", ""), ("fail", "case 2 of 2", "no result: exit code 99: late")],
                   returncode=99, stdout="1..2\nok 1 a\n", stderr="\nlate\n")
        self.check([("pass", "a", ""), ("fail", "end of program", "exit code 23: 8 bytes leaked")],
                   returncode=23, stdout="1..1\nok 1 a\n",
                   stderr="==1==ERROR: x\nSUMMARY: 8 bytes leaked\nand more\n")

    def test_program_without_cases_says_why(self):
        self.check([("fail", "", "timed out: waits")], result="TIMEOUT", returncode=-15,
                   stdout="begins\nwaits\n")
        self.check([("fail", "", "exit code 1: bad")], stdout="begins\n", stderr="bad\n")

    def test_each_unittest_that_failed_has_its_exception(self):
        self.check([("fail", "", "exit code 1: test_b: OSError: [Errno 5] no answer; "
                     "test_a: AssertionError: 1 != 2")], stderr=UNITTEST)

    def test_skip_has_its_reason(self):
        self.check([("skip", "a", "no root"), ("skip", "b", "no disk")], result="OK", returncode=0,
                   stdout="1..2\nok 1 a # SKIP no root\nskip: no disk\nok 2 # SKIP b\n")
        self.check([("skip", "", "no root")], result="SKIP", returncode=77,
                   stdout="skipped: no root\n")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
