"""Jobs on a Slurm cluster: sbatch files, submission, and the state of the queue.

A job runs a command of astro_dist. submitit writes the text of the sbatch file; nothing is pickled. Whether
work is done is read from the ledger only, so that accounting is not needed and sacct is never called.
"""

import contextlib
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astro_dist.engine.config import nearest
from astro_dist.engine.errors import ConfigError
from astro_dist.engine.files import replace_bytes

if TYPE_CHECKING:
    # `status` reads the queue and needs no cluster file.
    from astro_dist.cluster.sites import Resources, Site

TIME_UP = 99
"""Exit code of a command whose job is to be put back into the queue."""
KILLED_BY_WARNING = 128 + signal.SIGUSR2
"""Exit code of a command that SIGUSR2 ended before its handler was set."""
ANSWER_S, POLL_S = 60, 3.0
"""Seconds to wait for an answer of Slurm, and between two looks at the queue."""
CONNECTION = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
"""Variables with the address of Slurm itself, which its commands need."""
USER_OPTIONS = ("account", "partition", "qos", "reservation")
"""Options that a user's SBATCH_ACCOUNT and the like set where the cluster file leaves them out."""
CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "TRITON_HOME", "TORCHINDUCTOR_CACHE_DIR")


@dataclass(frozen=True)
class Job:
    """One submission: a job, or an array of ``array`` elements that share the tasks of a stage."""

    name: str
    stage: str
    arguments: tuple[str, ...]
    resources: "Resources"
    array: int | None = None
    after: str | None = None
    """Id of a job that must have succeeded before this one starts."""
    after_any: str | None = None
    """Id of a job that must have ended, in success or failure, before this one starts."""

    @property
    def script(self) -> str:
        """Name of the sbatch file; the queue shows this name, which identifies the job."""
        # Fixed per stage: the same command finds the jobs of an earlier submission by this name.
        return script_name(self.stage, self.array is not None)


def script_name(stage: str, shared: bool = False) -> str:
    """Return the name of the sbatch file of a stage's workers, or of the job that closes the stage."""
    return f"{stage}-{'workers' if shared else 'job'}.sbatch"


def sbatch_text(site: "Site", job: Job, logs: Path) -> str:
    """Return the sbatch file of a job."""
    return str(_executor(site, job, logs)._make_submission_file_text(_command(site, job), ""))


def submit(site: "Site", job: Job, logs: Path) -> str:
    """Put a job into the queue and return its id.

    Raises
    ------
    ConfigError
        Slurm refuses the job.
    """
    path = logs / job.script
    replace_bytes(path, sbatch_text(site, job, logs).encode())
    answer = call_slurm("sbatch", "--parsable", str(path), asked=job.resources)
    # On sites of several clusters --parsable prints ID;CLUSTER.
    number = answer.partition(";")[0].strip()
    if not number.isdigit():
        raise ConfigError(f"sbatch printed {answer.strip()!r} in place of a job id; is it Slurm's own?")
    return number


def try_submission(site: "Site", job: Job, logs: Path) -> None:
    """Ask Slurm whether it would accept a job, without queueing; raise `ConfigError` when not.

    Slurm refuses jobs that no node could ever do and jobs whose nodes are unavailable now with the same
    words. `check_cluster` has refused the former, so that a job is accepted while nodes of its partition are
    unavailable.
    """
    # Through standard input: nothing is written below the run directory before all checks are over.
    text, asked = sbatch_text(site, job, logs), job.resources
    try:
        call_slurm("sbatch", "--test-only", text=text, asked=asked)
    except ConfigError as error:
        if "node configuration is not available" not in str(error) or not _nodes_away(asked):
            raise


NO_CONTROLLER = re.compile("contact slurm controller|establish a? ?configuration source")
"""What Slurm's commands print where there is no Slurm behind them."""


