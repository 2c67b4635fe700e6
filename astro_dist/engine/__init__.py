"""Declarations of stages and pipelines, and their state on the disk; no astronomy and no workers."""
