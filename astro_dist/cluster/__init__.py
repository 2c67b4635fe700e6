"""Machines: what is here, Ray, Slurm. Knows nothing of stars."""
