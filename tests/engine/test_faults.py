"""Faults of a configuration are said in plain words, with what may stand there instead."""

import re

import pytest

from astro_dist import pipelines
from astro_dist.engine.config import validate
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.faults import _section_of, keys_of
from astro_dist.radio.pipeline import RADIO

CASES = {
    "assemble: {shape: 1000}": "assemble.shape: write 2 whole numbers, as [1000, 1000], not 1000",
    "assemble: {shape: [1, 2, 3]}": "assemble.shape: write 2 whole numbers, as [1000, 1000], not [1, 2, 3]",
    "assemble: {shape: [1000]}": "assemble.shape: write 2 whole numbers, as [1000, 1000], not [1000]",
    "annotate: {1: x}": "unknown key 'annotate.1': valid here: catalogue, expert, ",
    "assemble: {shape: [a, 2]}": "assemble.shape.0: write a whole number, not 'a'",
    "maps: {files: 5}": "maps.files: write a list of words in brackets, as [a, b], not 5",
    "maps: {more: 3}": "maps.more: write a list of sections, not 3",
    "maps: {more: [{fils: a}]}": "unknown key 'maps.more.0.fils': did you mean 'files'? valid here: ",
    "maps: {hdu: [1]}": "maps.hdu: write a whole number or text, not [1]",
    "autoencoder: {preset: smal}": "autoencoder.preset: 'smal' is none of its words; did you mean 'small'?",
    "generate: {masks: {classes: {1: compakt}}}": "classes.1: 'compakt' is none of its words; did you mean",
    "assemble: 3": "assemble: write `key: value` lines, not 3",
    "assemble: {pixel_arcsec: x}": "assemble.pixel_arcsec: write a number or 2 numbers, as [1.5, 1.5]",
    "assemble: {flux: {scale: .inf}}": "assemble.flux.scale: must be a finite number, not inf",
    "assemble: {flux: {scale: 0}}": "assemble.flux.scale: must be above 0, not 0",
    "assemble: {flux: {columns: 3}}": "assemble.flux.columns: write `key: value` lines, not 3",
    "masks: {crop_pix: 40}": "masks.crop_pix: must be a multiple of 16, not 40",
    "seed: 1.5": "seed: write a whole number, not 1.5",
    "name: a/b": "name: 'a/b' is no such name; it must match ",
    "seed: x\nmachine: {workers: x}": "a whole number, not 'x' (and 1 more)",
}


@pytest.mark.parametrize("text", CASES)
def test_the_fault_is_said_in_words_of_the_configuration(text, tmp_path):
    from astro_dist.engine.config import parse_yaml

    with pytest.raises(ConfigError) as caught:
        RADIO.resolve(parse_yaml(text, "test"))
    assert str(caught.value).startswith(CASES[text]) or CASES[text] in str(caught.value)
    assert not re.search(r"Input should|tuple|pydantic|valid dict", str(caught.value))


WRONG = ("x", [1], ["x", "y"], [], {"a": 1}, {1: "x"}, [{"a": 1}], None, -1, True, 1.5, 10**30, float("nan"))


def every_key(section, path=()):
    for key, field in keys_of(section).items():
        yield (*path, key)
        if (inner := _section_of(field.annotation)) is not None and len(path) < 6:
            yield from every_key(inner, (*path, key))


@pytest.mark.parametrize("name", pipelines.PIPELINES)
def test_no_setting_of_any_pipeline_is_refused_in_words_of_pydantic(name):
    config, said = pipelines.load(name).config, {}
    for path in every_key(config):
        for value in WRONG:
            tree = value
            for key in reversed(path):
                tree = {key: tree}
            try:
                validate(config, {"pipeline": name, **tree})
            except ConfigError as error:
                said[path, repr(value)] = str(error)
    assert len(said) > 500
    words = re.compile(r"Input|tuple|[Vv]alid (dict|list)|\(got |Field|Keys")
    assert not {place: text for place, text in said.items() if words.search(text)}
