"""What each head of each layer looks at: as a figure, and as a page to walk about in."""

import base64
import math
from typing import Any, Protocol

import numpy as np

from litegpt.models import GPTModel
from litegpt.pictures.page import Html, beside, element, page
from litegpt.pictures.tokens import token_label
from litegpt.text import Tokenizer
from litegpt.text.extras import import_extra

_MOST_WEIGHTS = 10_000_000  # on a page, 16 bits each; a figure of as many is no longer readable
_READABLE = 40  # tokens whose labels fit along an axis
_PANEL = 2.1  # inches


class Reader(Protocol):
    """A model with its tokenizer, such as litegpt.TextModel."""

    model: GPTModel
    tokenizer: Tokenizer

    def ids(self, prompt: Any) -> np.ndarray: ...


def attention_of(model: Reader, text: Any) -> tuple[np.ndarray, list[str], np.ndarray]:
    """ids (T,), their labels, and weights (L, H, T, T).

    text may be ids (T,). ValueError for a text without tokens, or too long for the model, or for
    a picture: 10 million weights are the most.
    """
    if not hasattr(model, "tokenizer"):
        name = type(model).__name__
        raise TypeError(f"model must have a tokenizer, as litegpt.TextModel has, not {name}")
    ids = model.ids(text)
    if not len(ids):
        raise ValueError("the text must have a token or more")
    config = model.model.config
    heads = config.num_layers * config.num_heads
    longest = min(math.isqrt(_MOST_WEIGHTS // heads), config.max_seq_len)
    if len(ids) > longest:
        raise ValueError(
            f"the text has {len(ids)} tokens; a picture of this model takes {longest} at most"
        )
    weights = model.model.attention_weights(ids)[:, 0]  # (L, 1, H, T, T) -> (L, H, T, T)
    return ids, [token_label(model.tokenizer, int(i)) for i in ids], weights


def plot_attention(model: Reader, text: Any) -> Any:
    """A matplotlib Figure: a row for each layer, a column for each head, tokens on the axes.

    A panel's rows are the tokens that look, its columns those that are looked at; darker is more.
    Notebooks show what is returned, `savefig` writes it. model is a TextModel; text may be ids
    (T,). ValueError as in attention_page; MissingExtraError without matplotlib.
    """
    pyplot = import_extra("matplotlib.pyplot", "plot", "plot_attention")
    _, labels, weights = attention_of(model, text)
    layers, heads, length, _ = weights.shape
    named = length <= _READABLE
    panel = max(_PANEL, 0.16 * length if named else 0.0)
    figure, axes = pyplot.subplots(
        layers,
        heads,
        squeeze=False,
        sharex=True,
        sharey=True,
        figsize=(panel * heads + 1.2, panel * layers + 1.2),
        layout="constrained",
    )
    pyplot.close(figure)  # its owner is who asked for it, not pyplot
    for layer, head in np.ndindex(layers, heads):
        axis = axes[layer, head]
        image = axis.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
        axis.tick_params(length=0)
        axis.set_title(f"layer {layer}, head {head}", fontsize=8)
        if named:
            axis.set_xticks(range(length), _plain(labels), fontsize=6, rotation=90)
            axis.set_yticks(range(length), _plain(labels), fontsize=6)
    figure.supxlabel("is looked at", fontsize=9)
    figure.supylabel("looks", fontsize=9)
    figure.colorbar(image, ax=axes, shrink=0.6, label="weight")
    return figure


def attention_page(model: Reader, text: Any) -> str:
    """A page of its own: point at a token, see what each head of each layer takes from before it.

    model is a TextModel; text may be ids (T,). ValueError for a text without tokens, too long for
    the model, or of more than 10 million weights.
    """
    ids, labels, weights = attention_of(model, text)
    layers, heads, length, _ = weights.shape
    below = np.tril_indices(length)
    packed = np.rint(weights[:, :, below[0], below[1]] * 65535).astype("<u2")  # (L, H, T (T+1) / 2)
    data = {
        "tokens": labels,
        "breaks": [b"\n" in model.tokenizer.token_bytes(int(i)) for i in ids],
        "layers": layers,
        "heads": heads,
        "weights": base64.b64encode(packed.tobytes()).decode(),
    }
    facts = f"{layers} layers, {heads} heads each, {length} tokens. "
    return page(
        "Attention",
        element("p", facts, Html(_HELP), class_="quiet"),
        Html(_BODY),
        style=beside("attention.css"),
        script=beside("attention.js"),
        data=data,
    )


def _plain(labels: list[str]) -> list[str]:
    """Labels in which matplotlib sees no mathematics."""
    return [label.replace("$", r"\$") for label in labels]


_HELP = """\
Point at a token to see what it takes from itself and from those before it; click to hold it, arrow
keys walk. A stronger colour is a larger weight (its square root)."""

_BODY = """\
<section class="panel">
<p><label>Layer <select id="layer"></select></label>
<label>Head <select id="head"></select></label>
<span id="held" class="quiet"></span></p>
<div id="text" class="mono" role="listbox" aria-label="tokens" tabindex="0"></div>
<p id="says" aria-live="polite"></p>
</section>
<div id="halves">
<section><h2>This head, every token</h2>
<p class="quiet">A row looks, a column is looked at.</p>
<div class="panel scroll"><canvas id="map" aria-label="weights of the chosen head"></canvas></div>
</section>
<section><h2>This token, every head</h2>
<p class="quiet">One strip for each head: the text from left to right, and what it takes most.</p>
<div class="panel scroll"><div id="every"></div></div>
</section>
</div>
<noscript>This page draws with its own script, and scripts are turned off.</noscript>"""
