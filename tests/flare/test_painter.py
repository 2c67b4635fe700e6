"""The painter's folder, its parts, and pictures that are functions of their condition and stream."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.seeds import stream
from astro_dist.flare.painter_config import UnidiffuserConfig
from astro_dist.flare.painter_folder import check_folder, check_parts
from astro_dist.flare.painter_objectives import UnidiffuserObjective
from astro_dist.flare.painter_samples import PictureBatch
from astro_dist.models.diffusers_types import UniDiffuserTextDecoder
from astro_dist.models.low_rank import LowRank, add_factors, merge
from astro_dist.models.painter import LEFT, build_decoder, build_scheduler, build_uvit, load_painter
from astro_dist.models.painter_layout import INDEX
from astro_dist.models.painting import Brush
from astro_dist.models.solvers import Solver
from astro_dist.models.tokens import build_caption_tokenizer, build_prompt_tokenizer
from tests.flare.painters import PROMPTS, SIDE

MICRO_BATCH = 3
FIRST = "embeddings.token_embedding.weight"


@pytest.fixture(scope="module")
def painter(painter_folder):
    return load_painter(painter_folder)


@pytest.fixture
def copied(painter_folder, tmp_path):
    return shutil.copytree(painter_folder, tmp_path / "p")


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# diffusers passes a tensor to NumPy 2, whose `copy` argument torch does not support yet.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_plain_diffusers_loads_the_folder_offline_and_paints(painter_folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from diffusers import UniDiffuserPipeline

    pipe = UniDiffuserPipeline.from_pretrained(painter_folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    picture = pipe(prompt=PROMPTS[0], num_inference_steps=2, guidance_scale=2.0).images[0]
    assert picture.size == (SIDE, SIDE)
    # Without torchvision the processor must be the one of Pillow.
    assert type(pipe.clip_image_processor).__name__ == "CLIPImageProcessorPil"
    assert isinstance(pipe(image=picture, num_inference_steps=2).text[0], str)


def test_a_published_folder_may_name_the_processor_as_published_ones_do(copied, painter):
    (copied / "clip_image_processor").rename(copied / "image_processor")
    index = json.loads((copied / INDEX).read_text())
    index["image_processor"] = index.pop("clip_image_processor")
    index["unet"] = ["unidiffuser", "UniDiffuserModel"]
    (copied / INDEX).write_text(json.dumps(index))
    check_folder(copied, SIDE, 3)
    x_BPSS = torch.zeros(1, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.equal(load_painter(copied).encode_pictures(x_BPSS), painter.encode_pictures(x_BPSS))


def test_loading_prints_nothing(painter_folder, capfd):
    load_painter(painter_folder)
    assert capfd.readouterr() == ("", "")


def test_the_head_of_the_captions_decoder_can_be_saved(tmp_path):
    tied = UniDiffuserTextDecoder(8, 16, 16, vocab_size=32, n_positions=96, n_embd=16, n_layer=1, n_head=1)
    with pytest.raises(RuntimeError, match="share memory"):
        tied.save_pretrained(tmp_path / "tied")
    decoder, _ = build_decoder("tiny")
    decoder.save_pretrained(tmp_path / "untied")
    again = UniDiffuserTextDecoder.from_pretrained(tmp_path / "untied")
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_decoder_whose_head_is_the_table_of_its_tokens_is_read(copied, painter):
    """Published decoders hold the shared numbers once."""
    path = copied / "text_decoder" / "diffusion_pytorch_model.safetensors"
    drop(path, "transformer.lm_head.weight")
    check_parts(copied)
    decoder = load_painter(copied).text_decoder
    head = decoder.transformer.lm_head.weight
    assert torch.equal(head, painter.text_decoder.transformer.transformer.wte.weight)


BROKEN = {
    "part": (lambda p: shutil.rmtree(p / "text_tokenizer"), "lacks the part text_tokenizer/"),
    "index": (lambda p: (p / "unet" / "config.json").write_text("{"), "not readable as JSON"),
    "pickle": (
        lambda p: next((p / "vae").glob("*.safetensors")).rename(p / "vae" / "pytorch_model.bin"),
        "vae has no weights in safetensors",
    ),
    "positions": (lambda p: change(p / "text_decoder" / "config.json", n_positions=90), "needs 91: 24 of"),
    "pair": (lambda p: change(p / "unet" / "config.json", text_dim=64), "do not belong together"),
    "size": (lambda p: change(p / "unet" / "config.json", sample_size=8), "of 32 pixels, not 16; set"),
    "planes": (lambda p: change(p / "vae" / "config.json", in_channels=1), "it paints 1 planes; set"),
    "number": (lambda p: change(p / "unet" / "config.json", sample_size=1 << 40), "are no such numbers"),
    "missing": (lambda p: (p / "unet" / "config.json").write_text('{"sample_size": 4}'), "cannot be used"),
}


def reshape(path, name, shape):
    tensors = load_file(path)
    tensors[name] = torch.zeros(shape)
    save_file(tensors, path)


def drop(path, name):
    tensors = load_file(path)
    del tensors[name]
    save_file(tensors, path)


UNET = "unet/diffusion_pytorch_model.safetensors"
BROKEN |= {
    "shape": (
        lambda p: reshape(p / UNET, "text_in.weight", (128, 33)),
        "has the shape [128, 33], not [128, 32]",
    ),
    "tensor": (lambda p: drop(p / "text_encoder" / "model.safetensors", FIRST), f"lacks the tensor {FIRST}"),
    "cut": (lambda p: (p / UNET).write_bytes(b"cut"), "the weights of unet cannot be read"),
    "settings": (lambda p: change(p / "vae" / "config.json", act_fn="none"), "no vae can be built from"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_cannot_paint_for_the_run_is_refused(copied, case):
    spoil, message = BROKEN[case]
    spoil(copied)
    with pytest.raises(ConfigError, match=r"unidiffuser\.folder: ") as caught:
        check_folder(copied, SIDE, 3)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_published_decoder_needs_144_positions(copied):
    change(copied / "text_decoder" / "config.json", prefix_length=77, n_positions=143)
    with pytest.raises(ConfigError, match="needs 144"):
        check_parts(copied)


def draw(painter, numbers, how, size=MICRO_BATCH):
    """Return what is drawn for some numbers in a batch of a size, padded with the last one."""
    places = [*numbers, *[numbers[-1]] * (size - len(numbers))]
    streams = [stream(3, "test", n) for n in places]
    brush = Brush(painter, *how["brush"])
    text_BTd = painter.encode_prompts(painter.tokenize([PROMPTS[n % 2] for n in places]))
    vector_BN = torch.stack([torch.full((painter.image_numbers,), n / 5) for n in places])
    if how["what"] == "text":
        return brush.describe(vector_BN, streams)[: len(numbers)]
    given = (vector_BN, 0.5) if how["what"] == "change" else (None, 1.0)
    return painter.decode_pictures(brush.paint(text_BTd, streams, *given))[: len(numbers)]


HOWS = [
    {"what": "picture", "brush": ("dpm++", 2, 0.0, 2.0)},
    {"what": "picture", "brush": ("ddim", 2, 1.0, 1.0)},
    {"what": "change", "brush": ("dpm++", 4, 0.0, 1.5)},
    {"what": "text", "brush": ("dpm++", 2, 0.0, 2.0)},
]


@pytest.mark.parametrize("how", HOWS, ids=lambda how: f"{how['what']}-{how['brush'][0]}")
@torch.no_grad()
def test_companions_and_padding_change_nothing(painter, how):
    alone = [draw(painter, [n], how)[0] for n in range(5)]
    for group in ([0, 1, 2], [4, 3], [2, 4, 0]):
        for n, drawn in zip(group, draw(painter, group, how), strict=True):
            assert drawn.numpy().tobytes() == alone[n].numpy().tobytes()
    assert not torch.equal(alone[0], alone[2])


@torch.no_grad()
def test_the_noise_of_the_guidance_belongs_to_the_picture(painter):
    """diffusers draws it from one generator for the batch: the second picture then depends on the first."""
    one = {"what": "picture", "brush": ("dpm++", 2, 0.0, 3.0)}
    first, second = draw(painter, [0, 1], one)
    other, same = draw(painter, [2, 1], one)
    assert torch.equal(second, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["dpm++", "ddim", "ddpm", "heun"])
@pytest.mark.parametrize("strength", [0.25, 0.6, 1.0])
def test_a_changed_sample_begins_at_the_noise_of_its_strength(name, strength):
    scheduler = build_scheduler("tiny")
    solver = Solver(scheduler, name, 8, 0.0, "cpu")
    clean, noise, seen = torch.linspace(-1, 1, 12).view(2, 6), torch.ones(2, 6), []

    def predict(x, timestep):
        seen.append(x)
        left = torch.from_numpy(
            np.interp(float(timestep), np.arange(1000), scheduler.alphas_cumprod.double().numpy())[None]
        )
        # The noise that is in x, so that every solver must find the clean sample again.
        return ((x - left.sqrt() * clean) / (1 - left).sqrt()).float()

    # The scaled input of heun is that of the same time too.
    found = solver.solve(noise, predict, [1, 2], clean, strength)
    assert torch.allclose(found, clean, atol=0.06)
    assert len(seen) == {"heun": 2 * round(8 * strength) - 1}.get(name, round(8 * strength))


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)


@given(text=WORDS)
@settings(max_examples=25)
def test_every_caption_is_a_list_of_tokens_and_back(text):
    tokenizer = CAPTIONS
    assert tokenizer.decode(tokenizer(text).input_ids) == text


CAPTIONS = build_caption_tokenizer(PROMPTS)


def test_each_word_of_the_prompts_is_one_token():
    tokenizer = build_prompt_tokenizer(24, PROMPTS)
    # With the tokens of beginning and end.
    assert [len(tokenizer(prompt).input_ids) for prompt in PROMPTS] == [9, 10]
    assert len(CAPTIONS(PROMPTS[1]).input_ids) == 8
    assert len(tokenizer("zyx").input_ids) == 5


def test_factors_begin_at_the_network_and_end_in_its_weights():
    network = build_uvit("tiny", SIDE).eval()
    names = set(network.state_dict())
    inputs = torch.randn(1, 4, 4, 4), torch.randn(1, 1, 32), torch.randn(1, 24, 32), 3, 5
    with torch.no_grad():
        before = network(*inputs)[0]
        add_factors(network, 2)
        assert torch.equal(network(*inputs)[0], before)
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    factors = [module for module in network.modules() if isinstance(module, LowRank)]
    # Four layers of attention in each of five blocks.
    assert len(factors) == 20
    assert len(trained) == 2 * len(factors)
    with torch.no_grad():
        for factor in factors:
            factor.up.normal_()
        changed = network(*inputs)[0]
        merged = merge(network)
        assert torch.allclose(merged(*inputs)[0], changed, atol=1e-4)
    assert not torch.allclose(changed, before, atol=1e-2)
    assert set(merged.state_dict()) == names


def test_the_schedule_ends_with_a_little_of_the_picture():
    left = build_scheduler("tiny").alphas_cumprod
    assert left[-1] == pytest.approx(LEFT, rel=1e-3)
    assert (left[1:] < left[:-1]).all()
    # Where nothing is left, the step from noise to the clean sample divides by zero.
    assert float(left[-1].sqrt()) > 0.05


@pytest.mark.parametrize(("clean_text", "lost"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_picture_and_text_have_times_of_their_own(painter, clean_text, lost):
    """Eq. 2 of FLARE: clean at time 0, noise alone at the last time, and any time between."""
    config = UnidiffuserConfig(clean_text=clean_text, clean_picture=0, lost=lost)
    objective = UnidiffuserObjective(config, painter, {}, None, PROMPTS, "cpu")
    seen = []

    def network(*arguments):
        seen.append(arguments)
        return painter.unet(*arguments)

    rng, count = np.random.default_rng(2), 6
    tokens, numbers = painter.text_shape
    batch = PictureBatch(
        rng.uniform(-1, 1, (count, 3, SIDE, SIDE)).astype(np.float32),
        np.zeros(count, np.int64),
        np.arange(count) % 2,
        np.stack([np.arange(count), np.zeros(count, np.int64)], 1),
        rng.standard_normal((count, painter.image_numbers + tokens * numbers), np.float32),
        rng.random((count, 2), np.float32),
        rng.random((count, 2), np.float32),
    )
    with torch.no_grad():
        _, figures = objective.loss(network, batch, "cpu")
    _, _, text, image_time, text_time = seen[0]
    wanted = objective.text_QTd[torch.from_numpy(batch.prompt_B)]
    noise = torch.from_numpy(batch.noise_BM[:, painter.image_numbers :]).view_as(text)
    assert torch.equal(text, wanted) == (clean_text == 1)
    assert torch.equal(text, noise) == (lost == 1)
    # What has no noise has no error.
    assert (figures["text_loss"] == 0) == (clean_text == 1)
    if lost:
        assert set(image_time.tolist()) == set(text_time.tolist()) == {painter.last_time}
    else:
        assert image_time.tolist() == (batch.time_B2[:, 0] * painter.last_time).astype(int).tolist()
        assert image_time.tolist() != text_time.tolist()
