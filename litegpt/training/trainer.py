"""The training loop."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

import numpy as np

from litegpt import kernels
from litegpt.models import GPTModel
from litegpt.nn.frozen import FrozenParameter
from litegpt.training.callbacks import Callback, Record
from litegpt.training.checkpoint import Checkpoint, CheckpointError, Checkpoints
from litegpt.training.config import TrainConfig
from litegpt.training.data import Data
from litegpt.training.interrupt import interrupts_deferred
from litegpt.training.optimizers import OPTIMIZERS
from litegpt.training.pace import Pace
from litegpt.training.parallel import Alone
from litegpt.training.passes import batch_gradients, validation_loss
from litegpt.training.schedule import scheduled_rate
from litegpt.training.state import DivergenceError, RunState, check_same_run, describe


class Trainer:
    """Trains a model: `Trainer(model, data, TrainConfig(...)).fit()`.

    What a step draws at random (its batch, its dropout) depends on the seed and the step's number
    only, so that two runs with one seed give the same weights bit for bit, and so does a run that
    was stopped and resumed. With checkpoints, the run's state is on disk every save_interval
    steps, whenever the validation loss was the best so far, and however the run ended.

    With several ranks (parallel.launched()) a step's batch is that many times as large: all of them
    draw it, and each reads its own part. Rank 0 alone has checkpoints, and resumes.
    """

    def __init__(
        self,
        model: GPTModel,
        data: Data,
        config: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        checkpoints: Checkpoints | None = None,
        ranks: Alone | None = None,
    ) -> None:
        self.model, self.data, self.callbacks = model, data, callbacks
        self.ranks = ranks or Alone()
        self.config = config = config or TrainConfig()
        self.checkpoints = checkpoints
        if config.on_spike == "rollback" and checkpoints is None and self.ranks.rank == 0:
            raise ValueError("on_spike 'rollback' needs checkpoints to go back to")
        config.freeze_in(model)
        model.set_precision(config.precision)
        self.optimizer = OPTIMIZERS[config.optimizer](model.named_parameters(), config)
        self.state = RunState()
        self.records: list[Record] = []
        self._pace = Pace(0.0)
        self._asked_to_stop = False
        self._whole = True  # weights and moments are those of `step` steps
        self._saved: tuple[int, bool, str | None] | None = None  # _stand at the last checkpoint

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.state.step

    @property
    def loss(self) -> float:
        """That of the last step."""
        return math.nan if self.state.loss is None else self.state.loss

    @property
    def last_step(self) -> int | None:
        """The step at which the run ends; None until max_time has been turned into steps."""
        return self.state.last_step(self.config)

    @property
    def ended(self) -> str | None:
        """Why there is nothing left to do, or None."""
        return self.state.ended(self.config)

    @cached_property
    def description(self) -> dict[str, Any]:
        """What makes this run another than others."""
        return describe(self.config, self.model, self.data.fingerprint)

    def stop(self) -> None:
        """Ends the run after the step that is under way, on all ranks."""
        self._asked_to_stop = True

    def resume(self) -> bool:
        """Goes on from the newest whole checkpoint; False if there is none.

        ValueError listing what the run has that these settings, model or data haven't, or naming
        what in the checkpoint's state can't be.
        """
        if self.checkpoints is None:
            raise ValueError("a run without checkpoints can't be resumed")
        checkpoint = self.checkpoints.newest(self.notice)
        if checkpoint is None:
            return False
        now = describe(self.config, self.model, self.data.fingerprint)
        check_same_run(checkpoint.fields, now, checkpoint.step)
        self._load(checkpoint)
        if self.step:
            self.checkpoints.publish(self.state.best_step, self.config.keep_last)
        if self.state.planned_time != self.config.max_time:
            self.state.planned_steps = None
        return True

    def fit(self) -> list[Record]:
        """Trains up to max_steps; returns the records of the run.

        Ctrl-C raises KeyboardInterrupt, between two steps or inside one that then never happened:
        the weights are those of `step` whole steps. The same holds for DivergenceError, raised
        when a loss or gradient isn't finite any more or, unless on_spike is "ignore", when a loss
        is far above those before it. CheckpointError says what couldn't be written.
        """
        config, was_training = self.config, self.model.training
        self._asked_to_stop, self.state.diverged = False, None
        self._pace = Pace(self.state.seconds)
        if self.checkpoints:
            self.checkpoints.check_destination()
        try:
            self._begin()
            self._tell("on_start")
            if config.precision == "bfloat16" and not kernels.multiplies_bfloat16():
                self.notice(
                    "precision bfloat16 makes nothing faster here: "
                    f"{kernels.backend()} has no instruction for its products"
                )
            self.model.train()
            self._run()
            self._save_what_is_new()
        except CheckpointError:
            raise
        except DivergenceError as error:  # on all ranks: none leaves before what there is is kept
            self.state.diverged = str(error)
            self._save_what_is_new()
            self.ranks.meet()
            raise
        except BaseException:
            self._save_what_is_new()
            raise
        finally:
            self.model.train(was_training)
            self._tell("on_end")
        return self.records

    def evaluate(self) -> float:
        """The mean loss over the validation batches, in nats per token, without dropout."""
        rows = self.config.batch_size * self.ranks.size
        batches = self.data.validation_batches(rows, self.config.eval_steps)
        return validation_loss(self.model, batches, self.ranks)

    def _begin(self) -> None:
        """All ranks agree on what is trained, and start from the state of rank 0."""
        rounds = self.config.precision == "bfloat16"
        self.ranks.same(
            **{name: repr(value) for name, value in self.description.items()},
            # others round otherwise, and the copies would drift apart
            backend=kernels.backend(),
            **{"instruction for bfloat16": str(rounds and kernels.multiplies_bfloat16())},
        )
        self._share()

    def _share(self) -> None:
        """Every rank's model, optimizer and state become those of rank 0."""
        moments, state = self.optimizer.state_dict(), self.state.to_bytes()
        kept = (p for p in self.model.parameters() if not isinstance(p, FrozenParameter))
        self.ranks.begin(
            self.optimizer.parameters.values(),
            [*(p.data for p in kept), *moments.values(), state],
        )
        self.optimizer.load_state_dict(moments)
        self.state = RunState.from_bytes(state)

    def _run(self) -> None:
        self._tokens, self._seconds = 0, 0.0  # trained since the last record
        if not self.state.settled:
            self._settle()
        if self.checkpoints and self.step == 0 and self.config.on_spike == "rollback":
            self._save()  # so that there is something to go back to
        stopped = False  # which all ranks know alike
        while not (self.ended or stopped):
            start = time.perf_counter()
            try:
                self._tokens += self._step()
            except DivergenceError as error:
                self._roll_back(error)
                continue
            seconds = time.perf_counter() - start
            self._seconds += seconds
            self._pace.took_step(seconds)
            self._tell("on_step")
            stopped = self.ranks.total([self._asked_to_stop])[0] > 0
            self._settle()

    def _step(self) -> int:
        """One step; returns how many tokens it read."""
        config, state = self.config, self.state
        lr = scheduled_rate(
            config.schedule,
            self.step,
            config.learning_rate,
            config.min_learning_rate,
            config.warmup_steps,
            math.inf if self.last_step is None else self.last_step,
            config.decay_share,
        )
        rows = config.batch_size * config.accumulate * self.ranks.size
        batch = self.data.batch(rows, self._rng("batch"))
        rng = partial(self._rng, "dropout")
        loss = batch_gradients(self.model, batch, config, self.ranks, rng)
        grad_norm = self.optimizer.grad_norm()
        state.check_step(loss, grad_norm, config)
        too_long = config.grad_clip > 0 and grad_norm > config.grad_clip
        with interrupts_deferred():
            self._whole = False
            self.optimizer.step(lr, config.grad_clip / grad_norm if too_long else 1.0)
            state.take_step(loss, lr, grad_norm)
            self._whole = True
        return batch[0].size

    def _settle(self) -> None:
        """What is due after a step: evaluation, record, checkpoint."""
        config, state = self.config, self.state
        if config.max_time:
            planned = self._pace.plan(self.step, state.planned_steps, config)
            told = self.ranks.total([planned or 0 if self.ranks.rank == 0 else 0])[0]
            state.planned_steps, state.planned_time = int(told) or None, config.max_time
        evaluates = self.ended is not None or self.step % config.eval_interval == 0
        val_loss = self._pace.evaluation(self.evaluate) if evaluates else None
        with interrupts_deferred():
            best = val_loss is not None and state.take_evaluation(val_loss)
            state.settled = True
            if evaluates or self.step % config.log_interval == 0:
                speed = self._tokens / self._seconds if self._seconds else 0.0
                record = Record(self.step, self.loss, val_loss, state.lr, state.grad_norm, speed)
                self.records.append(record)
                self._tokens, self._seconds = 0, 0.0
                self._tell("on_record", record)
        if self.checkpoints and (best or self.ended or self.step % config.save_interval == 0):
            self._pace.save(self._try_to_save)

    def _save(self) -> None:
        assert self.checkpoints
        self.state.seconds = self._pace.seconds
        content = self.description | {"run": asdict(self.state)}
        with interrupts_deferred():
            self.checkpoints.save(self.model, self.optimizer, content, self.step)
            self._saved = self._stand
            if self.step:
                self.checkpoints.publish(self.state.best_step, self.config.keep_last)

    def _try_to_save(self) -> None:
        """As on_save_error wants it, a failure is a line."""
        try:
            self._save()
        except CheckpointError as error:
            if self.config.on_save_error == "stop":
                raise
            self.notice(f"{error}; training goes on")

    def _load(self, checkpoint: Checkpoint) -> None:
        assert self.checkpoints
        state = RunState.from_fields(checkpoint.fields.section("run"))
        if state.step != checkpoint.step:
            raise checkpoint.fields.refuse("run", f"the run's at step {checkpoint.step}")
        self._whole = False
        self.checkpoints.load_model(self.model, checkpoint.path)
        self.checkpoints.load_optimizer(self.optimizer, checkpoint)
        self.state = state
        self._whole = True
        self._saved = self._stand

    @property
    def _stand(self) -> tuple[int, bool, str | None]:
        """What of the state changes at times without a step."""
        return self.step, self.state.settled, self.state.diverged

    def _save_what_is_new(self) -> None:
        """Whatever has happened: what was learned since the last checkpoint is kept."""
        new = self._saved != self._stand
        if self.checkpoints and self.step and self._whole and new:
            self._save()

    def _roll_back(self, error: DivergenceError) -> None:
        """Back to the last checkpoint, and other data from there on; raises where that's over."""
        config, times = self.config, self.state.rollbacks + 1
        if config.on_spike != "rollback" or times > config.max_rollbacks:
            raise error
        if self.checkpoints:
            checkpoint = self.checkpoints.newest(self.notice)
            if checkpoint is None:
                raise error
            self._load(checkpoint)
            self.state.rollbacks = times
        self._share()
        self.notice(
            f"{error}; back to step {self.step} and on with other data "
            f"(time {times} of at most {config.max_rollbacks})"
        )
        self.records = [record for record in self.records if record.step <= self.step]
        self._tell("on_rewind")
        if self.checkpoints:
            self._try_to_save()  # how often that was

    def _rng(self, purpose: str, micro_batch: int = 0) -> np.random.Generator:
        """What one step draws from for one purpose: a function of seed and numbers alone."""
        stream = ("batch", "dropout").index(purpose) + 2 * self.state.rollbacks
        return np.random.default_rng((self.config.seed, self.step, stream, micro_batch))

    def notice(self, text: str) -> None:
        """Lets the callbacks know of something, in a line."""
        self._tell("on_notice", text)

    def _tell(self, event: str, *details: object) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)
