"""The public interface: its names, what importing it costs, its examples, and what it reads."""

import ast
import doctest
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import dask.array
import numpy as np
import pytest
import torch
from astropy.io import fits
from diffusers import DiffusionPipeline
from torch.utils.data import DataLoader

import astro_dist
from astro_dist import flare
from astro_dist.api import datasets, drawing, opened, pipeline, running
from astro_dist.enhance import one_map
from astro_dist.field.columns import read_columns_file
from astro_dist.store.reader import StoreReader
from tests.test_starter import write_map

NAMES = {
    "AstroDistError": "",
    "ConfigError": "",
    "IntegrityError": "",
    "SourceClass": "",
    "__version__": "",
    "Cutouts": "path, split, arrays, columns",
    "OpenRun": "path",
    "Stamps": "folder, beam_arcsec, pixel_arcsec, rms_jy_beam, frequency_hz, steps, device",
    "StampPipeline": "autoencoder, unet, conditioner, scheduler",
    "configurations": "",
    "enhance": "image, out, hdu",
    "enhance_map": "image, out, hdu",
    "enhance_picture": "image, out, model, samples",
    "open_run": "path",
    "plan": "config, out, settings",
    "run": "config, out, to, redo, quiet, settings",
}
"""The public names with their arguments: to change one is to break the programs of users."""
MEMBERS = {
    "OpenRun": "cutouts facts field measured models stages stamps terms truth wcs",
    "Stamps": "draw",
    "StampPipeline": "from_folder save_pretrained origins",
    "Cutouts": "",
}
HEAVY = ("torch", "numpy", "astropy", "diffusers", "zarr", "xarray", "dask", "pydantic", "pyarrow", "ray")


@pytest.fixture(scope="module")
def opened_run(toy_run):
    return astro_dist.open_run(toy_run[0])


def test_the_public_names_and_their_arguments_are_these():
    assert set(astro_dist.__all__) == NAMES.keys()
    for name, arguments in NAMES.items():
        value = getattr(astro_dist, name)
        if arguments:
            assert ", ".join(inspect.signature(value).parameters) == arguments, name
    for name, members in MEMBERS.items():
        own = vars(getattr(astro_dist, name))
        assert {member for member in own if not member.startswith("_")} >= set(members.split()), name
    assert set(astro_dist.__all__) <= set(dir(astro_dist))
    with pytest.raises(AttributeError, match="no attribute 'cutout'"):
        _ = astro_dist.cutout


@pytest.mark.parametrize(("room", "places"), [(astro_dist, astro_dist._PLACES), (flare, flare.PLACES)])
def test_type_checkers_see_the_names_where_they_are(room, places):
    tree = ast.parse(Path(room.__file__).with_suffix(".pyi").read_text())
    seen = {
        one.asname: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "typing"
        for one in node.names
    }
    # A room that is a function too, which a checker cannot follow.
    defined = {
        node.name: f"{room.__name__}.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef)
    }
    assert seen | defined == places
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert {name: ast.literal_eval(value) for name, value in values.items()} == (
        {"__all__": room.__all__} if values else {}
    )


def test_importing_it_imports_nothing_heavy():
    code = f"import sys, astro_dist\nprint([name for name in {HEAVY} if name in sys.modules])"
    code += "\nastro_dist.open_run\nprint([name for name in ('torch', 'xarray') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize(
    "module", [opened, datasets, drawing, pipeline, running, one_map], ids=lambda module: module.__name__
)
def test_the_examples_run(module, toy_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "quickstart").symlink_to(toy_run[0])
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 1
    assert result.failed == 0


