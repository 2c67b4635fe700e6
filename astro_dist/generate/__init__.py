"""Stamps drawn from the trained model."""
