from pathlib import Path

import platformdirs
import pytest

from qkd_qiskit.classical.cache_folder import locate_cache, write_whole


def test_argument_goes_before_environment_before_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QKD_CACHE_DIR", "/somewhere")
    assert locate_cache(tmp_path) == tmp_path
    assert locate_cache() == Path("/somewhere")
    monkeypatch.delenv("QKD_CACHE_DIR")
    assert locate_cache() == Path(platformdirs.user_cache_dir("qkd_qiskit"))


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
