# SPDX-License-Identifier: MIT
"""What two ends of a TCP connection agree on, from what each may; and what they say that it is.

Linux says it by `ss -ti`, both by TCP_INFO, as interop-peer prints it. And a small set of
combinations of options in which each pair of values is there.
"""

import itertools
import random
import re
import subprocess

import netns

OPTIONS = ("sack", "timestamps", "window_scale", "ecn")
SYSCTL = {"sack": "tcp_sack", "timestamps": "tcp_timestamps", "window_scale": "tcp_window_scaling",
          "ecn": "tcp_ecn"}
# Bits of tcpi_options, and words of ss
BITS = {"timestamps": 1, "sack": 2, "window_scale": 4, "ecn": 8}
WORDS = {"timestamps": "ts", "sack": "sack", "ecn": "ecn"}


def pairs_of(row):
    return set(itertools.combinations(enumerate(row), 2))


def covering(factors):
    """Rows of values, one of each factor, in which each two values of two factors meet."""
    left = {((i, a), (j, b)) for (i, f), (j, g) in itertools.combinations(enumerate(factors), 2)
            for a in f for b in g}
    dice, rows = random.Random(1), []
    while left:
        first = min(left, key=str)
        candidates = []
        for _ in range(200):
            row = [dice.choice(f) for f in factors]
            for i, value in first:
                row[i] = value
            candidates.append(tuple(row))
        best = max(candidates, key=lambda row: len(pairs_of(row) & left))
        left -= pairs_of(best)
        rows.append(best)
    return rows


def set_linux(on):
    for option in OPTIONS:
        netns.setting(f"ipv4/{SYSCTL[option]}", int(option in on))


def for_ours(on):
    """The environment of a program of ours."""
    return {f"DEMI_NET_{option.upper()}": "yes" if option in on else "no" for option in OPTIONS}


def segment_bytes(version, options):
    return 1500 - 20 - (40 if version == 6 else 20) - (12 if "timestamps" in options else 0)


class Ss:
    """What ss says of the one connection of Linux with a port, over which something went."""

    def __init__(self, port):
        done = subprocess.run(["ss", "-Htino", "state", "established",
                               f"( sport = :{port} or dport = :{port} )"], check=True,
                              stdout=subprocess.PIPE)
        text = done.stdout.decode()
        assert "minrtt:" in text, f"ss said {text!r}"
        self.words = set(text.split())
        scales = re.search(r"\bwscale:(\d+),(\d+)", text)
        self.scales = (int(scales[1]), int(scales[2])) if scales else (0, 0)
        self.figures = {name: float(re.search(rf"\b{name}:([0-9.]+)", text)[1])
                        for name in ("cwnd", "mss", "minrtt")}
        self.figures["min_rtt_us"] = 1000 * self.figures.pop("minrtt")

    def options(self):
        on = {option for option, word in WORDS.items() if word in self.words}
        return on | ({"window_scale"} if self.scales != (0, 0) else set())


class Info:
    """What TCP_INFO said, in the output of interop-peer on either side."""

    def __init__(self, output):
        line = re.search(r"^info (.*)$", output, re.M)
        assert line, f"no TCP_INFO: {output!r}"
        self.figures = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line[1])}
        self.scales = (self.figures["snd_wscale"], self.figures["rcv_wscale"])

    def options(self):
        return {option for option, bit in BITS.items() if self.figures["options"] & bit}
