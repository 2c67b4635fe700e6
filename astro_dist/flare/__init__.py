"""The pipeline `flare`: from a folder of pictures to a classifier, and what synthetic pictures add to it."""
