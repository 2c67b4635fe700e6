from astro_dist.sky.classes import CLASS_NAMES, SourceClass


def test_names_are_in_the_order_of_the_values_that_masks_hold():
    assert CLASS_NAMES == ("background", "spurious", "compact", "extended")
    assert [SourceClass[name.upper()] for name in CLASS_NAMES] == [0, 1, 2, 3]
