import pytest

from astro_dist.engine.config import describe_fields, validate
from astro_dist.engine.errors import ConfigError
from astro_dist.radio.config import AutoencoderConfig, DiffusionConfig


def test_every_field_is_described():
    for model in (AutoencoderConfig, DiffusionConfig):
        sentences = describe_fields(model)
        assert all(sentences[name].endswith(".") for name in model.model_fields)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_pix": 50}, "multiple of 16"),
        ({"preset": "huge"}, "tiny"),
        ({"ranks": 3, "batch_size": 32}, "cannot be shared by 3 ranks"),
        ({"lr": 0}, "must be above 0"),
        ({"drop_masks": 0.1}, "did you mean 'drop_mask'"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        validate(DiffusionConfig, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({}, 0.5),
        ({"target": "stamp"}, 1.0),
        ({"target": "stamp", "preset": "small", "own_background": 0.25}, 0.25),
        ({"target": "stamp", "preset": "paper"}, 0.5),
    ],
)
def test_whole_stamps_are_trained_on_their_own_sky(settings, own):
    assert validate(DiffusionConfig, settings).own_background == own
