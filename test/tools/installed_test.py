#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `make install` leaves: installed_test.py BUILD

The build is installed into a temporary folder, as a package would be staged; commands there have to
work with the library and the modules beside them, and with nothing of the build folder.
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

BUILD = None
PATIENCE_S = 60
CLEARED = ("CONFIG_PATH", "LIBOS", "LD_LIBRARY_PATH")
BUILD_ID = re.compile(rb"\d+\.\d+\.\d+-[0-9a-f]{16}\0")


def run(*command, **extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith("DEMI_") and k not in CLEARED}
    env.update(extra)
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE_S, check=False)


def edit(path, change):
    """Writes a file of the tree anew, as another file."""
    data = change(path.read_bytes())
    mode = path.stat().st_mode
    path.unlink()
    path.write_bytes(data)
    path.chmod(mode)


def of_another_build(data):
    changed, times = BUILD_ID.subn(lambda m: m[0][:-17] + b"0" * 16 + b"\0", data)
    assert times > 0, "it has no build id"
    return changed


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.staged = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.staged.cleanup)
        done = run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir",
                   cls.staged.name)
        assert done.returncode == 0, done
        found = list(pathlib.Path(cls.staged.name).rglob("bin/demi"))
        assert len(found) == 1, found
        cls.whole = found[0].parent.parent

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = pathlib.Path(folder.name) / "tree"
        shutil.copytree(self.whole, self.tree, symlinks=True)
        self.demi = self.tree / "bin" / "demi"
        self.module = next(self.tree.rglob("demikernel/dpdk.so"), None)

    def need_module(self):
        if not self.module:
            self.skipTest("the library was built without DPDK (libdpdk-dev)")

    def dpdk(self, **extra):
        """What demi info says of dpdk."""
        done = run(self.demi, "info", "--json", **extra)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = [b for b in json.loads(done.stdout)["backends"] if b["name"] == "dpdk"]
        self.assertEqual(len(found), 1)
        return found[0]

    def check_missing(self, pattern):
        dpdk = self.dpdk()
        self.assertFalse(dpdk["available"], dpdk)
        self.assertRegex(dpdk["missing"], pattern)

    def test_commands_take_the_library_of_the_tree(self):
        for name in ("demi", "demi-kv", "demi-relay"):
            program = self.tree / "bin" / name
            if not program.exists() and name != "demi":
                continue  # left out of the build
            out = run(program, LD_TRACE_LOADED_OBJECTS="1").stdout
            found = re.search(r"libdemikernel\.so\.\d+ => (\S+)", out)
            self.assertTrue(found, out)
            self.assertTrue(os.path.samefile(os.path.dirname(os.path.dirname(found[1])), self.tree),
                            out)
            done = run(program, "--version")
            self.assertEqual(done.returncode, 0, done)

    def test_module_is_found_beside_the_library(self):
        self.need_module()
        self.assertEqual(self.dpdk()["engine"], "dpdk", self.dpdk())

    def test_module_that_is_not_there_is_said(self):
        if self.module:
            self.module.unlink()
        self.check_missing(r"dpdk\.so is not in .*/tree/.*/demikernel, nor where DEMI_MODULE_PATH")

    def test_module_of_another_build_is_said(self):
        self.need_module()
        edit(self.module, of_another_build)
        self.check_missing(r"dpdk\.so is of the build .*-0{16} of the library, which is .*: build")

    def test_library_that_the_module_lacks_is_named(self):
        self.need_module()
        edit(self.module, lambda data: data.replace(b"librte_ethdev.so", b"librte_nowhre.so"))
        self.check_missing(r"cannot be loaded: librte_nowhre\.so\.\d+: cannot open shared object")

    def test_module_elsewhere_is_found_by_its_path(self):
        self.need_module()
        elsewhere = self.tree / "elsewhere"
        elsewhere.mkdir()
        shutil.move(self.module, elsewhere)
        self.assertFalse(self.dpdk()["available"])
        self.assertTrue(self.dpdk(DEMI_MODULE_PATH=str(elsewhere))["available"])

    def test_log_reads_and_writes_with_the_library_of_its_build(self):
        image = self.tree / "a.log"
        done = run(self.demi, "log", "create", "--size", "16M", image)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = run(self.demi, "log", "verify", image)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_log_refuses_the_library_of_another_build(self):
        edit(self.demi, of_another_build)
        done = run(self.demi, "log", "list", self.tree / "a.log")
        self.assertEqual(done.returncode, 1, done)
        self.assertRegex(done.stderr, r"of the build .*-0{16}, and the library is .*: install both")
        self.assertEqual(run(self.demi, "info").returncode, 0, "the public interface is the same")


if __name__ == "__main__":
    BUILD = os.path.abspath(sys.argv.pop(1))
    if not shutil.which("meson"):
        print("skipped: meson, which installs, is not installed")
        sys.exit(77)
    unittest.main(verbosity=2)
