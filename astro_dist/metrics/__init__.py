"""Figures of merit, each with its source."""
