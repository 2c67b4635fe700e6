"""What commands say to programs and people: JSON, near-misses, quiet and verbose runs, completion."""

import json
import os
import subprocess
import sys

import pytest

from astro_dist.cli import command_words

SHELL = """
source <(cat "$1")
COMP_WORDS=(astro-dist "${@:2}")
COMP_CWORD=$(($# - 1))
_astro_dist
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["rnu", "c.yaml"], "there is no command 'rnu': did you mean 'run'? valid here: "),
        (
            ["run", "c.yaml", "--wokers", "2"],
            "run takes no '--wokers': did you mean '--workers'? valid here: ",
        ),
        (["run", "c.yaml", "--on", "rai"], "--on: invalid choice: 'rai': did you mean 'ray'? valid here: "),
        (["export", "RUN", "cutout"], "what: invalid choice: 'cutout': did you mean 'cutouts'? valid here: "),
        (["flare", "exprt"], "COMMAND: invalid choice: 'exprt': did you mean 'export'? valid here: "),
        (["run", "quickstrat"], "none of this name (did you mean 'quickstart'? valid here: "),
        (["run", "quickstart", "--to", "asemble"], "no stage 'asemble': did you mean 'assemble'?"),
        (["run", "quickstart", "--redo", "asemble"], "no stage 'asemble': did you mean 'assemble'?"),
        (["plan"], "the following arguments are required: CONFIG"),
        (["run", "c.yaml", "--workers", "two"], "argument --workers: write a whole number, not 'two'; "),
        (["--verison"], "no option '--verison' before a command: did you mean '--version'? valid here: "),
    ],
)
def test_a_near_miss_is_one_line_that_names_what_was_meant(command, tmp_path, words, line):
    (tmp_path / "c.yaml").write_text("seed: 1\n")
    done = command(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("astro-dist: ")
    assert line in done.stderr
    assert "'job'" not in done.stderr


def test_a_configuration_of_the_package_is_run_by_its_name(command, tmp_path):
    by_name = command("plan", "quickstart", "--json", cwd=tmp_path)
    assert by_name.returncode == 0, by_name.stderr
    value = json.loads(by_name.stdout)
    assert (value["name"], value["run"]) == ("quickstart", "runs/quickstart")
    assert [row["stage"] for row in value["stages"]][-1] == "report"
    assert all(row["cpu_s"] >= 0 and row["status"] in ("todo", "after") for row in value["stages"])
    (tmp_path / "quickstart").write_text("name: mine\n")
    # A file of the user comes first.
    assert json.loads(command("plan", "quickstart", "--json", cwd=tmp_path).stdout)["name"] == "mine"


def test_a_cluster_file_of_the_package_is_named_like_a_configuration(command, tmp_path):
    done = command("run", "quickstart", "--cluster", "generic", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "#SBATCH" in done.stdout
    wrong = command("run", "quickstart", "--cluster", "genric", "--dry-run", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_what_programs_ask_is_answered_in_json(command, tmp_path):
    root = tmp_path / "run"
    settings = ("--set", "simulate.shape=300,300", "--out", root, "--on", "serial", "-v")
    made = command("simulate", "quickstart", *settings)
    assert made.returncode == 0, made.stderr
    events = [json.loads(line) for line in made.stderr.splitlines()]
    assert {"start", "task", "end"} <= {event["event"] for event in events}
    status = json.loads(command("status", root, "--json").stdout)
    assert status["owner"] is None
    first, second = status["stages"][:2]
    assert (first["stage"], first["status"], first["tasks_done"]) == ("simulate", "done", 1)
    assert (second["stage"], second["status"]) == ("annotate", "todo")
    assert json.loads(command("verify", root, "--json").stdout)["whole"] is True
    with next((root / "maps").glob("*.fits")).open("r+b") as file:
        file.seek(-3000, os.SEEK_END)
        file.write(b"damage")
    damaged = command("verify", root, "--json")
    assert damaged.returncode == 3
    found = json.loads(damaged.stdout)
    assert (found["whole"], len(found["faults"])) == (False, 1)
    rows = json.loads(command("doctor", "--json").stdout)
    assert {"torch", "cores"} <= {row["what"] for row in rows}
    (log, *_) = json.loads(command("logs", root, "--json", "--lines", 2).stdout)
    assert json.loads(log["lines"][-1])["who"]
    told = command("logs", root, "--stage", "simulate", "--json")
    assert {json.loads(line)["stage"] for log in json.loads(told.stdout) for line in log["lines"]} == {
        "simulate"
    }
    for stage, said in (("simulat", "did you mean 'simulate'?"), ("assemble", "has printed anything yet")):
        wrong = command("logs", root, "--stage", stage)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert said in wrong.stderr


def test_bash_completes_commands_options_stages_and_configurations(tmp_path, command):
    text = command("completion", "bash").stdout
    (tmp_path / "completion").write_text(text)
    subprocess.run(["bash", "-n", tmp_path / "completion"], check=True)

    def complete(*words):
        call = ["bash", "-c", SHELL, "bash", tmp_path / "completion", *words]
        done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout.split()

    assert complete("ver") == ["verify"]
    assert complete("run", "--wo") == ["--workers"]
    assert complete("run", "c.yaml", "--to", "asse") == ["assemble"]
    assert "quickstart" in complete("run", "qui")
    assert complete("status", "--j") == ["--json"]
    assert complete("run", "comp") == ["completion"]
    assert complete("export", "RUN", "cu") == ["cutouts"]
    assert "job" not in complete("")
    assert command("completion", "zsh").stdout == (
        f"autoload -Uz compinit bashcompinit && compinit && bashcompinit\n{text}"
    )
    assert set(command_words()["run"]) >= {"--set", "--quiet", "--color", "--cluster"}


def test_a_reader_that_ends_early_sees_no_traceback(tmp_path):
    line = f"{sys.executable} -m astro_dist run quickstart --out run --cluster generic --dry-run | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("==> ")
    assert "Traceback" not in done.stderr


def test_clean_removes_what_no_stage_goes_on_with(command, tmp_path):
    root = tmp_path / "run"
    base = ("--out", root, "--on", "serial", "--quiet")
    made = command("simulate", "quickstart", "--set", "simulate.shape=300,300", *base)
    assert (made.returncode, made.stderr, made.stdout) == (0, "", f"simulate: {root / 'maps'}\n")
    versions = list((root / "ledger" / "simulate").glob("*"))
    other = root / "ledger" / "simulate" / ("a" * 16)
    other.mkdir()
    begun, theirs = (root / f".maps.{mark}.part" for mark in ("a" * 12, "b" * 12))
    note = root / "logs" / "progress" / "simulate-map.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    for path in (begun, theirs):
        path.mkdir()
        (path / "file").write_bytes(b"x" * 9000)
    note.write_text("{}")
    before = sorted(p.name for p in (root / "maps").iterdir())
    shown = command("clean", root, "--dry-run")
    assert "would remove" in shown.stdout
    assert begun.exists()
    done = command("clean", root)
    assert done.returncode == 0, done.stderr
    assert f"removed {begun.name} (0.0 MB)" in done.stdout
    # The mark of the second is in no ledger: it is somebody else's.
    assert (begun.exists(), theirs.exists(), note.exists()) == (False, True, False)
    assert sorted(p.name for p in (root / "maps").iterdir()) == before
    assert all(path.exists() for path in versions)
    assert "removed 0.0 MB" in command("clean", root).stdout
