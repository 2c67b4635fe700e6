"""What only a machine with GPUs can show, in one short table; `slurm/gpu_check.sh` starts this module.

    python -m tests.benchmarks.gpu_check OUT.md [--rehearse]

Each line is one claim: actors see their own device and no other, half a GPU holds two actors, stamps have the
same bytes when they are drawn again and after a kill, a training of each strategy ends in the same bytes
after a kill, and its checkpoint goes on on a CPU. ``--rehearse`` does the same on cores with fake GPUs and
less work, to show that the check itself works. The table is written after each line.
"""

import argparse
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from astro_dist.engine.files import publish_bytes
from astro_dist.engine.journal import read_journal
from astro_dist.engine.ledger import Ledger
from astro_dist.engine.work import MachineConfig, Stage, Task
from astro_dist.workers.machine import choose_machine, list_gpus
from astro_dist.workers.ray import RayExecutor
from tests.end_to_end.conftest import ROOT, call
from tests.settings import make_run

STRATEGIES = ("ddp", "zero1", "zero2", "zero3")
PARTS = ("actors", "stamps", *STRATEGIES)
BATCH = 8


def plan_probe(run, results):
    return [Task(f"look-{i:02}") for i in range(4 * run.machine.workers)]


def look(run, task):
    """Note which devices this actor sees; end once all actors have done so, so that each does a task."""
    import torch

    seen = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "count": torch.cuda.device_count()}
    publish_bytes(run.output / f"actor-{os.getpid()}", b"")
    while len(list(run.output.glob("actor-*"))) < run.machine.workers:
        time.sleep(0.05)
    return {"sha256": {task.name: publish_bytes(run.output / task.name, b"")}, "pid": os.getpid(), **seen}


def prepare_probe(run):
    run.output.mkdir()


PROBE = Stage("probe", "probe", plan_probe, look, prepare=prepare_probe, gpu=True)


