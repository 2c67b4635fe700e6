import os
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from astro_dist.engine.config import (
    Section,
    apply_set,
    describe,
    differences,
    fingerprint,
    load_yaml,
    parse_yaml,
    validate,
)
from astro_dist.engine.errors import ConfigError


class Inner(Section):
    scale: float = Field(3.0, gt=0)
    """How much."""
    kind: str | None = None
    """Of what kind."""


class Outer(Section):
    seed: int = 1
    """From which all follows."""
    flux: Inner = Inner()
    """Of the objects."""


class Grown(Inner):
    planes: tuple[int, ...] = ()
    """A field that earlier versions lack."""
    inner: tuple[Inner, ...] = ()
    """Sections in a list."""
    later = frozenset({"planes"})


class Holder(Section):
    one: Grown = Grown()
    """A section in a section."""
    more: tuple[Grown, ...] = ()
    """A list of sections."""
    shape: tuple[int, int] = (1, 2)
    """Rows and columns."""
    names: tuple[str, ...] = ()
    """Some names."""
    unmarked = frozenset({"names"})


def test_a_later_field_enters_fingerprints_only_where_it_is_set():
    plain = {"scale": 3.0, "kind": None, "inner": []}
    assert Holder().marks() == {"one": plain, "more": [], "shape": [1, 2]}
    changed = Holder(one=Grown(planes=(1,)), more=(Grown(), Grown(planes=(2, 3))), names=("a",))
    assert changed.marks() == {
        "one": plain | {"planes": [1]},
        "more": [plain, plain | {"planes": [2, 3]}],
        "shape": [1, 2],
    }
    assert Inner().marks() == Inner().model_dump(mode="json")


@pytest.mark.parametrize("text", ["30,40", "30x40", "30 40", "[30, 40]", "(30, 40)", "30X40"])
def test_one_text_stands_for_several_numbers(text):
    assert validate(Holder, {"shape": text}).shape == (30, 40)


@pytest.mark.parametrize("text", ["30", "wide", "30,40,50", "3.5,4", "", "30 by 40"])
def test_a_text_that_is_no_shape_is_refused(text):
    with pytest.raises(ConfigError, match="shape"):
        validate(Holder, {"shape": text})


def test_one_name_stands_for_a_list_of_one():
    assert validate(Holder, {"names": "a,b c"}).names == ("a,b c",)


def test_unknown_key_names_the_nearest():
    with pytest.raises(
        ConfigError, match=r"unknown key 'flux.scal': did you mean 'scale'\? valid here: kind, scale"
    ):
        validate(Outer, {"flux": {"scal": 1}})


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"flux": {"scale": "much"}}, r"flux.scale: write a number, not 'much'"),
        ({"flux": {"scale": -1}}, r"flux.scale: must be above 0, not -1"),
        ({"seed": 1.5}, r"seed: write a whole number.*"),
        ({"flux": 3}, r"flux: .*"),
        ({"seed": "x", "flux": {"scale": 0}}, r"and 1 more"),
    ],
)
def test_wrong_values_are_one_line_with_the_value(tree, line):
    with pytest.raises(ConfigError, match=line) as caught:
        validate(Outer, tree)
    assert "\n" not in str(caught.value)


def test_set_reaches_deep_and_leaves_the_original_alone():
    tree = {"flux": {"kind": "a"}}
    assert apply_set(tree, "flux.scale=1e-3")["flux"] == {"kind": "a", "scale": "1e-3"}
    assert validate(Outer, apply_set(tree, "flux.scale=1e-3")).flux.scale == 1e-3
    assert tree == {"flux": {"kind": "a"}}


@pytest.mark.parametrize("text", ["scale", "=3", "a..b=1", "seed.x=1"])
def test_bad_assignments_are_refused(text):
    with pytest.raises(ConfigError, match="--set"):
        apply_set({"seed": 1}, text)


def test_yaml_errors_name_file_and_line(tmp_path):
    path = tmp_path / "c.yaml"
    for text, line in [("a: [", "line"), ("a: 1\na: 2", "'a' is given twice"), ("- 1", "key: value")]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=line):
            load_yaml(path)
    path.write_text("")
    assert load_yaml(path) == {}
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_yaml(tmp_path / "absent.yaml")


