"""What comparing inputs costs: ``python -m tests.benchmarks.verification OUT [--large]``.

Every stage is run by a command of its own, so that its driver has compared nothing before. The comparisons,
before the stage opens and after its last task, are measured in CPU seconds beside the stage's own. ``ratio``
is their CPU time over the bytes that were read, divided by the measured sha256 rate of this machine.
``models`` is what the workers of a stage add, which compare each model as they load it. A last line is a
whole run in one command, which reads nothing again that it has just published.

Without ``--large`` a quick start of 2048 x 2048 pixels and a field of 3000 x 3750; with it, a simulated map
of 12,000 x 15,000 that `annotate` and `cutouts` both read.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from astro_dist import pipelines
from astro_dist.engine import outputs
from astro_dist.engine.files import remove
from astro_dist.engine.progress import Display

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SMALL = [
    *("simulate.shape=[2048, 2048]", "generate.objects=60", "generate.steps=5", "generate.threads=1"),
    *("assemble.shape=[3000, 3750]", "assemble.objects=1000", "machine.executor=serial"),
]
LARGE = ["simulate.shape=[12000, 15000]", "machine.executor=serial"]
RATE_BYTES = 1 << 28


@dataclass
class Meter:
    """CPU seconds and bytes of one kind of reading."""

    seconds: float = 0.0
    bytes: int = 0


def sha256_rate(folder):
    """Bytes per CPU second of sha256 over a file that lies in memory, the best of five."""
    path = folder / "rate"
    path.write_bytes(bytes(RATE_BYTES))
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        outputs.sha256_file(path)
        seconds.append(time.process_time() - begin)
    path.unlink()
    return RATE_BYTES / min(seconds)


def timed(function, meter):
    """The same function, whose CPU seconds are added to a meter."""

    def call(*arguments):
        begin = time.process_time()
        try:
            return function(*arguments)
        finally:
            meter.seconds += time.process_time() - begin

    return call


def sized(function, meter):
    """The same reader, whose bytes are added to a meter."""

    def call(path):
        meter.bytes += sum(file.stat().st_size for file in outputs.tree_files(path))
        return function(path)

    return call


def measure(root, settings, only):
    """Run one stage, or all; return the CPU seconds of all, and the meters of inputs and of models."""
    inputs, models = Meter(), Meter()
    runner = pipelines.open_runner(QUICKSTART, root, settings, only=only)
    runner.inputs.compare = timed(runner.inputs.compare, inputs)
    plain, trees = outputs.sha256_file, outputs.tree_digests
    outputs.sha256_file = sized(plain, inputs)
    outputs.tree_digests = timed(sized(trees, models), models)
    begin = time.process_time()
    try:
        runner.execute(Display(live=False))
    finally:
        outputs.sha256_file, outputs.tree_digests = plain, trees
    return time.process_time() - begin, inputs, models


def show(name, total, inputs, models, rate):
    own = total - inputs.seconds - models.seconds
    ideal = inputs.bytes / rate
    ratio = f"{inputs.seconds / ideal:6.2f}" if ideal else "     -"
    print(
        f"{name:<12} {own:9.2f} {inputs.seconds:10.3f} {inputs.bytes / 1e6:9.1f} {ideal:10.3f} {ratio} "
        f"{inputs.seconds / own:8.2%} {models.seconds:9.3f} {models.bytes / 1e6:8.1f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    root, settings = options.out / ("large" if options.large else "small"), LARGE if options.large else SMALL
    with tempfile.TemporaryDirectory() as folder:
        rate = sha256_rate(Path(folder))
    print(f"sha256: {rate / 1e6:.0f} MB per CPU second; quickstart with {' '.join(settings)}")
    print("stage         own CPU-s  compare s  compared MB  at rate s  ratio    share  models s       MB")
    stages = [stage.name for stage in pipelines.open_runner(QUICKSTART, root, settings).stages]
    for name in stages[:3] if options.large else stages:
        show(name, *measure(root, settings, name), rate)
    if not options.large:
        remove(root)
        show("one command", *measure(root, settings, None), rate)


if __name__ == "__main__":
    main()
