"""What can be said of a run in words: rules over its curves, one function each."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from litegpt.pictures.run import Run


@dataclass(frozen=True)
class Finding:
    """A sentence or two; good says whether it is as one would wish, None if it is neither."""

    text: str
    good: bool | None = None


RULES: list[Callable[[Run], Finding | None]] = []
Rule = Callable[[Run], Finding | None]


def verdict(run: Run) -> list[Finding]:
    """What the rules find, the course of validation first."""
    return [finding for rule in RULES if (finding := rule(run))]


def _rule(rule: Rule) -> Rule:
    RULES.append(rule)
    return rule


_RISE, _RISE_SHARE = 0.01, 0.005  # validation that rises less, in nats or of itself, is noise


@_rule
def course(run: Run) -> Finding | None:
    """Whether validation fell to the end, levelled off, or rose again.

    What never fell hasn't levelled off: see nothing_learned.
    """
    steps, losses = run.evaluations
    if len(losses) < 3:
        return Finding("Too few evaluations to judge the course of the validation loss.")
    lowest = int(np.argmin(losses))
    best, last = losses[lowest], losses[-1]
    if last - best > max(_RISE, _RISE_SHARE * best):
        text = f"Validation rose after step {steps[lowest]:,.0f}, from {best:.4f} to {last:.4f}"
        if _mean_loss(run, steps[-1]) < _mean_loss(run, steps[lowest]):
            text += (
                " while the training loss fell: the model learns its text by heart. More text, "
                "dropout or a smaller model would help"
            )
        return Finding(f"{text}; {_kept(run, steps[lowest])}.", good=False)
    before = losses[: -max(1, len(losses) // 4)].min()
    if before - best > max(_RISE, _RISE_SHARE * best):
        return Finding(
            f"Validation was still falling at the end, to {best:.4f} at step {steps[lowest]:,.0f}: "
            f"more steps would help.",
            good=True,
        )
    if nothing_learned(run):
        return None
    return Finding(
        f"Validation levelled off at {best:.4f} (step {steps[lowest]:,.0f}): more steps of this "
        "kind wouldn't help.",
        good=True,
    )


def _kept(run: Run, best: float) -> str:
    kept = run.state.get("best_step")
    if kept is None:
        return f"the best was step {best:,.0f}"
    return f"kept step {kept:,}" if isinstance(kept, int) else "kept the best"


def _mean_loss(run: Run, step: float) -> float:
    """The training loss around a step: the mean of some records up to it."""
    return float(np.mean(run.loss[run.step <= step][-10:]))


@_rule
def nothing_learned(run: Run) -> Finding | None:
    """A loss that guessing evenly would have, ln V, is no knowledge."""
    vocabulary = run.model.get("vocab_size")
    _, losses = run.evaluations
    if not isinstance(vocabulary, int) or vocabulary < 2 or not len(losses):
        return None
    guessing = math.log(vocabulary)
    if losses.min() < 0.98 * guessing:
        return None
    told = (
        f"guessing evenly among {vocabulary:,} tokens has a loss of {guessing:.4f}, and validation "
        f"came to {losses.min():.4f}."
    )
    warmup = run.settings.get("warmup_steps", 0)
    if isinstance(warmup, int) and run.step[-1] <= warmup:
        return Finding(f"Nothing was learned yet: {told} The learning rate was still rising.")
    return Finding(f"Nothing was learned: {told} Try another learning rate.", good=False)


@_rule
def gap(run: Run) -> Finding | None:
    """Validation far above training: what was learned isn't what the text has in common."""
    steps, losses = run.evaluations
    if not len(losses):
        return None
    training, validation = _mean_loss(run, steps[-1]), losses[-1]
    if not validation - training > max(0.2, 0.2 * training):
        return None
    return Finding(
        f"At the end the training loss is {training:.4f}, the validation loss {validation:.4f}: "
        "the model knows its own text much better than others.",
        good=False,
    )


@_rule
def not_finite(run: Run) -> Finding | None:
    """NaN or infinity among the losses or gradients."""
    wrong = ~(np.isfinite(run.loss) & np.isfinite(run.grad_norm))
    if not wrong.any():
        return None
    return Finding(
        f"At step {run.step[wrong][0]:,.0f} the loss or the gradient wasn't finite any more: "
        "try a lower learning rate.",
        good=False,
    )


@_rule
def spikes(run: Run) -> Finding | None:
    """Losses far above those of the records before: by ten times their usual distance."""
    jumps = []
    for i in range(10, len(run.loss)):
        before = run.loss[max(0, i - 20) : i]
        usual = float(np.median(before))
        spread = float(np.median(np.abs(before - usual)))
        if run.loss[i] - usual > max(10 * spread, 0.5):
            jumps.append((run.step[i], usual, run.loss[i]))
    if not jumps:
        return None
    step, usual, loss = max(jumps, key=lambda jump: jump[2] - jump[1])
    times = "once" if len(jumps) == 1 else f"{len(jumps)} times"
    return Finding(
        f"The training loss jumped {times}, at step {step:,.0f} from {usual:.4f} to {loss:.4f}: "
        "a lower learning rate or stronger clipping would help.",
        good=False,
    )


@_rule
def clipped(run: Run) -> Finding | None:
    """Gradients that are nearly always cut back: the learning rate isn't the one that was set."""
    limit, warmup = run.settings.get("grad_clip"), run.settings.get("warmup_steps", 0)
    if not isinstance(limit, int | float) or limit <= 0 or not isinstance(warmup, int):
        return None
    norms = run.grad_norm[run.step > warmup]
    share = float(np.mean(norms > limit)) if len(norms) else 0.0
    if share < 0.9:
        return None
    return Finding(
        f"After warmup {share:.0%} of the gradients were longer than grad_clip {limit:g}, and cut "
        f"back (their median is {np.median(norms):.3g}).",
    )


@_rule
def speed(run: Run) -> Finding | None:
    """Another program on the same processors shows as a slower part of the run."""
    speeds = run.tokens_per_s[np.isfinite(run.tokens_per_s)]
    if len(speeds) < 12:
        return None
    quarters = [float(np.median(part)) for part in np.array_split(speeds, 4)]
    if min(quarters) > 0.7 * max(quarters):
        return None
    return Finding(
        f"Speed varied between {min(quarters):,.0f} and {max(quarters):,.0f} tokens/s (medians of "
        "the run's quarters): something else used the processors.",
    )


@_rule
def end(run: Run) -> Finding | None:
    """Whether all steps were taken, and why not."""
    timed = bool(run.settings.get("max_time"))  # max_steps doesn't count then
    planned = run.state.get("planned_steps") or (None if timed else run.settings.get("max_steps"))
    if not isinstance(planned, int) and not (planned is None and timed):
        return None
    last, of = run.last_step, f" of {planned:,}" if planned else ""
    if planned and last >= planned:
        every = f"All {planned:,} steps were" if planned > 1 else "The only step was"
        return Finding(f"{every} taken.", good=True)
    patience, waited = run.settings.get("patience"), run.state.get("evaluations_since_best")
    if isinstance(patience, int) and isinstance(waited, int) and 0 < patience <= waited:
        return Finding(
            f"Ended at step {last:,}{of}: validation was no better in {waited} evaluations.",
            good=True,
        )
    if isinstance(diverged := run.state.get("diverged"), str):
        return Finding(f"Stopped before {diverged}.", good=False)
    yet = "" if planned else ", too early to plan its end"
    return Finding(f"Stands at step {last:,}{of}{yet}; the same command goes on with it.")
