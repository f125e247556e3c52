"""The live panel of `litegpt train`: curves, figures, and what the model writes."""

import resource
import sys
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel as Box
from rich.text import Text

from litegpt.cli.progress import TimeLeft, describe
from litegpt.pictures import braille_curves, one_line
from litegpt.training import Callback, Record, Samples, Trainer

_HEIGHT = 8  # lines of the plot
_KEPT = 400  # points of a curve; of more, every other one is forgotten
_STYLES = {0: "cyan", 1: "yellow", -1: ""}  # training, validation, nothing


class Panel(Callback):
    """A box at the foot of the terminal; lines that stay scroll away above it."""

    def __init__(self, samples: Samples | None = None) -> None:
        self._samples = samples
        self._curves: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
        self._record: Record | None = None
        self._console = Console()

    def on_start(self, trainer: Trainer) -> None:
        self._trainer, self._left = trainer, TimeLeft(trainer)
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=4)
        self._live.start(refresh=True)

    def on_record(self, trainer: Trainer, record: Record) -> None:
        self._record = record
        losses, validations = self._curves
        losses.append((record.step, record.loss))
        if record.val_loss is not None:
            validations.append((record.step, record.val_loss))
            self.say(describe(record))
        for curve in self._curves:
            if len(curve) > _KEPT:
                del curve[1:-1:2]

    def on_notice(self, trainer: Trainer, text: str) -> None:
        self.say(text)

    def on_rewind(self, trainer: Trainer) -> None:
        for curve in self._curves:
            curve[:] = [point for point in curve if point[0] <= trainer.step]

    def on_end(self, trainer: Trainer) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> Any:
        trainer, record = self._trainer, self._record
        width = max(20, min(self._console.width, 100) - 4)  # without the box
        last = trainer.last_step
        done = round(width * min(1.0, trainer.step / last)) if last else 0
        lines: list[Any] = [Text("━" * done, "green").append("━" * (width - done), "dim")]
        if record is not None:
            lines += [self._figures(record), *self._plot(width)]
            if self._samples and self._samples.newest:
                step, text = self._samples.newest
                lines.append(Text(f"step {step:,} writes: {one_line(text)}"[: 2 * width], "dim"))
        title = f"step {trainer.step:,} of {last:,}" if last else f"step {trainer.step:,}"
        return Box(Group(*lines), title=title, title_align="left", width=width + 4)

    def _figures(self, record: Record) -> Text:
        """In a line, the losses in their curves' colours."""
        trainer = self._trainer
        line = Text(f"loss {record.loss:.4f}  ", _STYLES[0])
        if trainer.state.best_loss is not None:
            line.append(f"best val {trainer.state.best_loss:.4f}  ", _STYLES[1])
        memory = f"{resident_bytes() / 2**20:,.0f} MiB"
        rest = f"{record.tokens_per_s:,.0f} tokens/s  lr {record.lr:.2g}  {memory}{self._left}"
        return line.append(rest, "default")

    def _plot(self, width: int) -> list[Text]:
        losses, validations = self._curves
        end = self._trainer.last_step or self._trainer.step
        rows, low, high = braille_curves([losses, validations], width - 7, _HEIGHT, end)
        made = []
        for number, row in enumerate(rows):
            value = {0: f"{high:.2f}", len(rows) - 1: f"{low:.2f}"}.get(number, "")
            line = Text(f"{value:>6} ", "dim")
            for character, curve in row:
                line.append(character, _STYLES[curve])
            made.append(line)
        return made


def resident_bytes() -> int:
    """Memory that this process has now; where the system doesn't say, the most that it has had."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
