"""Fuzzing in one process with limits: hostile inputs end in an error of ours, soon, and in little memory.

A module of cases calls `report` with them; `run_cases` starts that module and returns what came of each.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from astro_dist.engine.errors import ConfigError, DataError, IntegrityError

CPU_S = 4.0
"""Most CPU time of one case."""
MEMORY_BYTES = 1 << 30
"""Most address space beyond what the libraries take when they are imported."""
Case = tuple[str, Callable[[], object]]


def report(cases: Iterable[Case], total_cpu_s: int = 300) -> None:
    """Run the cases and print how each ended and what was wrong, as JSON."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + total_cpu_s,) * 2)
    signal.signal(signal.SIGPROF, _give_up)
    ended: dict[str, str] = {}
    faults, slowest = [], (0.0, "")
    for name, act in cases:
        # The last name on stderr is that of a case that killed the process.
        print(name, file=sys.stderr, flush=True)
        started, outcome = time.process_time(), "read"
        signal.setitimer(signal.ITIMER_PROF, 5 * CPU_S)
        try:
            act()
        except (ConfigError, DataError, IntegrityError) as error:
            outcome = type(error).__name__
            if "\n" in str(error) or not str(error):
                faults.append(f"{name}: {str(error)!r} is not one line")
        except Exception as error:
            outcome = "other"
            faults.append(f"{name}: {type(error).__name__}: {error}"[:300])
        signal.setitimer(signal.ITIMER_PROF, 0)
        ended[name] = outcome
        spent = time.process_time() - started
        slowest = max(slowest, (spent, name))
        if spent > CPU_S:
            faults.append(f"{name}: {spent:.1f} s of CPU time")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"ended": ended, "faults": faults, "slowest": slowest, "peak_kb": peak}))


def _give_up(number: int, frame: object) -> None:
    """End a case that takes far too long, so that the others still run."""
    raise TimeoutError("it did not end")


def run_cases(module: str, *arguments: object) -> dict[str, str]:
    """Run a module of cases in a process of its own and return how each case ended, by its name."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.strip().splitlines()[-3:]
    assert done.returncode == 0, f"{module} ended with {done.returncode} after {last}"
    result = json.loads(done.stdout.splitlines()[-1])
    ended: dict[str, str] = result["ended"]
    print(Counter(ended.values()), "slowest", result["slowest"], "peak", result["peak_kb"] >> 10, "MB")
    assert not result["faults"], "\n".join(result["faults"][:20])
    return ended
