from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from qkd_qiskit.report import format_json, write_report
from qkd_qiskit.report.figures.canvas import COLOURS, render

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Collects tags, and checks that each is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read_page(run) -> tuple[str, Reader]:
    text = write_report(run.run).read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return text, reader


@pytest.fixture(scope="module")
def page(evaluated) -> tuple[str, Reader]:
    """The page of a whole run."""
    return read_page(evaluated)


def test_the_page_needs_nothing_but_itself(page):
    text, reader = page
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "img"}
    assert sum(tag == "style" for tag, _ in reader.tags) == 1
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("href") or "#").startswith("#")
        assert (attributes.get("src") or "").startswith("data:") or "src" not in attributes


def test_every_drawing_says_in_words_what_it_shows(page):
    text, reader = page
    drawings = [attributes for tag, attributes in reader.tags if tag == "svg"]
    assert len(drawings) == 1 + (3 + 3) + (2 + 3) + 2 + 1  # accuracies, each evaluation, training, circuit
    for attributes in drawings:
        assert attributes["role"] == "img"
        title = re.search(rf'<title id="{attributes["aria-labelledby"]}">([^<]+)</title>', text)
        assert title
        assert len(title[1]) > 30


def test_every_figure_says_samples_shots_backend_seed_and_date(page):
    text, _ = page
    lines = [re.sub("<[^>]+>", "", line) for line in re.findall(r'class="from">(.*?)</span></figcaption>', text, re.S)]
    assert len(lines) == 7
    for line in lines:
        assert re.search(r"backend .*1 seed \(0\).*calibration of 2025-02-26", line, re.S)
    assert "n = 120 test images" in lines[1]
    assert "1,000 shots" in lines[1]


def test_names_in_the_page_are_unique_and_colours_follow_the_theme(page):
    text, reader = page
    names = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert set(re.findall(r"(?:href=\"|url\()#([\w-]+)", text)) <= set(names)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert not re.search("#0a00[0-9a-f]{2}", text)
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text))
    assert not drawn, "a fixed colour can't follow the theme"
    assert all(f"--{name}:" in text for name, _, _ in COLOURS.values())


def test_each_evaluation_is_told_apart_by_its_images_and_shots(page):
    text, _ = page
    for words in ("On fake_x: 120 images, 1,000 shots a sample", "On fake_y: 120 images, exact, no shots"):
        assert words in text


def test_text_in_drawings_stays_text(page):
    _, reader = page
    words = " ".join(reader.words)
    assert "Measured against ideal" in words
    assert "Residuals against shot noise" in words


def test_large_runs_stay_small(trained):
    """Twelve evaluations with figures of 2,000 samples each, and one more without."""
    for place in range(13):
        trained.add_evaluation(f"fake_{place:02}", samples=2000)
    path = write_report(trained.run)
    assert path.stat().st_size < 3_000_000
    report = json.loads((trained.run.path / "report.json").read_text())
    assert len(report["evaluations"]) == 12
    assert report["evaluations_without_figures"] == ["fake_12-0123456789ab"]
    assert "fake_12-0123456789ab" in path.read_text()


def test_a_run_that_has_just_begun(begun):
    text, _ = read_page(begun)
    for words in ("has not ended: 0 of 5 epochs", "No epoch has ended", "no finished evaluation", "not been compiled"):
        assert words in text
    assert json.loads((begun.run.path / "report.json").read_text())["finished"] is False


def test_an_unfinished_run_shows_its_curves_and_evaluations(begun):
    begun.add_epochs(1)
    begun.add_evaluation()
    begun.write("evaluations/ibm_x-00/isa.json", {})
    begun.write("evaluations/ibm_y-00/identity.json", {"backend": {"kind": "ibm"}})  # a mere price
    text, _ = read_page(begun)
    assert "has not ended: 1 of 5 epochs" in text
    assert "Loss and its parts" in text
    assert "On fake_x" in text
    assert "ibm_x-00 has not ended" in text
    assert "ibm_y-00" not in text


def test_a_run_without_a_teacher(begun):
    begun.add_settings(teacher={"name": "none"})
    begun.add_epochs(distillation=0.0)
    begun.add_result(teacher=False)
    text, _ = read_page(begun)
    assert "trained without a teacher" in text
    assert "Teacher (" not in text
    assert "KL to the teacher" not in text


def test_an_evaluation_of_an_earlier_checkpoint_is_marked(trained):
    trained.add_evaluation()
    trained.run.best.write_bytes(b"newer")
    name = "evaluations/fake_x-0123456789ab/identity.json"
    trained.write(name, {**trained.read(name), "checkpoint": "0" * 64})
    assert "of an earlier checkpoint" in read_page(trained)[0]


def test_names_are_shown_and_not_obeyed(trained):
    trained.add_evaluation()
    name = "evaluations/fake_x-0123456789ab/result.json"
    trained.write(name, {**trained.read(name), "backend": "<script>$x_1^2$</script>|b"})
    text, reader = read_page(trained)
    assert "<script" not in text
    assert "<script>$x_1^2$</script>|b" in "".join(reader.words)
    markdown = (trained.run.path / "report.md").read_text()
    assert "<script" not in markdown
    assert "\\|b" in markdown


def test_markdown_has_the_numbers_and_says_there_is_one_seed(trained):
    trained.add_evaluation()
    write_report(trained.run)
    text = (trained.run.path / "report.md").read_text()
    assert "| Teacher (lenet) | 97.0% |" in text
    assert "One seed (0)" in text
    assert text.count("\n") < 40


def test_the_same_run_gives_the_same_bytes_and_no_leftovers(trained):
    trained.add_evaluation()
    before = {path.name for path in trained.run.path.iterdir()}
    first = write_report(trained.run).read_bytes()
    assert write_report(trained.run).read_bytes() == first
    assert {path.name for path in trained.run.path.iterdir()} - before == {"report.html", "report.json", "report.md"}


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib

    before = dict(matplotlib.rcParams)
    render("x", "nothing at all", (1, 1), lambda figure: None)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_package_is_named(missing):
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
try:
    import qkd_qiskit.report
except ImportError as error:
    assert error.name == {missing!r}, error.name
else:
    sys.exit("imported")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_number_lists_stand_on_one_line():
    content = {"a": [1, -2.5e-3, None, 3], "b": [[1, 2], [3, 4]], "c": ["x, y", "z"], "d": []}
    text = format_json(content)
    assert json.loads(text) == content
    assert "[1, -0.0025, null, 3]" in text
