#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the key-value server over real connections.

    kv_test.py PATH [--log]  against demi-kv, with a log of changes
    kv_test.py --redis       against redis-server: proves that the expectations are right
    kv_test.py PATH NAME...  only tests whose name contains one of these

Exit code: 0 all passed, 1 some failed, 77 skipped, with the reason.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

sys.dont_write_bytecode = True
from kv_client import (Client, Closed, Error, Server, Status, as_map,  # noqa: E402
                       encode, redis_program, start_redis, text)

DEADLINE_S = 280
OK = Status("OK")
SYNTAX = Error("ERR syntax error")
NOT_INT = Error("ERR value is not an integer or out of range")

TESTS = []


def test(function=None, *, ours=False):
    """Registers a test; `ours`: says nothing about Redis."""
    def register(f):
        TESTS.append((f, ours))
        return f
    return register(function) if function else register


def equal(got, want, what=""):
    if got != want or type(got) is not type(want):
        raise AssertionError(f"{what}: got {got!r:.300}, want {want!r:.300}")


def arity(name):
    return Error(f"ERR wrong number of arguments for '{name}' command")


def bad_time(name):
    return Error(f"ERR invalid expire time in '{name}' command")


def check(client, script):
    """Runs (command, reply) pairs; a reply that is a function checks by itself."""
    for command, want in script:
        got = client.call(*command)
        if callable(want):
            assert want(got), f"{command!r:.200}: got {got!r:.300}"
        else:
            equal(got, want, f"{command!r:.200}")


def in_both_protocols(server, script):
    for version in (2, 3):
        with server.client() as c:
            as_map(c.call("HELLO", version))
            c.call("FLUSHALL")
            check(c, script)


def within(low, high):
    return lambda v: isinstance(v, int) and low <= v <= high


def spins():
    return os.environ.get("DEMI_POLL") == "always"


def wait_until(condition, what, patience=10):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(0.01)


# ---- commands ---------------------------------------------------------------------------------

@test
def strings(server):
    in_both_protocols(server, [
        (["PING"], Status("PONG")), (["ping", "hi"], b"hi"), (["ECHO", "x"], b"x"),
        (["SET", "k", "v"], OK), (["GET", "k"], b"v"), (["get", "none"], None),
        (["SET", "k", ""], OK), (["GET", "k"], b""), (["STRLEN", "k"], 0),
        (["SET", "k", "longer than before"], OK), (["STRLEN", "k"], 18),
        (["STRLEN", "none"], 0), (["TYPE", "k"], Status("string")),
        (["TYPE", "none"], Status("none")), (["SETNX", "k", "x"], 0), (["SETNX", "n", "1"], 1),
        (["GETSET", "n", "2"], b"1"), (["GETSET", "new", "x"], None), (["GET", "new"], b"x"),
        (["GETDEL", "new"], b"x"), (["GETDEL", "new"], None), (["EXISTS", "k", "k", "zz"], 2),
        (["TOUCH", "k", "zz"], 1), (["DEL", "k", "k", "n"], 2), (["UNLINK", "k"], 0),
        (["APPEND", "a", "Hello"], 5), (["APPEND", "a", " World"], 11),
        (["GET", "a"], b"Hello World"), (["APPEND", "a", ""], 11), (["DBSIZE"], 1),
        (["MSET", "a", "1", "b", "2", "a", "3"], OK),
        (["MGET", "a", "none", "b", "a"], [b"3", None, b"2", b"3"]),
        (["MSETNX", "b", "x", "c", "y"], 0), (["EXISTS", "c"], 0),
        (["MSETNX", "c", "x", "d", "y"], 1), (["MGET", "c", "d"], [b"x", b"y"]),
        (["SET", b"\x00\r\n\xff", b"\xff\x00\r\n"], OK), (["GET", b"\x00\r\n\xff"],
                                                         b"\xff\x00\r\n"),
        (["SET", "", "empty key"], OK), (["GET", ""], b"empty key"),
    ])


@test
def set_options(server):
    in_both_protocols(server, [
        (["SET", "k", "1", "XX"], None), (["EXISTS", "k"], 0), (["SET", "k", "1", "NX"], OK),
        (["SET", "k", "2", "nx"], None), (["SET", "k", "2", "xx", "GET"], b"1"),
        (["SET", "k", "3", "NX", "GET"], b"2"), (["GET", "k"], b"2"),
        (["SET", "none", "x", "GET"], None), (["GET", "none"], b"x"),
        (["SET", "gn", "x", "NX", "GET"], None), (["GET", "gn"], b"x"),
        (["SET", "k", "v", "EX", "100"], OK), (["TTL", "k"], within(99, 100)),
        (["SET", "k", "w", "KEEPTTL"], OK), (["TTL", "k"], within(99, 100)),
        (["SET", "k", "w"], OK), (["TTL", "k"], -1),
        (["SET", "k", "v", "PX", "50000"], OK), (["PTTL", "k"], within(49000, 50000)),
        (["SET", "k", "v", "EXAT", int(time.time()) + 50], OK), (["TTL", "k"], within(48, 50)),
        (["SET", "k", "v", "PXAT", int(time.time() * 1000) + 50000], OK),
        (["PTTL", "k"], within(48000, 50000)),
        (["SET", "k", "v", "EXAT", "1"], OK), (["GET", "k"], None),
        (["SET", "k", "v", "EX", "1", "EX", "100"], OK), (["TTL", "k"], within(99, 100)),
        (["SET", "a", "b", "NX", "XX"], SYNTAX), (["SET", "a", "b", "EX"], SYNTAX),
        (["SET", "a", "b", "EX", "1", "PX", "1"], SYNTAX),
        (["SET", "a", "b", "EX", "1", "KEEPTTL"], SYNTAX), (["SET", "a", "b", "FOO"], SYNTAX),
        (["SET", "a", "b", "PERSIST"], SYNTAX), (["SET", "a", "b", "EX", "x"], NOT_INT),
        (["SET", "a", "b", "EX", "0"], bad_time("set")),
        (["SET", "a", "b", "PX", "-1"], bad_time("set")),
        (["SET", "a", "b", "EX", "9223372036854775807"], bad_time("set")),
        (["SET", "a", "b", "PX", "9223372036854775807"], bad_time("set")),
        (["SET", "a"], arity("set")), (["EXISTS", "a"], 0),
        (["SETEX", "s", "100", "v"], OK), (["TTL", "s"], within(99, 100)),
        (["PSETEX", "s", "50000", "v"], OK), (["PTTL", "s"], within(49000, 50000)),
        (["SETEX", "s", "0", "v"], bad_time("setex")), (["PSETEX", "s", "x", "v"], NOT_INT),
    ])


