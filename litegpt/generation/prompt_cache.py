"""What a model has read, kept from one call to the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from litegpt.formats import ModelFormatError
from litegpt.formats.files import write_together
from litegpt.models import GPTModel
from litegpt.nn.cache import KVCache

_ROW = np.zeros(1, np.int64)  # the only one


class PromptCache:
    """generate(..., cache=PromptCache(model)) reads only what the call before hasn't read.

    It holds the ids of one text, and their keys and values: a prompt that begins with some of
    these ids is read from there on. The tokens are the same as without it, bit for bit on
    compiled kernels, as long as the model's weights stay what they are.
    """

    def __init__(self, model: GPTModel) -> None:
        self.model = model
        self.ids = np.zeros(0, np.int64)
        self.kv = model.new_cache(1, 32)
        self._in_use = False

    def __len__(self) -> int:
        return len(self.ids)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One call at a time; else ValueError."""
        self._check_free()
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _check_free(self) -> None:
        if self._in_use:
            raise ValueError("cache must not be in use by another call (fork it before that)")

    def begin(self, prompt: np.ndarray, capacity: int) -> int:
        """Goes back to where prompt (T,) departs from what is held, and says where that is.

        At least the last id has to be read again, since its logits aren't kept.
        """
        held = min(len(self.ids), len(prompt) - 1)
        same = self.ids[:held] == prompt[:held]
        kept = held if same.all() else int(same.argmin())
        self.kv.lengths[:] = kept
        self._reserve(capacity)
        self.ids = self.ids[:kept]
        return kept

    def hold(self, ids: np.ndarray) -> None:
        """Says which ids (T,) the keys and values belong to."""
        self.ids = ids[: int(self.kv.lengths[0])].copy()

    def fork(self) -> "PromptCache":
        """Another that holds the same, for texts that begin alike; ValueError while in use."""
        self._check_free()
        other = PromptCache(self.model)
        self.kv.lengths[:] = len(self.ids)
        other._reserve(self.kv.capacity)
        other.kv.copy_rows(_ROW, self.kv, _ROW)
        other.ids = self.ids.copy()
        return other

    def save(self, path: str | Path) -> None:
        """Writes it to a safetensors file, which appears whole or not at all.

        ValueError while a call uses it.
        """
        self._check_free()
        filled = len(self.ids)
        blocks = -(-filled // 32)
        tensors = {"ids": self.ids}
        for number, layer in enumerate(self.kv.layers):
            tensors[f"keys.{number}"] = np.ascontiguousarray(layer.keys[0, :, :blocks])
            tensors[f"values.{number}"] = np.ascontiguousarray(layer.values[0, :, :filled])
        write_together({Path(path): lambda partial: save_file(tensors, partial)})

    @classmethod
    def load(cls, path: str | Path, model: GPTModel) -> "PromptCache":
        """Reads what save has written, with the same model; ModelFormatError if it doesn't fit.

        That the weights are the same can't be seen from the file.
        """
        made = cls(model)
        if not Path(path).is_file():
            raise ModelFormatError(f"{path}: no such file")
        try:
            with safe_open(path, "numpy") as file:
                made._fill(file)
        except SafetensorError as error:
            raise ModelFormatError(f"{path}: not a safetensors file ({error})") from None
        except ValueError as error:
            raise ModelFormatError(f"{path}: not a cache of this model: {error}") from None
        return made

    def _fill(self, file: safe_open) -> None:
        names = set(file.keys())
        shape = file.get_slice("ids").get_shape() if "ids" in names else []
        filled = shape[0] if len(shape) == 1 else 0
        if filled > self.model.config.steady_positions:
            raise ValueError(f"{filled} ids for {self.model.config.steady_positions} positions")
        config = self.model.config
        heads, width, blocks = config.num_kv_heads, config.head_dim, -(-filled // 32)
        expected: dict[str, tuple[int, ...]] = {"ids": (filled,)}
        for number in range(config.num_layers):
            expected[f"keys.{number}"] = (heads, blocks, width, 32)
            expected[f"values.{number}"] = (heads, filled, width)
        found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        types = {name: file.get_slice(name).get_dtype() for name in names}
        if found != expected or any(types[n] != ("I64" if n == "ids" else "F32") for n in names):
            raise ValueError(f"it needs {expected['ids']} ids and keys and values for them")
        ids = file.get_tensor("ids")
        if filled and not 0 <= ids.min() <= ids.max() < self.model.vocab_size:
            raise ValueError(f"an id outside 0 to {self.model.vocab_size - 1}")
        self._reserve(filled)
        for number, layer in enumerate(self.kv.layers):
            layer.keys[0, :, :blocks] = file.get_tensor(f"keys.{number}")
            layer.values[0, :, :filled] = file.get_tensor(f"values.{number}")
        self.ids = ids
        self.kv.lengths[:] = filled

    def _reserve(self, capacity: int) -> None:
        """Makes room; what is held stays."""
        if capacity <= self.kv.capacity:
            return
        larger: KVCache = self.model.new_cache(1, max(capacity, 2 * self.kv.capacity))
        larger.copy_rows(_ROW, self.kv, _ROW)
        self.kv = larger
