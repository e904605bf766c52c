"""Where downloads, teachers and logits are kept, and how a file gets there whole or not at all."""

import os
import threading
from pathlib import Path

import platformdirs


def locate_cache(cache_dir: str | Path | None = None) -> Path:
    """Return the cache folder: `cache_dir`, else `$QKD_CACHE_DIR`, else the user's own; it need not exist yet.

    Below it, `data` holds downloads and `teachers` holds weights and logits.

    Args:
        cache_dir: a folder that goes before the others.
    """
    chosen = cache_dir or os.environ.get("QKD_CACHE_DIR") or platformdirs.user_cache_dir("qkd_qiskit")
    return Path(chosen).expanduser()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file aside, force it to disk and rename it, so that `path` never holds half of it.

    Args:
        path: the file to make or replace; its folder is made if missing.
        content: what it shall hold.

    Raises:
        OSError: If the folder can't be written or is full; nothing is left aside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