def call_slurm(*command: str, text: str | None = None, asked: "Resources | None" = None) -> str:
    """Run one of Slurm's commands and return its output; raise `ConfigError` when it fails.

    munged hangs up on a command that is silent for 2 s, as on a busy machine. The command's next write then
    raises SIGPIPE, against which munge's library has no guard; where it is ignored the library tries again.
    """
    if shutil.which(command[0]) is None:
        raise ConfigError(
            f"there is no {command[0]} on PATH: this machine has no Slurm; run without --cluster, "
            "or on a login node"
        )
    try:
        answer = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
            env=_environment(asked),
            # Python ignores SIGPIPE, and the command inherits that instead of dying of it.
            restore_signals=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{command[0]} does not answer ({error}); is the scheduler up?") from None
    if answer.returncode:
        reason = " ".join(answer.stderr.split()) or f"exit code {answer.returncode}"
        if NO_CONTROLLER.search(reason):
            raise ConfigError(
                f"no controller of Slurm answers here ({command[0]}): run without --cluster, or is the "
                "scheduler down, or SLURM_CONF wrong?"
            )
        hint = "mend the cluster file" if asked else "is the scheduler up, and SLURM_CONF right?"
        raise ConfigError(f"Slurm refuses ({command[0]}): {reason}; {hint}")
    return answer.stdout


def _environment(asked: "Resources | None") -> dict[str, str]:
    """Return the environment without variables that would override the command line or the sbatch file.

    Such variables are those of a job that submits other jobs, and a user's own filters for squeue.
    """
    kept = {f"SBATCH_{name.upper()}" for name in USER_OPTIONS if asked and getattr(asked, name) is None}
    slurms = re.compile("(SLURM|SBATCH|SQUEUE|SINFO|SCANCEL)_")
    return {
        name: value
        for name, value in os.environ.items()
        if not slurms.match(name) or name in kept or name in CONNECTION
    }


@dataclass(frozen=True)
class Queued:
    """A row of the queue: a job, or some elements of an array."""

    id: str
    element: str
    state: str
    reason: str
    nodes: str
    start: str
    script: str

    @property
    def ending(self) -> bool:
        """Whether its processes have ended and its nodes are being cleaned up."""
        return self.state == "COMPLETING"


def read_queue(logs: Path) -> dict[str, list[Queued]]:
    """Return the queued jobs whose sbatch files are in a folder, by name of the sbatch file; one call.

    The queue shows the path of the sbatch file of every job, so that job ids need not be kept anywhere.
    """
    # %F is the id of the whole array and %K the element; %o comes last, because a path may hold a bar.
    rows = call_slurm("squeue", "--noheader", f"--user={os.getuid()}", "--format=%F|%K|%T|%r|%N|%S|%o")
    found: dict[str, list[Queued]] = {}
    for line in rows.splitlines():
        # Six splits, so that bars inside the path stay in the last field.
        row = Queued(*line.strip().split("|", 6))
        if Path(row.script).parent == logs:
            found.setdefault(Path(row.script).name, []).append(row)
    return found


def read_settled_queue(logs: Path, patience_s: float = ANSWER_S) -> dict[str, list[Queued]]:
    """Return the queue as `read_queue` does, once none of its jobs is ending.

    An ending job either leaves the queue or is requeued; the queue does not show which.

    Raises
    ------
    ConfigError
        A job is still ending after ``patience_s``.
    """
    deadline = time.monotonic() + patience_s
    while True:
        queue = read_queue(logs)
        ending = [row.id for rows in queue.values() for row in rows if row.ending]
        if not ending:
            return queue
        if time.monotonic() > deadline:
            raise ConfigError(
                f"job {ending[0]} of this run is still being cleaned up by Slurm; run the command again when "
                "it has left the queue"
            )
        time.sleep(POLL_S)


def cancel(ids: Sequence[str]) -> None:
    """Take jobs out of the queue; jobs that have ended are ignored."""
    if ids:
        call_slurm("scancel", *ids)


