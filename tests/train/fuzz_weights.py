"""Cases of hostile weights: ``python -m tests.train.fuzz_weights SEED COUNT FOLDER``."""

import json
import os
import random
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from astro_dist.models.autoencoder import build_autoencoder
from astro_dist.models.denoiser import build_denoiser, build_scheduler, save_denoiser
from astro_dist.models.device import silence
from astro_dist.models.foreign import CONFIG, SCHEDULER, WEIGHTS
from astro_dist.models.masks import build_mask_denoiser, build_mask_scheduler
from astro_dist.radio.trainings import RECIPES
from astro_dist.train.start import begin_from
from tests.fuzz import Case, report

VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 10**10, 2**63, 1e308, float("nan"), float("inf"), None, True, "x", "", [], [10**9, 10**9]),
    *({}, [[[]]], "9" * 1000, [1] * 10_000, {"a": {"b": 1}}, -(10**30)),
)
Change = Callable[[Path], object]


def make_folders(root: Path) -> None:
    """Write a small model of each kind."""
    build_autoencoder("tiny").save_pretrained(root / "autoencoder", safe_serialization=True)
    save_denoiser(build_denoiser("tiny"), build_scheduler("tiny"), root / "diffusion")
    build_mask_denoiser("tiny").save_pretrained(root / "masks", safe_serialization=True)
    build_mask_scheduler().save_pretrained(root / "masks" / "scheduler")


def make_objectives() -> dict[str, Any]:
    """Return what weights are put into, by the name of the training."""
    diffusion, masks = build_denoiser("tiny"), build_mask_denoiser("tiny")
    return {
        "autoencoder": SimpleNamespace(network=SimpleNamespace(autoencoder=build_autoencoder("tiny"))),
        "diffusion": SimpleNamespace(network=diffusion, alpha_bar_T=torch.zeros(1), latents_of={}),
        "masks": SimpleNamespace(network=masks, alpha_bar_T=torch.zeros(1)),
    }


def set_json(name: str, key: str, value: Any, folder: Path) -> None:
    """Change one value of a JSON file."""
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


def set_header(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    """Change the header of a safetensors file."""
    content = (folder / WEIGHTS).read_bytes()
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    change(header)
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n :])


def set_tensor(value: float, folder: Path) -> None:
    """Put a number into one tensor."""
    tensors = load_file(folder / WEIGHTS)
    tensors[sorted(tensors)[3]].view(-1)[0] = value
    save_file(tensors, folder / WEIGHTS)


