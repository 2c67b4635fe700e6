"""``astro-dist challenge`` from run to leaderboard, and every wrong input as one line with exit code 2."""

import json
import re
import shutil

import numpy as np
import pytest

from astro_dist.challenge.score import Options
from astro_dist.engine.files import tree_digests


def lines(done):
    return done.stderr.splitlines()


def test_a_package_made_by_command_is_that_of_the_function(run, tmp_path, command):
    out = tmp_path / "made"
    done = command("challenge", "package", run.root, "field", "--out", out, "--training", "0.06")
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith("public/map.fits: up to 0.7 MB")
    assert any(line.startswith("hidden/truth.*: up to ") for line in said)
    assert said[-1] == f"{out}: whole; `astro-dist verify {out}` reads it again"
    sizes = {line.partition(":")[0]: float(line.split()[-2]) for line in said if line.endswith(" MB")}
    real = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    assert real < sum(sizes.values())
    again = tmp_path / "public"
    done = command("challenge", "package", run.root, "--out", again, "--public", "--training", "0.06")
    assert done.returncode == 0
    assert "hidden" not in done.stdout
    assert sorted(path.name for path in again.iterdir()) == ["public"]
    assert tree_digests(again / "public") == tree_digests(out / "public")
    # The seed of this run has fifteen digits; one that can be tried is remarked on.
    assert "note: the seed" not in done.stdout


@pytest.fixture(scope="module")
def finder(folder, tmp_path_factory):
    """A catalogue as a finder makes it: some sources missed, some measured badly, some false."""
    rows, rng = np.loadtxt(folder / "hidden/truth_sdc1.txt"), np.random.default_rng(8)
    rows = rows[rng.random(len(rows)) < 0.8]
    rows[:, 5] *= 1 + 0.1 * rng.normal(size=len(rows))
    rows[:5, 1:5] += 0.01
    path = tmp_path_factory.mktemp("finder") / "finder.txt"
    np.savetxt(path, rows, fmt="%.9g")
    return path


