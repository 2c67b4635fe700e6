"""Products of a run in the forms of other programs: FITS images, contact sheets, masks of finders."""
