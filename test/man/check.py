#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that the documentation says what the code is. Prints TAP, one point per check.

Synopses and examples of man pages are compiled against the headers; examples are linked with the
library and run. So no document repeats a header unchecked.

    check.py --source DIR --library FILE [--demi FILE] [--kv FILE] [--relay FILE] -- CC [ARG...]
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

WARN = ["-std=c17", "-Wall", "-Wextra", "-Werror"]
EXAMPLE_LINES_ELSE = 150
EXAMPLE_LINES = {"pipeline.c": 250}  # it shows what the others make together
README_LINES = 150
RUN_SECONDS = 60
# What examples may show the library beside: header and pkg-config name.
OPTIONAL = {"uv.h": "libuv", "openssl/evp.h": "libcrypto"}
# Programs that need a peer, or a port that may be taken here.
NOT_RUN = ("demi_socket.3", "demi_eventfd.3")


class Skip(Exception):
    """A check that cannot run here; says what it lacks."""


def run(command, **options):
    """Runs a command: (exit code, what it printed)."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, timeout=RUN_SECONDS,
                              **options)
    except subprocess.TimeoutExpired:
        return None, f"did not end in {RUN_SECONDS} s"
    return done.returncode, done.stdout.decode(errors="replace")


def unescape(text):
    """What mdoc source text looks like on the page."""
    if text.startswith(("\\&.", "\\&'")):
        text = text[2:]
    return (text.replace("\\(dq", '"').replace("\\&", "").replace("\\-", "-")
            .replace("\\e", "\\"))


def words(arguments):
    """The arguments of a macro: words, and "quoted words"."""
    return [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', arguments)]


class Page:
    """One man page; a link page has only a target."""

    def __init__(self, path):
        self.path = path
        self.file = path.name
        self.name, self.section = path.name.rsplit(".", 1)
        self.lines = path.read_text(encoding="utf-8").splitlines()
        link = re.match(r"\.so man(\d)/(\S+)$", self.lines[0]) if len(self.lines) == 1 else None
        self.target = link[2] if link else None
        self.link_section = link[1] if link else None

    def sections(self):
        """(title, lines) of every .Sh."""
        title, start = None, 0
        for number, line in enumerate(self.lines + [".Sh"]):
            if line.startswith(".Sh"):
                if title:
                    yield title, self.lines[start:number]
                title, start = line[3:].strip(), number + 1

    def section_lines(self, wanted):
        return [line for title, part in self.sections() if title == wanted for line in part]

    def names(self):
        return [line.split()[1] for line in self.section_lines("NAME") if line.startswith(".Nm")]

    def headers(self):
        return [line.split()[1] for line in self.section_lines("SYNOPSIS")
                if line.startswith(".In ")]

    def prototypes(self):
        """(name, prototype) of every .Ft with its .Fn or .Fo, .Fa, .Fc."""
        kind, name, arguments = None, None, []
        for line in self.section_lines("SYNOPSIS"):
            macro, _, rest = line.partition(" ")
            parts = words(rest)
            if macro == ".Ft":
                kind = " ".join(parts)
            elif macro == ".Fn":
                yield parts[0], prototype(kind, parts[0], parts[1:])
            elif macro == ".Fo":
                name, arguments = parts[0], []
            elif macro == ".Fa":
                arguments += parts
            elif macro == ".Fc":
                yield name, prototype(kind, name, arguments)

    def programs(self):
        """Every literal display of EXAMPLES that has a main()."""
        display = None
        for line in self.section_lines("EXAMPLES"):
            if line.startswith(".Bd -literal"):
                display = []
            elif line == ".Ed" and display is not None:
                if any(re.match(r"int main\(", text) for text in display):
                    yield "\n".join(display) + "\n"
                display = None
            elif display is not None:
                display.append(unescape(line))


def prototype(kind, name, arguments):
    return squeeze(f"{kind} {name}({', '.join(arguments)});")


def squeeze(text):
    """One spelling for prototypes that differ in blanks only."""
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"\* ", "*", text).strip()


def strip_annotations(text):
    """A header's text without comments and without what cc.h defines as nothing."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"\b_(?:In|Out|Inout|Deref)_\w*(?:\([^()]*\))?", "", text)
    return re.sub(r"\bDEMI_PUBLIC\b", "", text)


