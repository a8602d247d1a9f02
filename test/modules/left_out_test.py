#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds on machines that lack what the module xdp needs: left_out_test.py SOURCES

They are configured only. What is missing is hidden from meson, by folders of all else.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCES = ""
XDP_TESTS = {"drv-xdp", "xdp-command"} | {f"{name}-{kind}" for name in ("xdp", "xdp-whole")
                                          for kind in ("tcp4", "tcp6", "udp4")}


def pkg_config(*words):
    return subprocess.run(["pkg-config", *words], check=True, capture_output=True,
                          text=True).stdout.strip()


class LeftOut(unittest.TestCase):
    def setUp(self):
        if not shutil.which("meson"):
            self.skipTest("no meson")
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.build = self.folder / "build"

    def show(self, name, folders, pattern, hidden):
        """A folder of what is in others, the first one first, but for what is hidden."""
        shown = self.folder / name
        shown.mkdir()
        for folder in reversed(folders.split(":")):
            for found in pathlib.Path(folder).glob(pattern):
                link = shown / found.name
                link.unlink(missing_ok=True)
                if found.stem not in hidden:
                    link.symlink_to(found)
        return str(shown)

    def configure(self, *hidden, options=()):
        """What meson says; `hidden`: names of libraries' descriptions, and of programs."""
        descriptions = pkg_config("--variable=pc_path", "pkg-config")
        env = {"PKG_CONFIG_LIBDIR": self.show("descriptions", descriptions, "*.pc", hidden),
               "PATH": self.show("programs", os.environ["PATH"], "*", hidden),
               "LC_ALL": "C.UTF-8"}
        return subprocess.run([shutil.which("meson"), "setup", "--wrap-mode=nodownload",
                               "-Dbench=false", "-Dexamples=false", *options, self.build, SOURCES],
                              env=env, capture_output=True, text=True, check=False)

    def must_be_left_out(self, reason):
        """The library knows why, and each of the tests says it instead of running."""
        commands = json.loads((self.build / "compile_commands.json").read_text(encoding="utf-8"))
        table = [c for c in commands if c["file"].endswith("src/libos/table.c")
                 and "libdemikernel" in c["output"]]
        self.assertTrue(table)
        for command in table:
            self.assertIn(f'"{reason}"', command["command"].replace("\\", ""))
        self.assertFalse([c for c in commands if "/drv/xdp/" in c["file"]])
        listed = json.loads(subprocess.run(["meson", "introspect", "--tests", self.build],
                                           check=True, capture_output=True, text=True).stdout)
        skipped = {t["name"]: t["cmd"] for t in listed if t["name"] in XDP_TESTS}
        self.assertEqual(set(skipped), XDP_TESTS)
        for command in skipped.values():
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout),
                             (77, f"skipped: the library was built {reason}\n"))

    def test_without_anything_it_is_left_out(self):
        done = self.configure("libxdp", "libbpf", "libmnl", "clang")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.must_be_left_out("without libxdp (>= 1.2), libbpf (>= 1.0), libmnl (>= 1.0), clang")

    def test_without_a_compiler_of_programs_it_is_left_out(self):
        if subprocess.run(["pkg-config", "--exists", "libxdp", "libbpf", "libmnl"],
                          check=False).returncode != 0:
            self.skipTest("no libxdp, libbpf or libmnl, of which this is not about")
        done = self.configure("clang")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.must_be_left_out("without clang")

    def test_that_is_disabled_is_left_out(self):
        done = self.configure(options=["-Dxdp=disabled"])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.must_be_left_out("-Dxdp=disabled")

    def test_that_is_enabled_is_an_error(self):
        done = self.configure("libmnl", options=["-Dxdp=enabled"])
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, 'Dependency "libmnl" not found')

    def test_that_is_to_be_linked_is_an_error(self):
        done = self.configure("libmnl", "clang", options=["-Dstatic_backends=xdp"])
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("static_backends has xdp, and this is not there: ", done.stdout)
        self.assertIn("libmnl (>= 1.0), clang", done.stdout)


class Packages(unittest.TestCase):
    def test_setup_names_each_package(self):
        text = pathlib.Path(SOURCES, "scripts/setup").read_text(encoding="utf-8")
        for package in ("libxdp-dev", "libbpf-dev", "libmnl-dev", "clang"):
            self.assertIn(f"\ncheck|{package}|", text)


def main():
    global SOURCES
    SOURCES = sys.argv.pop(1)
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
