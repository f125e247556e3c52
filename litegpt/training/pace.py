"""How fast a run goes, and so how many steps fit into the time it has."""

import time
from bisect import bisect_right
from collections.abc import Callable

from litegpt.training.config import TrainConfig

_MEASURED_STEPS, _MEASURED_SHARE = 10, 0.02  # steps and time before the first plan
_LATEST = 0.2  # of the time: where steps are so long, fewer of them will do for it
_REMEMBERED = 100  # steps whose speed counts
_TOLERANCE = 0.02  # of the time: a plan that misses the end by more is made again


class Pace:
    """Seconds of a session: those spent before it, in its steps, and in what comes between."""

    def __init__(self, before: float) -> None:
        self._before, self._started = before, time.perf_counter()
        self._steps, self._step = 0, 0.0  # how many; seconds of one, the last ones counting most
        self._evaluation: float | None = None
        self._save = 0.0

    @property
    def seconds(self) -> float:
        """Spent on the run so far, in all its sessions."""
        return self._before + time.perf_counter() - self._started

    def took_step(self, seconds: float) -> None:
        self._steps += 1
        self._step += (seconds - self._step) / min(self._steps, _REMEMBERED)

    def evaluation(self, evaluate: Callable[[], float]) -> float:
        """What evaluate returns, and takes time for."""
        start = time.perf_counter()
        loss = evaluate()
        self._evaluation = time.perf_counter() - start
        return loss

    def save(self, save: Callable[[], None]) -> None:
        start = time.perf_counter()
        save()
        self._save = time.perf_counter() - start

    def plan(self, step: int, planned: int | None, config: TrainConfig) -> int | None:
        """The step at which a run of config.max_time, now after `step`, has to end.

        None until enough has been measured; `planned` as long as it misses the end by little.
        """
        left = config.max_time - self.seconds
        if left <= 0:
            return step
        one, evaluation = self._step, self._evaluation
        here = time.perf_counter() - self._started
        late = planned is None and here >= _LATEST * (here + left)
        if self._steps < (1 if late else _MEASURED_STEPS):
            return planned
        if planned is None and self.seconds < _MEASURED_SHARE * config.max_time:
            return None
        if evaluation is None:
            if planned is not None:
                return planned
            evaluation = one / 3 * config.eval_steps  # a forward pass is a third of a step
        before = step - 1  # what is due after this step is still to come

        def lasts(steps: int) -> float:
            """Seconds until a run has ended that takes so many more steps."""
            end = step + steps
            evaluations = end // config.eval_interval - before // config.eval_interval + 1
            saves = end // config.save_interval - before // config.save_interval + 1
            return steps * one + evaluations * evaluation + saves * self._save

        if planned is not None and abs(lasts(planned - step) - left) < _TOLERANCE * config.max_time:
            return planned
        return step + max(1, bisect_right(range(1, int(left / one) + 2), left, key=lasts))
