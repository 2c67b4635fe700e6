"""Torch networks and what they need beside torch and diffusers; single-device."""
