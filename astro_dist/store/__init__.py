"""Stacks of cutouts and stamps in sharded Zarr v3: writing, reading, splitting and verifying them."""
