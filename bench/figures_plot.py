#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws what scripts/bench kept as one SVG: how far each figure is from its target.

    bench/figures_plot.py [OUT.svg]      of bench/results/*.json

A row is a figure that has a target. Its bar begins at the target, in the middle, and ends at how
many times the figure is better (to the right) or worse (to the left), in powers of two.
"""

import html
import math
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import figures  # noqa: E402

ROW, HEAD, FONT = 18, 26, 11
LEFT, MIDDLE, OCTAVE, OCTAVES, RIGHT = 470, 120, 60, 4, 250
WIDTH = LEFT + MIDDLE + OCTAVE * OCTAVES + RIGHT
ZERO = LEFT + MIDDLE  # where the figure is its target
COLOURS = {"pass": "#2e7d4f", "missed": "#c0392b"}


def margin(entry):
    """How many times better than its target a figure is; None where no ratio tells that."""
    figure, target = entry["figure"], entry["target"]
    if figure is None or target is None or figure <= 0 or target <= 0:
        return None
    return target / figure if entry["bound"].startswith("<") else figure / target


def _text(x, y, text, **attributes):
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x}" y="{y}"{more}>{html.escape(text)}</text>'


def _shorten(text, most):
    return text if len(text) <= most else text[:most - 1] + "…"


def _bar(y, entry):
    octaves = max(-MIDDLE / OCTAVE, min(OCTAVES, math.log2(margin(entry))))
    end = ZERO + octaves * OCTAVE
    number = f"{figures.digits(entry['figure'])} {entry['unit']}".strip()
    told = f"{number}, {entry['bound']} {entry['target']:g}"
    return (_text(LEFT - 8, y + 13, _shorten(entry["what"], 76), text_anchor="end") +
            f'<rect x="{min(ZERO, end):.1f}" y="{y + 3}" width="{max(1, abs(end - ZERO)):.1f}" '
            f'height="{ROW - 6}" fill="{COLOURS[entry["verdict"]]}"/>' +
            _text(ZERO + OCTAVE * OCTAVES + 8, y + 13, _shorten(told, 42)))


def _axis(bottom):
    lines = []
    for octave in range(-(MIDDLE // OCTAVE), OCTAVES + 1):
        x = ZERO + octave * OCTAVE
        label = "target" if octave == 0 else f"{2.0 ** octave:g}x"
        lines.append(f'<line x1="{x}" y1="34" x2="{x}" y2="{bottom}" '
                     f'stroke="{"#333" if octave == 0 else "#ddd"}"/>')
        lines.append(_text(x, 30, label, text_anchor="middle", fill="#666"))
    return "".join(lines)


def _group(y, result, entries):
    """A benchmark's rows, and where the next one begins."""
    of = result["machine"]
    where = f"{result['commit'] or 'no commit'}, {result['date'][:10]}, {of['cpu']}, " \
            f"{of['cores']} cores, Linux {of['kernel']}, load {of['load']}"
    rows = [_text(8, y + 17, result["name"], font_weight="bold"),
            _text(8 + 7 * len(result["name"]) + 10, y + 17, where, fill="#666")]
    y += HEAD
    for entry in entries:
        rows.append(_bar(y, entry))
        y += ROW
    return "".join(rows), y


def draw(results):
    """The SVG's text; None where nothing has a target."""
    groups, y = [], 40
    for result in results:
        entries = [entry for entry in result["figures"] if margin(entry) is not None]
        if entries:
            group, y = _group(y, result, entries)
            groups.append(group)
    if not groups:
        return None
    y += 10
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
            f'viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="{FONT}">'
            f'<rect width="{WIDTH}" height="{y}" fill="white"/>'
            + _axis(y - 10) + "\n".join(groups) + "</svg>\n")


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else figures.RESULTS / "targets.svg"
    drawing = draw(figures.kept())
    if drawing is None:
        sys.exit("figures_plot: there are no results with targets (scripts/bench)")
    out.write_text(drawing, encoding="utf-8")


if __name__ == "__main__":
    main()