@test
def getex(server):
    in_both_protocols(server, [
        (["GETEX", "none"], None), (["SET", "k", "v"], OK), (["GETEX", "k"], b"v"),
        (["TTL", "k"], -1), (["GETEX", "k", "EX", "100"], b"v"), (["TTL", "k"], within(99, 100)),
        (["GETEX", "k"], b"v"), (["TTL", "k"], within(99, 100)),
        (["GETEX", "k", "PERSIST"], b"v"), (["TTL", "k"], -1),
        (["GETEX", "k", "PX", "50000"], b"v"), (["PTTL", "k"], within(49000, 50000)),
        (["GETEX", "k", "EX", "0"], bad_time("getex")), (["GETEX", "k", "NX"], SYNTAX),
        (["GETEX", "k", "PERSIST", "EX", "1"], SYNTAX), (["GETEX", "k", "EXAT", "1"], b"v"),
        (["EXISTS", "k"], 0),
    ])


@test
def counters(server):
    overflow = Error("ERR increment or decrement would overflow")
    in_both_protocols(server, [
        (["INCR", "n"], 1), (["INCR", "n"], 2), (["DECR", "n"], 1), (["INCRBY", "n", "41"], 42),
        (["DECRBY", "n", "50"], -8), (["GET", "n"], b"-8"), (["INCRBY", "n", "-2"], -10),
        (["SET", "n", "9223372036854775807"], OK), (["INCR", "n"], overflow),
        (["DECRBY", "n", "-1"], overflow), (["DECR", "n"], 9223372036854775806),
        (["SET", "n", "-9223372036854775808"], OK), (["DECR", "n"], overflow),
        (["DECRBY", "n", "-9223372036854775808"], Error("ERR decrement would overflow")),
        (["INCRBY", "n", "x"], NOT_INT), (["SET", "n", " 1"], OK), (["INCR", "n"], NOT_INT),
        (["SET", "n", "01"], OK), (["INCR", "n"], NOT_INT), (["SET", "n", ""], OK),
        (["INCR", "n"], NOT_INT), (["SET", "n", "9", "EX", "100"], OK), (["INCR", "n"], 10),
        (["TTL", "n"], within(99, 100)), (["INCR"], arity("incr")),
    ])


@test
def expiry_commands(server):
    def incompatible(what):
        return Error(f"ERR {what} options at the same time are not compatible")
    now = int(time.time())
    in_both_protocols(server, [
        (["EXPIRE", "none", "1"], 0), (["TTL", "none"], -2), (["PTTL", "none"], -2),
        (["PERSIST", "none"], 0), (["SET", "k", "v"], OK), (["PERSIST", "k"], 0),
        (["EXPIRE", "k", "100"], 1), (["TTL", "k"], within(99, 100)),
        (["PTTL", "k"], within(99000, 100000)), (["EXPIRE", "k", "200", "NX"], 0),
        (["EXPIRE", "k", "50", "GT"], 0), (["EXPIRE", "k", "200", "GT"], 1),
        (["EXPIRE", "k", "300", "LT"], 0), (["EXPIRE", "k", "100", "LT", "XX"], 1),
        (["PERSIST", "k"], 1), (["TTL", "k"], -1), (["EXPIRE", "k", "100", "XX"], 0),
        (["EXPIRE", "k", "100", "GT"], 0), (["EXPIRE", "k", "100", "LT"], 1),
        (["PEXPIRE", "k", "50000"], 1), (["PTTL", "k"], within(49000, 50000)),
        (["EXPIREAT", "k", now + 1000], 1), (["EXPIRETIME", "k"], now + 1000),
        (["PEXPIREAT", "k", (now + 500) * 1000], 1), (["PEXPIRETIME", "k"], (now + 500) * 1000),
        (["EXPIRETIME", "none"], -2), (["EXPIRE", "k", "x"], NOT_INT),
        (["EXPIRE", "k", "1", "FOO"], Error("ERR Unsupported option FOO")),
        (["EXPIRE", "k", "1", "NX", "XX"], incompatible("NX and XX, GT or LT")),
        (["EXPIRE", "k", "1", "GT", "LT"], incompatible("GT and LT")),
        (["EXPIRE", "k", "9223372036854775807"], bad_time("expire")),
        (["EXPIRE", "k", "-9223372036854775808"], bad_time("expire")),
        (["PEXPIRE", "k", "9223372036854775807"], bad_time("pexpire")),
        (["EXPIRE", "k", "-1"], 1), (["EXISTS", "k"], 0), (["SET", "k", "v"], OK),
        (["EXPIREAT", "k", "1"], 1), (["EXISTS", "k"], 0),
    ])


