# SPDX-License-Identifier: MIT
"""What the checks look at: the files of the tree, tools, and parallel commands."""

import concurrent.futures
import functools
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Far more than any command needs: headers that include each other never end.
TIMEOUT_SECONDS = 60
BUILD = ROOT / os.environ.get("B", "build")


class Skip(Exception):
    """A check that cannot run here; says what is missing."""


def tool(*names):
    """The first of these programs that is installed."""
    for name in names:
        if shutil.which(name):
            return name
    raise Skip(f"{names[-1]} is not installed (make setup)")


def _walk():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f != ".git" and not f.startswith("build")]
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), ROOT)


@functools.lru_cache(maxsize=None)
def all_files():
    """Every file that git tracks or would track; without git, every file outside build folders."""
    git = None
    if shutil.which("git") and (ROOT / ".git").exists():
        command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
        command.append("--exclude-standard")
        git = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if git is not None and git.returncode == 0:
        names = git.stdout.decode().split("\0")
    else:
        names = list(_walk())
    return sorted(n for n in names if n and "__pycache__" not in n and (ROOT / n).is_file())


def c_files(*folders):
    """C sources and headers, of these folders or of all."""
    return [n for n in all_files() if n.endswith((".c", ".h")) and n.startswith(folders or "")]


@functools.lru_cache(maxsize=None)
def text(name):
    """A file's text, or None for a binary file."""
    try:
        return (ROOT / name).read_bytes().decode()
    except (UnicodeDecodeError, FileNotFoundError):
        return None


def lines(name):
    return (text(name) or "").splitlines()


@functools.lru_cache(maxsize=None)
def is_script(name):
    return not name.endswith((".c", ".h")) and (text(name) or "").startswith("#!")


def shell_scripts():
    return [n for n in all_files() if n.endswith(".sh") or
            (is_script(n) and lines(n)[0].endswith(("sh", "bash")))]


def python_files():
    return [n for n in all_files() if n.endswith(".py") or
            (is_script(n) and "python" in lines(n)[0])]


def build_files():
    return [n for n in all_files() if os.path.basename(n) in ("meson.build", "Makefile")]


def output(command):
    """Runs a command in the tree: (exit code, standard output, standard error)."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                              encoding="utf-8", errors="replace", timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return 124, "", f"not done in {TIMEOUT_SECONDS} s: {' '.join(command)}"
    return done.returncode, done.stdout, done.stderr


def outputs(commands):
    """Runs commands on all processors; results in the order of the commands."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(output, commands))
