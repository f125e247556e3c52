"""Pictures: pages and plots of what was trained and what a model does."""

from litegpt.pictures.attention import attention_page, plot_attention
from litegpt.pictures.braille import braille_curves
from litegpt.pictures.distribution import NextToken, bars
from litegpt.pictures.page import write_page
from litegpt.pictures.run_page import run_page
from litegpt.pictures.run_plot import plot_run
from litegpt.pictures.surprise import (
    most_surprising,
    print_tinted,
    score_page,
    surprises,
)
from litegpt.pictures.tokens import label, one_line

__all__ = [
    "NextToken",
    "attention_page",
    "bars",
    "braille_curves",
    "label",
    "most_surprising",
    "one_line",
    "plot_attention",
    "plot_run",
    "print_tinted",
    "run_page",
    "score_page",
    "surprises",
    "write_page",
]
