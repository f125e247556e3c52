"""Run by test_parallel.py, on several ranks or on one: `ranks.py OUT SCENARIO...`.

Each scenario's outcome goes to OUT/SCENARIO-RANK.json.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import kernels
from litegpt.models import GPTModel
from litegpt.nn import Parameter
from litegpt.training import Callback, TextWindows, TrainConfig, Trainer, launched

TEXT = np.array(list(b"the cat sat on the mat, and the dog on the log. " * 40)) % 32
WINDOWS = 12  # in a step of all ranks together

with launched() as ranks:
    if ranks.size > 1:
        ranks.bucket_bytes = 1 << 12

    def trained(*, dropout: float = 0.0, **settings: Any) -> Trainer:
        settings = {
            "batch_size": WINDOWS // ranks.size, "max_steps": 50, "learning_rate": 1e-2,
            "warmup_steps": 5, "eval_interval": 10, "eval_steps": 2, "log_interval": 1,
        } | settings  # fmt: skip
        model = GPTModel(32, 16, 2, 2, 16, dropout=dropout, seed=ranks.rank)  # rank 0's counts
        trainer = Trainer(model, TextWindows(TEXT, 16), TrainConfig(**settings), ranks=ranks)
        trainer.fit()
        return trainer

    def losses(trainer: Trainer) -> list[tuple[float, float | None]]:
        return [(record.loss, record.val_loss) for record in trainer.records]

    def weights(trainer: Trainer) -> float:
        return float(
            sum(np.abs(p.data.astype(np.float64)).sum() for p in trainer.model.parameters())
        )

    def plain() -> object:
        trainer = trained()
        return {"losses": losses(trainer), "weights": weights(trainer)}

    def dropout() -> object:
        """What a rank drops is what one process drops in that micro-batch of its step."""
        return losses(trained(dropout=0.3, batch_size=WINDOWS // 2, accumulate=2 // ranks.size))

    def early() -> object:
        """Buckets under way when backward has completed a layer, of how many there are."""
        under_way: list[int] = []
        completed = ranks.completed

        def watched(parameters: Any) -> None:
            completed(parameters)
            under_way.append(len(ranks.sent))

        ranks.completed = watched
        trained(max_steps=2)
        ranks.completed = completed
        return {"under way": under_way, "buckets": len(ranks.buckets)}

    def meanwhile() -> object:
        """Whether a bucket is summed while nobody waits for it, or calls MPI."""
        weight = Parameter(np.zeros((1024, 1024), np.float32))
        ranks.begin([weight], [])
        weight.grad[:] = 1
        ranks.completed([weight])
        deadline = time.monotonic() + 20
        while (weight.grad != ranks.size).any() and time.monotonic() < deadline:
            time.sleep(0.01)
        summed = bool((weight.grad == ranks.size).all())
        ranks.add_gradients()
        return summed

    def stopped() -> object:
        """The last rank alone wants to stop after step 7."""

        class Stop(Callback):
            def on_step(self, trainer: Trainer) -> None:
                if trainer.step == 7 and ranks.rank == ranks.size - 1:
                    trainer.stop()

        model = GPTModel(32, 16, 1, 2, 16, seed=0)
        trainer = Trainer(model, TextWindows(TEXT, 16), TrainConfig(), [Stop()], ranks=ranks)
        trainer.fit()
        return trainer.step

    def unlike() -> object:
        try:
            trained(max_steps=3 + ranks.rank)
        except ValueError as error:
            return str(error)

    def broken() -> object:
        """The last rank fails at step 3; the others would wait for it forever."""
        if ranks.rank == ranks.size - 1:
            ranks.add_gradients = lambda: 1 // 0
        trained()

    def interrupted() -> object:
        """Ctrl-C reaches the last rank alone, the others wait for it."""
        if ranks.rank == ranks.size - 1:
            raise KeyboardInterrupt
        trained()

    def silent() -> object:
        """The last rank says nothing any more at its first step, for which the others wait."""
        add_gradients = ranks.add_gradients

        def impatient() -> None:
            ranks.patience = 1.0
            add_gradients()

        last = ranks.rank == ranks.size - 1
        ranks.add_gradients = (lambda: time.sleep(50)) if last else impatient
        trained()

    def threads() -> object:
        return kernels.num_threads()

    for scenario in sys.argv[2:]:
        outcome = json.dumps(globals()[scenario]())
        Path(sys.argv[1], f"{scenario}-{ranks.rank}.json").write_text(outcome)
