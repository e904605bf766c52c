"""The IDX files of MNIST and Fashion-MNIST, plain or gzip-compressed, checked by the sum of their plain content."""

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qkd_qiskit.exceptions import DataError

IMAGES_AND_LABELS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

# SHA-256 of the *uncompressed* files: gzip headers carry time stamps, so two good .gz files can differ.
CHECKSUMS = {
    "MNIST": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
}


def find_idx(folder: Path, name: str) -> Path | None:
    """Return the path of the plain file, else of its `.gz`, else None.

    Args:
        folder: where to look, e.g. `DATA/MNIST/raw`.
        name: file name without `.gz`.
    """
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path, checksum: str) -> npt.NDArray[np.uint8]:
    """Read one IDX file of bytes; a compressed one is unpacked in memory, so the folder may be read-only.

    Args:
        path: the file, plain or `.gz`.
        checksum: SHA-256 of its plain content.

    Returns:
        uint8 array of the shape in the header: (N, 28, 28) for images, (N,) for labels.

    Raises:
        DataError: If the file can't be read or unpacked, or its content is not what the checksum says.
    """
    remedy = "Delete this file and get it again."
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}. {remedy}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != checksum:
        raise DataError(
            f"{path} is damaged or another file: SHA-256 of its uncompressed content is {found[:16]}..., "
            f"wanted {checksum[:16]}... {remedy}"
        )
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
