"""Generation of stamps by the trained models."""