@test
def expiry_happens(server):
    with server.client() as c:
        c.call("FLUSHALL")
        for i in range(300):
            c.call("SET", f"short:{i}", "v", "PX", 50 + i % 100)
        c.call("SET", "long", "v", "PX", 100000)
        c.call("SET", "touched", "v", "PX", 100000)
        equal(c.call("PEXPIRE", "touched", 60), 1)
        equal(c.call("GET", "short:299") in (b"v", None), True)
        time.sleep(0.1)
        equal(c.call("GET", "touched"), None)
        wait_until(lambda: c.call("DBSIZE") == 1, "keys removed that nobody asks for")
        equal(c.call("GET", "long"), b"v")


@test
def keyspace(server):
    in_both_protocols(server, [
        (["DBSIZE"], 0), (["SELECT", "0"], OK), (["SELECT", "x"], NOT_INT),
        (["SELECT", "99"], Error("ERR DB index is out of range")), (["SET", "a", "1"], OK),
        (["SET", "ab", "1"], OK), (["SET", "b", "1"], OK),
        (["KEYS", "a*"], lambda v: sorted(v) == [b"a", b"ab"]), (["KEYS", "zz*"], []),
        (["FLUSHALL", "x"], SYNTAX), (["FLUSHALL", "ASYNC", "x"], SYNTAX), (["DBSIZE"], 3),
        (["FLUSHALL", "ASYNC"], OK), (["DBSIZE"], 0), (["SET", "a", "1"], OK),
        (["FLUSHDB"], OK), (["GET", "a"], None),
        (["TIME"], lambda v: len(v) == 2 and abs(int(v[0]) - time.time()) < 5),
    ])


# ---- scan -------------------------------------------------------------------------------------

def scan_all(c, *options, between=lambda: None):
    cursor, found = b"0", []
    while True:
        cursor, keys = c.call("SCAN", cursor, *options)
        found += keys
        if cursor == b"0":
            return found
        between()


@test
def scan(server):
    for version in (2, 3):
        with server.client() as c:
            as_map(c.call("HELLO", version))
            c.call("FLUSHALL")
            equal(c.call("SCAN", "0"), [b"0", []])
            for i in range(1000):
                c.call("SET", f"k:{i}", "v")
            equal(sorted(scan_all(c)), sorted(b"k:%d" % i for i in range(1000)))
            equal(len(scan_all(c, "COUNT", "5000")), 1000)
            equal(sorted(scan_all(c, "MATCH", "k:99?")), [b"k:99%d" % i for i in range(10)])
            equal(len(scan_all(c, "TYPE", "string", "COUNT", "100")), 1000)
            equal(scan_all(c, "TYPE", "hash", "COUNT", "100"), [])
            c.call("PEXPIRE", "k:0", "1")
            time.sleep(0.01)
            equal(b"k:0" in scan_all(c, "COUNT", "300"), False)
            check(c, [(["SCAN", "x"], Error("ERR invalid cursor")),
                      (["SCAN", "18446744073709551616"], Error("ERR invalid cursor")),
                      (["SCAN", "0", "COUNT", "0"], SYNTAX), (["SCAN", "0", "MATCH"], SYNTAX),
                      (["SCAN", "0", "COUNT", "x"], NOT_INT), (["SCAN", "0", "X", "Y"], SYNTAX)])


@test
def scan_guarantee(server):
    """What is there from beginning to end is returned, while the table grows and shrinks."""
    choice = random.Random(7)
    with server.client() as c, server.client() as other:
        c.call("FLUSHALL")
        stable = {b"stable:%d" % i for i in range(2000)}
        c.send(b"".join(encode("SET", key, "v") for key in stable))
        for _ in stable:
            c.reply()
        extra = list(range(30000))

        def add():
            batch = [extra.pop() for _ in range(min(500, len(extra)))]
            other.send(b"".join(encode("SET", f"extra:{i}", "v") for i in batch))
            for _ in batch:
                other.reply()

        def remove():
            keys = [f"extra:{choice.randrange(30000)}" for _ in range(800)]
            other.call("DEL", *keys)

        missing = stable - set(scan_all(c, between=add))
        equal(missing, set(), "while growing")
        missing = stable - set(scan_all(c, "COUNT", "50", between=remove))
        equal(missing, set(), "while shrinking")


# ---- the connection ---------------------------------------------------------------------------

