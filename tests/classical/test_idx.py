import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from qkd_qiskit.classical import idx
from qkd_qiskit.exceptions import DataError
from tests.classical.idx_files import encode_idx

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = encode_idx(ARRAY)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_read_plain_and_compressed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(CONTENT) if name.endswith(".gz") else CONTENT)
    assert np.array_equal(idx.read_idx(tmp_path / name, CHECKSUM), ARRAY)


def test_time_stamp_in_the_gzip_header_does_not_matter(tmp_path: Path) -> None:
    for stamp in (0, 1_700_000_000):
        (tmp_path / "file.gz").write_bytes(gzip.compress(CONTENT, mtime=stamp))
        assert idx.read_idx(tmp_path / "file.gz", CHECKSUM).shape == (2, 3, 4)


def test_plain_file_goes_before_the_compressed_one(tmp_path: Path) -> None:
    assert idx.find_idx(tmp_path, "file") is None
    (tmp_path / "file.gz").touch()
    assert idx.find_idx(tmp_path, "file") == tmp_path / "file.gz"
    (tmp_path / "file").touch()
    assert idx.find_idx(tmp_path, "file") == tmp_path / "file"


def test_damaged_content_is_refused(tmp_path: Path) -> None:
    flipped = bytearray(CONTENT)
    flipped[-1] ^= 1
    (tmp_path / "file").write_bytes(flipped)
    with pytest.raises(DataError, match="file is damaged or another file: SHA-256"):
        idx.read_idx(tmp_path / "file", CHECKSUM)


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(CONTENT, mtime=0)[:-12]],  # without a time stamp: workers must collect the same
    ids=["empty", "foreign", "cut"],
)
def test_damaged_compression_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"Delete this file"):
        idx.read_idx(tmp_path / "file.gz", CHECKSUM)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be read"):
        idx.read_idx(tmp_path / "file", CHECKSUM)
