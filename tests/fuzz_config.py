"""Hostile configurations through the command line: YAML that lies, ``--set``, and every field of a pipeline.

``python -m tests.fuzz_config KIND SEED COUNT FOLDER`` runs the cases of one kind; a count of 0 runs all.
"""

import contextlib
import io
import itertools
import json
import os
import random
import sys
import types
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from astro_dist import pipelines
from astro_dist.cli import main as command
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.faults import keys_of
from tests.fuzz import Case, report

LONG_LINE = 2500
"""Most characters of an error; the longest honest one lists the keys of a section."""


def use(*words: str) -> None:
    """Give the command line some words: it ends with 0, or in one line with 2."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command(list(words))
    lines = err.getvalue().splitlines()
    if code == 0:
        return
    assert code == 2, (code, lines)
    assert len(lines) == 1, lines[:3]
    assert lines[0].isprintable(), ascii(lines[0])[:200]
    assert len(lines[0]) < LONG_LINE, f"{len(lines[0])} characters: {lines[0][:200]}"
    raise ConfigError(lines[0])


def chain(link: str, last: str, count: int = 12, width: int = 9) -> str:
    """Aliases of aliases: ``width`` to the power ``count`` values; ``link`` has a hole for the aliases."""
    links = (link.format(", ".join([f"*a{n - 1}"] * width)) for n in range(1, count))
    return "".join(f"a{n}: &a{n} {text}\n" for n, text in enumerate([last, *links]))


def deep(opening: str, closing: str, depth: int) -> str:
    """A value inside ``depth`` collections."""
    return "a: " + opening * depth + "1" + closing * depth


TEXTS: dict[str, str | bytes] = {
    # Numbers and dates that are none, or other ones in YAML 1.1.
    "int of 5,000 digits": "seed: " + "9" * 5000,
    "int of 41 digits": "seed: " + "9" * 41,
    "hexadecimal of 5,000 digits": "seed: 0x" + "f" * 5000,
    "underscores": "seed: " + "1_" * 3000 + "1",
    "sexagesimal": "seed: 1:20:30",
    "long sexagesimal": "seed: " + ":".join(["59"] * 4000),
    "octal of YAML 1.2": "seed: 0o777",
    "binary number": "seed: 0b111",
    "yes": "seed: yes",
    "on": "seed: on",
    "true": "seed: true",
    "true in a list": "cutouts: {split_fractions: [true, false, false]}",
    "infinity": "seed: .inf",
    "nan": "seed: .nan",
    "nan in a section": "simulate: {noise_jy_beam: .nan}",
    "float of 400 digits": "seed: 1" + "0" * 400 + ".0",
    "exponent": "seed: 1.0e+400",
    "long exponent": "seed: 1.0e+" + "9" * 100,
    "no date": "seed: 2001-99-99",
    "a date": "seed: 2001-01-01",
    "a time": "seed: 2001-01-01T00:00:00Z",
    "null": "seed: ~",
    "empty": "seed:",
    # Depth and growth.
    "deep lists": deep("[", "]", 900),
    "very deep lists": deep("[", "]", 100_000),
    "deep mappings": deep("{a: ", "}", 900),
    "deep block mappings": "".join(" " * n + "a:\n" for n in range(900)),
    "deep block lists": "a:\n" + "".join(" " * n + "-\n" for n in range(1, 900)),
    "deep lists on a line": "a:\n  " + "- " * 2000 + "1",
    "deep keys": "? " * 2000 + "1",
    "open lists": "a: " + "[" * 5000,
    "open mappings": "a: " + "{" * 5000,
    "deep in a list of files": "maps: {files: " + "[" * 900 + "]" * 900 + "}",
    "billion laughs": chain("[{}]", "[lol, lol, lol, lol, lol, lol, lol, lol, lol]"),
    "bomb of texts": chain("[{}]", "x" * 1000),
    "bomb as a value": chain("[{}]", "[1, 1]") + "seed: *a11",
    "bomb as a key": chain("[{}]", "[1, 1]", 4) + "? *a3\n: 1",
    "bomb in merge keys": chain("{{<<: [{}]}}", "{a: 1, b: 2}"),
    "merge of itself": "a: &a {<<: *a}",
    "alias of itself": "a: &a [*a]",
    "alias of nothing": "a: *b",
    "an alias many times": "a: &a [1, 1, 1]\nb: [" + "*a, " * 10_000 + "]",
    "merge of a text": "a: &a x\n<<: *a",
    "an anchor twice": "a: &a 1\nb: &a 2\nseed: [*a]",
    "a long anchor": f"a: &{'x' * 900_000} 1",
    # Keys.
    "20,000 unknown keys": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "2,000 unknown keys": "".join(f"k{n}: 1\n" for n in range(2_000)),
    "2,000 unknown keys of a section": "simulate:\n" + "".join(f"  k{n}: 1\n" for n in range(2_000)),
    "a key twice": "seed: 1\nseed: 2",
    "a section twice": "cutouts: {shard: 1}\ncutouts: {shard: 2}",
    "a key twice in a section": "cutouts: {shard: 1, shard: 2}",
    "true and 1 as keys": "1: a\ntrue: b",
    "a list as a key": "? [a, b]\n: 1",
    "a mapping as a key": "? {a: b}\n: 1",
    "null as a key": "~: 1",
    "a number as a key": "7: 1",
    "nan as a key": ".nan: 1\n.nan: 2",
    "an empty key": '"": 1',
    "a long key": f"{'k' * 1000}: 1",
    "a very long key": f'? "{"k" * 900_000}"\n: 1',
    "an unknown pipeline": "pipeline: ../../etc",
    "a pipeline of another type": "pipeline: [radio]",
    "a long pipeline": f"pipeline: {'p' * 100_000}",
    # Tags.
    "apply": "seed: !!python/object/apply:os.system [true]",
    "new": "seed: !!python/object/new:type [x]",
    "name": "seed: !!python/name:os.system",
    "module": "seed: !!python/module:os",
    "tuple": "seed: !!python/tuple [1, 2]",
    "binary": "seed: !!binary gIGC",
    "set": "seed: !!set {a, b}",
    "omap": "seed: !!omap [a: 1]",
    "pairs": "seed: !!pairs [a: 1]",
    "timestamp": "seed: !!timestamp 2001-99-99",
    "octal by tag": "seed: !!int 0777",
    "a float by tag": "seed: !!float 1:20:30",
    "a tag of one's own": "seed: !mine 1",
    "a tag of the file": "%TAG ! tag:yaml.org,2002:python/\n---\nseed: !name:os.system x",
    "a tag at the root": "!!python/object:object {}",
    # Characters and encodings.
    "NUL": b"seed: 1\0",
    "NUL in quotes": 'name: "a\\0b"',
    "NUL in a path": 'maps: {files: ["/tmp/a\\0b"]}',
    "NUL in a key": '"a\\0b": 1',
    "escape sequence": 'name: "\\e[2J\\e[H"',
    "escape sequence in a key": '"\\e[2Jseed": 1',
    "bell": b"seed: \x07",
    "tab for a space": "cutouts:\n\tshard: 1",
    "delete": b"seed: \x7f",
    "surrogate": 'name: "\\ud800"',
    "surrogate in a path": 'maps: {files: ["\\ud800.fits"]}',
    "surrogate in a key": '"\\udfff": 1',
    "right to left": 'name: "abc\u202egnp.stif"',
    "right to left in a key": '"\u202eeed": 1',
    "zero width": "se\u200bed: 1",
    "UTF-16": "seed: 1\nname: x\n".encode("utf-16"),
    "UTF-16 without a mark": "seed: 1\n".encode("utf-16-le"),
    "UTF-32": "seed: 1\n".encode("utf-32"),
    "latin-1": "name: caf\xe9\n".encode("latin-1"),
    "invalid UTF-8": b"name: \xff\xfe\xfd",
    "overlong UTF-8": b"name: \xc0\xaf",
    "half a character": b"name: \xe2\x82",
    "gzip": b"\x1f\x8b\x08\x00" + b"\0" * 60,
    "a FITS file": b"SIMPLE  =                    T".ljust(2880),
    # Sizes and forms.
    "a file of 10 MB": "# " + "x" * 10_000_000,
    "10 MB of keys": "".join(f"k{n}: 1\n" for n in range(1_000_000)),
    "900 kB of text": "name: " + "x" * 900_000,
    "900 kB of quotes": "name: " + "''" * 450_000,
    "900 kB of lines": "a:" + "\n" * 900_000 + "b",
    "900 kB of colons": ":" * 900_000,
    "900 kB of dashes": "-" * 900_000,
    "900 kB of question marks": "? " * 450_000,
    "900 kB of ampersands": "&" * 900_000,
    "900 kB of spaces": " " * 900_000 + "seed: x",
    "many documents": "---\n" * 20_000,
    "two documents": "seed: 1\n---\nseed: 2",
    "files of /": "maps: {files: ['/**']}",
    "files of /proc": "maps: {files: ['/proc/self/*']}",
    "a list": "- 1",
    "a word": "seed",
    "half a file": "cutouts: {shard: ",
    "a quote without end": "name: 'abc",
    "a section that is a list": "cutouts: [1]",
    "a section that is a text": "cutouts: x",
    "a list that is a mapping": "simulate: {shape: {a: 1}}",
    "a long list": f"simulate: {{shape: [{', '.join(['1'] * 15_000)}]}}",
    "a long name": "name: " + "n" * 300,
    "a name with a path": "name: ../../etc/x",
    "an empty name": "name: ''",
    "a name of dots": "name: '..'",
    "a user's home": "maps: {files: ['~nobody-at-all/*.fits']}",
    "an endless pattern": f"maps: {{files: ['{'*/' * 200}*']}}",
    "a pattern of stars": f"maps: {{files: ['{'*' * 60}a']}}",
    "a pattern in brackets": f"maps: {{files: ['{'[' * 20_000}']}}",
}
GOOD: dict[str, str | bytes] = {
    "good byte order mark": b"\xef\xbb\xbfseed: 1\n",
    "good Windows lines": b"seed: 1\r\nname: x\r\n",
    "good line of Unicode": "seed: 1\u2028name: x",
    "good empty file": "",
    "good zeros in front": "seed: 0777",
    "good yes for a switch": "evaluate: {enabled: no}",
    "good anchors": "cutouts: &a {shard: 8}\nname: x",
    "good quoted": "seed: '7'",
}
VALUES = (
    *("9" * 41, "9" * 30, "-" + "9" * 30, str(10**18), str(-(10**18)), str(2**63), "0", "-1", "1"),
    *(".nan", ".inf", "-.inf", "1.0e+308", "-1.0e+308", "1.0e-320", "0.5", "-0.0", "true", "yes", "~", "''"),
    *("abc", "[]", "{}", "[1, 2, 3]", "[[1]]", "{a: 1}", "0777", "1:20:30", "2001-01-01", "'\\x'"),
)
"""What every field of a configuration is given."""


def fields(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the path of every field of a configuration, those of sections in lists and unions included."""
    for name, field in keys_of(model).items():
        yield ".".join((*path, name))
        for kind in sections(field.annotation):
            yield from fields(kind, (*path, name))


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections that an annotation names directly or in a union, so not those in lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from sections(part)


