#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of demi-kv --log: what was acknowledged is there after a kill, and after power failed.

    log_test.py PATH [NAME...]         all tests, or those whose name contains one of these
    log_test.py --rounds N PATH ...    kills so often (default 8), cuts power under load so often,
                                       and at every write N / 8 times, with other losses each time

Exit code: 0 all passed, 1 some failed.
"""

import collections
import copy
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback

from kv_client import Client, Closed, Error, Server, as_map, encode

DEADLINE_S = 280
CLIENTS = 4
KEYS = 12  # of each client


def equal(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r:.300}, want {want!r:.300}")


class Place:
    """A folder for logs, on the file system of the build; a server that uses one."""

    def __init__(self, program):
        self.program = os.path.abspath(program)
        self.folder = tempfile.TemporaryDirectory(dir=".")
        self.path = os.path.abspath(os.path.join(self.folder.name, "kv.log"))

    def start(self, *options, store=None, largest=None):
        """largest: bytes of a file, beyond which it cannot grow."""
        env = dict(os.environ, DEMI_STORE=store or "none")
        log = "kv" if store else self.path
        popen = {"env": env}
        if largest:
            # Python ignores SIGXFSZ; a child of it does, too, then.
            popen |= {"restore_signals": False, "preexec_fn": lambda: resource.setrlimit(
                resource.RLIMIT_FSIZE, (largest, largest))}
        return Server([self.program, "--port", "0", "--log", log, *options], **popen)

    def refuses(self, *options):
        """What a server says that does not start."""
        try:
            server = self.start(*options)
        except AssertionError as said:
            return str(said)
        server.stop()
        raise AssertionError("it has started")

    def close(self):
        self.folder.cleanup()


# ---- a client that knows what must be there -----------------------------------------------------

class Model:
    """The keys of one client: what was acknowledged, and the one command that may be on its way."""

    def __init__(self, name, seed):
        self.random = random.Random(f"{seed} {name}")
        self.keys = [f"{name}:{i}".encode() for i in range(KEYS)]
        self.values = {}
        self.pending = None
        self.acknowledged = 0

    def value(self):
        size = self.random.choice([1, 10, 100, 1000, 20000, 200000])
        return self.random.randbytes(min(size, 1000)) * (size // 1000 or 1)

    def command(self):
        """A command, and what becomes of the values."""
        after = dict(self.values)
        key = self.random.choice(self.keys)
        kind = self.random.randrange(10)
        if kind < 5:
            after[key] = self.value()
            return ("SET", key, after[key]), after
        if kind == 5:
            after.pop(key, None)
            return ("DEL", key), after
        if kind == 6:
            tail = self.value()
            after[key] = after.get(key, b"") + tail
            return ("APPEND", key, tail), after
        if kind == 7:
            pairs = {k: self.value() for k in self.random.sample(self.keys, 5)}
            after.update(pairs)
            return ("MSET", *(x for pair in pairs.items() for x in pair)), after
        if kind == 8:
            after[key] = b"%d" % self.random.randrange(1000)
            return ("SET", key, after[key], "EX", "1000"), after
        number = after.get(key, b"0")
        if not number.isdigit():
            after[key] = b"7"
            return ("GETSET", key, b"7"), after
        after[key] = b"%d" % (int(number) + 1)
        return ("INCR", key), after

    def step(self, client):
        command, self.pending = self.command()
        reply = client.call(*command)
        if isinstance(reply, Error):
            raise AssertionError(f"{command[0]}: {reply}")
        self.values, self.pending = self.pending, None
        self.acknowledged += 1

    def check(self, client):
        """Everything is as acknowledged, or as after the command that was on its way."""
        got = dict(zip(self.keys, client.call("MGET", *self.keys)))
        got = {key: value for key, value in got.items() if value is not None}
        if got == self.pending:
            self.values = got
        self.pending = None
        if got != self.values:
            key = next(k for k in self.keys if got.get(k) != self.values.get(k))
            equal(got.get(key), self.values.get(key), f"{key} after {self.acknowledged}")


def work(model, address):
    """Runs commands until the server is gone."""
    try:
        with Client(address) as client:
            while True:
                model.step(client)
    except (OSError, Closed):
        pass
    except Exception as error:  # pylint: disable=broad-except
        model.error = error


def work_until(models, server, end):
    """All clients at once, until `end` has ended the server."""
    threads = [threading.Thread(target=work, args=(m, server.address)) for m in models]
    for thread in threads:
        thread.start()
    end(server)
    for thread in threads:
        thread.join()
    for model in models:
        if hasattr(model, "error"):
            raise model.error


def check_all(models, server):
    with server.client() as client:
        for model in models:
            model.check(client)


def make_models(seed):
    return [Model(f"c{i}", seed) for i in range(CLIENTS)]


# ---- tests --------------------------------------------------------------------------------------

def kill_after(seconds):
    def end(server):
        time.sleep(seconds)
        server.child.send_signal(signal.SIGKILL)
        server.child.wait()
    return end


def kill_loses_nothing(place, seed, rounds):
    models = make_models(seed)
    moments = random.Random(seed)
    for number in range(rounds):
        # Small enough that it is rewritten now and then, and killed in the middle of that.
        server = place.start("--log-rewrite-min", moments.choice(["64kb", "1mb", "64mb"]))
        check_all(models, server)
        work_until(models, server, kill_after(0.05 + moments.random() * 0.4))
        server.stop()
        if number % 4 == 3:  # and once in order
            server = place.start()
            check_all(models, server)
            equal(server.stop(), 0, "exit code")
    total = sum(m.acknowledged for m in models)
    assert total > 100, f"only {total} commands"
    print(f"#   {rounds} kills, {total} commands")


def wait_for_end(server):
    server.child.wait(20)


def power_loss_loses_nothing(place, seed, rounds):
    empty = place.path + ".empty"
    image = place.path + ".image"
    with open(empty, "wb") as f:
        f.truncate(64 << 20)
    place.start(store=empty).stop()  # makes the store and its log
    moments = random.Random(seed)
    total = cuts = 0
    for cut in range(rounds):
        shutil.copyfile(empty, image)
        models = make_models(f"{seed} {cut}")
        at = moments.randrange(8, 300)
        faults = f"fault(seed={seed + cut},power_at={at}):{image}"
        try:
            server = place.start("--log-rewrite-min", "256kb", store=faults)
        except AssertionError:
            server = None  # so early that it did not start
        if server:
            work_until(models, server, wait_for_end)
            server.stop()
            cuts += 1
        total += sum(m.acknowledged for m in models)
        server = place.start(store=image)
        check_all(models, server)
        equal(server.stop(), 0, "exit code")
    assert cuts > rounds // 2 and total > 20, f"{cuts} cuts, {total} commands"
    print(f"#   power failed {cuts} times, {total} commands")


# ---- power that fails at every write ------------------------------------------------------------

LIFE_COMMANDS = 40
REWRITES_AT = (15, 30)
END_WRITES = 8  # more than an orderly end makes


class Small(Model):
    """Values that take one record or several, and leave the device room to be rewritten."""

    def value(self):
        size = self.random.choice([1, 100, 5000, 70000])
        return self.random.randbytes(100) * (size // 100 or 1)


def live(model, server):
    """A life of one client that waits for each answer, with the log rewritten in it, to its orderly
    end; what of it was cut short, if any."""
    try:
        with server.client() as client:
            model.check(client)
            for number in range(LIFE_COMMANDS):
                if number in REWRITES_AT:
                    client.call("BGREWRITEAOF")
                model.step(client)
            equal(persistence(client)["aof_rewrites"], str(len(REWRITES_AT)), "rewrites")
    except (OSError, Closed):
        wait_for_end(server)
        assert server.stop() != 0, "closed for no reason"
        return "commands"
    return "end" if server.stop() != 0 else None  # where nothing is left to lose, nothing is said


class Lives:
    """Two lives on one device: the first begins with a blank one, the second with what that left.
    Each is the same every time, but for when power fails."""

    def __init__(self, place, seed):
        self.place = place
        self.seed = seed
        self.image = place.path + ".image"
        self.begin = place.path + ".begin"
        self.model = Small("life", seed)
        self.acknowledged = 0
        with open(self.begin, "wb") as f:
            f.truncate(16 << 20)

    def spec(self, seed, at):
        return f"fault(seed={seed},power_at={at}):{self.image}"

    def cut(self, seed, at):
        """Power fails at this write: in what of this life, None if it was not so long."""
        shutil.copyfile(self.begin, self.image)
        model = copy.deepcopy(self.model)
        try:
            server = self.place.start("--log-rewrite-min", "1gb", store=self.spec(seed, at))
        except AssertionError as said:
            assert "log" in str(said), said
            server = None
        what = live(model, server) if server else "start"
        server = self.place.start(store=self.image)
        try:
            check_all([model], server)
        finally:
            equal(server.stop(), 0, "exit code")
        self.acknowledged += model.acknowledged - self.model.acknowledged
        return what

    def next_life(self):
        """A whole life, which the ones behind begin with."""
        shutil.copyfile(self.begin, self.image)
        server = self.place.start("--log-rewrite-min", "1gb", store=self.image)
        equal(live(self.model, server), None, "was cut short")
        os.replace(self.image, self.begin)


def power_loss_at_every_write_loses_nothing(place, seed, rounds):
    lives = Lives(place, seed)
    for life in ("first", "second"):
        for number in range(max(rounds // 8, 1)):
            cuts = collections.Counter()
            while cuts["end"] < END_WRITES:
                cuts[lives.cut(seed + number, cuts.total() + 1) or "end"] += 1
            assert cuts["start"] > 0 and cuts["commands"] >= LIFE_COMMANDS, cuts
            print(f"#   {life} life: power failed at each of {cuts.total()} writes: "
                  f"{dict(cuts)}", flush=True)
        lives.next_life()
    print(f"#   {lives.acknowledged} commands were acknowledged")


def expiry_and_counters_are_there_again(place, _seed, _rounds):
    server = place.start()
    with server.client() as c:
        equal(c.call("SET", "soon", "x", "EX", "1000"), "OK")
        equal(c.call("SET", "later", "x", "EX", "1000"), "OK")
        equal(c.call("APPEND", "soon", "y"), 2)
        equal(c.call("APPEND", "later", "y"), 2)
        equal(c.call("SET", "kept", "x", "EX", "1000"), "OK")
        equal(c.call("PERSIST", "kept"), 1)
        equal(c.call("SET", "n", "41"), "OK")
        equal(c.call("INCR", "n"), 42)
        equal(c.call("GETDEL", "gone"), None)
        equal(c.call("SET", "gone", "x"), "OK")
        equal(c.call("GETDEL", "gone"), b"x")
        equal(c.call("PEXPIRE", "soon", "50"), 1)
    equal(server.stop(), 0)
    time.sleep(0.1)
    server = place.start()
    with server.client() as c:
        equal(c.call("MGET", "soon", "later", "kept", "n", "gone"),
              [None, b"xy", b"x", b"42", None])
        assert 900 < c.call("TTL", "later") <= 1000
        equal(c.call("TTL", "kept"), -1)
        equal(c.call("FLUSHALL"), "OK")
        equal(c.call("SET", "after", "x"), "OK")
    equal(server.stop(), 0)
    server = place.start()
    with server.client() as c:
        equal(c.call("KEYS", "*"), [b"after"])
    equal(server.stop(), 0)


def large_values_take_several_records(place, _seed, _rounds):
    values = {f"k{i}": bytes([i]) * size
              for i, size in enumerate((32744, 32768, 100000, 5 << 20, 20 << 20))}
    server = place.start()
    with server.client() as c:
        for key, value in values.items():
            equal(c.call("SET", key, value), "OK")
        equal(c.call("MSET", *(x for pair in values.items() for x in (pair[0] + "b", pair[1]))),
              "OK")
    server.child.kill()
    server.stop()
    server = place.start()
    with server.client() as c:
        for key, value in values.items():
            equal(c.call("GET", key), value, key)
            equal(c.call("GET", key + "b"), value, key)
    equal(server.stop(), 0)


def persistence(client):
    return as_map(dict(line.split(":", 1) for line in
                       client.call("INFO", "persistence").decode().split("\r\n") if ":" in line))


def rewriting_keeps_what_is_there(place, seed, _rounds):
    server = place.start("--log-rewrite-min", "1gb")
    chance = random.Random(seed)
    model = {}
    with server.client() as c:
        for i in range(20000):
            model[f"k{chance.randrange(1000)}"] = value = f"{i}".encode() * 20
            c.send(encode("SET", list(model)[-1], value))
            key = next(reversed(model))
            model[key] = value
        for i in range(20000):
            c.reply()
    equal(server.stop(), 0)
    server = place.start("--log-rewrite-min", "1gb")
    with server.client() as c:
        state = {k: c.call("GET", k) for k in model}
        before = int(persistence(c)["aof_current_size"])
        equal(c.call("BGREWRITEAOF"), "Background append only file rewriting started")
        writes = 0
        while int(persistence(c)["aof_rewrites"]) == 0:
            key = f"k{chance.randrange(1000)}"
            state[key] = b"w%d" % writes  # while it is rewritten
            equal(c.call("SET", key, state[key]), "OK")
            writes += 1
        after = int(persistence(c)["aof_current_size"])
        assert after < before / 2, f"{before} bytes became {after}"
    server.child.kill()
    server.stop()
    server = place.start()
    with server.client() as c:
        for key, value in state.items():
            equal(c.call("GET", key), value, key)
    equal(server.stop(), 0)
    print(f"#   {before >> 10} KiB became {after >> 10}, with {writes} writes meanwhile")


def log_is_rewritten_by_itself(place, _seed, _rounds):
    server = place.start("--log-rewrite-min", "256kb")
    with server.client() as c:
        for _ in range(100):
            c.send(b"".join(encode("SET", f"k{i % 10}", b"x" * 1000) for i in range(30)))
            equal([c.reply() for _ in range(30)], ["OK"] * 30)
        now = persistence(c)
        assert int(now["aof_rewrites"]) >= 2, now
        assert int(now["aof_current_size"]) < 1 << 20, now
    equal(server.stop(), 0)
    server = place.start()
    with server.client() as c:
        equal(c.call("DBSIZE"), 10)
    equal(server.stop(), 0)


def no_part_of_an_answer_comes_before_its_change(place, _seed, _rounds):
    image = place.path + ".image"
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    place.start(store=image).stop()
    server = place.start(store=f"fault(delay=400ms):{image}")
    large = b"x" * 100000
    with server.client() as c:
        for command in (("GETSET", "k", "y"), ("GETDEL", "k"), ("SET", "k", "y", "GET"),
                        ("GETEX", "k", "EX", "9")):
            equal(c.call("SET", "k", large), "OK")
            start = time.monotonic()
            c.send(encode(*command) + encode("STRLEN", "k"))
            c.fill()
            waited = time.monotonic() - start
            assert waited >= 0.3, f"{command}: an answer after {waited * 1000:.0f} ms"
            equal(c.reply(), large, command)
            equal(c.reply(), {"GETDEL": 0, "GETEX": len(large)}.get(command[0], 1), command)
        equal(c.call("SET", "k", large), "OK")
        waited = []
        while len(waited) < 5 and min(waited, default=1) >= 0.3:  # for a CPU, it may be
            start = time.monotonic()
            c.send(encode("GETEX", "k") + encode("GETDEL", "other") + encode("GET", "k"))
            equal([c.reply() for _ in range(3)], [large, None, large])
            waited.append(time.monotonic() - start)
        assert waited[-1] < 0.3, f"what changes nothing has waited: {waited}"
    equal(server.stop(), 0)


def answers_reach_clients_that_say_no_more(place, _seed, _rounds):
    server = place.start()
    for command in (encode("SET", "k", "v"), encode("SET", "k", "v") + encode("QUIT")):
        for half_closes in (True, False):
            if not half_closes and command.endswith(b"v\r\n"):
                continue
            with server.client() as c:
                c.send(command)
                if half_closes:
                    c.sock.shutdown(socket.SHUT_WR)
                equal(c.rest()[:5], b"+OK\r\n")
    with server.client() as c:
        c.send(b"".join(encode("INCR", "n") for _ in range(5000)))
        equal([c.reply() for _ in range(5000)], list(range(1, 5001)))
    equal(server.stop(), 0)


def log_that_cannot_grow_ends_the_server_and_loses_nothing(place, seed, _rounds):
    models = make_models(seed)
    place.start().stop()
    server = place.start("--log-rewrite-min", "1gb", largest=40 << 20)
    work_until(models, server, wait_for_end)
    said = server.said()
    assert server.stop() != 0, "it ended as if in order"
    assert "log: File too large" in said, said
    for largest in (40 << 20, None):  # what is there is served; what is to come needs room again
        server = place.start(largest=largest)
        check_all(models, server)
        equal(server.stop(), 0, "exit code")
    server = place.start()
    work_until(models, server, kill_after(0.2))
    server.stop()
    server = place.start()
    check_all(models, server)
    equal(server.stop(), 0, "exit code")
    print(f"#   {sum(m.acknowledged for m in models)} commands")


def log_of_someone_else_is_refused(place, _seed, _rounds):
    with open(place.path, "wb") as f:
        f.write(b"precious" * 1000)
    said = place.refuses()
    assert "log" in said, said
    with open(place.path, "rb") as f:
        equal(f.read(), b"precious" * 1000)


def second_server_is_refused(place, _seed, _rounds):
    server = place.start()
    said = place.refuses()
    assert "busy" in said, said
    with server.client() as c:
        equal(c.call("SET", "k", "v"), "OK")
    equal(server.stop(), 0)


def damaged_log_is_refused(place, _seed, _rounds):
    server = place.start()
    with server.client() as c:
        for i in range(100):
            equal(c.call("SET", f"k{i}", f"precious-{i:05}"), "OK")
    equal(server.stop(), 0)
    with open(place.path, "r+b") as f:
        bytes_ = f.read()
        at = bytes_.index(b"precious-00050")
        f.seek(at)
        f.write(b"P")
    said = place.refuses()
    assert "damaged" in said, said
    with open(place.path, "r+b") as f:
        f.seek(at)
        f.write(b"p")
    server = place.start()
    with server.client() as c:
        equal(c.call("GET", "k50"), b"precious-00050")
    equal(server.stop(), 0)


TESTS = [
    kill_loses_nothing,
    power_loss_loses_nothing,
    power_loss_at_every_write_loses_nothing,
    expiry_and_counters_are_there_again,
    large_values_take_several_records,
    rewriting_keeps_what_is_there,
    log_is_rewritten_by_itself,
    no_part_of_an_answer_comes_before_its_change,
    answers_reach_clients_that_say_no_more,
    log_that_cannot_grow_ends_the_server_and_loses_nothing,
    log_of_someone_else_is_refused,
    second_server_is_refused,
    damaged_log_is_refused,
]


def run_one(function, program, seed, rounds):
    """Runs a test in a folder of its own: True unless it failed."""
    start = time.monotonic()
    place = Place(program)
    try:
        function(place, seed, rounds)
    except TimeoutError:
        raise
    except Exception:  # pylint: disable=broad-except
        print(f"FAIL {function.__name__} (seed {seed})")
        traceback.print_exc(file=sys.stdout)
        return False
    finally:
        place.close()
    print(f"ok   {function.__name__} ({time.monotonic() - start:.2f} s)", flush=True)
    return True


def out_of_time(*_):
    raise TimeoutError(f"not done after {DEADLINE_S} s")


def main():
    args = sys.argv[1:]
    rounds = 8
    if args and args[0] == "--rounds":
        rounds = int(args[1])
        args = args[2:]
    if not args:
        sys.exit(__doc__)
    seed = int(os.environ.get("TEST_SEED", random.randrange(1 << 30)))
    print(f"TEST_SEED={seed}", flush=True)
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(DEADLINE_S if rounds == 8 else 0)
    names = args[1:]
    failed = 0
    for function in TESTS:
        if not names or any(n in function.__name__ for n in names):
            failed += not run_one(function, args[0], seed, rounds)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
