# SPDX-License-Identifier: MIT
"""Headers stand alone; the library exports what the public headers declare, and nothing else."""

import os
import pathlib
import re
import tempfile

from checks import tree

MAP = "src/demikernel.map"
MALLOC_NAMES = {"malloc", "free", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc",
                "posix_memalign", "valloc", "pvalloc", "malloc_usable_size"}
PRELOAD_NAMES = {"dk_malloc_is_preloaded"}
WARN = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only"]


def needed(name):
    """What the headers of a device that a header includes need; None: they are not installed."""
    for pattern, library in (("rte_", "libdpdk"), ("xdp/|bpf/", "libxdp")):
        if re.search(rf"^#include <({pattern})", tree.text(name), re.M):
            break
    else:
        return []
    code, out, _ = tree.output(["pkg-config", "--cflags", library])
    return out.replace("-I/", "-isystem/").split() if code == 0 else None


def compilers_of(name, empty):
    """Commands that compile a header alone: before a source file that needs nothing of it."""
    folder, path = name.split("/", 1)
    if folder == "include":
        common = ["-pedantic", *WARN, "-Iinclude", "-include", path, empty]
        yield [tree.tool("cc"), "-x", "c", "-std=c17", *common]
        yield [tree.tool("c++"), "-x", "c++", "-std=c++17", *common]
    elif needed(name) is not None:
        yield [tree.tool("cc"), "-x", "c", "-std=gnu17", "-D_GNU_SOURCE", *WARN, "-Iinclude",
               "-Isrc", *needed(name), "-include", path, empty]


def check_headers():
    """every header compiles alone, public ones as C17 and as C++17"""
    headers = [n for n in tree.c_files("include/", "src/") if n.endswith(".h")]
    with tempfile.TemporaryDirectory() as folder:
        empty = os.path.join(folder, "empty.c")
        pathlib.Path(empty).write_text("typedef int nothing;\n", encoding="utf-8")
        commands = [(n, command) for n in headers for command in compilers_of(n, empty)]
        results = tree.outputs([command for _, command in commands])
    for (name, command), (code, _, err) in zip(commands, results):
        found = re.search(r"^(.+?:\d+):\d+: (?:fatal )?error: (.*)", err, re.M)
        standard = command[3].removeprefix("-std=")
        if found:
            yield f"{found[1]}: {found[2]} ({name} alone, {standard})"
        elif code != 0:
            yield f"{name}:1: {err.strip()} (alone, {standard})"


def declared():
    """Public functions and variables: name -> file:line."""
    headers = [n for n in tree.c_files("include/") if n.endswith(".h")]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        source, info = os.path.join(folder, "all.c"), os.path.join(folder, "info")
        with open(source, "w", encoding="utf-8") as out:
            out.writelines(f"#include <{name.removeprefix('include/')}>\n" for name in headers)
        command = [tree.tool("cc"), "-std=gnu17", "-Iinclude", "-fsyntax-only", "-aux-info", info]
        code, _, err = tree.output(command + [source])
        if code != 0:
            raise tree.Skip(f"the public headers do not compile: {err.splitlines()[0]}")
        with open(info, encoding="utf-8") as lines:
            for line in lines:
                part = re.match(r"/\* (include/[^:]+:\d+):N\w \*/ extern .*?(\w+) \(", line)
                if part:
                    found[part[2]] = part[1]
    for name in headers:
        for number, line in enumerate(tree.lines(name), 1):
            part = re.match(r"(?:DEMI_PUBLIC )?extern [^(]*?(\w+)(?:\[\w*\])?;", line)
            if part:
                found[part[1]] = f"{name}:{number}"
    return found


def symbols(path, *options):
    """(object, symbol) of the defined global symbols of a library; a version is @@VERSION."""
    code, out, err = tree.output([tree.tool("nm"), "-A", "-g", "--defined-only", *options, path])
    if code != 0:
        raise tree.Skip(f"nm: {err.strip()}")
    for line in out.splitlines():
        place, kind, name = re.match(r"(.+):[0-9a-f]*\s+(\w)\s+(\S+)$", line).groups()
        if kind != "A":
            yield place.split(":")[-1], name


def private_names():
    """What the version script lists for the library's own modules: name -> file:line."""
    found, inside = {}, False
    for number, line in enumerate(tree.lines(MAP), 1):
        if inside and re.match(r"\s+[^\s:]+;$", line):
            found[line.strip().rstrip(";")] = f"{MAP}:{number}"
        inside = line.startswith("DEMIKERNEL_PRIVATE") or (inside and not line.startswith("}"))
    return found


def check_shared(path):
    """The public interface is what the headers declare; the private one is what the map lists."""
    exported = {}
    for _, symbol in symbols(str(path), "-D"):
        name, _, version = symbol.partition("@@")
        exported.setdefault(version, set()).add(name)
    private, public = private_names(), declared()
    module_names = exported.pop("DEMIKERNEL_PRIVATE", set())
    names = set().union(*exported.values())
    for name in sorted(public.keys() - names):
        yield f"{public[name]}: {name} is declared, but not exported by {path.name}"
    for name in sorted(names - public.keys()):
        yield f"{MAP}:1: {name} is exported, but no public header declares it"
    for name in sorted(n for n in public if not n.startswith("demi_")):
        yield f"{public[name]}: {name} does not begin with demi_"
    for name in sorted(private.keys() - module_names):
        yield f"{private[name]}: {name} is listed, but not exported by {path.name} (DK_EXPORT)"
    for name in sorted(module_names - private.keys()):
        yield f"{MAP}:1: {name} is exported to modules, but not listed by its name"
    for name in sorted(n for n in private if not n.startswith("dk_")):
        yield f"{private[name]}: {name} is private, but does not begin with dk_"


def check_static(path):
    sources = {n[4:].replace("/", "_") + ".o": n for n in tree.c_files("src/")}
    for place, name in sorted(set(symbols(str(path)))):
        if not re.match(r"(dk|demi)_|_?_(asan|ubsan|tsan|odr_asan)", name):
            source = sources.get(place, place)
            yield f"{source}:1: global symbol {name} begins with neither dk_ nor demi_"


def check_preload(path):
    """The preloadable library replaces all of malloc(3), and nothing else."""
    exported = {name for _, name in symbols(str(path), "-D")} - PRELOAD_NAMES
    for name in sorted(exported ^ MALLOC_NAMES):
        what = "is not defined" if name in MALLOC_NAMES else "is no function of malloc(3)"
        yield f"src/preload/malloc.c:1: {name} {what}"


def check_names():
    """the library exports exactly what the public headers declare; the rest is dk_"""
    shared = tree.BUILD / "src" / "libdemikernel.so"
    static = tree.BUILD / "src" / "libdemikernel.a"
    preload = tree.BUILD / "src" / "preload" / "libdemikernel-malloc.so"
    if not shared.exists() or not static.exists():
        raise tree.Skip(f"{shared.name} is not built (make)")
    yield from check_shared(shared)
    yield from check_static(static)
    if preload.exists():
        yield from check_preload(preload)
