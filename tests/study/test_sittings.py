"""How long a study took is kept, however a call ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from qkd_qiskit.study.sittings import Sitting, read_sittings


def test_each_phase_is_an_entry_and_nothing_to_do_is_none(tmp_path: Path) -> None:
    sitting = Sitting(tmp_path, where="2 processes", workers=2)
    with sitting.measure("teachers", 1):
        assert [item["ended"] for item in read_sittings(tmp_path)] == ["killed"], "as it would stay after a kill"
    with pytest.raises(KeyboardInterrupt), sitting.measure("cells", 5):
        raise KeyboardInterrupt
    with sitting.measure("cells", 0):
        pass
    first, second = read_sittings(tmp_path)
    assert (first["what"], first["pieces"], first["workers"], first["ended"]) == ("teachers", 1, 1, "finished")
    assert (second["what"], second["pieces"], second["workers"], second["ended"]) == ("cells", 5, 2, "interrupted")
    assert second["seconds"] >= 0
    assert "T" in second["began"]
