import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import label

from astro_dist.models.conditions import ConditionEncoder
from astro_dist.models.planes import background_planes, paint_peaks
from astro_dist.models.presets import PRESETS, find_skips


@given(
    u=hnp.arrays(np.float32, (8, 8), elements=st.floats(0.125, 5, width=32)),
    instances=hnp.arrays(np.uint16, (8, 8), elements=st.integers(0, 4)),
)
@settings(max_examples=40, deadline=None)
def test_each_piece_of_an_instance_is_painted_with_its_own_maximum(u, instances):
    peak = paint_peaks(u, instances)
    assert peak.dtype == np.float32
    assert (peak[instances == 0] == 0).all()
    pieces, _ = label(instances > 0, np.ones((3, 3)))
    for number, piece in np.unique(np.stack([instances, pieces])[:, instances > 0], axis=1).T:
        inside = (instances == number) & (pieces == piece)
        assert (peak[inside] == u[inside].max()).all()


def test_background_planes_hold_no_object_and_mark_usable_pixels():
    u = np.full((4, 4), 0.5, np.float32)
    u[0, 0] = np.nan
    mask, valid = np.zeros((4, 4), np.uint8), np.isfinite(u)
    mask[2, 2] = 3
    planes = background_planes(u, mask, valid)
    assert planes.shape == (2, 4, 4)
    assert planes.dtype == np.float32
    assert np.isfinite(planes).all()
    assert planes[1].sum() == 14
    assert (planes[0] == 0.5 * planes[1]).all()


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ConditionEncoder(**PRESETS["tiny"].conditioner).eval()


def conditions(batch, side):
    mask = torch.zeros(batch, side, side, dtype=torch.uint8)
    return mask, torch.zeros(batch, side, side), torch.randn(batch, 2, side, side)


@pytest.mark.parametrize(("side", "tokens"), [(64, 16), (128, 64)])
def test_shapes(encoder, side, tokens):
    planes, tokens_BTD, facts, skips = encoder(*conditions(2, side))
    assert planes.shape == (2, 32, side // 4, side // 4)
    assert tokens_BTD.shape == (2, tokens, 64)
    assert facts is None
    assert skips == ()


def test_the_mask_arrives_at_full_resolution(encoder):
    """Each pixel, class and brightness within a latent pixel changes the channels in its own way."""
    mask, peak, background = conditions(1, 16)
    seen = set()
    for y, x in np.ndindex(4, 4):
        for source_class in (1, 2, 3):
            changed = mask.clone()
            changed[0, 4 + y, 4 + x] = source_class
            planes = encoder(changed, peak, background).planes_BMhw
            seen.add(tuple(planes[0, :, 1, 1].tolist()))
    brighter = peak.clone()
    brighter[0, 4, 4] = 1.0
    seen.add(tuple(encoder(mask, brighter, background)[0][0, :, 1, 1].tolist()))
    assert len(seen) == 49


def test_dropout_is_per_sample_and_per_condition(encoder):
    given_ = conditions(3, 32)
    full = encoder(*given_)
    planes, tokens, *_ = encoder(
        *given_, torch.tensor([True, False, True]), torch.tensor([False, True, True])
    )
    assert torch.equal(planes[[0, 2]], full[0][[0, 2]])
    assert torch.equal(tokens[[1, 2]], full[1][[1, 2]])
    assert torch.equal(planes[1], encoder.mask_null[:, None, None].expand_as(planes[1]))
    assert torch.equal(tokens[0], encoder.background_null.expand_as(tokens[0]))


def test_no_mask_is_not_an_empty_field(encoder):
    mask, peak, background = conditions(1, 32)
    empty = encoder(mask, peak, background).planes_BMhw
    null = encoder(mask, peak, background, torch.tensor([False]), None).planes_BMhw
    assert not torch.allclose(empty, null, atol=0.1)


def test_the_nulls_are_learnt(encoder):
    planes, tokens, *_ = encoder(*conditions(1, 32), torch.tensor([False]), torch.tensor([False]))
    (planes.square().sum() + tokens.square().sum()).backward()
    assert encoder.mask_null.grad.abs().sum() > 0
    assert encoder.background_null.grad.abs().sum() > 0


@pytest.fixture
def improved():
    """An encoder as in the preset `improved`: with facts, and with the mask for the decoder."""
    torch.manual_seed(0)
    sizes = PRESETS["tiny"].conditioner | {"facts": 6, "skips": find_skips((8, 16), 1)}
    return ConditionEncoder(**sizes).eval()


def test_the_mask_reaches_the_decoder_at_every_resolution(improved):
    mask, peak, background = conditions(2, 32)
    mask[:, 8:12, 8:12] = 2
    skips = improved(mask, peak, background).skips
    assert [tuple(s.shape[1:]) for s in skips] == [(8, 8, 8), (8, 8, 8), (8, 4, 4), (16, 4, 4), (16, 4, 4)]
    assert not any(skip.any() for skip in skips)
    for head in improved.injector.heads:
        torch.nn.init.ones_(head.weight)
    skips = improved(mask, peak, background, torch.tensor([True, False])).skips
    for skip in skips:
        assert skip[0].any()
        assert not skip[1].any()


def test_facts_have_a_null_of_their_own(improved):
    torch.nn.init.ones_(improved.facts_null)
    facts = torch.arange(12.0).reshape(2, 6)
    given_ = conditions(2, 16)
    assert torch.equal(improved(*given_, facts_BF=facts).facts_BF, facts)
    assert torch.equal(improved(*given_).facts_BF, torch.ones(2, 6))
    some = improved(*given_, facts_BF=facts, keep_facts_B=torch.tensor([True, False])).facts_BF
    assert torch.equal(some, torch.stack([facts[0], torch.ones(6)]))


def test_without_brightness_as_a_condition_peaks_change_nothing():
    encoder = ConditionEncoder(brightness=False).eval()
    mask, peak, background = conditions(1, 16)
    assert torch.equal(encoder(mask, peak, background)[0], encoder(mask, peak + 1, background)[0])


def test_the_sky_is_a_condition_in_place_and_never_under_objects():
    torch.manual_seed(0)
    encoder = ConditionEncoder(**PRESETS["tiny"].conditioner, sky_in_place=True).eval()
    mask, peak, background = conditions(1, 32)
    mask[:, 8:12, 8:12] = 2
    background[:, 1] = 1.0
    planes = encoder(mask, peak, background).planes_BMhw

    def change(y, x):
        other = background.clone()
        other[:, 0, y : y + 4, x : x + 4] += 1.0
        return (encoder(mask, peak, other).planes_BMhw != planes).any(1)[0]

    assert change(20, 24)[4:7, 5:8].all()
    assert change(20, 24).sum() == 9
    assert not change(8, 8).any()
    assert not change(12, 12).any()
    # A null background and a background without usable pixels are the same.
    unknown = encoder(mask, peak, torch.zeros_like(background)).planes_BMhw
    assert torch.equal(encoder(mask, peak, background, None, torch.tensor([False])).planes_BMhw, unknown)


def test_holes_are_learnt_where_no_object_is():
    torch.manual_seed(0)
    encoder = ConditionEncoder(**PRESETS["tiny"].conditioner, sky_in_place=True).train()
    mask, _, background = conditions(1, 32)
    mask[:, 0:4, 4:8] = 2
    background[:, 1] = 1.0
    known = encoder._average_sky(mask, background, None)[0, 1]
    assert not known[:2, :3].any()
    assert not known[-2:, -3:].any()
    assert known.sum() == 64 - 12
