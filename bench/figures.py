# SPDX-License-Identifier: MIT
"""Figures of benchmarks: how one is told, read, and kept.

A benchmark in any language tells each figure by a line of its output, which is for people, too:

    FIGURE what: 1.06 us                                           has no target
    PASS what: 1.18x of the raw loop (1.25 us and 1.06), target <= 1.25x
    FAIL what: 512.0 instructions, target < 500
    FAIL what: did not run                                         no figure: a promise, or a reason
    SKIP what: valgrind is not installed

"what", a number, its unit, details in parentheses, the bound. scripts/bench reads these lines of
what it runs, and keeps them with the machine they are of in bench/results/NAME.json:

    {"name", "commit", "date", "machine": {"cpu", "cores", "kernel", "load"},
     "figures": [{"what", "verdict", "figure", "unit", "bound", "target", "text"}]}

"verdict" is "pass", "missed", "skipped" or null; "text" is the line's own. What a line does not
have is null there.
"""

import datetime
import json
import operator
import os
import pathlib
import platform
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
VERDICTS = {"PASS": "pass", "FAIL": "missed", "SKIP": "skipped", "FIGURE": None}
BOUNDS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
LINE = re.compile(r"(?P<verdict>PASS|FAIL|SKIP|FIGURE) (?P<text>.+)")
NUMBER = r"-?\d+(?:\.\d+)?"
TEXT = re.compile(
    rf"(?P<what>.+): (?P<figure>{NUMBER})(?P<unit>[^,(]*)(?: \((?P<details>.*)\))?"
    rf"(?:, target (?P<bound><=|>=|<|>) (?P<target>{NUMBER}).*)?")


def digits(figure):
    """A figure as it is printed: three or four digits that count."""
    size = abs(figure)
    return f"{figure:.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3}f}"


def _text(what, figure, unit, details):
    gap = "" if unit.startswith("x") else " "
    return f"{what}: {digits(figure)}{gap}{unit}" + (f" ({details})" if details else "")


def tell(what, figure, unit, details=""):
    """Prints a figure that has no target."""
    print(f"FIGURE {_text(what, figure, unit, details)}", flush=True)


def judge(what, figure, unit, bound, target, details=""):
    """Prints a figure and whether it, as it is printed, is within its bound, which it returns."""
    met = BOUNDS[bound](float(digits(figure)), target)
    print(f"{'PASS' if met else 'FAIL'} {_text(what, figure, unit, details)}, target {bound} "
          f"{target:g}{'x' if unit.startswith('x') else ''}", flush=True)
    return met


def read(line):
    """What a line of a benchmark tells, as it is kept; None if it is none of those."""
    told = LINE.fullmatch(line.strip())
    if not told:
        return None
    entry = {"what": told["text"], "verdict": VERDICTS[told["verdict"]], "figure": None,
             "unit": None, "bound": None, "target": None, "text": told["text"]}
    parts = TEXT.fullmatch(told["text"])
    if parts and told["verdict"] != "SKIP":
        entry |= {"what": parts["what"], "figure": float(parts["figure"]),
                  "unit": parts["unit"].strip(), "bound": parts["bound"],
                  "target": float(parts["target"]) if parts["target"] else None}
    return entry


def machine():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        model = re.search(r"^(?:model name|Model)\s*:\s*(.*)$", file.read(), re.M)
    return {"cpu": model[1] if model else platform.machine(), "cores": os.cpu_count(),
            "kernel": platform.release(), "load": round(os.getloadavg()[0], 2)}


def _commit():
    command = ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None  # of a source archive
    return done.stdout.strip()


def keep(name, figures, of, folder=RESULTS):
    """Writes what a benchmark told, on the machine that machine() gave at its start."""
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    kept = {"name": name, "commit": _commit(), "date": now, "machine": of, "figures": figures}
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n",
                                         encoding="utf-8")


def kept(folder=RESULTS):
    """All that is there, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
