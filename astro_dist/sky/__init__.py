"""Maps, beams, windows, noise and islands: the radio astronomy that other rooms build on."""