def check_cluster(wishes: "Mapping[str, Resources]") -> None:
    """Raise `ConfigError` for unknown partitions and for more than their nodes have; one call to sinfo."""
    rows = _partitions("%R|%l|%c|%m|%G|%D")
    for stage, asked in wishes.items():
        mine = [row for row in rows if asked.partition is None or row[0] in asked.partition.split(",")]
        if not mine:
            hint = nearest(str(asked.partition), {row[0] for row in rows})
            raise ConfigError(f"{stage}: partition: there is no {asked.partition!r} here: {hint}")
        # sinfo prints a row for each kind of node, so the nodes of a partition are the sum of its rows.
        sizes: Counter[str] = Counter()
        for row in mine:
            sizes[row[0]] += _number(row[5])
        for what, wanted, most in (
            ("nodes", asked.nodes, max(sizes.values())),
            ("minutes", asked.minutes, max(_minutes(row[1]) for row in mine)),
            ("cpus", asked.cpus, max(_number(row[2]) for row in mine)),
            # sinfo prints MiB; `memory_gb` is asked for in units of 1024 MB, see `_executor`.
            ("memory_gb", asked.memory_gb or 0, max(_number(row[3]) for row in mine) / 1024),
            ("gpus", asked.gpus, max(_gpus(row[4], asked.gpu_type) for row in mine)),
        ):
            if wanted > most:
                where = f"partition {asked.partition}" if asked.partition else "this cluster"
                kind = f" of type {asked.gpu_type}" if what == "gpus" and asked.gpu_type else ""
                each = "" if what in ("nodes", "minutes") else " on a node"
                raise ConfigError(
                    f"{stage}: {what}: {wanted:g}{kind} asked for and {where} has at most {most:g}{each}"
                )


def _partitions(form: str) -> list[list[str]]:
    """Return the fields of ``form`` for all partitions, hidden ones too, as sinfo prints them."""
    answer = call_slurm("sinfo", "--all", "--noheader", f"--format={form}")
    return [line.split("|") for line in answer.splitlines()]


def _nodes_away(asked: "Resources") -> bool:
    """Return whether nodes that a job could get are drained, down or reserved now."""
    wanted = asked.partition.split(",") if asked.partition else None
    # Prefixes of sinfo's states, such as drained, draining, powered_down and booting.
    away = ("down", "drain", "fail", "maint", "resv", "reserved", "power", "unk", "boot")
    return any(
        state.startswith(away) or state.endswith("*")  # the star marks a node that does not answer
        for name, state in _partitions("%R|%T")
        if wanted is None or name in wanted
    )


def _number(text: str) -> int:
    """Return a number that sinfo printed; a plus sign (some nodes have more) stands for no limit."""
    digits = text.rstrip("+")
    # Also for text that is no number; `try_submission` then asks Slurm itself.
    return int(digits) if digits.isdigit() and digits == text else sys.maxsize


def _minutes(text: str) -> float:
    """Return a time limit such as ``2-00:30:00`` in minutes."""
    if not text[:1].isdigit():
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes = (parts[0], parts[1]) if len(parts) == 3 else (0, parts[0])
    return 1440 * int(days or 0) + 60 * hours + minutes


def _gpus(text: str, kind: str | None = None) -> int:
    """Return the number of GPUs of a node (of one type), from its generic resources as sinfo prints them."""
    # Such as ``gpu:a100:4(S:0-1)`` or ``gpu:4``, several kinds separated by commas.
    found = re.findall(r"gpu(?::([^:,(]+))?:(\d+)", text)
    return sum(int(count) for name, count in found if kind in (None, name))