def make_paths(folder: Path) -> dict[str, str]:
    """Make what is no regular file, and return the paths by what they are."""
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("absent")
    (folder / "unreadable").mkdir(mode=0)
    paths = {name: str(folder / name) for name in ("pipe", "loop", "gone", "absent", "unreadable", ".")}
    paths |= {path: path for path in ("/dev/zero", "/dev/random", "/dev/stdin", "/proc/self/mem", "/proc")}
    paths |= {path: path for path in ("/proc/self/environ", "/proc/kmsg", "/sys/kernel/notes", "/", "")}
    return paths | {
        "long name": str(folder / ("n" * 300)),
        "long path": str(folder / ("a/" * 2500)),
        "home of nobody": "~nobody-at-all/x",
        "right to left": str(folder / "a\u202eb"),
        "of a pipe": str(folder / "pipe" / "x.yaml"),
    }


PATHS = {
    "maps.files": "[%s]",
    "assemble.density": "%s",
    "assemble.flux": "{mode: catalogue, catalogue: %s}",
    "assemble.background": "{kind: map, path: %s}",
    "autoencoder.start_from": "%s",
    "generate.background": "%s",
}
"""Settings that name a file or a folder."""


def yaml_cases(folder: Path) -> Iterator[Case]:
    """Yield the texts as a file, and those of one key as ``--set`` too."""
    for number, (name, text) in enumerate({**TEXTS, **GOOD}.items()):
        path = folder / f"c{number}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        yield name, partial(use, "plan", str(path), "--out", str(folder / "run"))
        key, colon, value = text.partition(": ") if isinstance(text, str) else ("", "", "")
        if colon and isinstance(text, str) and len(text.splitlines()) == 1 and key.isidentifier():
            yield f"{name} by --set", partial(plan, folder, f"{key}={value}")


