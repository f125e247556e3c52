"""The page about a run: from its directory to what a browser shows."""

import json
from pathlib import Path

import numpy as np
import pytest
from runs import record, write_run

from litegpt import plot_run
from litegpt.pictures import run_page
from litegpt.pictures.run import read_run

HOSTILE = "</pre><script>alert(1)</script>\u202e\x00"
VALIDATION = [4.0, 3.0, 2.5, 2.3, 2.2, 2.25, 2.4, 2.6]


@pytest.fixture
def overfitted(tmp_path: Path) -> Path:
    lines = [record(10 * i, 4 - 0.03 * i, None if i % 10 else VALIDATION[i // 10 - 1])
             for i in range(1, 81)]  # fmt: skip
    directory = write_run(
        tmp_path / "m",
        lines,
        run={"step": 800, "best_step": 500, "seconds": 3723.4, "evaluations_since_best": 3},
        settings={"max_steps": 800, "learning_rate": 1e-3, "optimizer": "adamw", "patience": None},
        model={"vocab_size": 65, "num_layers": 4},
        data="d1ce" * 16,
    )
    samples = [{"step": 100, "text": "first"}, {"step": 800, "text": HOSTILE}]
    (directory / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    return directory


def test_a_run_is_read_as_it_was_written(overfitted: Path) -> None:
    run = read_run(overfitted)
    assert run.step.tolist() == list(range(10, 801, 10))
    np.testing.assert_allclose(run.loss, 4 - 0.003 * run.step)
    steps, losses = run.evaluations
    assert steps.tolist() == list(range(100, 801, 100)) and losses.tolist() == VALIDATION
    assert run.samples == ((100, "first"), (800, HOSTILE))
    assert run.settings["max_steps"] == 800 and run.data == "d1ce" * 16


def test_a_step_that_was_taken_twice_counts_once_and_half_a_line_not(tmp_path: Path) -> None:
    write_run(tmp_path, [record(10, 3.0), record(20, 2.0), record(10, 2.5), record(20, 1.5)])
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 30, "lo')
    run = read_run(tmp_path)
    assert run.step.tolist() == [10, 20] and run.loss.tolist() == [2.5, 1.5]


def test_the_newest_checkpoint_tells_the_settings(tmp_path: Path) -> None:
    write_run(tmp_path, [record(10, 3.0)])
    for step in (5, 250, 1_000_000):
        folder = tmp_path / "checkpoints" / f"step-{step:06}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"settings": {"max_steps": step}}))
    (tmp_path / "checkpoints" / ".step-2000000.partial").mkdir()
    assert read_run(tmp_path).settings == {"max_steps": 1_000_000}


@pytest.mark.parametrize(
    "text, named",
    [
        ("", "no record yet"),
        ("[1]\n", "line 1 isn't a JSON object"),
        ('{"step": 1}\nnonsense\n', "line 2 isn't a JSON object"),
        ('{"step": "<b>"}\n', "line 1: step must be an integer"),
        ('{"step": -1}\n', "line 1: step must be an integer"),
        ('{"step": 1, "loss": "2"}\n', "line 1: loss must be a number"),
        ('{"step": 1, "loss": ' + "9" * 400 + "}\n", "line 1: loss is beyond any float"),
        ("[" * 100_000 + "\n", "line 1 isn't a JSON object"),
        ("1" * (1 << 20) + "\n", "line 1 isn't a JSON object"),
    ],
)
def test_a_log_that_is_none(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(ValueError, match=named) as caught:
        run_page(tmp_path)
    assert "log.jsonl" in str(caught.value)


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run \(log.jsonl is missing\)"):
        run_page(tmp_path)


def test_the_page_says_and_shows_it_all(overfitted: Path) -> None:
    document, findings = run_page(overfitted)
    assert findings[0].endswith("kept step 500.")
    for shown in ("kept step 500", "1:02:03", "2.2000", "adamw", "d1ce" * 16, "lowest, step 500"):
        assert shown in document
    assert document.count("<svg") == 4
    assert "<script>alert" not in document and "\x00" not in document


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    document, findings = run_page(write_run(tmp_path / "m", [record(1, 4.0)]))
    assert "Too few evaluations" in findings[0]
    assert document.count("<svg") == 4


def test_the_plot_has_the_curves(overfitted: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = plot_run(overfitted)
    lines = {line.get_label(): line for axis in figure.axes for line in axis.lines}
    assert lines["training"].get_ydata().tolist() == read_run(overfitted).loss.tolist()
    assert lines["validation"].get_ydata().tolist() == VALIDATION
    assert "lowest, step 500" in lines
    assert [axis.get_title() for axis in figure.axes][1:] == [
        "learning rate", "length of the gradient", "tokens/s",
    ]  # fmt: skip
    figure.canvas.draw()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it_without_a_word(browser, overfitted: Path, dark: bool) -> None:
    page = overfitted / "report.html"
    page.write_text(run_page(overfitted)[0])
    for width in (1200, 400, 320):
        browser.open(page, dark=dark, width=width)
        assert browser.problems == []
        assert [address for address in browser.requests if address != page.as_uri()] == []
        room = browser.run("document.documentElement.clientWidth")  # beside a scroll bar
        assert browser.run("document.documentElement.scrollWidth") <= room
        assert browser.run("document.querySelectorAll('script').length") == 0
        assert "kept step 500" in browser.text(".verdict")
        sizes = browser.run(
            "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)"
        )
        assert len(sizes) == 4 and min(sizes) > 200  # what stands on it can be read
    shown = browser.text("details[open] pre")
    assert shown.startswith("</pre><script>alert(1)</script>")