def test_yaml_cannot_run_code():
    with pytest.raises(ConfigError):
        parse_yaml("!!python/object/apply:os.getcwd []", "x")


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=5))
def test_fingerprints_ignore_order_only(tree):
    assert fingerprint(tree) == fingerprint(dict(reversed(tree.items())))
    assert fingerprint(tree) != fingerprint({**tree, "extra": 1})


def test_differences_are_readable():
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}, "d": 1}) == [
        "a.b: 1 -> 3",
        "d: null -> 1",
    ]


def test_described_defaults_load_back():
    text = describe(Outer())
    assert validate(Outer, parse_yaml(text, "described")) == Outer()
    assert "# How much." in text


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
HOSTILE = {
    "an alias bomb": (BOMB, "more than 20000 values"),
    "an alias in itself": ("a: &a [*a]", "stands for nothing, or for what it is in"),
    "deep lists": ("a: " + "[" * 900 + "]" * 900, "nested more than 20 deep"),
    "deep mappings": ("".join(" " * n + "a:\n" for n in range(300)), "nested more than 20 deep"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(20_000)), "more than 20000 values"),
    "a large file": ("# " + "x" * 1_100_000, "larger than 1000000 bytes"),
    "a long number": ("seed: " + "9" * 5000, "more than 40 digits"),
    "a date that is none": ("seed: 2001-99-99", "write a whole number"),
    "a null character": ('flux: {kind: "a\\0b"}', "holds the character .*x00"),
    "a list for a key": ("? [a, b]\n: 1", "not a plain word"),
    "a key twice": ("seed: 1\nseed: 2", "'seed' is given twice in line 2"),
    "a tag": ("seed: !!python/object/apply:os.system [true]", "the tag .* in line 1 is not read"),
    "half a file": ("flux: {kind: ", "not valid YAML"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_yaml_is_one_line_and_costs_little(tmp_path, kind):
    text, said = HOSTILE[kind]
    (tmp_path / "c.yaml").write_text(text)
    before = time.process_time()
    with pytest.raises(ConfigError, match=said) as caught:
        validate(Outer, load_yaml(tmp_path / "c.yaml"))
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)
    assert time.process_time() - before < 2


@pytest.mark.parametrize(
    "text", ["yes", "on", "true", "[true]", "1:20:30", "2001-01-01", "!!int 0777", "0b11"]
)
def test_what_is_no_number_to_people_is_none(text):
    with pytest.raises(ConfigError):
        validate(Outer, apply_set({}, f"seed={text}"))


@pytest.mark.parametrize(
    ("text", "number"), [("0777", 777), ("-7", -7), ("0x1F", 31), ("1.0", 1), ("'7'", 7), ("007", 7)]
)
def test_numbers_are_what_people_see(text, number):
    assert validate(Outer, apply_set({}, f"seed={text}")).seed == number


@given(st.one_of(st.text(max_size=8), st.from_regex(r"[-+0-9.eExXoObB_:]{1,8}|yes|on|=|<<|~|2001-01-01")))
def test_what_is_written_is_read_back(text):
    plain = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
    assert parse_yaml(yaml.safe_dump({"a": plain, "b": [plain]}), "text") == {"a": plain, "b": [plain]}


def test_anchors_of_reasonable_size_are_read():
    assert parse_yaml("a: &x {b: 1}\nc: *x", "text") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_a_configuration_is_a_regular_file(tmp_path, kind):
    path = tmp_path / "c.yaml"
    make = {"fifo": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}
    make[kind](path)
    with pytest.raises(ConfigError, match=r"cannot read the configuration .* not a file"):
        load_yaml(path)


def test_a_picture_is_no_configuration(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match=r"photo.jpg is no text, .* `astro-dist init --from photo.jpg`"):
        load_yaml(path)


def test_the_value_in_a_message_is_short():
    with pytest.raises(ConfigError, match="seed") as caught:
        validate(Outer, {"seed": ["x"] * 10_000})
    assert len(str(caught.value)) < 300
