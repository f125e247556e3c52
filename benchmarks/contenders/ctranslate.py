"""CTranslate2's side: GPT-2 in float32 and 8-bit."""

import os
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from contenders import Task, inputs

COMPUTE_TYPES = {"float32": "float32", "q8": "int8"}


def _converted() -> Path:
    """The model in CTranslate2's format; its converter insists on a tokenizer: one word per id."""
    model = inputs.directory("gpt2-124m")
    path = inputs.folder() / "gpt2-124m-ctranslate2"
    if not (path / "model.bin").is_file():
        words = {str(number): number for number in range(50_257)}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(WordLevel(words, unk_token="0")),
            bos_token="50256",
            eos_token="50256",
            unk_token="50256",
        )
        tokenizer.save_pretrained(model)
        TransformersConverter(str(model)).convert(str(path), force=True)
    return path


class _Generator:
    def __init__(self, weights: str) -> None:
        threads = int(os.environ["OMP_NUM_THREADS"])
        self._generator = ctranslate2.Generator(
            str(_converted()),
            compute_type=COMPUTE_TYPES[weights],
            inter_threads=1,
            intra_threads=threads,
        )

    def generate(self, ids: np.ndarray, new: int, logits: bool = False) -> list:
        """Continues rows of ids by `new` tokens, the likeliest each time."""
        return self._generator.generate_batch(
            [[str(number) for number in row] for row in ids],
            max_length=new,
            min_length=0 if logits else new,  # which keeps it from ending, in the logits too
            sampling_topk=1,
            include_prompt_in_result=False,  # so that the prompt is read at once
            return_logits_vocab=logits,
        )

    def next_logits(self, ids: np.ndarray) -> np.ndarray:
        """(B, T) -> (B, V)"""
        found = self.generate(ids, 1, logits=True)
        return inputs.centred(np.stack([np.array(row.logits[0][0]) for row in found]))


def decode(weights: str, rows: int, new: int) -> Task:
    generator = _Generator(weights)
    ids = inputs.tokens(rows, inputs.CONTEXT)
    return Task(lambda: generator.generate(ids[:, :1], new), lambda: generator.next_logits(ids))


def prefill(weights: str, length: int) -> Task:
    generator = _Generator(weights)
    ids = inputs.tokens(1, length)
    return Task(lambda: generator.generate(ids, 1), lambda: generator.next_logits(ids))
