"""One position after another: the step that generation repeats."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from litegpt import kernels
from litegpt.nn.cache import KVCache

if TYPE_CHECKING:
    from litegpt.models.gpt import GPTModel


class DecodingStep:
    """step(ids) is model.next_logits for one more id in each row of a cache: (B,) -> (B, V).

    The first call goes through the layers and records the kernels that they call; from then on
    the same kernels run on the same arrays without Python in between. So the weights have to stay
    where they are (see GPTModel.packed_weights), and the logits stand in one array, which the next
    call overwrites. A full cache: IndexError.
    """

    def __init__(self, model: "GPTModel", cache: KVCache) -> None:
        self.model, self.cache = model, cache
        self.ids = np.zeros((cache.batch, 1), np.int64)
        self._next = self.ids[:, 0]  # a view
        self.logits = np.empty((cache.batch, model.vocab_size), np.float32)
        self.program = kernels.new_program()

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        if self.program is not None and self.program.complete:
            self.program.step(ids, self._next, self.cache.lengths)
        else:
            self._next[:] = ids
            with self.program or nullcontext():
                self.logits = self.model.next_logits(self.ids, self.cache)
        return self.logits
