"""Every guide is a script: its commands and programs are run in a new folder, with runs at small size."""

import contextlib
import fcntl
import io
import json
import shlex
import shutil

import pytest

from astro_dist.cli import main
from tests.end_to_end.conftest import SHRINK
from tests.end_to_end.test_docs import DOCS, blocks, with_blocks
from tests.end_to_end.test_wishes import folder  # noqa: F401
from tests.flare.test_quickstart import SHRUNK, check_finished

DRAWN = {key: value for key, value in SHRINK.items() if key.startswith("generate")}
QUICK = DRAWN | {
    "simulate.shape": SHRINK["simulate.shape"],
    "cutouts.shard": SHRINK["cutouts.shard"],
    "assemble.shape": [500, 620],
    "assemble.band_rows": 128,
    "assemble.flux.counts.limit_jy": 5e-4,
    "assemble.reuse": 40,
    "diffusion.batch_size": 4,
}
PAIRS = dict(setting.split("=") for setting in SHRUNK)
SMALL = {
    "quickstart": QUICK,
    "mine.yaml": DRAWN,
    "train_tiny": SHRINK,
    "flare/quickstart": PAIRS,
    "flare/deepsky": PAIRS | {"pictures.size_pix": 16, "judge.steps": 2, "diffusion.steps": 2},
    "enhance/map": {"simulate.shape": [256, 256], "enhance.samples": 2, "enhance.calls": 1},
    "enhance/quick": {"pictures.size_pix": 16, "enhance.samples": 2, "enhance.calls": 2, "evaluate.most": 4},
}
"""Settings of a run at small size; they follow what the guide sets, and take its place."""
FEWER = {"diffusion.steps=500": "diffusion.steps=2"}
"""Words of a guide that would take minutes, and what is said in their place."""
TEXT_PAGES = [*(DOCS / "howto").glob("*.md"), *(DOCS / "start").glob("*.md")]


@pytest.fixture(scope="session")
def quick_run(shared_folder):
    """A run of `quickstart` at small size; not to be changed."""
    out = shared_folder / "quick" / "run"
    with open(shared_folder / "quick.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared_folder / "quick" / "done").exists():
            assert main(shrink(["run", "quickstart", "--out", str(out)])) == 0
            (shared_folder / "quick" / "done").touch()
    return out


@pytest.fixture
def user(folder, quick_run, tmp_path, monkeypatch):  # noqa: F811
    """A new folder with the files that the guides name, and the run that most of them begin with."""
    for path in folder.iterdir():
        if path.suffix != ".yaml":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(quick_run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shrink(words):
    """Return the words of a `run` with settings of small size, in one process unless they say where."""
    small = SMALL.get(words[1], {})
    settings = [part for key, value in small.items() for part in ("--set", f"{key}={_shown(value)}")]
    words = [FEWER.get(word, word) for word in words]
    return [*words, *settings, *([] if "--on" in words else ["--on", "serial"])]


def _shown(value):
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("page", with_blocks("bash"))
def test_every_command_runs(page, user, toy_run, command):
    if "run train_tiny\n" in page.read_text():
        # What the command makes at this size; here it finds everything done.
        shutil.copytree(toy_run[0], user / "runs" / "train_tiny")
    for line in "".join(blocks(page, "bash")).splitlines():
        program, *words = shlex.split(line)
        assert program == "astro-dist"
        made = words[0] == "run" and "--dry-run" not in words
        done = command(*(shrink(words) if made else words), cwd=user)
        assert done.returncode == 0, (words, done.stderr)
        if made and "--to" not in words:
            assert "report.html" in done.stdout, words
    if "astro-dist run flare/quickstart\n" in page.read_text():
        check_finished(user / "runs" / "flare-quickstart")
    for run in (user / "runs").iterdir():
        if not run.is_symlink():
            assert command("verify", run).returncode == 0, run


@pytest.mark.parametrize("page", with_blocks("python", TEXT_PAGES))
def test_every_program_runs(page, user):
    names = {"__name__": "guide"}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        for text in blocks(page, "python"):
            exec(compile(text, str(page), "exec"), names)
    assert said.getvalue()


def test_every_guide_has_a_script():
    """The files of `stage.md` are those of `tests/outside`, which the tests run as a package of its own."""
    without = [page.name for page in TEXT_PAGES if not (blocks(page, "bash") or blocks(page, "python"))]
    assert sorted(without) == ["gallery.md", "stage.md"]
