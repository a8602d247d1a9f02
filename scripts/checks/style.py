# SPDX-License-Identifier: MIT
"""Formatting and lengths."""

import re

from checks import tree

FUNCTION_LINES = 70
FILE_LINES = 800
TEST_FILE_LINES = 1500
COLUMNS = 100


def formatter():
    return tree.tool("clang-format-14", "clang-format")


def check_format():
    """C sources are as clang-format leaves them"""
    program = formatter()
    names = tree.c_files()
    half = (len(names) + 1) // 2 or 1
    parts = [part for part in (names[:half], names[half:]) if part]
    places = {}
    for _, _, err in tree.outputs([[program, "--dry-run", "-Werror"] + part for part in parts]):
        for line in err.splitlines():
            found = re.match(r"(.+?):(\d+):\d+: (?:error|warning): ", line)
            if found:
                places.setdefault(found[1], set()).add(int(found[2]))
    for name, numbers in sorted(places.items()):
        more = f" and {len(numbers) - 1} more lines" if len(numbers) > 1 else ""
        yield f"{name}:{min(numbers)}: not as clang-format leaves it{more} (scripts/tidy --fix)"


def fix_format():
    tree.output([formatter(), "-i", *tree.c_files()])


def function_lengths(names):
    command = [tree.tool("ctags"), "-x", "--languages=C", "--langmap=C:.c.h", "--kinds-C=f",
               "--fields=+ne", "--_xformat=%F\t%n\t%e\t%N"]
    code, out, err = tree.output(command + names) if names else (0, "", "")
    if code != 0:
        yield f"ctags:1: {err.strip()}"
    for line in out.splitlines():
        name, start, end, function = line.split("\t")
        length = int(end or start) - int(start) + 1
        if length > FUNCTION_LINES:
            yield f"{name}:{start}: {function} has {length} lines, the limit is {FUNCTION_LINES}"


def check_length():
    """functions, files and lines keep their limits"""
    yield from function_lengths(tree.c_files())
    code = tree.c_files() + tree.shell_scripts() + tree.python_files() + tree.build_files()
    for name in sorted(set(code)):
        limit = TEST_FILE_LINES if name.startswith("test/") else FILE_LINES
        lines = tree.lines(name)
        if len(lines) > limit:
            yield f"{name}:{limit + 1}: {len(lines)} lines, the limit is {limit}"
        for number, line in enumerate(lines, 1):
            width = len(line.expandtabs(8))
            if width > COLUMNS:
                yield f"{name}:{number}: {width} columns, the limit is {COLUMNS}"
