# SPDX-License-Identifier: MIT
"""What stands in the files: licence, unfinished work, paths of one machine."""

import os
import re

from checks import tree

SPDX = "SPDX-License-Identifier: MIT"
# Spelt so that this file passes its own checks.
UNFINISHED = re.compile(r"\b(TO" "DO|FIX" "ME|X" r"XX|HA" r"CK)\b")
OWN_FOLDER = re.compile(r"(?<![\w.$}])/(?:home|work|root|Users)/\w+")


def check_spdx():
    """every source file opens with its licence"""
    sources = tree.c_files() + tree.shell_scripts() + tree.python_files() + tree.build_files()
    for name in sorted(set(sources)):
        if not any(SPDX in line for line in tree.lines(name)[:2]):
            yield f"{name}:1: does not open with {SPDX}"


def each_match(pattern, what):
    for name in tree.all_files():
        for number, line in enumerate(tree.lines(name), 1):
            found = pattern.search(line)
            if found:
                yield f"{name}:{number}: {what}: {found[0]}"


def check_words():
    """no unfinished work is left in words"""
    yield from each_match(UNFINISHED, "unfinished")


def check_mentions():
    """no file names a folder of one person's machine"""
    yield from each_match(OWN_FOLDER, "path of one machine")


def check_sources():
    """the build lists every source file"""
    _, out, _ = tree.output(["scripts/sources", "--check"])
    yield from out.splitlines()


def check_shell():
    """shell scripts pass shellcheck"""
    names = [n for n in tree.shell_scripts() if os.path.getsize(tree.ROOT / n)]
    if not names:
        return
    _, out, _ = tree.output([tree.tool("shellcheck"), "-f", "gcc", "-S", "warning", *names])
    for line in out.splitlines():
        found = re.match(r"(.+?:\d+):\d+: (.*)", line)
        yield f"{found[1]}: {found[2]}" if found else line
