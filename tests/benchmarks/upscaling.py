"""What an upscaler gains over bicubic enlargement on held-out pictures, by core-seconds of training.

    python -m tests.benchmarks.upscaling --steps 2000 [--preset light] [--save FOLDER]

trains on all Hubble pictures but 19 and prints PSNR and MS-SSIM of these 19 and of the deep-sky classes.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from tests.flare import upscaling


def show(name, figures):
    """Print one line of figures, and return how many dB the upscaler gains."""
    (net, net_ms), (cubic, cubic_ms), (lanczos, _) = figures.mean(0)
    better = int((figures[:, 0, 0] > figures[:, 1, 0]).sum())
    print(
        f"{name}: bicubic {cubic:.2f} dB {cubic_ms:.4f}, Lanczos {lanczos:.2f} dB, upscaler {net:.2f} dB "
        f"{net_ms:.4f}; gain {net - cubic:+.2f} dB, better on {better} of {len(figures)}",
        flush=True,
    )
    return net - cubic


def main():
    """Train, measure and perhaps keep the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    pictures = upscaling.read_folder(upscaling.DATA / "hubble")
    held = upscaling.held_out(len(pictures))
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        settings = {"preset": arguments.preset, "steps": arguments.steps, "scale": arguments.scale}
        weights = upscaling.train(Path(folder), pictures, held, **settings)
        print(f"{arguments.steps} steps in {time.process_time() - before:.0f} core-seconds", flush=True)
        show("Hubble, held out", upscaling.measure(weights, pictures[held], arguments.scale))
        if arguments.save:
            shutil.copytree(weights, arguments.save)
        for name, members in upscaling.deep_sky().items():
            show(name, upscaling.measure(weights, members, arguments.scale))


if __name__ == "__main__":
    main()