@test
def hello(server):
    with server.client() as c:
        two = as_map(c.call("HELLO"))
        equal((two["server"], two["proto"], two["mode"]), ("redis", 2, "standalone"))
        three = c.call("HELLO", "3")
        equal(isinstance(three, dict), True)
        equal(as_map(three)["proto"], 3)
        equal(c.call("GET", "surely-not-there"), None)
        check(c, [
            (["HELLO", "4"], Error("NOPROTO unsupported protocol version")),
            (["HELLO", "x"], Error("ERR Protocol version is not an integer or out of range")),
            (["HELLO", "3", "foo"], Error("ERR Syntax error in HELLO option 'foo'")),
            (["HELLO", "2", "SETNAME"], Error("ERR Syntax error in HELLO option 'SETNAME'")),
            (["HELLO", "2", "AUTH", "a", "b"],
             Error("WRONGPASS invalid username-password pair or user is disabled.")),
        ])
        equal(as_map(c.call("HELLO", "3", "AUTH", "default", "x", "SETNAME", "me"))["proto"], 3)
        equal(c.call("CLIENT", "GETNAME"), b"me")
        equal(c.call("RESET"), Status("RESET"))
        equal(isinstance(c.call("HELLO"), list), True)
        equal(c.call("CLIENT", "GETNAME"), None)


@test
def client_command(server):
    spaces = Error("ERR Client names cannot contain spaces, newlines or special characters.")
    with server.client() as a, server.client() as b:
        check(a, [
            (["CLIENT", "GETNAME"], None), (["CLIENT", "SETNAME", "tom"], OK),
            (["CLIENT", "GETNAME"], b"tom"), (["CLIENT", "SETNAME", "a b"], spaces),
            (["CLIENT", "NO-EVICT", "ON"], OK), (["CLIENT", "NO-EVICT", "x"], SYNTAX),
            (["CLIENT", "NO-EVICT", "OFF"], OK),
            (["CLIENT"], arity("client")), (["CLIENT", "SETNAME"], arity("client|setname")),
            (["CLIENT", "FOO"], Error("ERR unknown subcommand 'FOO'. Try CLIENT HELP.")),
            (["CLIENT", "LIST", "TYPE", "x"], Error("ERR Unknown client type 'x'")),
            (["CLIENT", "LIST", "ID"], SYNTAX),
            (["CLIENT", "HELP"], lambda v: len(v) > 5 and isinstance(v[0], Status)),
        ])
        first, second = a.call("CLIENT", "ID"), b.call("CLIENT", "ID")
        equal(second > first > 0, True)
        lines = text(a.call("CLIENT", "LIST")).splitlines()
        own = [line for line in lines if f"id={first} " in line]
        equal(len(own), 1)
        equal("name=tom" in own[0] and "cmd=client|list" in own[0], True)
        name = a.sock.getsockname()
        equal(f"addr={name[0]}:{name[1]} " in own[0], True)
        equal(len(text(a.call("CLIENT", "LIST", "ID", second)).splitlines()), 1)
        equal(f"id={second} " in text(b.call("CLIENT", "INFO")), True)
        equal(text(a.call("CLIENT", "LIST", "TYPE", "pubsub")), "")


@test(ours=True)
def client_setinfo(server):
    with server.client() as c:
        check(c, [(["CLIENT", "SETINFO", "LIB-NAME", "lib"], OK),
                  (["CLIENT", "SETINFO", "lib-ver", "1.2"], OK),
                  (["CLIENT", "SETINFO", "x", "1.2"], Error("ERR Unrecognized option 'x'")),
                  (["CLIENT", "SETINFO", "lib-name", "a b"], Error(
                      "ERR lib-name cannot contain spaces, newlines or special characters."))])
        equal("lib-name=lib lib-ver=1.2" in text(c.call("CLIENT", "INFO")), True)


@test
def introspection(server):
    for version in (2, 3):
        with server.client() as c:
            as_map(c.call("HELLO", version))
            table = c.call("COMMAND")
            equal(len(table), c.call("COMMAND", "COUNT"))
            get, none = c.call("COMMAND", "INFO", "GET", "nonsense")
            equal(none, None)
            equal((get[0], get[1], get[3:6], len(get)), (b"get", 2, [1, 1, 1], 10))
            equal(Status("readonly") in get[2], True)
            docs = as_map(c.call("COMMAND", "DOCS", "set", "nonsense"))
            equal(list(docs), ["set"])
            equal(as_map(docs["set"])["group"], "string")
            equal(b"mget" in c.call("COMMAND", "LIST"), True)
            config = as_map(c.call("CONFIG", "GET", "save", "append*ly", "SAVE"))
            equal(config["save"], "")
            equal(config["appendonly"] in ("no", "yes"), True)
            equal(as_map(c.call("CONFIG", "GET", "proto-max-bulk-len")),
                  {"proto-max-bulk-len": "536870912"})
            equal(as_map(c.call("CONFIG", "GET", "nonsense")), {})
            info = text(c.call("INFO"))
            equal("redis_version:7" in info and "# Keyspace\r\n" in info, True)
            equal(text(c.call("INFO", "clients")).startswith("# Clients\r\nconnected_"), True)
            equal(text(c.call("INFO", "nonsense")), "")
            check(c, [
                (["COMMAND", "FOO"], Error("ERR unknown subcommand 'FOO'. Try COMMAND HELP.")),
                (["CONFIG", "GET"], arity("config|get")),
                (["CONFIG", "SET", "foo", "1"],
                 Error("ERR Unknown option or number of arguments for CONFIG SET - 'foo'")),
                (["CONFIG", "RESETSTAT"], OK)])


