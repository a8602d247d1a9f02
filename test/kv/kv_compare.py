#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random requests to demi-kv and to Redis: the replies must be the same bytes.

    kv_compare.py PATH [SECONDS]     KV_TEST_SEED repeats a run

Requests arrive in random pieces, well-formed and not. DBSIZE is not among them: when an expired
key is removed is each server's own business. Exit code: 0 the same, 1 a difference,
77 skipped, with the reason.
"""

import os
import random
import re
import signal
import sys
import time

sys.dont_write_bytecode = True
from kv_client import Server, encode, redis_program, start_redis  # noqa: E402

KEYS = ["a", "b", "key:1", "key:2", "", "x y", "n", "big"]
NUMBERS = ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808", "01", "1.5", "",
           "abc", "9223372036854775808", "100000", "+1", " 1"]
FUTURE = ["4102444800", "4102444800000", "99999999999"]
WORDS = ["NX", "XX", "GET", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "PERSIST", "GT", "LT", "nx",
         "keepttl", "foo", ""]


class Requests:
    """A source of random requests."""

    def __init__(self, seed):
        self.choice = random.Random(seed)

    def key(self):
        return self.choice.choice(KEYS)

    def value(self):
        kind = self.choice.randrange(10)
        if kind == 0:
            return self.choice.choice(NUMBERS)
        if kind == 1:
            return self.choice.randbytes(self.choice.choice([5, 100, 5000]))
        if kind == 2:
            return self.choice.randbytes(1000) * self.choice.choice([16, 17, 40, 130])
        return str(self.choice.randrange(1000))

    def time_options(self):
        """Options whose outcome does not depend on when they arrive."""
        c = self.choice
        picks = [[], ["NX"], ["XX"], ["GET"], ["KEEPTTL"], ["PERSIST"], ["EX", "100000"],
                 ["EXAT", c.choice(FUTURE)], ["PXAT", "4102444800000"], ["EXAT", "1"],
                 [c.choice(WORDS)], ["EX", c.choice(["0", "-5", "x", "9223372036854775807"])],
                 ["PX", "100000"]]
        return [word for _ in range(c.randrange(3)) for word in c.choice(picks)]

    def relative_expiry(self, key):
        """A time that is no other request's: whether GT holds would depend on the millisecond."""
        c = self.choice
        if c.randrange(2) == 0:
            return [c.choice(["EXPIRE", "PEXPIRE"]), key,
                    c.choice(["-1", "x", "9223372036854775807"])]
        seconds = c.randrange(1000, 1000000)
        return c.choice([["EXPIRE", key, str(seconds)], ["PEXPIRE", key, str(seconds * 1000)]])

    def command(self):
        c, key, value = self.choice, self.key, self.value
        number = c.choice(NUMBERS)
        return c.choice([
            lambda: ["SET", key(), value(), *self.time_options()],
            lambda: ["SET", key(), value()], lambda: ["GET", key()],
            lambda: ["GETEX", key(), *self.time_options()], lambda: ["GETDEL", key()],
            lambda: ["GETSET", key(), value()], lambda: ["SETNX", key(), value()],
            lambda: ["DEL", key(), key()], lambda: ["UNLINK", key()],
            lambda: ["EXISTS", key(), key()], lambda: ["TOUCH", key()],
            lambda: ["INCR", key()], lambda: ["DECR", key()],
            lambda: ["INCRBY", key(), number], lambda: ["DECRBY", key(), number],
            lambda: ["APPEND", key(), value()], lambda: ["STRLEN", key()],
            lambda: ["MSET", *[key() if i % 2 == 0 else value()
                               for i in range(c.randrange(1, 6))]],
            lambda: ["MSETNX", key(), value(), key(), value()],
            lambda: ["MGET", *[key() for _ in range(c.randrange(1, 4))]],
            lambda: [*self.relative_expiry(key()), *[c.choice(WORDS)
                                                     for _ in range(c.randrange(2))]],
            lambda: [c.choice(["EXPIREAT", "PEXPIREAT"]), key(),
                     c.choice(["1", "x", *FUTURE]), *[c.choice(WORDS)
                                                      for _ in range(c.randrange(3))]],
            lambda: [c.choice(["EXPIRETIME", "PERSIST", "TYPE"]), key()],
            lambda: ["SETEX", key(), c.choice(["100000", "0", "x"]), value()],
            lambda: ["PSETEX", key(), c.choice(["100000000", "0", "x"]), value()],
            lambda: ["PING"], lambda: ["ECHO", value()],
            lambda: ["SELECT", c.choice(["0", "x", "99"])], lambda: ["FLUSHALL"],
            lambda: ["HELLO", c.choice(["x", "4", "1"])],
            lambda: ["CLIENT", c.choice(["GETNAME", "nonsense"])],
            lambda: ["CLIENT", "SETNAME", c.choice(["me", "a b", ""])],
            lambda: [c.choice(["GET", "SET", "nonsense", "MSET", "strlen"]),
                     *[key() for _ in range(c.randrange(4))]],
        ])()

    def malformed(self):
        c = self.choice
        return c.choice([
            b"*1\r\n$-1\r\n", b"*x\r\n", b"*1\r\n!3\r\n", b"\"a\r\n", b"*1\r\n$99999999999\r\n",
            b"*" + b"9" * c.choice([5, 12]) + b"x\r\n", c.randbytes(20).replace(b"\0", b"1") +
            b"\r\n\r\n"])

    def inline(self):
        c = self.choice
        return c.choice([
            b"PING\r\n", b"\r\n", b"   \n", b"set a 'b c'\r\n", b"GET a\n", b"*0\r\n", b"*-1\r\n",
            b"echo \"" + bytes(c.choice(b"abc\\xn41'") for _ in range(6)) + b"\"\r\n"])

    def session(self):
        """What one connection sends: mostly sense, sometimes ending in nonsense."""
        c, parts = self.choice, []
        if c.randrange(2):
            parts.append(encode("HELLO", "2", "SETNAME", "compare"))
        parts.append(encode("FLUSHALL"))
        for _ in range(c.randrange(1, 60)):
            parts.append(self.inline() if c.randrange(8) == 0 else encode(*self.command()))
        if c.randrange(5) == 0:
            parts.append(self.malformed())
        parts.append(encode("QUIT"))
        return b"".join(parts)

    def pieces(self, data):
        size = self.choice.choice([1 << 30, 20000, 700, 30])
        size = max(size, len(data) // 500)
        at = 0
        while at < len(data):
            step = self.choice.randrange(1, size + 1)
            yield data[at:at + step]
            at += step


def answer(server, requests, data):
    """What a server says to a session, and whether that is all: one that refuses a request may cut
    off what it said before. HELLO's reply has an id: it is cut out."""
    whole = True
    with server.client() as c:
        try:
            for piece in requests.pieces(data):
                c.send(piece)
        except OSError:
            whole = False
        got = bytearray()
        try:
            while more := c.sock.recv(1 << 18):
                got += more
        except ConnectionResetError:
            whole = False
    if data.startswith(encode("HELLO", "2", "SETNAME", "compare")):
        got = got.partition(b"$7\r\nmodules\r\n*0\r\n")[2]
    return bytes(got), whole


def same_times(want, got):
    """`got` with the times of `want`: when a relative expiry falls due, in seconds, may be one or
    two later where the request came later."""
    time_reply = re.compile(rb"(?<=:)1[789][0-9]{8}(?=\r\n)")
    theirs, ours = (time_reply.findall(answer) for answer in (want, got))
    if len(theirs) != len(ours) or any(not 0 <= int(o) - int(t) <= 2
                                       for t, o in zip(theirs, ours)):
        return got
    times = iter(theirs)
    return time_reply.sub(lambda _: next(times), got)


def differ(want, got):
    """Where two answers differ, or None."""
    (want, want_whole), (got, got_whole) = want, got
    got = same_times(want, got)
    for at, (x, y) in enumerate(zip(want, got)):
        if x != y:
            return at
    short = (len(want) < len(got) and want_whole) or (len(got) < len(want) and got_whole)
    return min(len(want), len(got)) if short else None


def compare(ours, redis, seed, seconds):
    deadline = time.monotonic() + seconds
    sessions = 0
    while time.monotonic() < deadline:
        requests = Requests(seed + sessions)
        data = requests.session()
        want, got = answer(redis, requests, data), answer(ours, requests, data)
        at = differ(want, got)
        if at is not None:
            print(f"FAIL session {sessions} (KV_TEST_SEED={seed + sessions} repeats it alone)")
            print(f"sent  {data[:1000]!r}")
            print(f"redis {want[0][max(0, at - 60):at + 100]!r}")
            print(f"ours  {got[0][max(0, at - 60):at + 100]!r}")
            return 1
        assert ours.running(), ours.said()
        sessions += 1
    print(f"ok   {sessions} sessions with the same replies")
    return 0


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not redis_program():
        print("skipped: redis-server is not installed")
        sys.exit(77)
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10
    seed = int(os.environ.get("KV_TEST_SEED", time.time_ns() % 1000000000))
    print(f"KV_TEST_SEED={seed}")
    signal.alarm(int(seconds) + 60)
    ours, redis = Server([os.path.abspath(sys.argv[1]), "--port", "0"]), start_redis()
    try:
        failed = compare(ours, redis, seed, seconds)
    finally:
        redis.stop()
        failed_end = ours.stop()
    sys.exit(1 if failed or failed_end != 0 else 0)


if __name__ == "__main__":
    main()
