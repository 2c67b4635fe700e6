import contextlib
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astro_dist.engine.custody import remove, sweep
from astro_dist.engine.errors import ConfigError, StoppedError
from astro_dist.engine.files import (
    Anchor,
    lock_folder,
    publish_bytes,
    publish_file,
    publish_folder,
    publish_new_folder,
    require_space,
    sha256_file,
    stop_when_storage_fails,
    tree_digests,
)


@given(data=st.binary(max_size=200))
def test_published_bytes_are_whole_and_their_digest_is_right(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("p") / "deep" / "file.bin"
    assert publish_bytes(path, data) == sha256_file(path)
    assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "file.txt"
    publish_bytes(path, b"old")
    with pytest.raises(IsADirectoryError), publish_file(path) as hidden:
        hidden.mkdir()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_folders_appear_by_one_rename(tmp_path):
    hidden, final = tmp_path / ".x.part", tmp_path / "x"
    (hidden / "sub").mkdir(parents=True)
    publish_bytes(hidden / "sub" / "a", b"a")
    publish_folder(hidden, final)
    publish_folder(hidden, final)
    assert list(tree_digests(final)) == ["sub/a"]
    remove(final)
    remove(final)
    assert list(tmp_path.iterdir()) == []


def test_sweep_takes_only_hidden_leftovers(tmp_path):
    kept, mark = tmp_path / f".a.{'0' * 12}.part", "0123456789ab"
    theirs = (".notes.part", f".x.{mark}.replaced.part", f"b.{mark}.part", ".c", "b")
    for name in (kept.name, *theirs):
        (tmp_path / name).touch()
    (tmp_path / f".d.{mark}.part").mkdir()
    (tmp_path / f".e.{mark}.part").symlink_to(tmp_path.parent)
    assert sweep(tmp_path, ["d", "e*"]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([kept.name, *theirs])
    assert tmp_path.parent.is_dir()


def test_too_little_disk_names_both_numbers(tmp_path):
    with pytest.raises(ConfigError, match=r"needs up to 1000000000.00 GB and .* GB free"):
        require_space(tmp_path, 10**18)
    require_space(tmp_path, 1)


def test_a_full_disk_is_a_stop_that_resumes(tmp_path):
    with pytest.raises(StoppedError, match="the disk is full"), stop_when_storage_fails(tmp_path):
        raise OSError(errno.ENOSPC, "no space")
    with pytest.raises(OSError, match="other"), stop_when_storage_fails(tmp_path):
        raise OSError(errno.EMFILE, "other")


def test_storage_that_fails_is_a_stop_that_resumes(tmp_path):
    with pytest.raises(StoppedError, match="the storage below"), stop_when_storage_fails(tmp_path):
        raise OSError(errno.ESTALE, "stale")


def test_a_folder_that_goes_away_or_is_replaced_is_noticed(tmp_path):
    root = tmp_path / "run"
    root.mkdir()
    anchor = Anchor(root)
    anchor.check()
    root.rename(tmp_path / "away")
    with pytest.raises(StoppedError, match="No such file or directory"):
        anchor.check()
    root.mkdir()
    with pytest.raises(StoppedError, match="another is in its place"):
        anchor.check()


def test_second_lock_is_refused_and_the_first_is_named(tmp_path):
    refusal = pytest.raises(ConfigError, match=f"pid {os.getpid()}")
    with lock_folder(tmp_path), refusal, lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match="cannot write to the run directory"),
        lock_folder(tmp_path / "file"),
    ):
        pass


def test_a_refusal_leaves_no_new_folder(tmp_path):
    with pytest.raises(ConfigError, match="refused"), lock_folder(tmp_path / "a" / "b"):
        raise ConfigError("refused")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_made(tmp_path):
    folder = tmp_path / "a"
    with contextlib.suppress(ConfigError), lock_folder(folder):
        (folder / "work").touch()
        raise ConfigError("late")
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "work"]


def test_a_new_folder_is_whole_or_not_there(tmp_path):
    out = tmp_path / "out"
    with publish_new_folder(out) as hidden:
        (hidden / "a").mkdir()
        (hidden / "a/b").write_text("x")
        assert not out.exists()
    assert (out / "a/b").read_text() == "x"

    def stop():
        with publish_new_folder(tmp_path / "other") as hidden:
            (hidden / "c").write_text("y")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
