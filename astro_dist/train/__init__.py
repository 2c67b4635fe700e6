"""Training of the networks in `astro_dist.models`, with Accelerate and DeepSpeed."""
