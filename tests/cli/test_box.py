"""The model in the box: there without being named, small, and as good as the documents say."""

import re
from collections.abc import Callable
from math import log2
from pathlib import Path

from litegpt import GPTModel, TextModel, box
from litegpt.formats import GgufFile
from litegpt.generation import evaluate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "box.md"


def test_generate_takes_it_when_no_model_is_named(litegpt: Callable) -> None:
    texts = [
        litegpt("generate", "ROMEO:", "--seed", 1, "--max-new-tokens", 30, *model)
        for model in ([], ["--model", "shakespeare"], ["--model", box.FILE])
    ]
    assert all(done.returncode == 0 for done in texts), texts[0].stderr
    assert texts[0].stdout == texts[1].stdout == texts[2].stdout
    model = TextModel.from_pretrained(box.FILE)
    settings = {"temperature": 0.8, "top_k": 50, "seed": 1}
    (written,) = model.complete(["ROMEO:"], max_new_tokens=30, **settings)
    assert texts[0].stdout == f"ROMEO:{written.text}\n" and len(written.tokens.ids) == 30


def test_it_needs_no_package(litegpt: Callable, tmp_path: Path) -> None:
    for extra in ("tokenizers", "jinja2", "rich", "huggingface_hub"):
        (tmp_path / f"{extra}.py").write_text(f"raise ImportError(name={extra!r})")
    done = litegpt("generate", "ROMEO: 🙂", "--max-new-tokens", 1, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0 and done.stdout.startswith("ROMEO: 🙂"), done.stderr


def test_a_path_of_its_name_comes_first(litegpt: Callable, tmp_path: Path) -> None:
    (tmp_path / "shakespeare").mkdir()
    done = litegpt("generate", "A", "--model", tmp_path / "shakespeare")
    assert done.returncode == 2 and "shakespeare" in done.stderr
    assert box.find(tmp_path / "shakespeare") == tmp_path / "shakespeare"
    assert box.find(Path("shakespeare")) == box.FILE


def test_it_is_small(litegpt: Callable) -> None:
    assert box.FILE.stat().st_size <= 2_000_000
    file = GgufFile(box.FILE)
    matrices = {
        tensor.form.name
        for name, tensor in file.tensors.items()
        if len(tensor.shape) == 2 and name != "position_embd.weight"
    }
    assert matrices == {"Q8_0"}
    assert GPTModel.from_pretrained(box.FILE).get_num_parameters() <= 3_000_000


def test_its_loss_is_the_one_that_is_stated(data_dir: Path) -> None:
    """On the first fifth of what it hasn't learned; the page states the whole and this part."""
    stated = re.search(r"first 20,000 of\s+them: ([\d.]+) bits per byte", PAGE.read_text("utf-8"))
    assert stated
    text = (data_dir / "tinyshakespeare.txt").read_bytes()
    held_back = text[len(text) - len(text) // 10 :][:20_000]
    model = TextModel.from_pretrained(box.FILE)
    found = evaluate(model.model, model.tokenizer, held_back)
    assert abs(found.bits_per_byte - float(stated[1])) < 0.01
    assert found.bits_per_byte < 0.5 * log2(65)  # 65 characters, none likelier than others