def declared(header):
    """name -> prototype of every function that a public header declares."""
    text = strip_annotations(header.read_text(encoding="utf-8"))
    text = re.sub(r"^#.*?$|\\\n", "", text, flags=re.M)
    found = {}
    for match in re.finditer(r"((?:const )?\b\w+ \*?(demi_\w+)\([^;{}]*\);)", text):
        found[match[2]] = squeeze(re.sub(r"\(\s+", "(", match[1]))
    return found


class Tree:
    """The source tree, and how to compile against it."""

    def __init__(self, options):
        self.root = pathlib.Path(options.source).resolve()
        self.cc = options.cc
        self.library = os.path.abspath(options.library)
        self.demi = options.demi and os.path.abspath(options.demi)
        self.kv = options.kv and os.path.abspath(options.kv)
        self.relay = options.relay and os.path.abspath(options.relay)
        self.pages = [Page(path) for path in sorted((self.root / "man").glob("*.[1-8]"))]
        self.real = [page for page in self.pages if not page.target]
        self.links = [page for page in self.pages if page.target]

    def functions(self):
        """name -> (header, prototype) of the public interface."""
        found = {}
        for header in sorted((self.root / "include" / "demi").glob("*.h")):
            for name, text in declared(header).items():
                found[name] = (f"demi/{header.name}", text)
        return found

    def compile(self, text, *arguments, execute=False):
        """Compiles a program text, and runs it if asked; yields each line of what went wrong."""
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "page.c")
            pathlib.Path(source).write_text(text, encoding="utf-8")
            include = "-I" + str(self.root / "include")
            code, out = run([*self.cc, *WARN, include, source, *arguments], cwd=folder)
            if code == 0 and execute:
                code, out = run([os.path.join(folder, "page")], cwd=folder)
                out = f"exit code {code}\n{out}"
            if code != 0:
                yield from out.replace(folder + "/", "").splitlines()

    def link_arguments(self):
        return ["-o", "page", self.library, "-pthread",
                f"-Wl,-rpath,{os.path.dirname(self.library)}"]

    def markdown(self):
        for folder in (self.root, self.root / "doc"):
            yield from sorted(folder.glob("*.md"))


def check_functions(tree):
    """every public function has a page, and every page's function is public"""
    functions = tree.functions()
    if not functions:
        yield "include/demi: no function found"
    files = {page.file for page in tree.pages}
    documented = [name for page in tree.real if page.section == "3" for name in page.names()]
    for name in sorted(functions.keys() - set(documented)):
        yield f"{functions[name][0]}: {name} is in no page"
    for name in sorted(set(documented) - functions.keys()):
        yield f"man: {name} is documented, but no public header declares it"
    for name in sorted(n for n in documented if documented.count(n) > 1):
        yield f"man: {name} is documented twice"
    for name in sorted(n for n in documented if f"{n}.3" not in files):
        yield f"man: {name}.3 is missing (a page, or a line .so man3/PAGE.3)"


def check_links(tree):
    """every link page leads to the page that names it"""
    pages = {page.file: page for page in tree.real}
    for link in tree.links:
        page = pages.get(link.target)
        if not page or link.link_section != page.section:
            yield f"man/{link.file}: {link.target} is not a page of section {link.link_section}"
        elif link.name not in page.names():
            yield f"man/{link.file}: {page.file} does not name it"


def check_references(tree):
    """every .Xr to a page of ours leads to one; every .Fn is a public function"""
    files = {page.file for page in tree.pages}
    functions = tree.functions()
    for page in tree.real:
        for number, line in enumerate(page.lines, 1):
            found = re.match(r"\.Xr (demi\S*) (\d)", line)
            if found and f"{found[1]}.{found[2]}" not in files:
                yield f"man/{page.file}:{number}: there is no {found[1]}({found[2]})"
            found = re.match(r"\.Fn (demi\w*)", line)
            if found and found[1] not in functions:
                yield f"man/{page.file}:{number}: {found[1]} is not public"


def check_synopsis(tree):
    """every SYNOPSIS agrees with the headers, to the names of the parameters"""
    functions = tree.functions()
    for page in tree.real:
        if page.section != "3":
            continue
        texts = dict(page.prototypes())
        for name in page.names():
            header, text = functions.get(name, (None, None))
            if name not in texts:
                yield f"man/{page.file}: {name} is not in the SYNOPSIS"
            elif header and header not in page.headers():
                yield f"man/{page.file}: {name} needs .In {header}"
            elif text and texts[name] != text:
                yield f"man/{page.file}: {texts[name]}\n  but {header}: {text}"
        source = "".join(f"#include <{header}>\n" for header in page.headers())
        source += "".join(f"{text}\n" for text in texts.values())
        for line in tree.compile(source, "-fsyntax-only"):
            yield f"man/{page.file}: {line}"


