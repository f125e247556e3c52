"""LiteGPT's side of every task."""

from contextlib import ExitStack

import numpy as np

from contenders import Task, fresh, inputs
from contenders.steps import Step, one_batch, whole_run
from litegpt import AdamW, GPTModel, kernels

SMALL = (500, 128, 4, 4, 64, 256)  # vocab_size, max_seq_len, layers, heads, hidden_dim, ffn_dim

_FROM_THE_FILE = """
import sys
from litegpt import TextModel
model = TextModel.from_pretrained(sys.argv[1])
text = model.complete([sys.argv[2]], max_new_tokens=int(sys.argv[3]), temperature=0)[0].text
"""


def _model(weights: str) -> GPTModel:
    options = {} if weights == "float32" else {"dtype": weights}
    return GPTModel.from_pretrained(inputs.directory("gpt2-124m"), **options)


def _packed(model: GPTModel) -> ExitStack:
    """Packed once, as in a program that generates more than once."""
    stack = ExitStack()
    stack.enter_context(model.packed_weights())
    return stack


def decode(weights: str, rows: int, new: int) -> Task:
    return _writing(_model(weights), inputs.tokens(rows, inputs.CONTEXT), new)


def _writing(model: GPTModel, ids: np.ndarray, new: int) -> Task:
    """`new` tokens after the first id of each row; answers are about all of ids (B, T)."""

    def answer() -> np.ndarray:
        cache = model.new_cache(*ids.shape)
        model.next_logits(ids[:, :-1], cache)
        return inputs.centred(model.next_logits(ids[:, -1:], cache))

    prompt = ids[:, :1].copy()
    return Task(lambda: model.generate(prompt, new, temperature=0), answer, _packed(model))


def prefill(weights: str, length: int) -> Task:
    return _reading(_model(weights), inputs.tokens(1, length))


def _reading(model: GPTModel, ids: np.ndarray) -> Task:
    cache = model.new_cache(*ids.shape)

    def run() -> np.ndarray:
        cache.reset()
        return model.next_logits(ids, cache)

    return Task(run, lambda: inputs.centred(run()), _packed(model))


def smollm2_read(length: int) -> Task:
    model = GPTModel.from_pretrained(inputs.smollm2())
    return _reading(model, inputs.tokens(1, length, model.vocab_size))


def smollm2_write(new: int) -> Task:
    model = GPTModel.from_pretrained(inputs.smollm2())
    return _writing(model, inputs.tokens(1, inputs.CONTEXT, model.vocab_size), new)


def smollm2_first_token() -> Task:
    return fresh.first_token(_FROM_THE_FILE)


def smollm2_memory(new: int) -> Task:
    return fresh.memory(_FROM_THE_FILE, new)


def _step(model: str, seed: int, precision: str) -> Step:
    learned = GPTModel.from_pretrained(inputs.directory(model, seed)).train()
    learned.set_precision(precision)
    learning_rate, betas, weight_decay, clip = inputs.OPTIMIZERS[model]
    optimizer = AdamW(learned.named_parameters(), learning_rate, *betas, weight_decay=weight_decay)

    def step(ids: np.ndarray, targets: np.ndarray, rate: float) -> float:
        loss = learned.loss_and_backward(ids, targets)
        norm = optimizer.grad_norm()
        optimizer.step(rate, grad_scale=min(1.0, clip / norm))
        learned.zero_grad()
        return loss

    return step


def training(model: str, rows: int, length: int, precision: str = "float32") -> Task:
    return one_batch(_step(model, 0, precision), model, rows, length)


def run(model: str, seed: int, rows: int, steps: int, precision: str = "float32") -> Task:
    return whole_run(_step(model, seed, precision), model, seed, rows, steps)


def attention(batch: int, heads: int, length: int, width: int, backward: bool) -> Task:
    q, k, v, dy = (  # (B, H, T, D) -> (B, T, H, D)
        np.ascontiguousarray(x.swapaxes(1, 2)) for x in inputs.heads(batch, heads, length, width)
    )

    def forward() -> list[np.ndarray]:
        return [kernels.causal_attention(q, k, v)[0]]

    def both() -> list[np.ndarray]:
        y, lse = kernels.causal_attention(q, k, v)
        return [y, *kernels.causal_attention_backward(dy, q, k, v, y, lse)]

    run = both if backward else forward
    return Task(run, lambda: np.stack([x.swapaxes(1, 2) for x in run()]))


def softmax(rows: int, width: int) -> Task:
    x = inputs.normal(rows, width)
    return Task(lambda: kernels.softmax(x), lambda: kernels.softmax(x))


def layernorm(rows: int, width: int) -> Task:
    x, gamma, beta = inputs.normal(rows, width), inputs.normal(width), inputs.normal(width, seed=3)
    return Task(
        lambda: kernels.layernorm(x, gamma, beta), lambda: kernels.layernorm(x, gamma, beta)[0]
    )


def gelu(rows: int, width: int) -> Task:
    x = inputs.normal(rows, width)
    return Task(lambda: kernels.gelu(x), lambda: kernels.gelu(x))


def sampling(top_k: int, top_p: float) -> Task:
    logits, uniforms = inputs.logits(), inputs.uniforms()

    def ids() -> np.ndarray:
        rows = np.repeat(logits, len(uniforms), axis=0)
        return kernels.sample(rows, uniforms, 1.0, top_k, top_p)[0]

    one = uniforms[:1].copy()
    return Task(lambda: kernels.sample(logits, one, 1.0, top_k, top_p), ids)


def generation(prompt: int, new: int) -> Task:
    model = GPTModel(*SMALL, dropout=0.0, seed=0).eval()
    ids = inputs.tokens(1, prompt, SMALL[0])
    return Task(lambda: model.generate(ids, new, seed=0))