def _executor(site: "Site", job: Job, logs: Path) -> Any:
    """Return submitit's executor with all options of a job; it writes the sbatch file."""
    import submitit

    asked = job.resources
    dependency = [f"afterok:{job.after}"] if job.after else []
    dependency += [f"afterany:{job.after_any}"] if job.after_any else []
    number = "%A_%a" if job.array else "%j"
    flags: dict[str, Any] = {
        # A second warning, to the shell of the job only (B:). The command stops by itself a whole margin
        # before the end, at ASTRO_DIST_STOP_AT.
        "signal": f"B:USR2@{_margin_s(site, asked) // 2}",
        # Slurm replaces %j, %A and %a in this path; percent signs of the folder are doubled, which escapes
        # them.
        "output": str(logs).replace("%", "%%") + f"/{job.stage}-{number}.out",
        "requeue": True,
        # Without this option a job whose predecessor failed would stay in the queue for ever.
        "kill-on-invalid-dep": "yes",
        "reservation": asked.reservation,
        "gres": f"gpu:{asked.gpu_type + ':' if asked.gpu_type else ''}{asked.gpus}" if asked.gpus else None,
    }
    flags |= {name: value or True for name, _, value in asked.further_options()}
    # submitit raises RuntimeError where srun is not on PATH.
    with contextlib.suppress(RuntimeError):
        executor = submitit.SlurmExecutor(folder=logs)
        executor.update_parameters(
            job_name=job.name,
            partition=asked.partition,
            account=asked.account,
            qos=asked.qos,
            constraint=asked.constraint,
            nodes=asked.nodes,
            ntasks_per_node=1,
            cpus_per_task=asked.cpus,
            mem=f"{round(asked.memory_gb * 1024)}MB" if asked.memory_gb else None,
            time=asked.minutes,
            exclusive=asked.exclusive or None,
            dependency=",".join(dependency) or None,
            # submitit's own default, "submitit", would be sent otherwise.
            wckey=None,
            stderr_to_stdout=True,
            use_srun=False,
            setup=_setup(site, asked),
            array_parallelism=asked.at_once or job.array or 1,
            additional_parameters={name: value for name, value in flags.items() if value is not None},
        )
        if job.array:
            # submitit's own word for an array; elements are numbered from 0.
            executor.parameters["map_count"] = job.array
        return executor
    raise ConfigError("there is no srun on PATH: this machine has no Slurm; run on a login node")


def _margin_s(site: "Site", asked: "Resources") -> int:
    """Return the seconds before the time limit at which a job begins to stop."""
    # A fifth, so that short jobs keep most of their time for work.
    return min(site.stop_before_s, asked.minutes * 60 // 5)


def _setup(site: "Site", asked: "Resources") -> list[str]:
    """Return the lines before the command: traps, lines of the site, the deadline, caches on the node."""
    caches = [f'export {name}="$cache/{name}"' for name in CACHES]
    return [
        # Traps come first, since the lines of a site may take long. 143 is 128 + SIGTERM.
        "pid=",
        "trap '[ -z \"$pid\" ] && exit 143; kill -TERM $pid 2>/dev/null || true' TERM",
        "trap '[ -z \"$pid\" ] || kill -USR2 $pid 2>/dev/null || true' USR2",
        *site.setup,
        f"end=${{SLURM_JOB_END_TIME:-$(($(date +%s) + {asked.minutes * 60}))}}",
        f"export ASTRO_DIST_END_AT=$end ASTRO_DIST_STOP_AT=$((end - {_margin_s(site, asked)}))",
        f'cache="{site.scratch}/cache-of-astro_dist-$(id -u)"',
        *caches,
        f'mkdir -p -m 700 "$cache" {" ".join(f"{chr(34)}${name}{chr(34)}" for name in CACHES)}',
        '[ -O "$cache" ] || { echo "$cache belongs to someone else: choose another scratch" >&2; exit 2; }',
    ]


def _command(site: "Site", job: Job) -> str:
    """Return the lines that run the command, pass signals on, and requeue the job when its time is up.

    The command runs in the background, because bash runs traps only between commands. `wait` returns after
    each trap and is therefore repeated until the command has ended. After a requeue the script sleeps until
    Slurm ends it, so that the job does not end by itself first. SIGPIPE is ignored as in `call_slurm`.
    """
    # `-P` as in `module_command`; here the Python may be that of a container.
    python = site.python or sys.executable
    words = shlex.join([python, "-P", "-m", "astro_dist", *job.arguments])
    line = f"{site.container} {words}" if site.container else words
    itself = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" if job.array else "$SLURM_JOB_ID"
    return f"""{line} &
pid=$!
while kill -0 $pid 2>/dev/null; do wait $pid || true; done
code=0
wait $pid || code=$?
if [ $code = {TIME_UP} ] || [ $code = {KILLED_BY_WARNING} ]; then
    code=75
    [ ${{SLURM_RESTART_COUNT:-0}} -lt {site.requeues} ] &&
        (trap '' PIPE; scontrol requeue {itself}) && sleep 30
fi
exit $code"""