def check_examples(tree):
    """every page of section 3 has a program in EXAMPLES that compiles, links and runs"""
    for page in tree.real:
        programs = list(page.programs())
        if page.section == "3" and not programs:
            yield f"man/{page.file}: no complete program in EXAMPLES"
        for program in programs:
            for line in tree.compile(program, *tree.link_arguments(),
                                     execute=page.file not in NOT_RUN):
                yield f"man/{page.file}: {line}"


def check_sections(tree):
    """every page of section 3 says what it returns, how it fails and where to read on"""
    for page in tree.real:
        titles = [title for title, _ in page.sections()]
        needed = ["NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUES", "EXAMPLES", "ERRORS",
                  "SEE ALSO"]
        for title in needed if page.section == "3" else ["NAME", "DESCRIPTION", "SEE ALSO"]:
            if title not in titles:
                yield f"man/{page.file}: no section {title}"


def check_lint(tree):
    """mandoc finds nothing to warn of"""
    if not shutil.which("mandoc"):
        raise Skip("mandoc is not installed (make setup)")
    command = ["mandoc", "-T", "lint", "-W", "warning"]
    _, out = run(command + [page.file for page in tree.real], cwd=tree.root / "man")
    yield from out.splitlines()


def untested(page, tests):
    """Paragraphs of DESCRIPTION with no test, and tests that are not there; (line, what)."""
    start, tested = None, True
    inside = False
    for number, line in enumerate(page.lines, 1):
        found = re.match(r'\.\\" test: (\w+)$', line)
        if line.startswith(".Sh"):
            inside = line == ".Sh DESCRIPTION"
        if found and found[1] not in tests:
            yield number, f"there is no test {found[1]}"
        if line.startswith((".Sh", ".Ss", ".Pp")):
            if not tested:
                yield start, "no test of this paragraph"
            start, tested = number, True
        elif found:
            tested = True
        elif inside and start is not None and not line.startswith("."):
            tested = False


def check_tested(tree):
    """every paragraph of demi_queue(7) names tests that are there"""
    tests = set()
    for path in (tree.root / "test").glob("**/*.c"):
        tests.update(re.findall(r"^static void (test_\w+)\(", path.read_text(encoding="utf-8"),
                                re.M))
    page = next(page for page in tree.real if page.file == "demi_queue.7")
    for number, what in untested(page, tests):
        yield f"man/{page.file}:{number}: {what}"


