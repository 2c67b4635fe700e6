"""Figures of a trained model beside those of real data."""
