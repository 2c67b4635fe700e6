"""The pipeline `enhance`: colour, super-resolution and cleaning of pictures and of survey maps."""
