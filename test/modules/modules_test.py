#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Loading of modules: modules_test.py LOADER LOADER-STATIC OPENER LIBRARY MODULE..."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

LOADER = STATIC = OPENER = LIBRARY = None
MODULES = {}


def load(name, path=None, program=None, library=None):
    """What the program says; `library`: a folder with the library that it takes instead."""
    env = {k: v for k, v in os.environ.items() if k not in ("DEMI_MODULE_PATH", "LD_LIBRARY_PATH")}
    if path is not None:
        env["DEMI_MODULE_PATH"] = str(path)
    if library is not None:
        env["LD_LIBRARY_PATH"] = str(library)
    done = subprocess.run([program or LOADER, name], env=env, capture_output=True, text=True,
                          timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{name}: exit {done.returncode}: {done.stderr}")
    return done.stdout.strip()


class Modules(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = pathlib.Path(self.temporary.name)

    def put(self, module, name=None, folder=None):
        to = (folder or self.folder) / f"{name or module}.so"
        to.parent.mkdir(exist_ok=True)
        shutil.copy(MODULES[module], to)

    def test_good_module_is_loaded(self):
        self.put("good")
        self.assertEqual(load("good", self.folder), "loaded of good")

    def test_library_is_loaded_by_a_program_that_runs(self):
        """Which has little thread-local memory left to give."""
        done = subprocess.run([OPENER, LIBRARY], capture_output=True, text=True, timeout=60,
                              check=True)
        self.assertEqual(done.stdout, "opened\n")

    def test_first_folder_that_has_it_decides(self):
        self.put("good")
        bad = self.folder / "bad"
        bad.mkdir()
        (bad / "good.so").write_bytes(b"garbage")
        self.assertEqual(load("good", f"/nowhere::{self.folder}:{bad}"), "loaded of good")
        self.assertRegex(load("good", f"{bad}:{self.folder}"), "^ELIBBAD: ")

    def test_missing_module_says_where_it_was_sought(self):
        self.assertRegex(load("good"), "^ENOENT: the module good.so is not in /.*/demikernel,")
        self.assertRegex(load("good", self.folder), "^ENOENT: ")

    def test_module_of_another_build_is_refused(self):
        self.put("stale")
        self.assertRegex(load("stale", self.folder), "^ESTALE: .* of the build another .* both")

    def test_garbage_is_refused(self):
        good = MODULES["good"].read_bytes()
        for content in (b"", b"garbage", good[:1000], good[:5000], good[:64] + bytes(9000)):
            (self.folder / "good.so").write_bytes(content)
            self.assertRegex(load("good", self.folder), "^ELIBBAD: .* cannot be loaded")

    def test_library_that_is_no_module_is_refused(self):
        self.put("alien")
        self.assertRegex(load("alien", self.folder), "^ELIBBAD: .* no module of the library")

    def test_module_under_another_name_is_refused(self):
        self.put("good", "other")
        self.assertRegex(load("other", self.folder), "^ELIBBAD: .* good under another name")

    def test_folder_beside_the_library_is_looked_into(self):
        beside = self.folder / "demikernel"
        self.put("good", folder=beside)
        shutil.copy(LIBRARY, self.folder / "libdemikernel.so.0")
        self.assertEqual(load("good", library=self.folder), "loaded of good")
        self.assertEqual(load("good", "/nowhere", library=self.folder), "loaded of good")

    def test_static_program_loads_none(self):
        self.put("good")
        self.assertRegex(load("good", self.folder, STATIC), "^ENOSYS: .*-Dstatic_backends=good")

    def test_path_is_not_taken_by_who_runs_with_privileges_of_its_file(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make such a program")
        self.put("good")
        os.chmod(self.folder, 0o755)
        program = self.folder / "loader"
        shutil.copy(LOADER, program)
        self.assertEqual(load("good", self.folder, program), "loaded of good")
        os.chown(program, 0, 65534)
        os.chmod(program, 0o2755)
        self.assertRegex(load("good", self.folder, program), "^ENOENT: ")


if __name__ == "__main__":
    LOADER, STATIC, OPENER, LIBRARY = (pathlib.Path(p).resolve() for p in sys.argv[1:5])
    MODULES = {pathlib.Path(p).stem: pathlib.Path(p).resolve() for p in sys.argv[5:]}
    unittest.main(argv=sys.argv[:1], verbosity=2)
