import shutil

import pytest

from astro_dist.train.checkpoint import Checkpoints, checkpoint_folder
from tests.train import pair


def filled(text):
    def write(folder):
        (folder / "weights").write_text(text)

    return write


def test_the_newest_is_found_and_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() == 0
    for step in (10, 20, 30):
        checkpoints.save(step, filled(f"at {step}"))
    assert checkpoints.newest() == 30
    assert (checkpoints.at(30) / "weights").read_text() == "at 30"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000020", "step-00000030"]


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(share):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[int(share * (len(data) - 1))] ^= 1 << int(7 * share)
        path.write_bytes(data)

    return damage


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def swap_manifest(path):
    older = path.parent.parent / "step-00000010" / "manifest.json"
    (path.parent / "manifest.json").write_bytes(older.read_bytes())


DAMAGES = {
    **{f"cut at {share}": cut(share) for share in (0, 0.1, 0.5, 0.9, 0.999)},
    **{f"flipped at {share}": flip(share) for share in (0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)},
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "missing": lambda path: path.unlink(),
    "a folder": replace_by_folder,
    "renamed": lambda path: path.rename(path.with_name("other")),
}


def hidden_of(folder):
    """Where a checkpoint is while it is written."""
    return Checkpoints(folder.parent, leads=False).hidden(int(folder.name.removeprefix("step-")))


WHOLE = {
    "an extra file": lambda folder: (folder / "extra").write_text("?"),
    "another's manifest": lambda folder: swap_manifest(folder / "manifest.json"),
    "another's step": lambda folder: folder.rename(folder.with_name("step-00000030")),
    "no step": lambda folder: folder.rename(folder.with_name("step-next")),
    "empty": lambda folder: [path.unlink() for path in folder.iterdir()],
    "half renamed": lambda folder: folder.rename(
        Checkpoints(folder.parent, False).hidden(int(folder.name[5:]))
    ),
}
CASES = [(name, file) for file in ("state.safetensors", "layouts.json", "manifest.json") for name in DAMAGES]
CASES += [(name, "") for name in WHOLE]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two checkpoints of a real, if small, training."""
    root = tmp_path_factory.mktemp("torn")
    for step in (10, 20):
        pair.fit(root, until=step, steps=30)
    return checkpoint_folder(pair.toy_cell(root, steps=30))


def test_there_are_sixty_ways_to_be_torn():
    assert len(CASES) >= 60


@pytest.mark.parametrize(("damage", "file"), CASES)
def test_a_torn_checkpoint_is_left_out_by_name(trained, tmp_path, damage, file, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    assert Checkpoints(folder).newest() == 20
    newest = folder / "step-00000020"
    (DAMAGES[damage](newest / file) if file else WHOLE[damage](newest))
    checkpoints = Checkpoints(folder)
    assert checkpoints.newest() == 10
    left = [path for path in folder.glob("step-*") if path.name != "step-00000010"]
    warning = capsys.readouterr().err
    assert all(f"{path} is damaged and left out" in warning for path in left)
    assert bool(left) == (damage != "half renamed")
    checkpoints.save(15, filled("at 15"))
    # A name that no checkpoint has may be that of a folder of the user's, and stays.
    others = [path.name for path in left if not path.name.removeprefix("step-").isdigit()]
    assert [path.name for path in sorted(folder.iterdir())] == ["step-00000010", "step-00000015", *others]


def test_every_bit_of_a_manifest_counts(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, filled(f"at {step}"))
    manifest = checkpoints.at(2) / "manifest.json"
    good = manifest.read_bytes()
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        manifest.write_bytes(data)
        assert checkpoints.newest() == 1, bit
    assert capsys.readouterr().err.count("is damaged and left out") == 8 * len(good)


def test_a_killed_save_leaves_nothing_visible(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, filled("at 10"))

    def killed(folder):
        (folder / "weights").write_text("at")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(20, killed)
    assert Checkpoints(tmp_path).newest() == 10
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]


def test_saving_a_step_again_replaces_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, filled("first"))
    checkpoints.save(10, filled("second"))
    assert (checkpoints.at(checkpoints.newest()) / "weights").read_text() == "second"


def test_only_the_leading_rank_touches_folders(tmp_path):
    met = []
    follower = Checkpoints(tmp_path, leads=False, meet=lambda: met.append(1))
    hidden = Checkpoints(tmp_path, leads=False).hidden(5)
    hidden.mkdir()
    follower.save(5, filled("rank 1"))
    assert list(tmp_path.iterdir()) == [hidden]
    assert len(met) == 4
