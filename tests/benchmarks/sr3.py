"""SR3 at full width: training steps and doubled images per second, on a GPU where there is one.

    python -m tests.benchmarks.sr3 [--preset sr3] [--width 8] [--minutes 10] [--calls 15 2000]

Prints one line for each figure. With ``--width 8 --calls 2 --side 32`` it runs on a CPU within a minute.
"""

import argparse
import time

import torch

from astro_dist.models.device import autocast, pin, resolve_precision
from astro_dist.models.super_levels import Sampler
from astro_dist.models.super_net import SuperNet
from astro_dist.models.super_presets import SUPER, settings_of


def settle(device):
    """Wait for the device, whose work goes on after a call returns."""
    if device == "cuda":
        torch.cuda.synchronize()


def time_training(network, device, precision, batch, side, seconds):
    """Return optimiser steps per second, after two steps that are not counted."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    images = [torch.randn(batch, 3, side, side, device=device) for _ in range(3)]
    gamma = torch.rand(batch, device=device).clamp(0.01, 0.99)
    steps, begun = -2, 0.0
    while steps < 1 or time.monotonic() - begun < seconds:
        if steps == 0:
            settle(device)
            begun = time.monotonic()
        with autocast(device, precision):
            loss = (network(images[0], gamma, images[1]) - images[2]).abs().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        settle(device)
        steps += 1
    return steps / (time.monotonic() - begun)


def time_sampling(network, device, precision, batch, side, sampler, seconds):
    """Return images per second at the calls of a sampler, from as many calls as the seconds allow."""
    base = torch.randn(batch, 3, side, side, device=device)
    gamma = torch.full((batch,), 0.5, device=device)
    calls, begun = -2, 0.0
    with torch.inference_mode(), autocast(device, precision):
        while calls < 1 or (time.monotonic() - begun < seconds and calls < sampler.calls):
            if calls == 0:
                settle(device)
                begun = time.monotonic()
            network(base, gamma, base)
            settle(device)
            calls += 1
    return batch / ((time.monotonic() - begun) / calls * sampler.calls), calls


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=list(SUPER), default="sr3")
    parser.add_argument("--width", type=int)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--calls", type=int, nargs="+", default=[15, 2000])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    pin(options.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision("auto", device)
    network = SuperNet(**settings_of(options.preset, options.width)).to(device)
    network = network.to(memory_format=torch.channels_last)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    print(
        f"{options.preset}: {millions:.1f} M numbers, {device}, {precision}, {options.side} x {options.side}"
    )
    share_s = 60 * options.minutes / (2 + len(options.calls))
    shape = (device, precision, options.batch, options.side)
    print(f"training: {time_training(network, *shape, share_s):.3g} steps/s of {options.batch}")
    network.eval()
    for calls in options.calls:
        rate, done = time_sampling(network, *shape, Sampler(calls=calls), share_s)
        print(f"{calls} calls: {rate:.3g} images/s, from {done} calls of {options.batch} images")


if __name__ == "__main__":
    main()
