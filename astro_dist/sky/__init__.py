"""Maps, beams, windows, noise, islands: what radio astronomers know."""
