"""Accelerate training of the networks in `astro_dist.models`."""
