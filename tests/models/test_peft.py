"""LoRA adapters on whole models, and their files, beside the library peft where it is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from litegpt import AdamW, GPTModel, ModelFormatError
from litegpt.models.peft import LoRAConfig, add_lora, load_lora, merge_lora, save_lora

Make = Callable[..., GPTModel]
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GPT2 = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def adapted(make_model: Make, family: str, seed: int = 0, **settings: Any) -> GPTModel:
    """With adapters that add something."""
    model = make_model(family)
    add_lora(model, LoRAConfig(**({"r": 3, "alpha": 5.0} | settings)), seed)
    rng = np.random.default_rng(seed + 1)
    for parameter in trained(model).values():
        parameter.data += 0.1 * rng.standard_normal(parameter.shape)
    return model


def trained(model: GPTModel) -> dict[str, Any]:
    return {name: p for name, p in model.named_parameters() if p.trainable}


def test_new_adapters_add_nothing_and_alone_are_trained(
    backend: str, make_model: Make, family: str, ids: np.ndarray, targets: np.ndarray
) -> None:
    plain, model = make_model(family), make_model(family)
    add_lora(model, LoRAConfig(r=4), seed=0)
    np.testing.assert_allclose(model(ids), plain(ids), rtol=1e-5, atol=1e-5)
    names = trained(model)
    assert names and all(".adapters." in name for name in names)
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    losses = []
    optimizer = AdamW(model.named_parameters(), 1e-2)
    for _ in range(5):
        losses.append(model.loss_and_backward(ids, targets))
        optimizer.step()
        model.zero_grad()
    assert losses[-1] < losses[0]
    for name, parameter in model.named_parameters():
        assert np.array_equal(parameter.data, before[name]) == (name not in names), name


def test_which_layers(make_model: Make) -> None:
    model = make_model("llama")
    add_lora(model, LoRAConfig(targets=("q_proj", "v_proj", "1.mlp.down_proj")))
    assert set(trained(model)) == {
        f"blocks.{layer}.{name}.{i}.{kind}"
        for layer, name, i in [
            (0, "attention.qkv.adapters", 0),
            (0, "attention.qkv.adapters", 1),
            (1, "attention.qkv.adapters", 0),
            (1, "attention.qkv.adapters", 1),
            (1, "ffn.down.adapters", 0),
        ]
        for kind in "ab"
    }
    columns = [adapter.columns for adapter in model.blocks[0].attention.qkv.adapters]
    assert columns == [(0, 32), (48, 64)]  # 4 heads of 8, then 2 keys and 2 values
    head = make_model("llama")
    add_lora(head, LoRAConfig(targets=("lm_head",)))
    assert set(trained(head)) == {"head.adapters.0.a", "head.adapters.0.b"}


@pytest.mark.parametrize("settings, said", [
    ({"r": 0}, "r must be an integer of 1 or more"),
    ({"alpha": 0.0}, "alpha must be a positive number"),
    ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
    ({"targets": "q_proj"}, "targets must be a list of names"),
    ({"targets": ("q_proj", "c_fc")}, "no dense layer is called 'c_fc'; there are .*q_proj"),
])  # fmt: skip
def test_bad_settings(make_model: Make, settings: dict[str, Any], said: str) -> None:
    model = make_model("llama")
    with pytest.raises(ValueError, match=said):
        add_lora(model, LoRAConfig(**settings))
    assert all(p.trainable for p in model.parameters())


def test_once_only_and_not_on_a_tied_head(make_model: Make, tmp_path: Path) -> None:
    model = make_model("gpt2")
    with pytest.raises(ValueError, match="lm_head is the embedding's table"):
        add_lora(model, LoRAConfig(targets=("lm_head",)))
    with pytest.raises(ValueError, match="no LoRA adapters to save"):
        save_lora(model, tmp_path / "nothing")
    with pytest.raises(ValueError, match="no LoRA adapters to merge"):
        merge_lora(model)
    add_lora(model)
    with pytest.raises(ValueError, match="has LoRA adapters already"):
        add_lora(model)
    with pytest.raises(ValueError, match="has LoRA adapters: save them"):
        model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_merged(backend: str, make_model: Make, family: str, ids: np.ndarray) -> None:
    model = adapted(make_model, family)
    before, plain = model(ids), make_model(family)(ids)
    assert np.abs(before - plain).max() > 0.1
    merge_lora(model)
    np.testing.assert_allclose(model(ids), before, rtol=1e-4, atol=1e-4)
    assert trained(model).keys() == dict(make_model(family).named_parameters()).keys()


def test_there_and_back(make_model: Make, family: str, ids: np.ndarray, tmp_path: Path) -> None:
    model = adapted(make_model, family, dropout=0.25)
    save_lora(model, tmp_path / "adapter", "some/base")
    other = make_model(family)
    load_lora(other, tmp_path / "adapter")
    for (name, a), (_, b) in zip(trained(model).items(), trained(other).items(), strict=True):
        assert np.array_equal(a.data, b.data), name
    model.eval(), other.eval()
    np.testing.assert_array_equal(other(ids), model(ids))
    again = adapted(make_model, family, seed=7)
    parameters = list(trained(again).values())
    load_lora(again, tmp_path / "adapter")  # into the adapters that are there
    assert all(p is q for p, q in zip(trained(again).values(), parameters, strict=True))
    np.testing.assert_array_equal(again.eval()(ids), model(ids))
    with pytest.raises(ModelFormatError, match="holds other adapters"):
        load_lora(adapted(make_model, family, r=2), tmp_path / "adapter")


def test_dropout_is_drawn_from_the_seed(make_model: Make, ids: np.ndarray) -> None:
    """Also in a model that drops nothing else, and in blocks that are computed again."""
    model = adapted(make_model, "llama", dropout=0.5)
    loss = model.compute_loss(ids, ids, seed=3)
    assert model.loss_and_backward(ids, ids, seed=3) == pytest.approx(loss, rel=1e-6)
    assert model.compute_loss(ids, ids, seed=4) != loss
    first = {name: p.grad.copy() for name, p in trained(model).items()}
    model.zero_grad()
    model.loss_and_backward(ids, ids, seed=3, recompute=True)
    assert all(np.array_equal(p.grad, first[name]) for name, p in trained(model).items())


@pytest.mark.parametrize("format", ["float32", "q8", "q4", "q4_0"])
def test_over_weights_kept_for_inference(
    backend: str, make_model: Make, ids: np.ndarray, targets: np.ndarray, format: str
) -> None:
    base = make_model("llama").quantize(format)
    packed = {name: p.packed.tobytes() for name, p in base.named_parameters() if "qkv" in name}
    add_lora(base, LoRAConfig(r=4), seed=0)
    optimizer = AdamW(base.named_parameters(), 1e-2)
    losses = []
    for _ in range(10):
        losses.append(base.loss_and_backward(ids, targets))
        optimizer.step()
        base.zero_grad()
    assert losses[-1] < 0.9 * losses[0]
    assert {n: p.packed.tobytes() for n, p in base.named_parameters() if n in packed} == packed
    with pytest.raises(RuntimeError, match=f"kept as {format} for inference"):
        merge_lora(base)
    tokens = base.eval().generate(ids[:1, :5], 8, temperature=0)
    logits = base(tokens[:, :-1])[0]
    assert tokens[0, 5:].tolist() == logits[4:].argmax(-1).tolist()  # generated with the adapters


def _config(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "adapter_config.json").read_text())


@pytest.mark.parametrize("family, names", [("llama", LLAMA), ("gpt2", GPT2), ("default", GPT2)])
def test_names_in_the_files(
    make_model: Make, family: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    save_lora(adapted(make_model, family, dropout=0.1), tmp_path, "some/base")
    config = _config(tmp_path)
    assert config["target_modules"] == sorted({name.rpartition(".")[2] for name in names})
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (3, 5.0, 0.1)
    assert config["base_model_name_or_path"] == "some/base"
    assert config["fan_in_fan_out"] == (family != "llama")
    found = load_file(tmp_path / "adapter_model.safetensors")
    inside = "model.layers" if family == "llama" else "transformer.h"
    short = [name for name in found if f".{inside}.1." in name and "lora_A" in name]
    for name in names:
        (tensor,) = [f for f in short if f.endswith(f".{name}.lora_A.weight")]
        assert tensor.startswith(f"base_model.model.{inside}.1.")
        assert found[tensor].shape[0] == 3
        assert found[tensor.replace("lora_A", "lora_B")].shape[1] == 3
    assert len(found) == 2 * 2 * len(names)


def test_targets_mean_no_other_layers(make_model: Make, tmp_path: Path) -> None:
    save_lora(adapted(make_model, "gpt2", targets=("attn.c_proj",)), tmp_path)
    assert _config(tmp_path)["target_modules"] == ["attn.c_proj"]
    save_lora(adapted(make_model, "gpt2", targets=("h.1.mlp.c_proj", "c_fc")), tmp_path)
    assert _config(tmp_path)["target_modules"] == ["1.mlp.c_proj", "c_fc"]


@pytest.mark.parametrize("changes, said", [
    ({"peft_type": "IA3"}, "peft_type must be one of 'LORA'"),
    ({"use_dora": True}, "use_dora must be absent"),
    ({"bias": "all"}, "bias must be one of 'none'"),
    ({"modules_to_save": ["lm_head"]}, "modules_to_save must be absent"),
    ({"lora_alpha": "much"}, "lora_alpha must be a finite number"),
    ({"lora_dropout": -1}, "lora_dropout must be a probability from 0 to 1, not -1"),
])  # fmt: skip
def test_other_kinds_of_adapters(
    make_model: Make, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    save_lora(adapted(make_model, "llama"), tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(_config(tmp_path) | changes))
    model = make_model("llama")
    with pytest.raises(ModelFormatError, match=f"adapter_config.json: {said}"):
        load_lora(model, tmp_path)
    assert all(p.trainable for p in model.parameters())


def test_tensors_that_do_not_fit(make_model: Make, tmp_path: Path) -> None:
    save_lora(adapted(make_model, "llama"), tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    bent = dict(tensors)
    bent[f"{name}.lora_B.weight"] = np.zeros((5, 3), np.float32)
    del bent["base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"]
    bent["base_model.model.model.layers.2.mlp.up_proj.lora_A.weight"] = np.zeros((3, 32))
    save_file(bent, file)
    said = r"missing .*1\.mlp\.up_proj.*unexpected .*layers\.2\.|unexpected .*layers\.2\."
    with pytest.raises(ModelFormatError, match=said) as raised:
        load_lora(make_model("llama"), tmp_path)
    assert f"{name}.lora_B.weight has shape (5, 3)" in str(raised.value)
    a = f"{name}.lora_A.weight"
    save_file(tensors | {a: np.zeros((0, 32), np.float32)}, file)
    with pytest.raises(ModelFormatError, match=r"lora_A.weight has shape \(0, 32\), not \(3, 32\)"):
        load_lora(make_model("llama"), tmp_path)
    save_file(tensors | {a: np.array(1, np.float32)}, file)
    with pytest.raises(ModelFormatError, match=r"lora_A.weight has shape \(\), not \(3, 32\)"):
        load_lora(make_model("llama"), tmp_path)
    with pytest.raises(ModelFormatError, match=r"unexpected .*q_proj"):
        save_file(tensors, file)
        load_lora(make_model("gpt2"), tmp_path)


@pytest.fixture
def peft() -> Any:
    pytest.importorskip("torch", reason="PyTorch isn't installed")
    pytest.importorskip("transformers", reason="transformers isn't installed")
    return pytest.importorskip("peft", reason="the library peft isn't installed")


def _base(directory: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def _logits(model: Any, ids: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()


def test_peft_reads_what_we_write(
    peft: Any, make_model: Make, family: str, ids: np.ndarray, tmp_path: Path
) -> None:
    make_model(family).save_pretrained(tmp_path / "base")
    model = adapted(make_model, family).eval()
    save_lora(model, tmp_path / "adapter", str(tmp_path / "base"))
    theirs = peft.PeftModel.from_pretrained(_base(tmp_path / "base"), tmp_path / "adapter").eval()
    np.testing.assert_allclose(model(ids), _logits(theirs, ids), rtol=0, atol=2e-4)


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_we_read_what_peft_writes(
    peft: Any, make_model: Make, family: str, ids: np.ndarray, rank_stabilized: bool, tmp_path: Path
) -> None:
    import torch

    make_model(family).save_pretrained(tmp_path / "base")
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules="all-linear",
        use_rslora=rank_stabilized,
        task_type="CAUSAL_LM",
    )
    theirs = peft.get_peft_model(_base(tmp_path / "base"), config)
    torch.manual_seed(0)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    theirs.eval().save_pretrained(tmp_path / "adapter")
    model = make_model(family)
    load_lora(model, tmp_path / "adapter")
    wanted = _logits(theirs, ids)
    np.testing.assert_allclose(model.eval()(ids), wanted, rtol=0, atol=2e-4)
    merge_lora(model)
    np.testing.assert_allclose(model(ids), wanted, rtol=0, atol=2e-4)


def test_gradients_are_pefts(
    peft: Any, make_model: Make, ids: np.ndarray, targets: np.ndarray, tmp_path: Path
) -> None:
    import torch

    make_model("llama").save_pretrained(tmp_path / "base")
    model = adapted(make_model, "llama")
    save_lora(model, tmp_path / "adapter", str(tmp_path / "base"))
    theirs = peft.PeftModel.from_pretrained(
        _base(tmp_path / "base"), tmp_path / "adapter", is_trainable=True
    )
    logits = theirs(torch.tensor(ids)).logits
    torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(targets).flatten()
    ).backward()
    model.loss_and_backward(ids, targets)
    wanted = {n: p.grad.numpy() for n, p in theirs.named_parameters() if p.grad is not None}
    adapters = model.blocks[1].attention.qkv.adapters
    for word, adapter in zip(("q", "k", "v"), adapters, strict=True):
        for kind, parameter in (("A", adapter.a), ("B", adapter.b)):
            name = f"layers.1.self_attn.{word}_proj.lora_{kind}."
            (gradient,) = [g for n, g in wanted.items() if name in n]
            tolerance = 1e-4 * np.abs(gradient).max()
            np.testing.assert_allclose(parameter.grad.T, gradient, rtol=1e-3, atol=tolerance)
