"""The model."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from litegpt import kernels
from litegpt.models import pretrained, quantization
from litegpt.models.config import GPTConfig
from litegpt.models.parts import make_added_position, make_blocks, make_norm
from litegpt.nn.arrays import Backward, token_ids
from litegpt.nn.cache import KVCache
from litegpt.nn.documents import Documents
from litegpt.nn.dropout import Dropout
from litegpt.nn.embedding import Embedding
from litegpt.nn.linear import Linear
from litegpt.nn.mask import create_causal_mask
from litegpt.nn.module import Module
from litegpt.nn.parameter import Parameter, check_any_trainable
from litegpt.nn.position import RotaryPositionalEncoding
from litegpt.nn.random import Seed, generator

WhenComplete: TypeAlias = Callable[[Sequence[Parameter]], None]


class GPTModel(Module):
    """A decoder-only transformer: token ids (B, T) -> logits (B, T, V).

    Embedding (+ positions), blocks, a final norm, a head. The defaults are the sizes of GPT-2
    124M with an untied head, no biases in attention, biases in the feed-forward, layernorm and
    learned positions; `options` are the other fields of GPTConfig. seed decides the weights.
    """

    def __init__(
        self,
        vocab_size: int = 50257,
        max_seq_len: int = 1024,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden_dim: int = 768,
        ffn_dim: int | None = None,
        dropout: float = 0.1,
        *,
        seed: Seed = None,
        **options: Any,
    ) -> None:
        self.config = config = GPTConfig(
            vocab_size,
            max_seq_len,
            num_layers,
            num_heads,
            hidden_dim,
            ffn_dim,  # type: ignore[arg-type]  # None means 4 * hidden_dim
            dropout,
            **options,
        )
        self.vocab_size, self.max_seq_len = config.vocab_size, config.max_seq_len
        self.num_layers, self.num_heads = config.num_layers, config.num_heads
        self.hidden_dim, self.ffn_dim = config.hidden_dim, config.ffn_dim
        self.dropout = config.dropout
        std = config.init_std
        rng = generator(seed) if std else None
        self.token_embedding = Embedding(config.vocab_size, config.hidden_dim, std, rng)
        self.position_encoding = make_added_position(config, rng)
        self.embedding_dropout = Dropout(config.dropout)
        self.blocks = make_blocks(config, rng)
        self.final_norm = make_norm(config)
        if config.tie_embeddings:
            self.head = Linear.tied(self.token_embedding.weight)
        else:
            self.head = Linear(config.hidden_dim, config.vocab_size, bias=False, std=std, seed=rng)

    @classmethod
    def from_config(cls, config: GPTConfig, seed: Seed = None) -> Self:
        """A new model of this configuration."""
        return cls(**asdict(config), seed=seed)

    def get_num_parameters(self) -> int:
        """Trained numbers; a tied table counts once."""
        return sum(parameter.size for parameter in self.parameters())

    def _rows(self, input_ids: ArrayLike) -> np.ndarray:
        """ids as (B, T); ValueError for other axes, for no position, for too many."""
        ids = token_ids(input_ids, "input_ids")
        if ids.ndim == 1:
            ids = ids[None]
        if ids.ndim != 2 or ids.shape[1] == 0:
            raise ValueError(f"input_ids must be (B, T) or (T,) with T >= 1, not {ids.shape}")
        if ids.shape[1] > self.max_seq_len:
            raise ValueError(
                f"{ids.shape[1]} positions are more than max_seq_len {self.max_seq_len}"
            )
        return ids

    def forward(
        self,
        input_ids: ArrayLike,
        return_hidden_states: bool = False,
        seed: Seed = None,
        document_starts: ArrayLike | None = None,
    ) -> Any:
        """Logits (B, T, V); 1-D ids are one row.

        With return_hidden_states: (logits, states), where states are L + 1 arrays (B, T, C): the
        embedding, then what each block puts out (the final norm is not in them). seed is
        dropout's, in training mode. document_starts (B, T), booleans, says where documents begin
        in rows that hold several: none sees another, and positions are counted in each. T >
        max_seq_len: ValueError; an id outside 0..V-1: IndexError.
        """
        ids = self._rows(input_ids)
        documents = Documents.of(document_starts, ids.shape)
        dropping = self._drops()
        rng = generator(seed) if dropping else None
        x = self.token_embedding(ids)  # (B, T) -> (B, T, C)
        x, _ = self._positioned(x, documents)
        x, _ = self.embedding_dropout.forward_train(x, rng)
        states = [x] if return_hidden_states else []
        for block in self.blocks:
            if dropping:
                x, _ = block.forward_train(x, rng, causal=True, documents=documents)
            else:
                x = block(x, causal=True, documents=documents)
            if return_hidden_states:
                states.append(x)
        logits = self.head(self.final_norm(x))  # (B, T, C) -> (B, T, V)
        return (logits, states) if return_hidden_states else logits

    def attention_weights(self, input_ids: ArrayLike) -> np.ndarray:
        """(B, T) -> (L, B, H, T, T): how much each position takes of each, by layer and head.

        Rows add up to 1, and hold 0 for later positions. Without dropout; errors as in forward.
        """
        ids = self._rows(input_ids)
        batch, length = ids.shape
        weights = np.empty((self.num_layers, batch, self.num_heads, length, length), np.float32)
        mask = create_causal_mask(length)
        with self.evaluating():
            _, states = self.forward(ids, return_hidden_states=True)
            for layer, (block, x) in enumerate(zip(self.blocks, states, strict=False)):
                weights[layer] = block.attention.weights(block.ln1(x), mask)
        return weights

    def _positioned(
        self, x: np.ndarray, documents: Documents | None
    ) -> tuple[np.ndarray, Callable[[np.ndarray], None] | None]:
        """x (B, T, C) plus the vectors of its positions, if there are any, and their backward."""
        if self.position_encoding is None:
            return x, None
        positions = None if documents is None else documents.positions
        vectors, backward = self.position_encoding.forward_train(x.shape[1], positions=positions)
        x += vectors  # (B, T, C) + (T, C), or (B, T, C)
        return x, backward

    def _drops(self) -> bool:
        """Whether anything is dropped in the present mode."""
        return any(m.active for m in self.modules() if isinstance(m, Dropout))

    def forward_train(
        self,
        input_ids: ArrayLike,
        rng: Seed = None,
        document_starts: ArrayLike | None = None,
        when_complete: WhenComplete | None = None,
        recompute: bool = False,
    ) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """Logits (B, T, V), and backward, which takes their gradient, once.

        backward calls when_complete with parameters whose gradients it has completed, from the
        last layer to the first; those of the embedding and the positions, which come at its end,
        it leaves out. With recompute a block keeps its input only, and is computed again in
        backward: the same gradients bit for bit, for a third more work and a fraction of the
        memory. RuntimeError if no parameter is trainable.
        """
        check_any_trainable(self.parameters())
        ids = self._rows(input_ids)
        documents = Documents.of(document_starts, ids.shape)
        rng = generator(rng) if self._drops() else None
        x, embedding_backward = self.token_embedding.forward_train(ids)
        x, position_backward = self._positioned(x, documents)
        x, drop_backward = self.embedding_dropout.forward_train(x, rng)
        saved: list[tuple[Module, Backward]] = []  # with what each layer keeps for its backward
        for block in self.blocks:
            run = block.forward_recomputed if recompute else block.forward_train
            x, block_backward = run(x, rng, causal=True, documents=documents)
            saved.append((block, block_backward))
        x, norm_backward = self.final_norm.forward_train(x)
        logits, head_backward = self.head.forward_train(x)
        saved += [(self.final_norm, norm_backward), (self.head, head_backward)]

        def backward(dlogits: np.ndarray) -> None:
            dx = dlogits
            while saved:
                layer, layer_backward = saved.pop()
                dx = layer_backward(dx)
                del layer_backward  # and what that layer kept
                if when_complete is not None:
                    table = self.token_embedding.weight  # a tied head's too
                    when_complete([p for p in layer.parameters() if p is not table])
            dx = drop_backward(dx)
            embedding_backward(dx)
            if position_backward is not None:
                position_backward(dx)

        return logits, backward

    def _targets(self, target_ids: ArrayLike, ids: np.ndarray) -> np.ndarray:
        """Targets as (B * T,); ValueError unless their shape is that of the ids."""
        targets = token_ids(target_ids, "target_ids")
        if targets.size != ids.size or targets.shape not in (ids.shape, ids.shape[1:]):
            raise ValueError(f"target_ids {targets.shape} must have input_ids' shape {ids.shape}")
        return targets.reshape(-1)

    def compute_loss(
        self,
        input_ids: ArrayLike,
        target_ids: ArrayLike,
        ignore_index: int = -100,
        seed: Seed = None,
        document_starts: ArrayLike | None = None,
    ) -> float:
        """Mean cross-entropy, in nats, of the targets (shifted already) that aren't ignore_index.

        NaN if all are. seed is dropout's, in training mode. document_starts: as in forward. A
        target outside 0..V-1: IndexError.
        """
        ids = self._rows(input_ids)
        targets = self._targets(target_ids, ids)
        logits = self.forward(ids, seed=seed, document_starts=document_starts).reshape(
            -1, self.vocab_size
        )  # -> (B T, V)
        return kernels.cross_entropy(logits, targets, ignore_index)[0]

    def loss_and_backward(
        self,
        input_ids: ArrayLike,
        target_ids: ArrayLike,
        ignore_index: int = -100,
        scale: float = 1.0,
        seed: Seed = None,
        document_starts: ArrayLike | None = None,
        when_complete: WhenComplete | None = None,
        recompute: bool = False,
    ) -> float:
        """compute_loss, and its gradient times scale added to every trainable parameter's grad.

        scale 1/n makes n calls one large batch. The returned loss isn't scaled. when_complete and
        recompute: see forward_train.
        """
        ids = self._rows(input_ids)
        targets = self._targets(target_ids, ids)
        logits, backward = self.forward_train(ids, seed, document_starts, when_complete, recompute)
        logits = logits.reshape(-1, self.vocab_size)  # (B, T, V) -> (B T, V)
        loss, lse = kernels.cross_entropy(logits, targets, ignore_index)
        dlogits = kernels.cross_entropy_backward(logits, targets, lse, ignore_index, scale)
        del logits  # as large as everything that backward keeps
        backward(dlogits.reshape(*ids.shape, self.vocab_size))
        return loss

    def new_cache(self, batch: int, capacity: int | None = None) -> KVCache:
        """An empty cache for next_logits, of capacity positions (config.steady_positions if None).

        With dynamic scaling of rotary positions, keys of a longer text can't be kept.
        """
        config = self.config
        most = config.steady_positions
        capacity = most if capacity is None else min(capacity, most)
        for module in self.modules():
            if isinstance(module, RotaryPositionalEncoding):
                module.reach(capacity)  # now, since recorded steps keep to the tables they met
        return KVCache(self.num_layers, batch, config.num_kv_heads, config.head_dim, capacity)

    def next_logits(
        self, input_ids: ArrayLike, cache: KVCache | None = None, every: bool = False
    ) -> np.ndarray:
        """Logits (B, V) of what follows the positions (B, T), without dropout.

        every: of what follows each of them, (B, T, V).

        With a cache, these positions come after the ones that it holds, and it holds them too
        afterwards: bit for bit what forward gives for the whole row. More positions in a row
        than config.steady_positions: ValueError, and the cache is as before.
        """
        ids = self._rows(input_ids)
        if self.training:
            with self.evaluating():
                return self.next_logits(ids, cache, every)
        x = self.token_embedding(ids)  # (B, T) -> (B, T, C)
        x = self._through_blocks(x) if cache is None else self._through_cache(x, cache)
        x = x if every else x[:, -1]
        return self.head(self.final_norm(x))  # (B, T, C) -> (B, T, V), (B, C) -> (B, V)

    def _through_blocks(self, x: np.ndarray) -> np.ndarray:
        if self.position_encoding is not None:
            x += self.position_encoding(x.shape[1])
        for block in self.blocks:
            x = block(x, causal=True)
        return x

    def _through_cache(self, x: np.ndarray, cache: KVCache) -> np.ndarray:
        lengths, new = cache.lengths, x.shape[1]
        longest = int(lengths.max(initial=0)) + new
        most = self.config.steady_positions
        if longest > most:
            what = "max_seq_len" if most == self.max_seq_len else "a cache holds:"
            raise ValueError(f"{longest} positions are more than {what} {most}")
        if self.position_encoding is not None:
            x = self.position_encoding.add(x, lengths)
        for block, layer in zip(self.blocks, cache.layers, strict=True):
            x = block(x, cache=layer)
        cache.advance(new)
        return x

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Writes config.json and model.safetensors, with the names and shapes of Hugging Face.

        Both are there whole, or as they were before. The directory is made if need be; one that
        holds something else than a model, and parts that no weight family has: ValueError.
        """
        pretrained.save(self, Path(directory))

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], dtype: str | None = None, *, mmap: bool = True
    ) -> "GPTModel":
        """The model in a directory of Hugging Face's layout, or in a GGUF file, in evaluation mode.

        Directories: gpt2, gpt_bigcode, llama, mistral, qwen2; safetensors in one file or several.
        GGUF: the architectures gpt2, llama and qwen2. What is neither, but reads as owner/name, is
        taken from the Hugging Face hub. With mmap, float32 tensors that need no transposition stay
        where they lie in a safetensors file, which must not be changed in place meanwhile.

        dtype is "float32", "bfloat16", "float16", "q8", "q5", "q4" or "q4_0"; by default float32,
        but for the blocks of a GGUF file that are q8 (Q8_0), q5 (Q5_0, Q5_1), q4 (Q4_1) or q4_0
        (Q4_0), which stay as they are. Weights that aren't float32 can't be trained: see quantize.

        ModelFormatError (a ValueError) names the file and what is wrong in it; what the hub
        can't give is an OSError.
        """
        return pretrained.load(cls, Path(path), dtype, mmap)

    def quantize(self, format: str) -> Self:
        """Keeps the weights of dense layers and the token embedding for inference only; self.

        In "float32" (packed, and no plain copy), "bfloat16" or "float16" (32-bit arithmetic), "q8",
        "q5", "q4" or "q4_0" (so many bits in groups of 32 inputs; activations are rounded to 8).
        Positions, norms and biases stay float32. `parameter.error` says what rounding has missed,
        `parameter.data` decodes the weights, and training is a RuntimeError. The model is in
        evaluation mode then. Unknown formats, and weights that a format can't hold: ValueError.
        """
        quantization.quantize(self, format)
        return self.eval()

    @contextmanager
    def packed_weights(self) -> Iterator[None]:
        """Packs a copy of every linear layer's weights for the plain call, until the end.

        Decoding then reads weights as one stream; parameters changed meanwhile go unnoticed.
        Within another packed_weights it does nothing.
        """
        layers = [m for m in self.modules() if isinstance(m, Linear) and m.packed is None]
        try:
            for layer in layers:
                layer.pack()
            yield
        finally:
            for layer in layers:
                layer.packed = None

    def generate(
        self,
        prompt_ids: ArrayLike,
        max_new_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: Seed = None,
        **options: Any,
    ) -> np.ndarray:
        """Continues prompts: (B, P) or (P,) -> (B, P + new). See litegpt.generation.generate."""
        from litegpt.generation import generate  # one floor up

        return generate(
            self, prompt_ids, max_new_tokens, temperature, top_k, top_p, seed, **options
        )

    def stream(
        self,
        prompt_ids: ArrayLike,
        max_new_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: Seed = None,
        **options: Any,
    ) -> Iterator[np.ndarray]:
        """The new ids (B,) of generate, as they come. See litegpt.generation.stream."""
        from litegpt.generation import stream  # one floor up

        return stream(self, prompt_ids, max_new_tokens, temperature, top_k, top_p, seed, **options)
