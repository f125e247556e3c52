"""transformers' side: GPT-2 in PyTorch, float32."""

from functools import partial

import numpy as np
import torch
from transformers import GPT2LMHeadModel

from contenders import Task, inputs


def _model() -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(inputs.directory("gpt2-124m")).eval()


@torch.inference_mode()
def _last_logits(model: GPT2LMHeadModel, ids: torch.Tensor) -> np.ndarray:
    return model(ids, use_cache=True, logits_to_keep=1).logits[:, -1].numpy()


def decode(weights: str, rows: int, new: int) -> Task:
    model = _model()
    ids = torch.from_numpy(inputs.tokens(rows, inputs.CONTEXT))

    @torch.inference_mode()
    def run() -> None:
        last, cache = ids[:, :1], None
        for _ in range(new):
            step = model(last, past_key_values=cache, use_cache=True)
            last, cache = step.logits[:, -1:].argmax(dim=-1), step.past_key_values

    return Task(run, lambda: inputs.centred(_last_logits(model, ids)))


def prefill(weights: str, length: int) -> Task:
    model = _model()
    ids = torch.from_numpy(inputs.tokens(1, length))
    run = partial(_last_logits, model, ids)
    return Task(run, lambda: inputs.centred(run()))