def readme_example(tree):
    text = (tree.root / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```c\n(.*?)^```$", text, flags=re.M | re.S)
    return found[1] if found else None


def check_readme(tree):
    """README.md is short, and its example is examples/echo.c without the licence line"""
    lines = (tree.root / "README.md").read_text(encoding="utf-8").count("\n")
    if lines >= README_LINES:
        yield f"README.md: {lines} lines, the limit is {README_LINES}"
    licence, _, echo = (tree.root / "examples" / "echo.c").read_text(
        encoding="utf-8").partition("\n")
    if "SPDX" not in licence:
        yield "examples/echo.c:1: is not the licence"
    example = readme_example(tree)
    if example is None:
        yield "README.md: no ```c block"
    elif example != echo:
        yield "README.md: the example differs from examples/echo.c"


def optional_arguments(text):
    """Compiler arguments for the other libraries of a program, or None where one is missing."""
    found = []
    for header, package in OPTIONAL.items():
        if f"#include <{header}>" in text:
            code, out = run(["pkg-config", "--cflags", "--libs", package])
            if code != 0:
                return None
            found += ["-std=gnu17", *out.split()]  # their headers need more than C17
    return found


def check_example_files(tree):
    """every program in examples/ compiles, links and is short; not where its library is missing"""
    for path in sorted((tree.root / "examples").glob("*.c")):
        text = path.read_text(encoding="utf-8")
        limit = EXAMPLE_LINES.get(path.name, EXAMPLE_LINES_ELSE)
        if text.count("\n") >= limit:
            yield f"examples/{path.name}: {limit} lines or more"
        libraries = optional_arguments(text)
        if libraries is None:
            continue
        for line in tree.compile(text, *tree.link_arguments(), *libraries):
            yield f"examples/{path.name}: {line}"


def anchors(path):
    """The anchors of a Markdown file's headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.M):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        yield plain.replace(" ", "-")


def check_markdown(tree):
    """links inside the documents lead somewhere"""
    for path in tree.markdown():
        name = path.relative_to(tree.root)
        text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for link in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            if not target.exists():
                yield f"{name}: {link} does not exist"
            elif anchor and anchor not in anchors(target):
                yield f"{name}: {link}: no such heading"


def tables(path):
    """The rows of a document's tables, as dictionaries by the names of their columns."""
    columns = None
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            columns = None
        elif columns is None:
            columns = cells
        elif set(line) - set("|-"):
            yield dict(zip(columns, cells))


def find_test(root, name):
    """Whether there is a test that a document names: folder/SCRIPT, folder/, unit/PROGRAM, or
    `test/PROGRAM ARGUMENTS`."""
    if name.startswith("`test/"):
        program = name.strip("`").split()[0]
        return any(list(root.glob(program + end)) for end in ("", ".c"))
    if name.startswith("unit/"):
        return bool(list(root.glob(f"test/{name}.c")))
    return bool(list(root.glob(f"test/pkt/{name}" + ("" if name.endswith("/") else ".pkt"))))


def check_tcp(tree):
    """doc/tcp.md names tests, files and counters that are there, and every file of TCP"""
    rows = list(tables(tree.root / "doc/tcp.md"))
    source = tree.root / "src"
    counters = (source / "net/tcp/tcp.h").read_text(encoding="utf-8")
    named = set()
    for row in rows:
        first = next(iter(row.values()))
        for name in row["shown by"].split(", "):
            if name != "-" and not find_test(tree.root, name):
                yield f"doc/tcp.md: {first}: there is no test {name}"
        for name in row.get("where", "-").split(", "):
            named.add(name)
            if name != "-" and not any((source / folder / name).exists()
                                       for folder in ("net/tcp", ".")):
                yield f"doc/tcp.md: {first}: there is no file {name}"
        for name in re.findall(r"`([a-z.0-9_]+)`", row.get("counter", "")):
            if f'"{name}"' not in counters:
                yield f"doc/tcp.md: {first}: there is no counter {name}"
        if "counter" in row and "-" in (row["counter"], row["shown by"]):
            yield f"doc/tcp.md: {first}: it has no counter, or no test"
        if row.get("what is done") not in (None, "nothing") and row["shown by"] == "-":
            yield f"doc/tcp.md: {first}: no test shows it"
    for file in sorted(source.glob("net/tcp/*.c")):
        if file.name not in named:
            yield f"doc/tcp.md: {file.name} is in no row"


def check_config(tree):
    """every configuration key and its variable is in demikernel.conf(5), with its default"""
    if not tree.demi:
        raise Skip("the demi command is not built (libjansson-dev)")
    code, out = run([tree.demi, "info", "--config", "--json"], env={"PATH": os.defpath})
    if code != 0:
        yield f"demi info --config --json: exit code {code}"
        return
    page = next(page for page in tree.real if page.file == "demikernel.conf.5")
    text = "\n".join(page.lines)
    items = {}
    for line in page.section_lines("KEYS"):
        found = re.match(r"\.It Cm (\w+)", line)
        if found:
            key = items[found[1]] = []
        elif items:
            key.append(line)
    keys = {key: entry["default"] for key, entry in json.loads(out)["config"].items()}
    for key, default in keys.items():
        if key not in items:
            yield f"man/{page.file}: key {key} is missing"
        elif not re.search(rf"(?<![\w]){re.escape(str(default))}(?![\w])", "\n".join(items[key])):
            yield f"man/{page.file}: {key}: the default {default} is missing"
        if f"DEMI_{key.upper()}" not in text:
            yield f"man/{page.file}: variable DEMI_{key.upper()} is missing"
    for key in sorted(items.keys() - keys.keys()):
        yield f"man/{page.file}: there is no key {key}"


# What asks each device, and each decorator, for an option that none has.
DEVICE_QUESTIONS = {"loop": "loop,?", "tap": "tap:x,?", "packet": "packet:x,?",
                    "xdp": "xdp:x,?", "dpdk": "dpdk:net_null0,?",
                    "pcap": "pcap(x,?):loop", "fault": "fault(?):loop"}


def device_options(tree, question):
    """The options that the library knows, from what it says about one that it does not know."""
    _, out = run([tree.demi, "info", "--config"], env={"PATH": os.defpath, "DEMI_NET": question})
    found = re.search(r'there is no option "\?": there are ([\w, ]*)', out)
    return set(found[1].split(", ")) if found else None


def paged_options(page):
    """driver -> options that the items of the page of devices have."""
    items, driver = {}, None
    for line in page.lines:
        found = re.match(r"\.It Cm (\w+)( \( Ns)?", line)
        if line.startswith((".Ss", ".Sh")):
            driver = None
        elif found and found[1] in DEVICE_QUESTIONS:
            driver = found[1]
            items[driver] = set()
        elif found and driver:
            items[driver].add(found[1])
    return items


def settings(page):
    """The DEMI_ variables of each line of the examples."""
    for line in page.section_lines("EXAMPLES"):
        if "DEMI_" in line and not line.startswith("."):
            yield dict(word.split("=", 1) for word in shlex.split(unescape(line))
                       if word.startswith("DEMI_"))


def check_devices(tree):
    """demi_net(7) has the options of every device, and its examples are accepted"""
    if not tree.demi:
        raise Skip("the demi command is not built (libjansson-dev)")
    page = next(page for page in tree.real if page.file == "demi_net.7")
    paged = paged_options(page)
    for driver, question in DEVICE_QUESTIONS.items():
        known, written = device_options(tree, question), paged.get(driver, set())
        if known is None:
            yield f"DEMI_NET='{question}': does not say which options there are"
            continue
        for option in sorted(known - written):
            yield f"man/{page.file}: {driver}: option {option} is missing"
        for option in sorted(written - known):
            yield f"man/{page.file}: {driver}: there is no option {option}"
    examples = list(settings(page))
    if not examples:
        yield f"man/{page.file}: no example"
    for variables in examples:
        code, out = run([tree.demi, "info", "--config"], env={"PATH": os.defpath, **variables})
        if code != 0:
            yield f"man/{page.file}: {variables}: {out.strip()}"


def help_options(command):
    code, out = run(command + ["--help"], env={"PATH": os.defpath})
    if code != 0:
        raise Skip(f"{' '.join(command)} --help: exit code {code}")
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", out))


def check_help(tree):
    """every long option of a command is in its page, and the other way round"""
    programs = [(path, name) for path, name in ((tree.demi, "demi.1"), (tree.kv, "demi-kv.1"),
                                          (tree.relay, "demi-relay.1"))
                if path]
    if not programs:
        raise Skip("no command is built")
    for path, file in programs:
        page = next((page for page in tree.real if page.file == file), None)
        if not page:
            yield f"man/{file}: is missing"
            continue
        text = "\n".join(page.lines)
        commands = [[path]] + [[path, name] for name in re.findall(r"^\.Ss demi (\w+)", text, re.M)]
        known = set().union(*map(help_options, commands))
        paged = {"--" + unescape(option)
                 for option in re.findall(r"Fl \\-([a-z](?:[\w-]|\\-)*)", text)}
        for option in sorted(known - paged - {"--help", "--usage", "--version"}):
            yield f"man/{file}: option {option} is missing"
        for option in sorted(paged - known):
            yield f"man/{file}: there is no option {option}"


CHECKS = [check_functions, check_links, check_references, check_sections, check_synopsis,
          check_examples, check_lint, check_tested, check_readme, check_example_files,
          check_markdown, check_tcp, check_config, check_devices, check_help]


def report(number, check, tree):
    """Prints one TAP point; returns whether it failed."""
    name = f"{number} - {check.__name__.removeprefix('check_')}: {check.__doc__}"
    try:
        found = list(check(tree))
    except Skip as reason:
        print(f"ok {name} # SKIP {reason}")
        return False
    print(f"{'not ok' if found else 'ok'} {name}")
    for line in found:
        print("# " + line.replace("\n", "\n# "))
    return bool(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", required=True)
    parser.add_argument("--library", required=True)
    parser.add_argument("--demi")
    parser.add_argument("--kv")
    parser.add_argument("--relay")
    parser.add_argument("cc", nargs="+")
    tree = Tree(parser.parse_args())
    print(f"1..{len(CHECKS)}")
    failed = [report(number, check, tree) for number, check in enumerate(CHECKS, 1)]
    sys.exit(1 if any(failed) else 0)


main()