class Check:
    """The lines of the table, and what they are measured on."""

    def __init__(self, out, folder, rehearse):
        self.out, self.folder, self.rehearse = out, folder, rehearse
        self.gpus = 2 if rehearse else len(list_gpus())
        self.lines, self.failed = [], False
        self.machine = {"machine.gpus": self.gpus, "machine.fake_gpus": rehearse}
        self.stamps = 24 if rehearse else 200

    def line(self, claim, measure):
        """Add one line: what was found, whether the claim holds, and the seconds."""
        started = time.monotonic()
        try:
            found, good = measure()
        except Exception as error:
            found, good = f"{type(error).__name__}: {error}"[:300].replace("\n", " ").replace("|", "/"), False
        self.failed |= not good
        seconds = time.monotonic() - started
        self.lines.append(f"| {claim} | {found} | {'yes' if good else 'NO'} | {seconds:.0f} |")
        head = f"# GPU check{' (rehearsal on cores)' if self.rehearse else ''}\n\n{self.describe()}\n\n"
        table = "| claim | found | holds | s |\n|---|---|---|---|\n"
        self.out.write_text(head + table + "\n".join(self.lines) + "\n")
        print(self.lines[-1], flush=True)

    def describe(self):
        import torch

        names = list_gpus() or ["none"]
        return f"{len(names)} x {names[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}"

    def command(self, out, *words, stage="run", **options):
        """The line of a command on the toy pipeline, on all GPUs."""
        line = call("COMMAND", "--out", out, *words, extra={**self.machine, **options})
        at = line.index("COMMAND")
        return [*line[:at], *stage.split(), *line[at + 1 :]]

    def run(self, *words, **options):
        done = subprocess.run(
            self.command(*words, **options), cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-250:])
        return done

    def kill(self, line, moment):
        """Start a command and kill all its processes when the moment has come; whether it came in time."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        driver = subprocess.Popen(line, cwd=ROOT, start_new_session=True, **quiet)
        while driver.poll() is None and not moment():
            time.sleep(0.02)
        inside = driver.poll() is None
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        return inside

    def actors(self, share):
        """Count actors per device, with a share of a GPU for each."""
        workers = round(self.gpus / share)
        asked = {"gpus": self.gpus, "fake_gpus": self.rehearse, "gpus_per_worker": share, "workers": workers}
        machine = MachineConfig(executor="ray", **asked)
        root = self.folder / f"probe-{share}"
        run = make_run(root, PROBE, machine=machine)
        PROBE.prepare(run)
        results = {}
        with (
            RayExecutor(choose_machine(machine), root / "ray.log") as executor,
            executor.crew(PROBE, run) as crew,
        ):
            failures = crew.execute(
                PROBE.plan(run, {}), lambda task, result: results.update({task.name: result})
            )
        assert not failures, failures[0].reason
        seats, wide = defaultdict(set), set()
        for result in results.values():
            seats[result["gpus"]].add(result["pid"])
            wide.add(result["count"])
        counts = sorted(len(pids) for pids in seats.values())
        good = counts == [round(1 / share)] * self.gpus and wide == {0 if self.rehearse else 1}
        return f"devices {sorted(seats)}, actors on each {counts}, torch counts {sorted(wide)}", good

    def prepare(self):
        self.base = self.folder / "base"
        self.run(self.base, "--on", "serial", "--to", "diffusion")
        return "simulate to diffusion", True

    def draw(self, name, kill=False):
        """Draw the stamps in a copy of the base on Ray; return their digests and images/s."""
        out = self.folder / name
        shutil.copytree(self.base, out)
        shutil.rmtree(out / "logs")
        # Half the objects: each stamp holds one or more, and what is accepted decides how many are drawn.
        options = {"generate.objects": self.stamps, "generate.micro_batch": 8}
        words = (out, "--on", "ray", "--to", "generate")
        if kill:
            done = lambda: sum(e["event"] == "done" and e["stage"] == "generate" for e in read_journal(out))  # noqa: E731
            assert self.kill(self.command(*words, **options), lambda: done() >= 2), "it ended before the kill"
        self.run(*words, **options)
        published = Ledger(out).published("generate")
        logs = Ledger(out).records("generate", published.fingerprint).logs()
        span = max(log["start"] + log["seconds"] for log in logs) - min(log["start"] for log in logs)
        return published.files, 8 * len(logs), 8 * len(logs) / span

    def same_stamps(self):
        (first, count, rate), (again, _, _), (killed, _, _) = (
            self.draw("once"),
            self.draw("twice"),
            self.draw("killed", kill=True),
        )
        good = first == again == killed and count >= self.stamps
        return f"{count} stamps, {rate:.1f} images/s, {len(first)} files", good

    def train(self, strategy):
        """Train undisturbed, then with a kill after a checkpoint; compare, and go on from it on a CPU."""
        options = {f"autoencoder.{k}": v for k, v in self.training(strategy).items()}
        words = {"stage": "train autoencoder", **options}
        whole, broken, cpu = (self.folder / f"{strategy}-{name}" for name in ("whole", "broken", "cpu"))
        for out in (whole, broken):
            shutil.copytree(self.base, out)
        redo = ("--on", "serial", "--redo", "autoencoder")
        started = time.monotonic()
        self.run(whole, *redo, **words)
        rate = options["autoencoder.steps"] * BATCH / (time.monotonic() - started)
        steps = lambda: list(broken.glob("checkpoints/autoencoder-*/step-*"))  # noqa: E731
        inside = self.kill(self.command(broken, *redo, **words), steps)
        assert inside, "it ended before the kill"
        shutil.copytree(broken, cpu)
        self.run(broken, *redo, **words)
        first, second = (Ledger(out).published("autoencoder").files for out in (whole, broken))
        # A record says on which kind of machine the training began, and others are refused: here on purpose.
        shutil.rmtree(cpu / "ledger" / "autoencoder")
        # Another number of threads too, because a changed layout is what the training says it goes on with.
        layout = {"machine.gpus": 0, "machine.fake_gpus": False}
        layout |= {f"autoencoder.{k}": v for k, v in {"ranks": 1, "strategy": "ddp", "threads": 2}.items()}
        done = self.run(cpu, *redo, **words | layout)
        same, moved = first == second, "goes on from step" in done.stderr
        text = f"{options['autoencoder.ranks']} ranks, {rate:.1f} images/s with the start"
        return f"{text}; {'same' if same else 'OTHER'} bytes; goes on on a CPU: {moved}", same and moved

    def training(self, strategy):
        ranks = min(2, self.gpus)
        steps = {"steps": 40 if self.rehearse else 400, "batch_size": BATCH, "checkpoint_every_s": 0.01}
        return {**steps, "ranks": ranks, "strategy": strategy, "precision": "bf16", "crop_pix": 32}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.md")
    parser.add_argument("--rehearse", action="store_true", help="on cores, with fake GPUs and less work")
    parser.add_argument("--only", choices=PARTS, action="append", help="these parts only; may be repeated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        check = Check(options.out, Path(folder), options.rehearse)
        if not check.gpus:
            raise SystemExit("there is no GPU here: nvidia-smi lists none; --rehearse works without")
        parts = options.only or PARTS
        if "actors" in parts:
            check.line("an actor sees its device only", lambda: check.actors(1.0))
            check.line("half a GPU each: two actors on every device", lambda: check.actors(0.5))
        if set(parts) != {"actors"}:
            check.line("the networks are trained", check.prepare)
        if "stamps" in parts:
            check.line("stamps drawn again and after a kill have the same bytes", check.same_stamps)
        for strategy in [name for name in STRATEGIES if name in parts]:
            claim = f"{strategy} in bf16, killed and resumed: the same bytes; its checkpoint goes on on a CPU"
            check.line(claim, lambda strategy=strategy: check.train(strategy))
    raise SystemExit(int(check.failed))


if __name__ == "__main__":
    # Ray's actors look the stage up by this name; in this process the same file is `__main__`.
    from tests.benchmarks import gpu_check

    gpu_check.main()
