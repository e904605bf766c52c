"""Snapshots: the same device from the file as from where it was taken; refused if touched, told apart by content."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from qiskit.transpiler import Target

import qkd_qiskit as qkd
from qkd_qiskit.config import BackendSettings, Settings
from qkd_qiskit.exceptions import ConfigurationError, DataError, RunError
from qkd_qiskit.execution.devices import open_simulator
from qkd_qiskit.execution.fakes import check_fake, open_fake
from qkd_qiskit.execution.profiles import resolve_backend
from qkd_qiskit.execution.snapshot_files import Snapshot, open_snapshot, read_snapshot, write_snapshot
from qkd_qiskit.execution.snapshots import take_snapshot
from qkd_qiskit.pipeline.jobs import read_settings
from qkd_qiskit.pipeline.memory import keep_between_runs
from qkd_qiskit.pipeline.preparing import compile_blueprint
from qkd_qiskit.quantum.student import StudentBlueprint


def take(name: str, folder: Path) -> Path:
    return Path(take_snapshot(name, folder)["snapshot"])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of manila's snapshot, as it was taken."""
    return take("fake_manila", tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def manila(shelf: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copy(shelf, tmp_path))


def all_numbers(target: Target) -> dict[str, Any]:
    instructions = {
        (name, qubits): (properties.error, properties.duration) if properties else None
        for name in target.operation_names
        for qubits, properties in (target[name] or {}).items()
    }
    qubits = [(item.t1, item.t2, item.frequency) for item in target.qubit_properties]
    return {"instructions": instructions, "qubits": qubits, "dt": target.dt, "names": set(target.operation_names)}


@pytest.mark.parametrize("name", ["fake_brisbane", "fake_torino", "fake_fez", "fake_manila"])
def test_the_device_from_the_file_is_the_device(name: str, tmp_path: Path) -> None:
    device, opened = open_fake(name), open_fake(str(take(name, tmp_path)))
    wanted, found = all_numbers(device.target), all_numbers(opened.target)
    assert wanted == found
    assert len(wanted["instructions"]) > 20
    assert opened.name == name
    assert opened.num_qubits == device.num_qubits
    assert opened.properties().last_update_date == device.properties().last_update_date
    assert opened.properties().readout_error(1) == device.properties().readout_error(1)


def test_the_place_has_the_devices_name_noise_and_chart(manila: Path) -> None:
    settings = resolve_backend("aer_noisy", {"noise": str(manila)})
    place, fake = open_simulator(settings, 2), open_simulator(resolve_backend("fake_manila"), 2)
    assert place.device == "fake_manila"
    assert place.chart()["couplings"] == fake.chart()["couplings"]
    assert place.calibration((1, 2))["sha256"] == fake.calibration((1, 2))["sha256"]
    assert place.noise((1, 2)) == fake.noise((1, 2))
    half = open_simulator(resolve_backend("aer_noisy", {"noise": str(manila), "noise_scale": 0.5}), 2)
    assert half.noise((1, 2)) != place.noise((1, 2))


def test_a_file_is_named_by_its_content(manila: Path) -> None:
    content = json.loads(manila.read_text())
    assert manila.name == f"fake_manila-20240527-{content['sha256'][:8]}.json"
    assert content.keys() == {"format", "device", "calibrated", "taken", "sha256", "configuration", "properties"}
    assert (content["format"], content["calibrated"]) == (1, "2024-05-27T18:27:23+00:00")
    assert content["properties"]["qubits"][0][0]["date"].endswith("+00:00"), "alike in every time zone"


def test_the_same_again_is_there_already(manila: Path) -> None:
    before = manila.read_bytes()
    again = take_snapshot("fake_manila", manila.parent)
    assert (again["snapshot"], again["new"], again["device"]) == (str(manila), False, "fake_manila")
    assert manila.read_bytes() == before
    assert sorted(manila.parent.iterdir()) == [manila]


def double(content: dict[str, Any]) -> None:
    content["properties"]["gates"][0]["parameters"][0]["value"] *= 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (double, "edited or damaged"),
        (lambda content: content.update(device="ibm_manila"), "edited or damaged"),
        (lambda content: content.update(sha256="0" * 64), "edited or damaged"),
        (lambda content: content.update(sha256=None), "edited or damaged"),
        (lambda content: content.update(calibrated="2020-01-01"), "edited or damaged"),
        (lambda content: content.pop("properties"), "a part of it is missing"),
        (lambda content: content.update(properties=None), "edited or damaged"),
        (lambda content: content.update(format=2), "has format 2, a snapshot that this version reads has 1"),
    ],
)
def test_what_was_touched_is_refused(manila: Path, spoil: Any, words: str) -> None:
    content = json.loads(manila.read_text())
    spoil(content)
    manila.write_text(json.dumps(content))
    for use in (open_snapshot, lambda path: check_fake(resolve_backend("aer_noisy", {"noise": str(path)}))):
        with pytest.raises(DataError, match=words) as refused:
            use(manila)
        assert str(manila) in str(refused.value)
        assert "qkd-qiskit snapshot" in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "half", "\x00"])
def test_what_is_no_snapshot_is_refused(manila: Path, text: str) -> None:
    manila.write_text(manila.read_text()[:5000] if text == "half" else text)
    with pytest.raises(DataError, match=r"damaged or no snapshot|has format None"):
        open_snapshot(manila)
    with pytest.raises(DataError, match="delete it"):
        take_snapshot("fake_manila", manila.parent)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere.json", "x" * 300 + ".json"):
        with pytest.raises(DataError, match="no snapshot"):
            open_fake(str(tmp_path / name))