@test
def unknown_and_arity(server):
    def unknown(name, args=""):
        return Error(f"ERR unknown command '{name}', with args beginning with: {args}")
    with server.client() as c:
        check(c, [
            (["FOO"], unknown("FOO")), (["foo", "a", "b c"], unknown("foo", "'a' 'b c' ")),
            ([""], unknown("")), (["foo\r\nbar"], unknown("foo  bar")),
            (["x" * 200], unknown("x" * 128)), (["foo", "y" * 200, "z"],
                                               unknown("foo", f"'{'y' * 128}' ")),
            (["get"], arity("get")), (["get", "a", "b"], arity("get")), (["DEL"], arity("del")),
            (["mset", "a"], arity("mset")), (["mset", "a", "b", "c"], arity("mset")),
            (["msetnx", "a", "b", "c"], arity("msetnx")), (["ping", "a", "b"], arity("ping")),
            (["echo"], arity("echo")), (["select"], arity("select")),
        ])


@test
def inline_commands(server):
    with server.client() as c:
        c.send(b"PING\r\n\r\n   \r\nSET inline 'a b'\nGET \"inline\"\r\necho \"\\x41\\n\"\r\n")
        replies = [c.reply() for _ in range(4)]
        equal(replies, [Status("PONG"), OK, b"a b", b"A\n"])


@test
def quit_closes(server):
    with server.client() as c:
        c.send(encode("SET", "q", "1") + encode("QUIT") + encode("SET", "q", "2"))
        equal(c.rest(), b"+OK\r\n+OK\r\n")
    with server.client() as c:
        equal(c.call("GET", "q"), b"1")


# ---- the protocol -----------------------------------------------------------------------------