def test_scores_have_pages_and_a_leaderboard(folder, finder, tmp_path, command):
    out, hidden = tmp_path / "scores", folder / "hidden"
    done = command("challenge", "score", finder, "--package", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    most = len(np.loadtxt(hidden / "truth_sdc1.txt"))
    said = re.match(r"finder: sdc1 score -?[\d.]+ of at most (\d+) \(", done.stdout)
    assert said
    # Some sources lie in the open area.
    assert 0.8 * most < int(said[1]) < most
    score = json.loads((out / "finder.json").read_text())
    assert score["sdc1"]["core"]["n_false"] >= 4
    page = (out / "finder.html").read_text()
    assert "Worst misses" in page
    assert "data:image/webp" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "1 submission<" in (out / "leaderboard.html").read_text()
    masks = ("--instances", hidden / "instances.fits", "--package", folder, "--out", out)
    done = command("challenge", "score", hidden / "mask.fits", *masks)
    assert done.stdout.startswith("mask: panoptic quality 1,")
    # The earlier score is still in the folder.
    board = (out / "leaderboard.html").read_text()
    assert board.index(">finder<") < board.index(">mask<")
    # Scores of another package are not compared with these.
    (out / "finder.json").write_text(json.dumps({**score, "package": "another"}))
    command("challenge", "score", hidden / "mask.fits", *masks)
    assert ">finder<" not in (out / "leaderboard.html").read_text()


def test_columns_are_named_in_the_command_and_rows_in_messages(folder, tmp_path, command):
    table, package = tmp_path / "mine.csv", ("--package", folder)
    table.write_text("ra_deg,dec_deg,S_int\n180,-30,3\n180.001,-30,4\n")
    unnamed = command("challenge", "validate", table, *package)
    assert "flux_jy" in unnamed.stdout
    named = ("--columns", "flux_jy=S_int [mJy]")
    assert "can be scored" in command("challenge", "validate", table, *package, *named).stdout
    done = command("challenge", "score", table, *package, *named, "--out", tmp_path / "scores")
    assert done.returncode == 0, done.stderr
    assert "completeness of detectable sources" in done.stdout
    assert "note:" not in done.stdout
    table.write_text("ra_deg,dec_deg,S_int\n180,-30,-3\n180.001,-30,4\n")
    done = command("challenge", "score", table, *package, *named, "--out", tmp_path / "scores")
    assert "has 1 fault and was scored all the same" in done.stdout
    table.write_text("ra_deg,dec_deg,total_flux\n180,-30,0.003\n180.001,abc,0.004\n")
    done = command("challenge", "score", table, *package, "--out", tmp_path / "scores")
    assert "dec_deg is 'abc' in row 2" in done.stderr
    assert done.stderr.endswith("; `challenge validate` names every such row\n")
    done = command("challenge", "validate", table, *package)
    assert "--columns 'flux_jy=total_flux [mJy]'" in done.stdout


def test_the_beam_of_the_rules_can_be_another(judge, finder):
    wide, narrow = (judge.score(finder, Options(beam_arcsec=beam))["sdc1"] for beam in (None, 0.25))
    assert (wide["beam_arcsec"], narrow["beam_arcsec"]) == (pytest.approx(8.0), 0.25)
    assert narrow["core"]["n_match"] <= wide["core"]["n_match"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("package", "{run}"), "package needs a new folder; add --out DIR"),
        (("package", "{run}", "other", "--out", "{tmp}/x"), "has no field 'other'; it has field"),
        (("package", "{tmp}/nothing", "--out", "{tmp}/x"), "is not a run directory"),
        (("package", "{run}", "--out", "{folder}"), "exists already; name another folder with --out"),
        (("package", "{run}", "--out", "{tmp}/x", "--training", "2"), "training_share"),
        (
            ("package", "{run}", "--out", "{tmp}/x", "--beam", "2"),
            "--beam is no option of `challenge package`",
        ),
        (("package", "{run}", "--out", "{tmp}/x", "--training", "0.5"), "take more than half of the field"),
        (("score", "{finder}"), "score needs the package; add --package DIR"),
        (("score", "{finder}", "--package", "{tmp}"), "holds no challenge: there is no challenge.json"),
        (("score", "{finder}", "--package", "{folder}/public"), "has no hidden part"),
        (("score", "{tmp}/none.csv", "--package", "{folder}"), "there is no file"),
        (("score", "{finder}", "{finder}", "--package", "{folder}"), "two files are called 'finder'"),
        (("score", "{finder}", "--package", "{folder}", "--beam", "-1"), "is no width of a beam"),
        (("score", "{finder}", "--package", "{folder}", "--public"), "--public is no option"),
        (("score", "{finder}", "--package", "{folder}", "--instances", "{finder}"), "belongs to an image of"),
        (("score", "{folder}/public/README.md", "--package", "{folder}"), "README.md"),
        (("score", "{finder}", "--package", "{folder}", "--out", "{finder}"), "is no folder"),
        (
            ("score", "{finder}", "--package", "{folder}", "--out", "{finder}/x"),
            "is no folder; name one with",
        ),
        (("package", "{run}", "--out", "{finder}/x/y"), "is no folder; name one with --out"),
        (("score", "{folder}", "--package", "{folder}"), "it is a folder, not a file"),
        (("validate", "{finder}", "--package", "{tmp}"), "holds no challenge"),
        (("validate", "{tmp}/none.csv", "--package", "{folder}"), "there is no file"),
        (("score", "{finder}", "--package", "{folder}", "--columns", "flux=S"), "unknown column 'flux'"),
        (("validate", "{finder}", "--package", "{folder}", "--columns", "flux_jy"), "write flux_jy=NAME"),
    ],
)
def test_wrong_input_is_one_line(run, folder, finder, tmp_path, command, words, said):
    names = {"run": run.root, "folder": folder, "finder": finder, "tmp": tmp_path}
    out = () if "--out" in words or words[0] != "score" else ("--out", tmp_path / "scores")
    done = command("challenge", *(word.format(**names) for word in words), *out)
    assert done.returncode == 2, done.stdout
    assert len(lines(done)) == 1
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_field_and_a_strange_package_are_refused(run, folder, tmp_path, command):
    path = run.root / "field/truth.parquet"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + b"\0")
        done = command("challenge", "package", run.root, "--out", tmp_path / "x")
        assert done.returncode == 3
        assert "is not what assemble published" in done.stderr
    finally:
        path.write_bytes(content)
    about = json.loads((folder / "public/challenge.json").read_text())
    (tmp_path / "public").mkdir()
    for change, said in (
        ({"format": 99}, "format 99, this version reads 1"),
        ({"beam": 1}, "not as a package writes it"),
    ):
        (tmp_path / "public/challenge.json").write_text(json.dumps({**about, **change}))
        done = command("challenge", "validate", path, "--package", tmp_path)
        assert (done.returncode, len(lines(done))) == (2, 1)
        assert said in done.stderr


@pytest.mark.parametrize(
    "name", ["public/rms.fits", "public/map.fits", "hidden/truth.parquet", "hidden/mask.fits"]
)
def test_nothing_is_scored_against_a_damaged_package(folder, finder, tmp_path, command, name):
    shutil.copytree(folder, tmp_path / "copy")
    path, out = tmp_path / "copy" / name, tmp_path / "scores"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = command("challenge", "score", finder, "--package", tmp_path / "copy", "--out", out)
    assert (done.returncode, len(lines(done)), out.exists()) == (3, 1, False)
    assert f"{path}: has other bytes than were published; fetch the package again" in done.stderr


def test_a_file_of_others_is_not_replaced(folder, finder, tmp_path, command):
    (tmp_path / "finder.json").write_text('{"mine": 1}')
    done = command("challenge", "score", finder, "--package", folder, "--out", tmp_path)
    assert done.returncode == 2
    assert "is there and no score of ours" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["finder.json"]