def test_arrays_are_lazy_and_those_on_the_disk(opened_run):
    store = StoreReader(opened_run.path / "cutouts.zarr")
    cutouts, field = opened_run.cutouts, opened_run.field
    for array in (cutouts["image"], field["map"], field["instances"]):
        assert isinstance(array.data, dask.array.Array)
    np.testing.assert_array_equal(cutouts["image"][2:5].values, store.read("image", [2, 3, 4]))
    assert cutouts["image"].data.chunksize[0] == store.attrs["per_shard"]
    stamps = StoreReader(opened_run.path / "stamps.zarr")
    np.testing.assert_array_equal(opened_run.stamps["mask"][0].values, stamps.read("mask", [0])[0])
    for name in ("map", "mask", "instances"):
        pixels = fits.getdata(opened_run.path / "field" / f"{name}.fits")
        values = field[name].values
        np.testing.assert_array_equal(values, pixels)
        assert values.dtype.isnative


def test_tables_have_units_descriptions_and_the_rows_of_the_truth(opened_run):
    truth, columns = opened_run.truth, read_columns_file(opened_run.path / "field" / "truth.parquet")
    np.testing.assert_array_equal(truth["flux_jy"], columns["flux_jy"])
    assert str(truth["flux_jy"].unit) == "Jy"
    assert truth["flux_jy"].description
    x, y = opened_run.wcs.all_world2pix(truth["ra_deg"], truth["dec_deg"], 0)
    assert np.abs(x - truth["x_pix"]).max() < 0.01
    assert np.abs(y - truth["y_pix"]).max() < 0.01
    assert {"ra_deg", "flux_jy"} <= set(opened_run.measured.colnames)
    assert opened_run.terms == {"a simulated survey": ""}
    assert opened_run.facts("generate")["accepted"] >= 5
    assert "assemble" in repr(opened_run)


def test_what_is_not_there_is_said(opened_run, tmp_path):
    with pytest.raises(astro_dist.ConfigError, match="is not a run directory"):
        astro_dist.open_run(tmp_path)
    (tmp_path / "ledger").mkdir()
    with pytest.raises(astro_dist.ConfigError, match=r"no product of assemble yet \(published: nothing\)"):
        _ = astro_dist.open_run(tmp_path).truth
    for given, said in (
        ({"split": "trian"}, "has no split 'trian': did you mean 'train'"),
        ({"arrays": ("images",)}, "has no array 'images': did you mean 'image'"),
        ({"columns": ("rms",)}, "has no column 'rms'"),
    ):
        with pytest.raises(astro_dist.ConfigError, match=said):
            astro_dist.Cutouts(opened_run.path, **given)
    with pytest.raises(astro_dist.ConfigError, match="no folder with the models"):
        astro_dist.Stamps(tmp_path)


def test_a_data_set_gives_the_good_cutouts_of_a_split(opened_run):
    store = StoreReader(opened_run.path / "cutouts.zarr")
    data = astro_dist.Cutouts(opened_run.path, "train", ("image", "instances"), ("rms_jy_beam",))
    assert len(data) == len(store.select("train"))
    batches = list(DataLoader(data, batch_size=5))
    images = torch.cat([batch["image"] for batch in batches]).numpy()
    np.testing.assert_array_equal(images, store.read("image", store.select("train")))
    assert batches[0]["instances"].dtype == torch.int32
    assert torch.equal(data[-1]["image"], data[len(data) - 1]["image"])
    with pytest.raises(IndexError):
        _ = data[len(data)]
    assert len(pickle.loads(pickle.dumps(data))) == len(data)
    stamps = astro_dist.Cutouts(opened_run.path / "stamps.zarr", split=None)
    assert len(stamps) == len(StoreReader(opened_run.path / "stamps.zarr"))