def test_a_renamed_file_is_refused_with_its_name(manila: Path) -> None:
    renamed = manila.rename(manila.with_name("mine.json"))
    with pytest.raises(DataError, match=rf"was renamed.*call it {manila.name} again"):
        open_snapshot(renamed)
    kept = renamed.rename(manila.with_name(f"before-{manila.name}"))
    assert open_snapshot(kept).name == "fake_manila", "only the ending tells it apart"


def test_a_snapshot_that_the_runtime_package_cannot_read_is_refused(tmp_path: Path) -> None:
    snapshot = Snapshot.of("ibm_x", {}, {"last_update_date": "2026-01-01T00:00:00+00:00"})
    write_snapshot(tmp_path / snapshot.file_name, snapshot)
    assert read_snapshot(tmp_path / snapshot.file_name) == snapshot
    with pytest.raises(DataError, match="can't make a device"):
        open_snapshot(tmp_path / snapshot.file_name)


def test_no_secret_gets_into_a_file() -> None:
    plain = {"url": "crn:v1:bluemix:public:quantum-computing:us-east:a/0123::", "note": "Bearer 0123456789abcdef"}
    text = repr(Snapshot.of("ibm_x", plain, {}).configuration)
    assert "0123" not in text
    assert "[hidden]" in text


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"can't make the folder.*--out"):
        take_snapshot("fake_manila", tmp_path / "file" / "folder")


def test_what_has_no_calibration_is_refused(manila: Path, tmp_path: Path) -> None:
    for name, words in (
        ("aer", "no device behind it"),
        (str(manila), "snapshot already"),
        ("brisbane", "ibm_brisbane"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            take_snapshot(name, tmp_path)
    assert take("aer_noisy", tmp_path).name.startswith("fake_brisbane-"), "the device whose noise it has"


def test_hardware_is_no_snapshot(manila: Path) -> None:
    with pytest.raises(ConfigurationError, match="is simulated"):
        resolve_backend("ibm_brisbane", {"device": str(manila)})


def identities(path: str) -> list[Any]:
    noisy = {"name": "aer_noisy", "noise": path}
    whole: Settings = read_settings({"backend": noisy})
    fake = BackendSettings(name="mine", kind="fake", device=path)
    return [whole.identity, whole.backend.essence, fake.essence, resolve_backend(path).essence]


def test_where_a_file_lies_is_not_in_the_identity(manila: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / manila.name
    elsewhere.parent.mkdir()
    shutil.copy(manila, elsewhere)
    assert identities(str(manila)) == identities(str(elsewhere)) == identities(manila.name)
    assert identities(str(manila))[1]["noise"] == manila.name
    other = tmp_path / manila.name.replace("-2024", "-2025")
    assert all(one != another for one, another in zip(identities(str(manila)), identities(str(other))))


def test_the_path_is_a_backend_too(manila: Path) -> None:
    settings = resolve_backend(str(manila), {"noise_scale": 2.0})
    assert (settings.kind, settings.device, settings.name) == ("fake", str(manila), manila.stem)
    assert (settings.shots, settings.noise_scale) == (4096, 2.0)


def recalibrated(path: Path, qubits: set[int], folder: Path) -> Path:
    """Write a snapshot of a device that is calibrated anew, and whose gates are bad on some qubits."""
    known = read_snapshot(path)
    properties = deepcopy(known.properties)
    for gate in properties["gates"]:
        for item in gate["parameters"]:
            if item["name"] == "gate_error" and qubits & set(gate["qubits"]):
                item["value"] = 0.3
    snapshot = Snapshot.of("ibm_manila", known.configuration, properties)
    write_snapshot(folder / snapshot.file_name, snapshot)
    return folder / snapshot.file_name


def test_two_calibrations_of_a_device_have_a_circuit_each(manila: Path, tmp_path: Path) -> None:
    blueprint = StudentBlueprint(num_qubits=2, image_shape=(1, 8, 8), num_classes=2)
    with keep_between_runs():
        for bad in ({0, 1, 2}, {2, 3, 4}):
            path = recalibrated(manila, bad, tmp_path / "later")
            place = open_simulator(resolve_backend("aer_noisy", {"noise": str(path)}), 2)
            assert place.device == "ibm_manila"
            assert not bad & set(compile_blueprint(blueprint, place)[1].measured_qubits)


def test_a_student_learns_under_a_snapshot_as_under_its_device(manila: Path, tmp_path: Path) -> None:
    dataset = qkd.load_dataset("digits", classes="0-1", train_per_class=20, test_per_class=10)
    live = recalibrated(manila, set(), tmp_path / "live")
    noisy = resolve_backend("aer_noisy", {"noise": str(live)})
    student = qkd.build_student(dataset, backend=noisy, qubits=2, layers=1)
    assert student.compiled.device == "ibm_manila"
    history = qkd.train(student, dataset, None, loss="ce", epochs=3)
    assert history is not None
    samples = qkd.select_samples(dataset.test, 10)
    for backend in ("fake_manila", str(live)):
        evaluation = qkd.evaluate(student, samples, backend=backend, shots=256)
        assert evaluation.compiled.measured_qubits == student.compiled.measured_qubits, "the circuit is adopted"
        assert evaluation.summary()["accuracy"] > 0.5
