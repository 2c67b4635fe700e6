"""Figures of merit, each with the name of its source."""
