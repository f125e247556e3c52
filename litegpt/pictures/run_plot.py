"""The curves of a training run, for notebooks."""

from pathlib import Path
from typing import Any

import numpy as np

from litegpt.pictures.run import read_run
from litegpt.text.extras import import_extra


def plot_run(directory: str | Path) -> Any:
    """A matplotlib Figure of the run in a directory: losses, learning rate, gradient and speed.

    Notebooks show what is returned, `savefig` writes it. ValueError where the directory holds no
    run; MissingExtraError without matplotlib.
    """
    pyplot = import_extra("matplotlib.pyplot", "plot", "plot_run")
    run = read_run(Path(directory))
    figure, axes = pyplot.subplot_mosaic(
        [["loss"] * 3, ["lr", "norm", "speed"]],
        figsize=(9, 6),
        height_ratios=(2, 1),
        layout="constrained",
    )
    pyplot.close(figure)  # its owner is who asked for it, not pyplot
    steps, validation = run.evaluations
    alone = "." if len(run.step) == 1 else ""  # a line of one point isn't seen
    axes["loss"].plot(run.step, run.loss, marker=alone, label="training")
    axes["loss"].plot(steps, validation, marker=".", label="validation")
    if len(validation):
        best = steps[np.argmin(validation)]
        axes["loss"].axvline(best, color="grey", linestyle=":", label=f"lowest, step {best:,.0f}")
    axes["loss"].legend()
    axes["loss"].set_title(f"loss of {run.name}, nats per token".replace("$", r"\$"))
    for name, title, values in (
        ("lr", "learning rate", run.lr),
        ("norm", "length of the gradient", run.grad_norm),
        ("speed", "tokens/s", run.tokens_per_s),
    ):
        axes[name].plot(run.step, values, marker=alone)
        axes[name].set_title(title)
        axes[name].set_xlabel("step")
    return figure
