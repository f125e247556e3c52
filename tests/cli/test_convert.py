"""`litegpt convert`: between directories and GGUF files, there and back."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from litegpt import GPTModel
from litegpt.formats import GgufFile
from litegpt.text import BytePairTokenizer

IDS = [1, 2, 3, 4]


def test_there_and_back(litegpt: Callable, trained: Path, tmp_path: Path) -> None:
    """What was trained here, with its tokenizer."""
    done = litegpt("convert", trained, tmp_path / "m.gguf", "--dtype", "float32")
    assert done.returncode == 0 and "without" not in done.stdout, done.stderr
    done = litegpt("convert", tmp_path / "m.gguf", tmp_path / "back")
    assert done.returncode == 0 and "without" not in done.stdout, done.stderr
    done = litegpt("convert", trained, tmp_path / "M.GGUF", "--dtype", "float32")
    assert (
        done.returncode == 0
        and (tmp_path / "M.GGUF").read_bytes() == (tmp_path / "m.gguf").read_bytes()
    )
    done = litegpt("convert", trained, tmp_path / "copy")
    assert done.returncode == 0 and "without" not in done.stdout, done.stderr
    wanted = GPTModel.from_pretrained(trained)
    for path in (tmp_path / "m.gguf", tmp_path / "back", tmp_path / "copy"):
        model = GPTModel.from_pretrained(path)
        assert model.config == wanted.config
        np.testing.assert_array_equal(model(IDS), wanted(IDS))
    tokenizer = json.loads((trained / "tokenizer.json").read_text())
    for path in ("copy", "back"):
        assert json.loads((tmp_path / path / "tokenizer.json").read_text()) == tokenizer
    texts = [
        litegpt("generate", "--model", tmp_path / path, "--seed", 1) for path in ("copy", "m.gguf")
    ]
    assert texts[0].stdout == texts[1].stdout and texts[0].returncode == 0


def test_the_ids_that_end_a_text_come_along(litegpt: Callable, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    from litegpt.text import SubwordTokenizer

    tokenizer = SubwordTokenizer.from_text("to be", 260)
    GPTModel(tokenizer.vocab_size, 8, 1, 2, 8, seed=0).save_pretrained(tmp_path / "m")
    SubwordTokenizer(tokenizer.backend, [0, 7, 9]).save(tmp_path / "m")
    for source, made in (("m", "copy"), ("m", "m.gguf"), ("m.gguf", "back")):
        done = litegpt("convert", tmp_path / source, tmp_path / made)
        assert done.returncode == 0, done.stderr
    for made in ("copy", "back"):
        said = json.loads((tmp_path / made / "generation_config.json").read_text())
        assert said == {"eos_token_id": [0, 7, 9]}


def test_the_tokenizer_of_an_earlier_model_goes(
    litegpt: Callable, trained: Path, tmp_path: Path
) -> None:
    GPTModel(257, 8, 1, 2, 8, seed=0).save_pretrained(tmp_path / "there")
    BytePairTokenizer.from_merges([], ["<end>"], eos_ids=[256]).save(tmp_path / "there")
    (tmp_path / "there" / "chat_template.jinja").write_text("{{ messages }}")
    GPTModel(5, 4, 1, 2, 4, seed=0).save_pretrained(tmp_path / "bare")
    model = ["config.json", "model.safetensors"]
    for source, names in (
        (trained, [*model, "tokenizer.json", "tokenizer_config.json"]),
        (tmp_path / "bare", model),
    ):
        done = litegpt("convert", source, tmp_path / "there")
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in (tmp_path / "there").iterdir()) == names


def test_fewer_bits(litegpt: Callable, trained: Path, tmp_path: Path) -> None:
    model = GPTModel(11, 8, 1, 2, 32, seed=0)
    model.save_pretrained(tmp_path / "m")
    kinds = {"float16": "F16", "q8": "Q8_0", "q5": "Q5_1", "q4": "Q4_0", "q4_0": "Q4_0"}
    for dtype, kind in kinds.items():
        done = litegpt("convert", tmp_path / "m", tmp_path / "m.gguf", "--dtype", dtype)
        assert done.returncode == 0, done.stderr
        file = GgufFile(tmp_path / "m.gguf")
        assert file.tensors["blk.0.ffn_up.weight"].form.name == kind


@pytest.mark.parametrize(
    ("source", "destination", "dtype", "says"),
    [
        ("m", "there", "q8", "--dtype q8 is for a DEST that ends in .gguf"),
        ("m", "folder.gguf", None, "a directory stands there"),
        ("m", "file", None, "a file stands there"),
        ("m", "nowhere/m.gguf", None, "nowhere: no such directory"),
        ("m", "m", None, "SRC and DEST are the same"),
        ("m", "thesis", None, "holds something else"),
        ("file", "there", None, "file: not a GGUF file"),
        ("model.pt", "there", None, "looks like a pickle, which isn't opened"),
    ],
)
def test_bad_input(
    litegpt: Callable,
    refused: Callable,
    tmp_path: Path,
    source: str,
    destination: str,
    dtype: str | None,
    says: str,
) -> None:
    GPTModel(5, 4, 1, 2, 4, seed=0).save_pretrained(tmp_path / "m")
    for folder in ("folder.gguf", "thesis"):
        (tmp_path / folder).mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    for file in ("file", "model.pt"):
        (tmp_path / file).write_text("text")
    flags = [] if dtype is None else ["--dtype", dtype]
    done = litegpt("convert", tmp_path / source, tmp_path / destination, *flags)
    refused(done, [says])
    assert not (tmp_path / "there").exists()
