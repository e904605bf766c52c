import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from qkd_qiskit.classical import teacher_cache, teacher_training, teachers
from qkd_qiskit.classical.datasets import load_dataset
from qkd_qiskit.classical.images import Dataset
from qkd_qiskit.classical.teacher_networks import LeNet
from qkd_qiskit.classical.teachers import Teacher, build_teacher
from qkd_qiskit.exceptions import ConfigurationError


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The architecture of each training that really happens."""
    happened: list[str] = []
    original = teachers.train_teacher

    def count(architecture: str, *arguments: Any, **options: Any) -> Any:
        happened.append(architecture)
        return original(architecture, *arguments, **options)

    monkeypatch.setattr(teachers, "train_teacher", count)
    return happened


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of each forward pass of a LeNet."""
    sizes: list[int] = []
    original = LeNet.forward

    def count(self: LeNet, pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(LeNet, "forward", count)
    return sizes


def build(dataset: Dataset, **options: Any) -> Teacher:
    return build_teacher("lenet", dataset, **{"epochs": 1, "batch_size": 8, **options})


def entry(cache: Path, suffix: str) -> Path:
    (path,) = (cache / "teachers").glob(f"lenet-*{suffix}")
    return path


def test_second_teacher_and_its_logits_cost_no_forward_pass(
    tiny: Dataset, trainings: list[str], forwards: list[int]
) -> None:
    first = build(tiny)
    logits, counts = first.logits(tiny.train), first.accuracy(tiny.test)
    assert logits.shape == (24, 2)
    assert logits.dtype == torch.float32
    assert counts[1] == 8
    assert forwards
    forwards.clear()

    second = build(tiny)
    assert torch.equal(second.logits(tiny.train), logits)
    assert second.accuracy(tiny.test) == counts
    assert second.digest == first.digest
    assert (forwards, trainings) == ([], ["lenet"])
    second.logits(tiny.validation)
    assert forwards == [8]


@pytest.mark.parametrize("change", [{"epochs": 2}, {"batch_size": 4}, {"learning_rate": 0.1}, {"seed": 1}])
def test_settings_are_part_of_the_identity(tiny: Dataset, trainings: list[str], change: dict[str, Any]) -> None:
    assert build(tiny).digest != build(tiny, **change).digest
    assert len(trainings) == 2


def test_caps_of_the_student_are_not(trainings: list[str]) -> None:
    for cap in (5, 10):
        build(load_dataset(classes="0,1", train_per_class=cap, validation_per_class=cap, test_per_class=cap))
    assert len(trainings) == 1


def test_images_are(tiny: Dataset, trainings: list[str]) -> None:
    build(tiny)
    fewer = tiny.train.take(range(23))
    build(Dataset("tiny", (0, 1), tiny.train, fewer, tiny.validation, tiny.test))
    assert len(trainings) == 2


def test_record_shows_the_identity(tiny: Dataset, cache: Path) -> None:
    build(tiny, seed=5)
    record = json.loads(entry(cache, ".json").read_text())
    assert record["identity"]["training"]["seed"] == 5
    assert record["identity"]["train"] == tiny.train.digest
    assert entry(cache, ".json").stem == f"lenet-{teacher_cache.hash_identity(record['identity'])[:24]}"
    assert record["validation_total"] == 8


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "record", "other record"])
def test_damaged_entry_is_trained_again(tiny: Dataset, cache: Path, trainings: list[str], damage: str) -> None:
    digest = build(tiny).digest
    weights, record = entry(cache, ".safetensors"), entry(cache, ".json")
    if damage == "flip":
        content = bytearray(weights.read_bytes())
        content[-7] ^= 1
        weights.write_bytes(content)
    elif damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "remove":
        weights.unlink()
    elif damage == "record":
        record.write_text(record.read_text()[:50])
    else:
        record.write_text(record.read_text().replace('"epochs": 1', '"epochs": 2'))
    with pytest.warns(UserWarning, match="is damaged .* trained again"):
        assert build(tiny).digest == digest
    assert build(tiny).digest == digest
    assert len(trainings) == 2


def test_damaged_logits_are_computed_again(tiny: Dataset, cache: Path) -> None:
    logits = build(tiny).logits(tiny.train)
    (path,) = (cache / "teachers" / "logits").iterdir()
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-1] ^= 1
    for damaged in (bytes(flipped), good[:40], b""):
        path.write_bytes(damaged)
        with pytest.warns(UserWarning, match="logits .* are damaged"):
            assert torch.equal(build(tiny).logits(tiny.train), logits)
        assert torch.equal(build(tiny).logits(tiny.train), logits)  # whole again: no warning