def handmade() -> Iterator[tuple[str, str, Change]]:
    """Yield name, kind of training and change of each handmade case."""
    write = Path.write_bytes
    for kind in ("autoencoder", "diffusion", "masks"):
        yield f"good {kind}", kind, lambda _: None
    for name, text in {
        **{"list": b"[]", "text": b'"a"', "empty": b"", "half": b'{"a": ', "binary": bytes(range(256))},
        **{"deep": b"[" * 100_000, "digits": b'{"a": ' + b"9" * 5000 + b"}", "large": b" " * (2 << 20)},
    }.items():
        yield f"bad config {name}", "autoencoder", lambda folder, text=text: write(folder / CONFIG, text)
        yield f"bad scheduler {name}", "masks", lambda folder, text=text: write(folder / SCHEDULER, text)
    for value in (10**10, 0, -5, 1.5, "1000", None):
        yield f"bad steps {value}", "masks", partial(set_json, SCHEDULER, "num_train_timesteps", value)
    yield "bad betas", "diffusion", partial(set_json, SCHEDULER, "trained_betas", [float("nan")] * 1000)
    for value in (float("nan"), float("inf"), 0, -1, "1", None):
        yield f"bad scaling {value}", "autoencoder", partial(set_json, CONFIG, "scaling_factor", value)
    yield "good scaling", "autoencoder", partial(set_json, CONFIG, "scaling_factor", 0.5)
    yield "bad channels", "autoencoder", partial(set_json, CONFIG, "channels", [10**6, 10**6])
    yield "bad blocks", "autoencoder", partial(set_json, CONFIG, "num_blocks", 10**9)
    yield "bad class", "autoencoder", partial(set_json, CONFIG, "_class_name", "AutoencoderKL")
    yield (
        "bad quantised",
        "autoencoder",
        partial(set_json, CONFIG, "quantization_config", {"load_in_8bit": True}),
    )
    yield "bad unet", "diffusion", partial(set_json, "unet/config.json", "layers_per_block", 10**8)
    yield "bad width", "diffusion", partial(set_json, "conditioner/config.json", "width", 10**8)
    yield "bad target", "diffusion", partial(set_json, "conditioner/config.json", "target", "stamp")
    yield "bad masks", "masks", partial(set_json, CONFIG, "unet", {"block_out_channels": [10**9]})
    for value in (float("nan"), float("-inf")):
        yield f"bad tensor {value}", "autoencoder", partial(set_tensor, value)
    yield "bad header length", "autoencoder", lambda folder: write(folder / WEIGHTS, b"\xff" * 7 + bytes(99))
    yield "bad weights empty", "autoencoder", lambda folder: write(folder / WEIGHTS, b"")
    yield "bad weights away", "autoencoder", lambda folder: (folder / WEIGHTS).unlink()
    yield "bad conditioner away", "diffusion", lambda folder: shutil.rmtree(folder / "conditioner")
    yield "bad scheduler away", "diffusion", lambda folder: (folder / SCHEDULER).unlink()
    yield "bad latents", "diffusion", lambda folder: write(folder / "latents.json", b"[1]")
    yield "bad pipe", "autoencoder", _as_pipe
    yield "bad index", "autoencoder", lambda folder: write(folder / f"{WEIGHTS}.index.json", b"{}")
    yield "bad tensor away", "autoencoder", partial(set_header, dict.popitem)
    yield (
        "bad tensor more",
        "autoencoder",
        partial(
            set_header,
            lambda header: header.update(x={"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}),
        ),
    )


def _as_pipe(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


def mutated(rng: random.Random, folder: Path) -> None:
    """Lie once, in the header of the tensors, in a configuration, or in any byte."""
    act = rng.random()
    if act < 0.4:
        part = rng.choice(["dtype", "shape", "data_offsets", "name"])

        def lie(header: dict[str, Any]) -> None:
            name = rng.choice(sorted(header))
            value = header.pop(name) if part == "name" else header[name]
            if part == "name":
                header[str(rng.choice(VALUES))] = value
            else:
                value[part] = rng.choice((*VALUES, [0, 2**62], [-1, 3], "I64", [2**32, 2**32]))

        set_header(lie, folder)
    elif act < 0.7:
        name = rng.choice([path for path in (CONFIG, SCHEDULER) if (folder / path).exists()])
        keys = sorted(json.loads((folder / name).read_text()))
        set_json(name, rng.choice(keys), rng.choice(VALUES), folder)
    else:
        content = bytearray((folder / WEIGHTS).read_bytes())
        for _ in range(3):
            content[rng.randrange(rng.choice([8, 1000, len(content)]))] = rng.randrange(256)
        (folder / WEIGHTS).write_bytes(content)


def make_cases(seed: int, count: int, root: Path) -> Iterator[Case]:
    """Yield one case for each folder."""
    objectives, folder = make_objectives(), root / "case"
    rng = random.Random(seed)
    more = [
        (f"mutated {n}", rng.choice(["autoencoder", "masks"]), partial(mutated, rng)) for n in range(count)
    ]
    for name, kind, change in [*handmade(), *more]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(root / kind, folder)
        change(folder)
        yield name, partial(begin_from, RECIPES[kind], objectives[kind], str(folder))


def main(seed: int, count: int, root: Path) -> None:
    """Run all cases."""
    warnings.simplefilter("ignore")
    silence()
    torch.set_num_threads(1)
    make_folders(root)
    for kind, objective in make_objectives().items():
        begin_from(RECIPES[kind], objective, str(root / kind))
    report(make_cases(seed, count, root))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