PROTOCOL_ERRORS = [
    (b"*abc\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*01\r\n$4\r\nPING\r\n", "invalid multibulk length"),
    (b"*1\r\nPING\r\n", "expected '$', got 'P'"),
    (b"*1\r\n$abc\r\n", "invalid bulk length"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"SET \"a b\r\n", "unbalanced quotes in request"),
    (b"SET 'a'b\r\n", "unbalanced quotes in request"),
    (b"A" * 70000, "too big inline request"),
    (b"*" + b"1" * 70000, "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * 70000, "too big bulk count string"),
]


@test
def protocol_errors(server):
    for request, what in PROTOCOL_ERRORS:
        with server.client() as c:
            c.send(encode("PING") + request)
            want = b"+PONG\r\n-ERR Protocol error: " + what.encode() + b"\r\n"
            equal(c.rest(), want, what)
    with server.client() as c:  # the largest length is not an error yet
        c.send(b"*1\r\n$536870912\r\nabc")
        c.sock.settimeout(0.3)
        try:
            raise AssertionError(f"answered {c.reply()!r}")
        except socket.timeout:
            pass


@test
def protocol_error_behind_a_large_argument(server):
    """What is wrong is told although the bytes before it came in many pieces."""
    for size in (100, 40000, 400000, 3 << 20):
        with server.client() as c:
            c.send(encode("PING") + b"*3\r\n$3\r\nSET\r\n$%d\r\n" % size + b"x" * size)
            c.send(b"\r\n!bad\r\n")
            equal(c.rest(), b"+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n")


@test(ours=True)
def too_many_arguments(server):
    with server.client() as c:
        c.send(b"*1048577\r\n")
        equal(c.rest(), b"-ERR Protocol error: invalid multibulk length\r\n")


MIXED = (encode("SET", "m", "v" * 300) + encode("GET", "m") + b"PING\r\n" + encode("INCR", "mi") +
         encode("MGET", "m", "none", "mi") + b"*0\r\n\r\n" + encode("ECHO", "") +
         encode("DEL", "m", "mi"))


@test
def byte_at_a_time(server):
    with server.client() as whole, server.client() as slow:
        whole.send(MIXED + encode("QUIT"))
        want = whole.rest()
        for i in range(len(MIXED)):
            slow.send(MIXED[i:i + 1])
        slow.send(encode("QUIT"))
        equal(slow.rest(), want)


@test
def cut_anywhere(server):
    choice = random.Random(1)
    value = bytes(choice.randrange(256) for _ in range(100000))
    stream = MIXED + encode("SET", "big", value) + encode("GET", "big") + MIXED
    with server.client() as c:
        c.send(stream + encode("QUIT"))
        want = c.rest()
    for _ in range(30):
        with server.client() as c:
            at = 0
            while at < len(stream):
                step = choice.choice([1, 7, 100, 5000, 40000])
                c.send(stream[at:at + step])
                at += step
            c.send(encode("QUIT"))
            equal(c.rest(), want)


@test
def pipeline_of_ten_thousand(server):
    with server.client() as c:
        stream = b"".join(encode("SET", f"p:{i % 100}", i) + encode("GET", f"p:{i % 100}")
                          for i in range(5000))
        sender = threading.Thread(target=c.send, args=(stream,))
        sender.start()
        for i in range(5000):
            equal(c.reply(), OK)
            equal(c.reply(), b"%d" % i)
        sender.join()


@test
def many_arguments(server):
    with server.client() as c:
        c.call("FLUSHALL")
        n = 100000
        pairs = [x for i in range(n) for x in (f"key:{i}", i)]
        equal(c.call("MSET", *pairs), OK)
        equal(c.call("DBSIZE"), n)
        equal(c.call("MGET", *pairs[::2]), [b"%d" % i for i in range(n)])
        equal(c.call("DEL", *pairs[::2]), n)


# ---- large values -----------------------------------------------------------------------------

@test
def values_of_any_size(server):
    choice = random.Random(3)
    block = choice.randbytes(1 << 20)
    sizes = [0, 1, 1000, 4095, 8192, 16383, 16384, 16385, 32768, 65535, 65536, 100000, 1 << 20]
    with server.client() as c:
        for size in sizes:
            equal(c.call("SET", "s", block[:size]), OK)
            equal(c.call("GET", "s"), block[:size], f"{size} bytes")
            equal(c.call("STRLEN", "s"), size)
            equal(c.call("APPEND", "s", b"tail"), size + 4)
            equal(c.call("GETSET", "s", "x"), block[:size] + b"tail")
        # Many at once: large values leave in order with what stands around them.
        for i, size in enumerate(sizes):
            c.call("SET", f"s:{i}", block[:size])
        names = [f"s:{i}" for i in range(len(sizes))]
        c.send(encode("PING") + encode("MGET", *names) + encode("PING"))
        equal(c.reply(), Status("PONG"))
        equal(c.reply(), [block[:size] for size in sizes])
        equal(c.reply(), Status("PONG"))
        equal(c.call("DEL", *names), len(sizes))


@test
def value_of_64_mib(server):
    value = random.Random(4).randbytes(1 << 20) * 64
    with server.client() as c, server.client() as other:
        sender = threading.Thread(target=c.send, args=(encode("SET", "huge", value),))
        sender.start()
        slowest = 0
        while sender.is_alive():
            start = time.monotonic()
            equal(other.call("PING"), Status("PONG"))
            slowest = max(slowest, time.monotonic() - start)
        sender.join()
        equal(c.reply(), OK)
        equal(c.call("STRLEN", "huge"), len(value))
        equal(c.call("GET", "huge") == value, True)
        equal(c.call("APPEND", "huge", "x"), len(value) + 1)
        equal(c.call("GET", "huge") == value + b"x", True)
        equal(c.call("DEL", "huge"), 1)
        assert slowest < 5, f"another client waited {slowest:.1f} s"


@test(ours=True)
def large_value_is_in_memory_once(server):
    """Not twice, not even while it arrives or with an option behind it."""
    if server.is_watched():
        return "ThreadSanitizer takes more memory than the value"
    size = 64 << 20
    for options in ([], ["EX", "1000"]):
        with own_server(server.child.args[0]) as fresh, fresh.client() as c:
            before = fresh.resident()
            equal(c.call("SET", "once", bytes(size), *options), OK)
            peak = fresh.peak() - before
            assert size <= peak < size * 1.3, f"{peak} bytes for a value of {size}"
    return None


@test(ours=True)
def announced_value_takes_no_memory(server):
    """A peer gets memory for what it sends, not for what it says that it will send."""
    with own_server(server.child.args[0]) as fresh, fresh.client() as c:
        c.call("PING")
        before = fresh.resident()
        slow = [fresh.client() for _ in range(100)]
        for each in slow:
            each.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$400000000\r\n")
        for _ in range(20):
            for each in slow:
                each.send(b"x")
            c.call("PING")
        grown = fresh.resident() - before
        assert grown < 16 << 20, f"the server grew by {grown} bytes"
        for each in slow:
            each.close()


@test(ours=True)
def command_over_the_buffer_limit_is_refused(server):
    with own_server(server.child.args[0], "--client-query-buffer-limit", "1mb") as small:
        with small.client() as c:
            equal(c.call("SET", "k", b"v" * 1000000), OK)
            c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n")
            equal(c.rest(), b"-OOM out of memory\r\n")
        with small.client() as c:
            equal(c.call("STRLEN", "k"), 1000000)


@test
def value_replaced_while_it_leaves(server):
    """A slow reader gets the value as it was when it asked."""
    size = 8 << 20
    with server.client(receive_buffer=4096) as slow, server.client() as c:
        c.call("SET", "r", b"a" * size)
        slow.send(encode("GET", "r"))
        time.sleep(0.1)
        c.call("SET", "r", b"b" * size)
        c.call("APPEND", "r", b"b")
        c.call("DEL", "r")
        equal(slow.reply() == b"a" * size, True)


@test
def append_past_the_limit(server):
    """The sum is refused, not only the parts; 300 MiB of the same page, sent twice."""
    if os.environ.get("KV_TEST_HUGE") != "1":
        return "KV_TEST_HUGE=1 is not set"
    block = b"h" * (1 << 20)
    with server.client() as c:
        too_long = Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
        for want in (300 << 20, too_long):
            c.send(b"*3\r\n$6\r\nAPPEND\r\n$1\r\nh\r\n$%d\r\n" % (300 << 20))
            for _ in range(300):
                c.send(block)
            c.send(b"\r\n")
            equal(c.reply(), want)
        c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$%d\r\n" % (512 << 20))
        for _ in range(512):
            c.send(block)
        c.send(b"\r\n")
        equal(c.reply(), OK)
        equal(c.call("STRLEN", "h"), 512 << 20)
        equal(c.call("DEL", "h"), 1)
    return None


# ---- many clients, bad clients ----------------------------------------------------------------

@test(ours=True)
def half_close_gets_all_replies(server):
    """Redis drops what it has not sent when it sees the end of the requests."""
    with server.client() as c:
        c.send(encode("SET", "hc", "x" * 1000) + encode("GET", "hc") * 2000)
        c.sock.shutdown(socket.SHUT_WR)
        data = c.rest()
        equal(len(data), 5 + 2000 * (7 + 1000 + 2))


@test
def reset_disturbs_nobody(server):
    with server.client() as good:
        for i in range(50):
            bad = server.client()
            bad.send(encode("SET", "x", "y" * 1000) + b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc")
            if i % 2:
                bad.send(b"z" * 500)
            bad.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            bad.close()
            equal(good.call("INCR", "alive") > 0, True)
        good.call("DEL", "alive", "x")
        wait_until(lambda: "connected_clients:1\r\n" in text(good.call("INFO", "clients")),
                   "the reset clients are gone")


@test
def clients_that_come_while_others_go_are_served(server):
    """Descriptors of those that go are issued again to those that come, at the same moment."""
    failures = []

    def come_and_go(farewell):
        try:
            for _ in range(200):
                with server.client() as c:
                    equal(text(c.call("ECHO", "here")), "here")
                    c.send(farewell)
                    with contextlib.suppress(ConnectionError):
                        c.rest()
        except (OSError, Closed, AssertionError) as error:
            failures.append(error)

    farewells = (encode("QUIT"), b"*x\r\n" + encode("PING") * 3)
    threads = [threading.Thread(target=come_and_go, args=(farewells[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, repr(failures[0])
    with server.client() as c:
        wait_until(lambda: "connected_clients:1\r\n" in text(c.call("INFO", "clients")),
                   "those that went are gone")


@test(ours=True)
def slow_reader_is_held_back(server):
    """It asks for a lot and reads nothing: the server must not take the memory for it."""
    request = encode("GET", "small") * 50 + encode("GET", "large")
    with server.client(receive_buffer=8192, send_buffer=8192) as slow, server.client() as c:
        c.call("SET", "small", b"s" * 10000)
        c.call("SET", "large", b"l" * 200000)
        before, worst, sent = server.resident(), 0, 0
        slow.sock.setblocking(False)
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                while sent < 64 << 20:
                    sent += slow.sock.send((request * 50)[sent % len(request):])
            worst = max(worst, server.resident() - before)
            equal(c.call("PING"), Status("PONG"))
            time.sleep(0.01)
        whole = sent // len(request)
        assert whole > 20 and sent < 64 << 20, f"the server took {sent} bytes"
        print(f"#   asked for {whole * 700000 >> 20} MiB, the server grew by {worst >> 10} KiB")
        assert worst < 16 << 20, f"the server grew by {worst >> 20} MiB"
        # It goes on where it stopped: every request that was sent whole is answered, in order.
        slow.sock.settimeout(20)
        for _ in range(whole):
            for _ in range(50):
                equal(len(slow.reply()), 10000)
            equal(len(slow.reply()), 200000)
        c.call("DEL", "small", "large")


@test
def thousand_idle_clients(server):
    with server.client() as c:
        c.call("PING")
        before = server.resident()
        idle = [server.client() for _ in range(1000)]
        wait_until(lambda: "connected_clients:1001\r\n" in text(c.call("INFO", "clients")),
                   "all are accepted")
        grown = server.resident() - before
        print(f"#   {grown // 1000} bytes per idle client")
        for each in random.Random(5).sample(idle, 100):
            equal(each.call("PING"), Status("PONG"))
        for each in idle:
            each.close()
        wait_until(lambda: "connected_clients:1\r\n" in text(c.call("INFO", "clients")),
                   "all are gone")


@test(ours=True)
def idle_server_sleeps(server):
    if spins():
        return "DEMI_POLL=always: it spins by configuration"
    with server.client() as c:
        c.call("SET", "later", "x", "EX", "1000")
        idle = [server.client() for _ in range(100)]
        before = server.cpu_seconds()
        time.sleep(1)
        spent = server.cpu_seconds() - before
        assert spent <= 0.05, f"{spent} s of CPU in an idle second"
        for each in idle:
            each.close()
        c.call("DEL", "later")
    return None


# ---- the process ------------------------------------------------------------------------------

@contextlib.contextmanager
def own_server(program, *options, **popen):
    server = Server([program, "--port", "0", *options], **popen)
    try:
        yield server
    finally:
        server.stop()


@test(ours=True)
def maxclients_refuses(server):
    with own_server(server.child.args[0], "--maxclients", "3") as small:
        clients = [small.client() for _ in range(3)]
        for c in clients:
            equal(c.call("PING"), Status("PONG"))
        with small.client() as extra:
            equal(extra.rest(), b"-ERR max number of clients reached\r\n")
        clients.pop().close()
        wait_until(lambda: "connected_clients:2\r\n" in text(clients[0].call("INFO", "clients")),
                   "one is gone")
        with small.client() as c:
            equal(c.call("PING"), Status("PONG"))
        for c in clients:
            c.close()


@test(ours=True)
def descriptors_run_out(server):
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    with own_server(server.child.args[0], preexec_fn=few) as small:
        first = small.client()
        equal(first.call("PING"), Status("PONG"))
        others = [small.client() for _ in range(100)]
        time.sleep(0.3)
        before = small.cpu_seconds()
        time.sleep(1)
        spent = small.cpu_seconds() - before
        assert spins() or spent <= 0.1, f"{spent} s of CPU while no descriptor is free"
        equal(first.call("PING"), Status("PONG"))
        for c in others:
            c.close()
        late = small.client()
        equal(late.call("PING"), Status("PONG"))
        late.close()
        first.close()


@test(ours=True)
def maxmemory_refuses_writes(server):
    oom = Error("OOM command not allowed when used memory > 'maxmemory'.")
    with own_server(server.child.args[0], "--maxmemory", "1mb") as small, small.client() as c:
        replies = [c.call("SET", f"k:{i}", "v" * 1000) for i in range(2000)]
        equal(replies[-1], oom)
        equal(500 < replies.count(OK) < 1100, True)
        equal(c.call("GET", "k:0"), b"v" * 1000)
        equal(c.call("FLUSHALL"), OK)
        equal(c.call("SET", "k", "v"), OK)


@test(ours=True)
def ipv6(server):
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
    except OSError as error:
        return f"no IPv6 here: {error}"
    with own_server(server.child.args[0], "--bind", "::1") as six, six.client() as c:
        equal(six.address[0], "::1")
        equal(c.call("PING"), Status("PONG"))
        equal(" addr=[::1]:" in text(c.call("CLIENT", "INFO")), True)
    return None


@test(ours=True)
def signal_ends_in_order(server):
    for number in (signal.SIGTERM, signal.SIGINT):
        with own_server(server.child.args[0]) as own, own.client() as c:
            own_pid = own.child.pid
            c.call("SET", "k", b"v" * (4 << 20))
            c.send(encode("GET", "k"))
            c.fill()
            os.kill(own_pid, number)
            start = time.monotonic()
            equal(len(c.reply()), 4 << 20)
            equal(own.child.wait(10), 0, own.said())
            assert time.monotonic() - start < 3, "took too long"


@test(ours=True)
def bad_options_are_refused(server):
    for options in (["--port", "65536"], ["--port", "x"], ["--maxclients", "0"], ["--nonsense"],
                    ["--bind", "nowhere.invalid"], ["extra"], ["--proto-max-bulk-len", "1"]):
        done = subprocess.run([server.child.args[0], *options], capture_output=True, timeout=20,
                              check=False)
        equal(done.returncode != 0 and b"demi-kv: " in done.stderr, True, str(options))
    done = subprocess.run([server.child.args[0], "--port", str(server.address[1])],
                          capture_output=True, timeout=20, check=False)
    equal(b"bind: Address already in use" in done.stderr, True, "a port in use")


@test
def redis_cli(server):
    if not shutil.which("redis-cli"):
        return "redis-cli is not installed"
    base = ["redis-cli", "-p", str(server.address[1])]
    for options in ([], ["-3"]):
        script = b"set cli 'a b'\nget cli\nincr cli\nttl cli\ndel cli\n"
        done = subprocess.run([*base, *options], input=script, capture_output=True, timeout=20,
                              check=True)
        equal(done.stdout, b"OK\na b\nERR value is not an integer or out of range\n\n-1\n1\n")
    done = subprocess.run([*base, "--scan"], capture_output=True, timeout=20, check=True)
    equal(done.stderr, b"")
    return None


@test
def redis_benchmark(server):
    if not shutil.which("redis-benchmark"):
        return "redis-benchmark is not installed"
    done = subprocess.run(["redis-benchmark", "-p", str(server.address[1]), "-n", "20000", "-P",
                           "16", "-r", "1000", "-t", "ping,set,get,incr,mset", "-q"],
                          capture_output=True, timeout=60, check=True)
    equal(done.stderr, b"")
    equal(done.stdout.count(b"requests per second"), 6)
    return None


# ---- running ----------------------------------------------------------------------------------

def out_of_time(*_):
    raise TimeoutError(f"not done after {DEADLINE_S} s")


def run_one(function, server):
    """Runs a test: True unless it failed."""
    start = time.monotonic()
    try:
        reason = function(server)
        assert server.running(), "the server died"
    except TimeoutError:
        raise
    except Exception:  # pylint: disable=broad-except
        print(f"FAIL {function.__name__}")
        traceback.print_exc(file=sys.stdout)
        if not server.running():
            print(f"the server died: {server.said()[-2000:]}")
        return False
    note = f" # skipped: {reason}" if reason else ""
    print(f"ok   {function.__name__} ({time.monotonic() - start:.2f} s){note}", flush=True)
    return True


def run(server, names, is_redis):
    failed = 0
    for function, ours in TESTS:
        wanted = not names or any(n in function.__name__ for n in names)
        if wanted and not (ours and is_redis):
            failed += not run_one(function, server)
            if not server.running():
                break
    return failed


def main():
    args = sys.argv[1:]
    if not args:
        sys.exit(__doc__)
    is_redis = args[0] == "--redis"
    log = ["--log", "kv.log"] if "--log" in args else []
    args = [arg for arg in args if arg != "--log"]
    if is_redis and not redis_program():
        print("skipped: redis-server is not installed")
        sys.exit(77)
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(DEADLINE_S)
    server = start_redis() if is_redis else \
        Server([os.path.abspath(args[0]), "--port", "0", *log])
    try:
        failed = run(server, args[1:], is_redis)
    finally:
        code = server.stop()
    if code != 0:
        print(f"FAIL the server ended with {code}")
        failed += 1
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