def test_stamps_follow_mask_brightness_and_seed(opened_run):
    stamps = astro_dist.Stamps("small", steps=2)
    assert "non-commercial" in stamps.terms["FIRST"]
    mask = np.zeros((64, 64), np.uint8)
    mask[10:15, 10:15], mask[40:46, 30:52] = 2, 3
    first = stamps.draw(mask, {1: 30, 2: 60}, seed=3)
    assert np.array_equal(first, stamps.draw(mask, {1: 30, 2: 60}, seed=3))
    assert not np.array_equal(first, stamps.draw(mask, {1: 30, 2: 60}, seed=4))
    peaks = [first[mask == c].max() / stamps.rms_jy_beam for c in (2, 3)]
    assert 15 < peaks[0] < 50
    assert 30 < peaks[1] < 110
    sky = np.random.default_rng(0).normal(0, stamps.rms_jy_beam, mask.shape)
    assert stamps.draw(mask, 30, sky).shape == (64, 64)
    for wrong, said in (
        ((mask[:60],), "multiples of 16"),
        ((mask + 9,), "the mask holds 9"),
        ((mask, {1: 3}), "object 2 has none"),
        ((0 * mask,), "the mask holds no object"),
        ((mask, -1), "object 1 has -1; give a finite number above 0"),
        ((mask, np.ones(2)), "give a finite number above 0"),
        ((mask, 3, sky[:16]), "the background has the shape"),
        ((mask, 3, np.full(mask.shape, np.inf)), "the background is infinite"),
        ((mask, 3, None, 0, mask[:16]), "instances must have"),
    ):
        with pytest.raises(astro_dist.ConfigError, match=said):
            stamps.draw(*wrong)
    for name, value, said in (
        ("steps", 0, "steps: must be at least 1"),
        ("beam_arcsec", -1, "beam_arcsec is -1; give a finite number above 0"),
        ("rms_jy_beam", float("nan"), "rms_jy_beam is nan; give"),
    ):
        with pytest.raises(astro_dist.ConfigError, match=said):
            astro_dist.Stamps("small", **{name: value})
    if not torch.cuda.is_available():
        with pytest.raises(astro_dist.ConfigError, match="no GPU that this torch can use"):
            astro_dist.Stamps("small", device="cuda")
    assert astro_dist.Stamps(opened_run.path, steps=1).draw(mask).dtype == np.float32


def test_a_pipeline_of_diffusers_draws_the_same_after_it_was_saved(opened_run, tmp_path, monkeypatch):
    # There diffusers puts a copy of the file that names the class.
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mask = np.zeros((32, 32), np.uint8)
    mask[10:15, 8:20] = 3
    for name, models in (("small", "small"), ("run", opened_run.path)):
        folder = tmp_path / name
        made = astro_dist.StampPipeline.from_folder(models)
        made.save_pretrained(folder)
        drawn = astro_dist.Stamps(models, steps=2).draw(mask, 30, seed=5)
        ours = astro_dist.StampPipeline.from_pretrained(folder, local_files_only=True)
        theirs = DiffusionPipeline.from_pretrained(
            folder, custom_pipeline=str(folder), local_files_only=True, trust_remote_code=True
        )
        for pipe in (made, ours, theirs):
            np.testing.assert_array_equal(pipe(mask, 30, seed=5, num_inference_steps=2), drawn)
        assert ours.origins == made.origins
        assert not [path for path in folder.rglob("*.json") if "_name_or_path" in path.read_text()]
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {
            *(".safetensors", ".json", ".py")
        }


def test_a_map_or_an_array_is_doubled_by_the_room_of_that_name(tmp_path):
    import astro_dist.enhance.one_map  # a module of the room leaves the name as it is

    path = write_map(tmp_path / "m.fits", shape=(64, 80))
    large = astro_dist.enhance(path, tmp_path / "twice.fits")
    small = fits.getdata(path)
    np.testing.assert_allclose(
        large.reshape(64, 2, 80, 2).mean((1, 3)), small, atol=1e-6 * np.abs(small).max()
    )
    np.testing.assert_array_equal(fits.getdata(tmp_path / "twice.fits"), large)
    np.testing.assert_array_equal(astro_dist.enhance_map(small), astro_dist.enhance(small))
    for given, said in (
        ((path, tmp_path / "twice.fits"), "is there already"),
        ((tmp_path / "none.fits",), "there is no such file"),
        ((small, tmp_path / "x.fits"), "an array has no coordinates"),
        ((np.zeros(3),), r"shape \(3,\) is not doubled"),
        ((np.full((3, 3), "a"),), "give real numbers"),
    ):
        with pytest.raises(astro_dist.AstroDistError, match=said):
            astro_dist.enhance(*given)
    assert np.isnan(astro_dist.enhance(np.full((3, 3), np.nan))).all()
