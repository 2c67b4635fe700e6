"""Colour and grey pictures with classes: reading, drawing toys, near-duplicates and splits."""