def test_cache_that_can_not_be_written_is_a_warning(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # a file where the folder should be: no right to write, also for root
    with pytest.warns(UserWarning, match="can't be written .* QKD_CACHE_DIR"):
        teacher = build(tiny, cache_dir=tmp_path / "file")
    with pytest.warns(UserWarning, match="can't be written"):
        assert teacher.logits(tiny.train).shape == (24, 2)


def test_full_disk_is_a_warning(tiny: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("qkd_qiskit.classical.teacher_files.write_whole", fail)
    with pytest.warns(UserWarning, match="no space left"):
        assert build(tiny).num_parameters > 0
    assert not list((cache / "teachers").glob("*.json"))


def test_two_at_once_train_once(tiny: Dataset, trainings: list[str]) -> None:
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(build(tiny, epochs=8).digest)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests[0] == digests[1]
    assert len(trainings) == 1


def test_file_of_the_cache_is_a_teacher(tiny: Dataset, cache: Path, forwards: list[int]) -> None:
    trained = build(tiny)
    logits = trained.logits(tiny.train)
    forwards.clear()
    read = build_teacher(entry(cache, ".safetensors"), tiny)
    assert read.digest == trained.digest
    assert torch.equal(read.logits(tiny.train), logits)
    assert forwards == []


def test_progress_reaches_the_caller(tiny: Dataset) -> None:
    events: list[dict[str, Any]] = []
    build(tiny, progress=events.append, epochs=2)
    assert [event["epochs"] for event in events] == [2, 2]


def test_small_data_get_more_epochs(tiny: Dataset) -> None:
    settings = teachers._complete_settings("lenet", tiny, None, 8, None, 0)
    assert settings.epochs * 3 >= teachers.DEFAULTS["lenet"].steps
    assert settings.learning_rate == teachers.DEFAULTS["lenet"].learning_rate


@pytest.mark.parametrize(
    ("name", "options", "telling"),
    [
        ("lennet", {}, "did you mean 'lenet'.*FILE"),
        ("resnet", {}, "lenet, alexnet, ensemble"),
        ("lenet", {"epochs": 0}, "epochs is 0"),
        ("lenet", {"batch_size": 0}, "batch_size is 0"),
        ("lenet", {"seed": -1}, "seed is -1"),
        ("lenet", {"learning_rate": 0.0}, "learning_rate is 0.0"),
        ("lenet", {"learning_rate": float("nan")}, "learning_rate is nan"),
        ("lenet", {"device": "gpu"}, "device 'gpu'.*Type cpu"),
        ("lenet", {"device": "cuda:99"}, "device 'cuda:99'.*Type cpu"),
    ],
)
def test_wrong_settings_are_refused(tiny: Dataset, name: str, options: dict[str, Any], telling: str) -> None:
    with pytest.raises(ConfigurationError, match=telling):
        build_teacher(name, tiny, **options)


def test_digits_are_learnt(digits: Dataset) -> None:
    correct, total = build_teacher("lenet", digits, epochs=12).accuracy(digits.test)
    assert correct >= 0.95 * total


@pytest.mark.mnist
def test_mnist_is_learnt(real_data: Path) -> None:
    """A short training; the full one, with 99 %, is a benchmark."""
    dataset = load_dataset("mnist", classes="0,1", data_dir=real_data, test_per_class=200)
    correct, total = build_teacher("lenet", dataset, epochs=1).accuracy(dataset.test)
    assert correct >= 0.97 * total


def test_an_early_stopped_teacher_has_the_weights_of_that_epoch(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same schedule, stopped: not the best epoch, and not a shorter training."""
    epochs: list[dict[str, torch.Tensor]] = []
    original = teacher_training.compute_logits

    def keep(network: torch.nn.Module, *arguments: Any) -> torch.Tensor:
        epochs.append({name: weight.clone() for name, weight in network.state_dict().items()})
        return original(network, *arguments)

    monkeypatch.setattr(teacher_training, "compute_logits", keep)
    build(tiny, epochs=5)
    whole, stopped = epochs.copy(), build(tiny, epochs=5, stop_epoch=2)
    assert len(epochs) == 7
    for name, weight in stopped.network.state_dict().items():
        assert torch.equal(weight, whole[1][name])
    short = build(tiny, epochs=2)
    assert short.digest != stopped.digest


def test_a_teacher_can_not_stop_after_its_end(tiny: Dataset) -> None:
    with pytest.raises(ConfigurationError, match="stop_epoch is 3, but it is trained for 1 to 2 epochs"):
        build(tiny, epochs=2, stop_epoch=3)


def test_a_teacher_without_a_stop_keeps_its_name_in_the_cache(tiny: Dataset) -> None:
    training = teachers._complete_settings("lenet", tiny, 2, 8, None, 0)
    assert "stop_epoch" not in teachers.identify_teacher("lenet", tiny, training, "cpu")["training"]


def test_a_teacher_may_have_fewer_images_than_there_are(trainings: list[str]) -> None:
    few = load_dataset(classes="0,1", teacher_per_class=20)
    assert torch.bincount(few.teacher_train.labels).tolist() == [20, 20]
    assert len(few.train) > 200
    whole = load_dataset(classes="0,1")
    assert few.train.digest == whole.train.digest == whole.teacher_train.digest
    assert load_dataset(classes="0,1", train_per_class=20).train.digest == few.teacher_train.digest
    assert build(few).digest != build(whole).digest
    assert len(trainings) == 2


def test_self_needs_a_student(tiny: Dataset) -> None:
    with pytest.raises(ConfigurationError, match=r"is a student.*--teacher self"):
        build_teacher("self", tiny)
