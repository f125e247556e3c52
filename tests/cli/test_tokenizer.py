"""`litegpt tokenizer train`, and training a model with what it makes."""

import pytest

from litegpt import GPTModel
from litegpt.text import load_tokenizer

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def learned(litegpt, text_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer") / "new" / "bpe"
    done = litegpt("tokenizer", "train", text_file, "--vocab-size", 280, "--out", directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1,290 bytes are " in done.stdout
    return directory


def test_it_learns_a_byte_level_encoding(learned, text_file) -> None:
    tokenizer = load_tokenizer(learned)
    text = text_file.read_text()
    assert tokenizer.vocab_size == 280
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(text)) < len(text) / 2
    assert tokenizer.decode(tokenizer.encode("Ω 🙂 unseen")) == "Ω 🙂 unseen"


def test_it_learns_from_folders_and_lines(litegpt, tmp_path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("to be or not to be " * 20)
    (tmp_path / "texts" / "b.jsonl").write_text('{"text": "that is the question", "id": "zzz"}\n')
    done = litegpt("tokenizer", "train", tmp_path / "texts", "--out", tmp_path / "t")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 files: 400 bytes are ")
    tokenizer = load_tokenizer(tmp_path / "t")
    assert len(tokenizer.encode(" question")) == 1 and len(tokenizer.encode("zzz")) == 3


def test_a_model_is_trained_and_read_with_it(litegpt, learned, text_file, small, tmp_path) -> None:
    out = tmp_path / "model"
    for _ in range(2):  # an earlier run is replaced
        done = litegpt("train", text_file, "--out", out, "--tokenizer", learned, *small)
        assert done.returncode == 0, done.stderr
    assert "280 different, subword" in done.stdout
    model, tokenizer = GPTModel.from_pretrained(out), load_tokenizer(out)
    assert model.vocab_size == tokenizer.vocab_size == 280
    done = litegpt("generate", "To be", "--model", out, "--seed", 2, "--max-new-tokens", 30)
    assert done.returncode == 0, done.stderr
    ends = tokenizer.eos_ids  # a text ends there, and doesn't show it
    ids = model.generate(tokenizer.encode("To be"), 30, 0.8, 50, seed=2, stop_ids=ends)[0]
    assert done.stdout == tokenizer.decode([i for i in ids if i not in ends]) + "\n"


@pytest.mark.parametrize("flags, named", [
    (["--vocab-size", "256"], ["--vocab-size must be from 257", "256"]),
    (["--vocab-size", "x"], ["--vocab-size", "'x'"]),
])  # fmt: skip
def test_bad_arguments(litegpt, text_file, tmp_path, refused, flags, named) -> None:
    refused(litegpt("tokenizer", "train", text_file, "--out", tmp_path / "t", *flags), named)
    assert not (tmp_path / "t").exists()


def test_nothing_of_others_is_overwritten(litegpt, text_file, tmp_path, refused) -> None:
    (tmp_path / "notes").touch()
    refused(litegpt("tokenizer", "train", text_file, "--out", tmp_path), ["notes"])
    refused(litegpt("tokenizer", "train", text_file, "--out", text_file), ["hamlet.txt", "a file"])
    refused(litegpt("tokenizer", "train", "none", "--out", tmp_path / "t"), ["none"])


def test_without_the_package_one_line_says_what_to_install(
    litegpt, text_file, tmp_path, refused
) -> None:
    (tmp_path / "tokenizers.py").write_text("raise ImportError(name='tokenizers')")
    done = litegpt(
        "tokenizer", "train", text_file, "--out", tmp_path / "t", PYTHONPATH=str(tmp_path)
    )
    refused(done, ["tokenizers", "pip install 'litegpt-cpu[hf]'"])
