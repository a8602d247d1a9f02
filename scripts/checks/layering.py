# SPDX-License-Identifier: MIT
"""Who may include whom, as doc/architecture.md has it."""

import os
import re

from checks import tree

# Layer of src/ -> layers (or single headers) it may include besides itself and <demi/...>.
ALLOWED = {
    "base": (),
    "os": ("base",),
    "mem": ("os", "base"),
    "core": ("mem", "os", "base"),
    "compose": ("core", "mem", "base"),
    "net": ("mem", "base"),
    "store": ("mem", "base"),
    "drv": ("mem", "os", "base", "net/dev.h", "store/blk.h"),
    "libos": ("core", "net", "store", "drv", "mem", "os", "base"),
    "api": ("core", "compose", "libos", "mem", "os", "base"),
    "preload": ("mem", "os", "base"),
}
# Folders outside src/ that use the library as anyone would.
PUBLIC_ONLY = ("shim", "apps", "examples", "tools")
# The one tool that reads the disk itself.
TOOL_LOG = ("store", "drv", "mem", "os", "base")
# Headers of devices, and who may see them.
DEVICE = re.compile(r"^(liburing|rte_|infiniband/|rdma/|xdp/|bpf/)")
DEVICE_LAYERS = ("drv", "libos")
# What makes drivers of a specification, and what drivers have in common.
DRIVER_TABLES = ("src/drv/blk_spec.c", "src/drv/spec.c")
DRIVER_PARTS = ("drv/blk_file.h", "drv/blk_io.h", "drv/blk_ring.h", "drv/blk_target.h",
                "drv/bottleneck.h", "drv/fanout.h", "drv/frame.h", "drv/inner.h",
                "drv/netif_find.h", "drv/steer.h", "drv/virtio.h", "drv/wake.h", "drv/why.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def includes(name):
    """(line number, quoted or not, path) of every include of a file."""
    for number, line in enumerate(tree.lines(name), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found[1] == '"', found[2]


def same_driver(name, header):
    """Whether a header of drv/ belongs to the driver of this file: drv/xdp*.c and drv/xdp.h."""
    own = name.split("/")[2].split(".")[0]
    other = header.split("/")[1].split(".")[0]
    return own == other or own.startswith(other + "_") or other.startswith(own + "_")


def may_see_driver(name, header):
    """The tables of drivers see each of them; each sees what they have in common."""
    return name in DRIVER_TABLES or header in DRIVER_PARTS or same_driver(name, header)


def check_library(name):
    layer = name.split("/")[1]
    if layer not in ALLOWED:
        yield f"{name}:1: src/{layer} is not a layer of the design"
        return
    for number, quoted, path in includes(name):
        if not quoted:
            if DEVICE.match(path) and layer not in DEVICE_LAYERS:
                yield f"{name}:{number}: <{path}> is for {' and '.join(DEVICE_LAYERS)} only"
            continue
        if not (tree.ROOT / "src" / path).is_file():
            yield f'{name}:{number}: "{path}" is not relative to src/'
            continue
        other = path.split("/")[0]
        if other == layer == "drv" and not may_see_driver(name, path):
            yield f"{name}:{number}: a driver may not include another driver ({path})"
        elif other != layer and other not in ALLOWED[layer] and path not in ALLOWED[layer]:
            yield f"{name}:{number}: {layer} may not include {other} ({path})"


def check_outside(name):
    folder = name.split("/")[0]
    log_tool = name.startswith(("tools/log.", "tools/log_", "tools/log/"))
    for number, quoted, path in includes(name):
        if not quoted:
            if DEVICE.match(path):
                yield f"{name}:{number}: <{path}> is for src/drv and src/libos only"
            continue
        if log_tool and path.split("/")[0] in TOOL_LOG and (tree.ROOT / "src" / path).is_file():
            continue
        beside = os.path.normpath(os.path.join(os.path.dirname(name), path))
        within = os.path.join(folder, path)
        if not any(p.startswith(folder + "/") and (tree.ROOT / p).is_file()
                   for p in (beside, within)):
            yield f"{name}:{number}: {folder} may include <demi/...> and its own headers ({path})"


def check_public(name):
    for number, quoted, path in includes(name):
        if quoted:
            yield f'{name}:{number}: a public header includes <...> only ("{path}")'
        elif DEVICE.match(path):
            yield f"{name}:{number}: a public header may not need <{path}>"


def cycles():
    """Headers that include themselves by way of others."""
    headers = [n for n in tree.c_files("src/", "include/") if n.endswith(".h")]
    graph = {}
    for name in headers:
        edges = []
        for number, quoted, path in includes(name):
            target = ("src/" if quoted else "include/") + path
            if target in headers:
                edges.append((number, target))
        graph[name] = edges
    state = {}

    def visit(name, path):
        state[name] = "open"
        for number, target in graph[name]:
            if state.get(target) == "open":
                loop = path[path.index(target):] + [target]
                yield f"{name}:{number}: include cycle: {' -> '.join(loop)}"
            elif target not in state:
                yield from visit(target, path + [target])
        state[name] = "done"

    for name in headers:
        if name not in state:
            yield from visit(name, [name])


def check():
    """includes follow the layers of the design"""
    for name in tree.c_files("src/"):
        yield from check_library(name)
        if os.path.basename(name) == "internal.h":
            yield f"{name}:1: no header shared by everyone: give it to a layer, by what it is"
    for name in tree.c_files(*(folder + "/" for folder in PUBLIC_ONLY)):
        yield from check_outside(name)
    for name in tree.c_files("include/"):
        yield from check_public(name)
    yield from cycles()
