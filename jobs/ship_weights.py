"""Train and evaluate the weights of the package, and copy them into the package.

    python jobs/ship_weights.py small configs/small.yaml --out runs/small

Further options of `astro-dist run` may follow. The diffusion model and the model of masks are stored in half
precision, which changes no figure. The autoencoder stays in float32, because it is small and all fluxes pass
through it. Afterwards put the printed figures into the model card, astro_dist/weights/NAME/README.md, and the
surveys with their terms into origins.json beside it.
"""

import argparse
import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

import astro_dist
from astro_dist.cli import main

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("name")
parser.add_argument("config")
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--weights", type=Path, default=Path(astro_dist.__file__).parent / "weights")
options, extra = parser.parse_known_args()
given = [options.config, "--out", str(options.out), *extra]
if code := main(["run", *given, "--to", "evaluate"]) or main(["train", "masks", *given]):
    raise SystemExit(code)
target = options.weights / options.name
for model in (options.out / "models" / stage for stage in ("autoencoder", "diffusion", "masks")):
    shutil.rmtree(target / model.name, ignore_errors=True)
    shutil.copytree(model, target / model.name, ignore=shutil.ignore_patterns("*.md", "origins.json"))
for path in [*target.glob("diffusion/*/*.safetensors"), *target.glob("masks/*.safetensors")]:
    save_file({name: value.half() for name, value in load_file(path).items()}, path)
measured = json.loads((options.out / "evaluation" / "metrics.json").read_text())
(target / "metrics.json").write_text(json.dumps(measured, indent=1) + "\n")
for figure in measured["figures"]:
    print(f"{figure['row']:<14} {figure['name']:<24} {figure['value']}")
