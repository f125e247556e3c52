"""The training loop."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from litegpt import kernels
from litegpt.models import GPTModel
from litegpt.nn.frozen import FrozenParameter
from litegpt.training.callbacks import Callback, Record
from litegpt.training.config import TrainConfig
from litegpt.training.interrupt import interrupts_deferred
from litegpt.training.optimizers import OPTIMIZERS
from litegpt.training.parallel import Alone
from litegpt.training.schedule import scheduled_rate

Batch = tuple[np.ndarray, np.ndarray]  # inputs and targets, (B, T) int64 each
IGNORED = -100  # a target that isn't counted


class Data(Protocol):
    """Where batches come from; TextWindows is one.

    fingerprint tells these data from others: a run goes on with the ones that it began with.
    """

    @property
    def fingerprint(self) -> str: ...

    def batch(self, batch_size: int, rng: np.random.Generator) -> Batch: ...

    def validation_batches(self, batch_size: int, batches: int) -> Iterator[Batch]: ...


class Trainer:
    """Trains a model: `Trainer(model, data, TrainConfig(...)).fit()`.

    What a step draws at random (its batch, its dropout) depends on the seed and the step's number
    only, so that two runs with one seed give the same weights bit for bit.

    With several ranks (parallel.launched()) a step's batch is that many times as large: all of them
    draw it, and each reads its own part.
    """

    def __init__(
        self,
        model: GPTModel,
        data: Data,
        config: TrainConfig | None = None,
        callbacks: Sequence[Callback] = (),
        ranks: Alone | None = None,
    ) -> None:
        self.model, self.data, self.callbacks = model, data, callbacks
        self.ranks = ranks or Alone()
        self.config = config = config or TrainConfig()
        model.freeze(*config.freeze)
        self.optimizer = OPTIMIZERS[config.optimizer](model.named_parameters(), config)
        self.step = 0  # steps taken
        self.loss = math.nan  # of the last step
        self.records: list[Record] = []
        self._stopped = False

    def stop(self) -> None:
        """Ends the run after the step that is under way."""
        self._stopped = True

    def fit(self) -> list[Record]:
        """Trains up to max_steps; returns the records of the run.

        Ctrl-C raises KeyboardInterrupt, between two steps or inside one that then never happened:
        the weights are those of `step` whole steps. The same holds for FloatingPointError, raised
        when a loss or gradient isn't finite any more.
        """
        was_training = self.model.training
        self._stopped = False
        try:
            self._begin()
            self._tell("on_start")
            self.model.train()
            self._run()
        finally:
            self.model.train(was_training)
            self._tell("on_end")
        return self.records

    def evaluate(self) -> float:
        """The mean loss over the validation batches, in nats per token, without dropout."""
        config, ranks = self.config, self.ranks
        rows = config.batch_size * ranks.size
        loss = counted = 0.0  # summed over all targets, and how many they are
        with self.model.evaluating():
            for inputs, targets in self.data.validation_batches(rows, config.eval_steps):
                mine = ranks.part(len(inputs))
                here = float(np.count_nonzero(targets[mine] != IGNORED))
                if here:
                    loss += here * self.model.compute_loss(inputs[mine], targets[mine])
                    counted += here
        loss, counted = ranks.total([loss, counted])
        return loss / counted if counted else math.nan

    def _begin(self) -> None:
        """All ranks agree on what is trained, and start from the state of rank 0."""
        self.ranks.same(
            settings=repr(self.config),
            model=repr(self.model.config),
            data=self.data.fingerprint,
            backend=kernels.backend(),  # another rounds otherwise, and the copies would drift apart
        )
        moments, step = self.optimizer.state_dict(), np.array(self.step)
        kept = (p for p in self.model.parameters() if not isinstance(p, FrozenParameter))
        self.ranks.begin(
            self.optimizer.parameters.values(),
            [*(p.data for p in kept), *moments.values(), step],
        )
        self.optimizer.load_state_dict(moments)
        self.step = int(step)

    def _run(self) -> None:
        config = self.config
        tokens, seconds = 0, 0.0  # trained since the last record
        while self.step < config.max_steps and not self._stopped:
            start = time.perf_counter()
            rows = config.batch_size * config.accumulate * self.ranks.size
            batch = self.data.batch(rows, self._rng("batch"))
            lr, grad_norm = self._step(batch)
            tokens += batch[0].size
            seconds += time.perf_counter() - start
            self._tell("on_step")
            self._stopped = self.ranks.total([self._stopped])[0] > 0
            ends = self.step == config.max_steps or self._stopped
            evaluates = ends or self.step % config.eval_interval == 0
            if evaluates or self.step % config.log_interval == 0:
                val_loss = self.evaluate() if evaluates else None
                record = Record(self.step, self.loss, val_loss, lr, grad_norm, tokens / seconds)
                self.records.append(record)
                self._tell("on_record", record)
                tokens, seconds = 0, 0.0

    def _step(self, batch: Batch) -> tuple[float, float]:
        """One step; returns its learning rate and the norm of its gradients."""
        config = self.config
        lr = scheduled_rate(
            config.schedule,
            self.step,
            config.learning_rate,
            config.min_learning_rate,
            config.warmup_steps,
            config.max_steps,
            config.decay_share,
        )
        loss = self._gradients(batch)
        grad_norm = self.optimizer.grad_norm()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise FloatingPointError(
                f"step {self.step + 1}: loss {loss}, gradient norm {grad_norm}; "
                f"the weights stay those of step {self.step} (try a lower learning rate)"
            )
        too_long = config.grad_clip > 0 and grad_norm > config.grad_clip
        with interrupts_deferred():
            self.optimizer.step(lr, config.grad_clip / grad_norm if too_long else 1.0)
            self.step += 1
            self.loss = loss
        return lr, grad_norm

    def _gradients(self, batch: Batch) -> float:
        """The batch's loss, and its gradients in the parameters, one micro-batch at a time.

        Every micro-batch counts as much as it has targets: together, on all ranks, they are one
        large batch.
        """
        self.model.zero_grad()
        inputs, targets = batch
        counted = np.count_nonzero(targets != IGNORED)
        if not counted:
            raise ValueError(f"step {self.step + 1}: no target of its batch is to be counted")
        size = self.config.batch_size
        mine = range(len(inputs) // size)[self.ranks.part(len(inputs) // size)]
        loss = 0.0
        for number in mine:
            rows = slice(number * size, (number + 1) * size)
            share = np.count_nonzero(targets[rows] != IGNORED) / counted
            if share:
                loss += share * self.model.loss_and_backward(
                    inputs[rows],
                    targets[rows],
                    scale=share,
                    seed=self._rng("dropout", number),
                    when_complete=self.ranks.completed if number == mine[-1] else None,
                    recompute=self.config.recompute,
                )
        self.ranks.add_gradients()
        return self.ranks.total([loss])[0]

    def _rng(self, purpose: str, micro_batch: int = 0) -> np.random.Generator:
        """What one step draws from for one purpose: a function of seed and numbers alone."""
        stream = ("batch", "dropout").index(purpose)
        return np.random.default_rng((self.config.seed, self.step, stream, micro_batch))

    def _tell(self, event: str, *details: object) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)
