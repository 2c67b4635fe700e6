import pytest

from astro_dist.train.checkpoint import Checkpoints


def filled(text):
    def write(folder):
        (folder / "weights").write_text(text)

    return write


def test_the_newest_is_found_and_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.newest() is None
    for step in (10, 20, 30):
        checkpoints.save(step, filled(f"at {step}"))
    step, folder = checkpoints.newest()
    assert (step, (folder / "weights").read_text()) == (30, "at 30")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000020", "step-00000030"]


@pytest.mark.parametrize("damage", ["bytes", "missing", "manifest"])
def test_a_damaged_one_is_left_out_with_a_warning(tmp_path, damage, capsys):
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, filled(f"at {step}"))
    newest = tmp_path / "step-00000020"
    if damage == "bytes":
        (newest / "weights").write_text("at 2x")
    elif damage == "missing":
        (newest / "weights").unlink()
    else:
        (newest / "manifest.json").write_text("{")
    assert checkpoints.newest()[0] == 10
    assert "step-00000020 is damaged and left out" in capsys.readouterr().err


def test_a_save_that_is_killed_leaves_nothing_visible(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, filled("at 10"))

    def killed(folder):
        (folder / "weights").write_text("at")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(20, killed)
    assert Checkpoints(tmp_path).newest()[0] == 10
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000010"]


def test_saving_a_step_again_replaces_it(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, filled("first"))
    checkpoints.save(10, filled("second"))
    assert (checkpoints.newest()[1] / "weights").read_text() == "second"


def test_only_the_leading_rank_touches_folders(tmp_path):
    met = []
    follower = Checkpoints(tmp_path, leads=False, meet=lambda: met.append(1))
    (tmp_path / ".step-00000005.part").mkdir()
    follower.save(5, filled("rank 1"))
    assert [p.name for p in tmp_path.iterdir()] == [".step-00000005.part"]
    assert len(met) == 4
