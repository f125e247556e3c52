"""The attention pictures show the model's weights, and nothing of the text runs."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import TextModel, plot_attention
from litegpt.pictures import attention_page, write_page

TEXT = "<b>né</b> $x$\n</script>"


def _data(document: str) -> Any:
    [held] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', document)
    return json.loads(held)


def test_the_page_holds_the_weights(text_model: TextModel) -> None:
    ids = text_model.ids(TEXT)
    data = _data(attention_page(text_model, TEXT))
    weights = text_model.model.attention_weights(ids)[:, 0]  # (L, H, T, T)
    held = np.frombuffer(base64.b64decode(data["weights"]), "<u2").reshape(3, 4, -1) / 65535
    below = np.tril_indices(len(ids))
    np.testing.assert_allclose(held, weights[:, :, below[0], below[1]], atol=0.51 / 65535)
    assert data["tokens"][:6] == ["<", "b", ">", "n", "\\xc3", "\\xa9"]
    assert data["breaks"].count(True) == 1 and data["tokens"][data["breaks"].index(True)] == "⏎"


@pytest.mark.parametrize(("text", "problem"), [
    ("", "must have a token or more"),
    ("x" * 65, "the text has 65 tokens; a picture of this model takes 64 at most"),
])  # fmt: skip
def test_texts_that_give_no_picture(text_model: TextModel, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        attention_page(text_model, text)


def test_a_model_without_a_tokenizer(text_model: TextModel) -> None:
    with pytest.raises(TypeError, match=r"a tokenizer, as litegpt\.TextModel has, not GPTModel"):
        plot_attention(text_model.model, "x")  # type: ignore[arg-type]


def test_the_figure_has_a_panel_for_each_head(text_model: TextModel, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = plot_attention(text_model, TEXT)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels[:5]] == [
        "layer 0, head 0", "layer 0, head 1", "layer 0, head 2", "layer 0, head 3",
        "layer 1, head 0",
    ]  # fmt: skip
    weights = text_model.model.attention_weights(text_model.ids(TEXT))[:, 0]
    assert np.array_equal(panels[6].images[0].get_array(), weights[1, 2])
    labels = [label.get_text() for label in panels[8].get_xticklabels()]
    assert labels[:2] == ["<", "b"] and r"\$" in labels
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("dark", [False, True])
def test_pointing_at_tokens(
    browser: Any, text_model: TextModel, page_path: Path, dark: bool
) -> None:
    write_page(page_path, attention_page(text_model, TEXT))
    browser.open(page_path, dark)
    assert browser.run("document.querySelectorAll('#text .token').length") == len(TEXT) + 1
    weights = text_model.model.attention_weights(text_model.ids(TEXT))[:, 0]

    browser.point("#token-7")
    browser.run("choose(1, 2)")
    key = int(weights[1, 2, 7, :8].argmax())
    label = _data(page_path.read_text("utf-8"))["tokens"][key]
    assert browser.text("#token-7") == "/"
    assert browser.text("#says").startswith("Layer 1, head 2: / takes ")
    assert f"from {label} ({key})" in browser.text("#says").split(",")[1]
    shown = [float(x) for x in re.findall(r"([\d.]+) %", browser.text("#says"))]
    wanted = np.sort(weights[1, 2, 7, :8])[::-1] * 100
    np.testing.assert_allclose(shown, wanted[: len(shown)], atol=0.51)
    later = browser.run("document.querySelectorAll('#text .later').length")
    assert later == len(TEXT) + 1 - 8

    assert browser.problems == []
    assert [address for address in browser.requests if not address.startswith("file:")] == []


def test_holding_and_walking(browser: Any, text_model: TextModel, page_path: Path) -> None:
    write_page(page_path, attention_page(text_model, TEXT))
    browser.open(page_path)
    browser.point("#token-3", click=True)
    browser.point("#token-9")
    assert browser.text("#text .looks") == "n"
    browser.run("document.getElementById('text').focus()")
    browser.press("ArrowLeft")
    assert browser.text("#text .looks") == ">"
    browser.press("Escape")
    browser.point("#token-3")
    assert browser.text("#text .looks") == "n"
    browser.point("#every .head:last-child", click=True)
    assert browser.run("[state.layer, state.head]") == [2, 3]
    browser.run("document.getElementById('head').value = '4'")
    browser.run("document.getElementById('head').dispatchEvent(new Event('change'))")
    assert "mean of all heads" in browser.text("#says")
    assert browser.problems == []


def test_what_the_policy_forbids(browser: Any, text_model: TextModel, page_path: Path) -> None:
    """Markup that came into the page after all neither runs nor reaches out."""
    document = attention_page(text_model, "x")
    write_page(page_path, document.replace(
        "<main>",
        "<main><script>window.ran = 1</script><img src='http://127.0.0.1:9/x' onerror='ran = 2'>",
    ))  # fmt: skip
    browser.open(page_path)
    assert browser.run("window.ran ?? 0") == 0
    assert browser.text("#says").startswith("Layer 2")
