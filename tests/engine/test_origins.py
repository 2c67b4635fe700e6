"""What weights learnt from, and on which terms: statements in folders, facts, cards and headers."""

import json

import pytest

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.origins import (
    UNSTATED,
    Origin,
    as_facts,
    history_lines,
    merge,
    name_all,
    of_facts,
    read_origins,
    write_origins,
)

FIRST, SUMSS = Origin("FIRST", "for scholars and " * 9 + "no others", "Becker 1995"), Origin("SUMSS")


def test_what_is_written_is_read_from_the_folder_and_from_one_below(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "README.md").write_text("---\ntags: [a]\n---\n# Model\n")
    write_origins(tmp_path, [FIRST, SUMSS])
    assert read_origins(tmp_path) == read_origins(tmp_path / "unet") == (FIRST, SUMSS)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: other\ntags: [a]\n---\n# Model\n")
    assert f"| FIRST | {FIRST.terms} | Becker 1995 |" in card
    assert f"| SUMSS | {UNSTATED} | - |" in card


def test_weights_without_a_statement_are_an_origin_without_known_terms(tmp_path):
    folder = tmp_path / "a" / "theirs"
    folder.mkdir(parents=True)
    assert read_origins(folder) == (Origin("the weights theirs", UNSTATED),)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"origins": []}', '{"origins": [{"name": 1}]}'])
def test_a_statement_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "origins.json").write_text(text)
    with pytest.raises(ConfigError, match=r"origins\.json: it is no statement of origins"):
        read_origins(tmp_path)


def test_facts_are_json_and_each_origin_counts_once():
    facts = {"origins": as_facts(merge([FIRST], [SUMSS, FIRST]))}
    assert of_facts(json.loads(json.dumps(facts))) == (FIRST, SUMSS)
    assert of_facts({}) == ()
    assert name_all([FIRST, SUMSS, Origin("C")]) == "FIRST, SUMSS and C"


def test_lines_fit_a_card_of_fits():
    lines = list(history_lines([FIRST]))
    assert max(map(len, lines)) <= 72
    joined = " ".join(line.strip() for line in lines)
    assert joined == f"origin FIRST: terms: {FIRST.terms}; cite: Becker 1995"
