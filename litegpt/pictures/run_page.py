"""The report of a training run: one HTML file."""

from pathlib import Path
from typing import Any

import numpy as np

from litegpt.pictures import chart
from litegpt.pictures.chart import Series, line_chart
from litegpt.pictures.page import Html, element, join, page, section, table
from litegpt.pictures.run import Run, read_run
from litegpt.pictures.verdict import Finding, verdict

_SHOWN_OPEN = 2  # newest samples; older ones are there to be opened

_STYLE = (
    chart.STYLE
    + """
.verdict { list-style: none; margin: 0; padding: 0.75rem 1rem; background: var(--raised);
  border-radius: 6px; }
.verdict li { padding-left: 1.4rem; text-indent: -1.4rem; margin: 0.25rem 0; }
.verdict li::before { content: "•"; display: inline-block; width: 1.4rem; text-indent: 0;
  color: var(--quiet); }
.verdict .good::before { content: "✓"; color: var(--good); }
.verdict .warn::before { content: "!"; color: var(--warn); font-weight: 700; }
.figures { display: flex; flex-wrap: wrap; gap: 0.5rem 2.5rem; margin: 0 0 1.25rem; }
.figures div { display: flex; flex-direction: column-reverse; }
.figures dt { color: var(--quiet); font-size: 0.875rem; }
.figures dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr));
  gap: 0 2.5rem; }
code { overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--quiet); margin-top: 0.5rem; }
"""
)


def run_page(directory: str | Path) -> tuple[str, list[str]]:
    """The page about the run in a directory, and the sentences of its verdict.

    It shows curves, samples, settings and what tells the data from others. ValueError where the
    directory holds no run, or its log isn't one.
    """
    run = read_run(Path(directory))
    findings = verdict(run)
    evaluated, validation = run.evaluations
    best = evaluated[np.argmin(validation)] if len(validation) else None
    document = page(
        f"Training run {run.name}",
        _figures(run),
        element("ul", *map(_finding, findings), class_="verdict"),
        section(
            "Loss, nats per token",
            line_chart(
                [
                    Series("training", run.step, run.loss),
                    Series("validation", evaluated, validation, dots=True),
                ],
                "step",
                "loss",
                mark=None if best is None else (float(best), f"lowest, step {best:,.0f}"),
            ),
        ),
        section("Learning rate", _curve(run, "learning rate", run.lr)),
        section("Length of the gradient, before clipping", _curve(run, "norm", run.grad_norm)),
        section("Speed, tokens/s", _curve(run, "tokens/s", run.tokens_per_s)),
        _samples(run) if run.samples else "",
        _settings(run),
        style=_STYLE,
    )
    return document, [finding.text for finding in findings]


def _curve(run: Run, name: str, values: np.ndarray) -> Html:
    return line_chart([Series(name, run.step, values)], "step", name)


def _finding(finding: Finding) -> Html:
    kind = {True: "good", False: "warn", None: None}[finding.good]
    return element("li", finding.text, class_=kind)


def _figures(run: Run) -> Html:
    """The few numbers that one looks for first."""
    steps, validation = run.evaluations
    speeds = run.tokens_per_s[np.isfinite(run.tokens_per_s)]
    shown: list[tuple[str, str]] = [("steps", f"{run.last_step:,}")]
    shown.append(("training loss", f"{run.loss[-1]:.4f}"))
    if len(validation):
        lowest = int(np.argmin(validation))
        shown.append(
            (f"lowest validation loss, step {steps[lowest]:,.0f}", f"{validation.min():.4f}")
        )
    if len(speeds):
        shown.append(("tokens/s, median", f"{np.median(speeds):,.0f}"))
    seconds = run.state.get("seconds")
    if isinstance(seconds, int | float) and 0 < seconds < 1e9:
        shown.append(("hours:minutes:seconds", _clock(seconds)))
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in shown)
    return element("dl", *pairs, class_="figures")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _samples(run: Run) -> Html:
    """What the model wrote, newest first."""
    newest = run.samples[::-1]
    texts = [
        element(
            "details",
            element("summary", f"step {step:,}"),
            element("pre", text),
            open=number < _SHOWN_OPEN,
        )
        for number, (step, text) in enumerate(newest)
    ]
    return section("What it wrote", *texts)


def _settings(run: Run) -> Html:
    parts = [
        element("div", element("h2", title), table([(name, _shown(v)) for name, v in held.items()]))
        for title, held in (("Settings", run.settings), ("Model", run.model))
        if held
    ]
    data = section("Data", element("p", "SHA-256 ", element("code", run.data))) if run.data else ""
    return join(element("div", *parts, class_="beside") if parts else "", data)


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
