#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What benchmarks tell is read, kept and drawn as it was told."""

import contextlib
import io
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import figures  # noqa: E402
import figures_plot  # noqa: E402

READ = (
    ("PASS a, b of c: 1.18x of the raw loop (1.25 us, 1.06), target <= 1.25x\n",
     ("a, b of c", "pass", 1.18, "x of the raw loop", "<=", 1.25)),
    ("FAIL TCP: data: 512.0 instructions, target < 500",
     ("TCP: data", "missed", 512.0, "instructions", "<", 500.0)),
    ("FIGURE a: 9000.5 MB/s (8000.0 to 9100.0)", ("a", None, 9000.5, "MB/s", None, None)),
    ("FIGURE index: 0.990", ("index", None, 0.99, "", None, None)),
    ("FAIL a: did not run", ("a: did not run", "missed", None, None, None, None)),
    ("FAIL exit code 3", ("exit code 3", "missed", None, None, None, None)),
    ("SKIP no: 4 of those", ("no: 4 of those", "skipped", None, None, None, None)),
)


def told(function, *args):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        result = function(*args)
    return out.getvalue(), result


class Figures(unittest.TestCase):
    def test_line_of_each_form_is_read(self):
        for line, wanted in READ:
            entry = figures.read(line)
            keys = ("what", "verdict", "figure", "unit", "bound", "target")
            self.assertEqual(tuple(entry[key] for key in keys), wanted)
            self.assertEqual(entry["text"], line.split(" ", 1)[1].strip())

    def test_other_line_is_none(self):
        for line in ("", "PASSED a: 1 us", "  a: 1 us", "figure a: 1 us"):
            self.assertIsNone(figures.read(line))

    def test_told_figure_is_read_again(self):
        for what, figure, unit in (("a: b", 1060.4, "ns"), ("a", 0.0625, "us"), ("a", 12, "")):
            line, _ = told(figures.tell, what, figure, unit, "with (details)")
            entry = figures.read(line)
            self.assertEqual((entry["what"], entry["unit"]), (what, unit))
            self.assertAlmostEqual(entry["figure"], figure, delta=figure / 1000 + 0.0005)

    def test_judged_figure_is_judged_as_printed(self):
        for figure, bound, target, met in ((1.2504, "<=", 1.25, True), (1.26, "<=", 1.25, False),
                                           (2.996, ">=", 3, True), (2.99, ">=", 3, False),
                                           (500, "<", 500, False), (500, ">", 499, True)):
            line, result = told(figures.judge, "a", figure, "x of b", bound, target)
            entry = figures.read(line)
            self.assertEqual((result, entry["verdict"]), (met, "pass" if met else "missed"))
            self.assertEqual((entry["bound"], entry["target"]), (bound, target))

    def test_kept_figures_are_drawn(self):
        entries = [figures.read(line) for line, _ in READ]
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch) / "results"
            figures.keep("one", entries, figures.machine(), folder)
            figures.keep("none", [], figures.machine(), folder)
            results = figures.kept(folder)
        self.assertEqual([result["name"] for result in results], ["none", "one"])
        self.assertEqual(results[1]["figures"], entries)
        self.assertGreater(results[1]["machine"]["cores"], 0)
        drawn = xml.etree.ElementTree.fromstring(figures_plot.draw(results))
        fills = [part.get("fill") for part in drawn.iter("{http://www.w3.org/2000/svg}rect")]
        self.assertEqual(fills[1:], [figures_plot.COLOURS["pass"], figures_plot.COLOURS["missed"]])

    def test_nothing_with_a_target_draws_nothing(self):
        entries = [figures.read("FIGURE a: 1 us"), figures.read("FAIL a: did not run")]
        self.assertIsNone(figures_plot.draw([{"name": "a", "figures": entries}]))

    def test_margin_tells_how_much_better(self):
        for line, wanted in (("PASS a: 2 us, target <= 4", 2), ("FAIL a: 2x, target >= 4x", 0.5)):
            self.assertEqual(figures_plot.margin(figures.read(line)), wanted)


if __name__ == "__main__":
    unittest.main(verbosity=2)
