"""The figures that say how good the model is."""