def plan(folder: Path, assignment: str) -> None:
    """Plan an empty configuration with one assignment."""
    (folder / "empty.yaml").touch()
    use("plan", str(folder / "empty.yaml"), "--out", str(folder / "run"), "--set", assignment)


def set_cases(folder: Path) -> Iterator[Case]:
    """Yield assignments whose keys are hostile."""
    names = ("", ".", "a.", ".a", "a" * 100_000, ".".join("a" * 5000), "seed.x", "\x1b[2J", "\u202eeed")
    for name in (*names, "a\nb", "\ud800", "maps.files.0", "__class__", "model_config", "machine.__init__"):
        yield f"key {name[:20]!a}", partial(plan, folder, f"{name}=x")
    for text in ("seed", "=", "==", "seed=\0", "seed=\x1b[2J", "seed=\ud800", "seed=[", "seed=a: b: c"):
        yield f"bad {text!a}", partial(plan, folder, text)


def path_cases(folder: Path) -> Iterator[Case]:
    """Yield paths that are none, wherever a command takes one."""
    (folder / "good.yaml").touch()
    (folder / "full").mkdir()
    (folder / "full" / "mine").touch()
    good = str(folder / "good.yaml")
    for name, path in make_paths(folder).items():
        yield f"config {name}", partial(use, "plan", path)
        yield f"verify {name}", partial(use, "verify", path)
        yield f"status {name}", partial(use, "status", path)
        yield f"repair {name}", partial(use, "repair", path)
        yield f"cluster {name}", partial(use, "plan", good, "--cluster", path)
        # A folder that is not there yet, and one that is empty, are where a run may begin.
        yield f"out {name}", partial(use, "plan", good, "--out", path)
        for key, value in PATHS.items():
            # A text of JSON is one of YAML too.
            yield f"{key} {name}", partial(plan, folder, f"{key}={value % json.dumps(path)}")


def field_cases(folder: Path) -> Iterator[Case]:
    """Yield every field of every pipeline with every value."""
    for name in pipelines.PIPELINES:
        (folder / f"{name}.yaml").write_text(f"pipeline: {name}\n")
        for path, value in itertools.product(fields(pipelines.load(name).config), VALUES):
            words = ("plan", str(folder / f"{name}.yaml"), "--out", str(folder / "run"))
            yield f"{name} {path}={value[:50]}", partial(use, *words, "--set", f"{path}={value}")


def main(kind: str, seed: int, count: int, folder: Path) -> None:
    """Run the cases of one kind, ``count`` of them drawn with ``seed``, or all."""
    make = {"yaml": yaml_cases, "set": set_cases, "paths": path_cases, "fields": field_cases}[kind]
    # Once before the limits are set, so that late imports are no part of a case.
    plan(folder, "name=x")
    # An empty path stands for the current folder, and a repair makes its lock there.
    os.chdir(folder)
    cases: Sequence[Case] = list(make(folder))
    report(random.Random(seed).sample(cases, count) if count else cases, 3600)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
