"""What tests/hostile/fuzz.py has found, and how it is refused since."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litegpt import GPTModel, TextWindows, TrainConfig, Trainer, load_tokenizer
from litegpt.text import BytePairTokenizer
from litegpt.training.checkpoint import Checkpoints, _with_hashes


def test_ends_that_are_no_characters(tmp_path: Path) -> None:
    BytePairTokenizer({"a": 0}, []).save(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    written = json.loads(config.read_text())
    config.write_text(json.dumps(written | {"eos_token": "\ud800"}))
    with pytest.raises(
        ValueError, match=r"tokenizer_config\.json: eos_token '\\ud800' is no token"
    ):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_a_token_for_the_unknown(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers isn't installed")
    content = {"added_tokens": [], "decoder": {"type": "Fuse"}, "model": {"vocab": []}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tokenizer\.json: .* can't encode 'a': .*unk_id"):
        load_tokenizer(tmp_path)


def test_a_template_that_names_what_it_does_not_know(tmp_path: Path) -> None:
    """The package ends in a panic, which is no Exception."""
    pytest.importorskip("tokenizers", reason="tokenizers isn't installed")
    content = BytePairTokenizer.from_merges([], ["<s>"], prefix=[256]).to_json()
    content["post_processor"]["special_tokens"] = {}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tokenizer\.json: a tokenizer that isn't supported: "):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{% continue %}", "SyntaxError: 'continue' not properly in loop"),
        ("{{ 'é'.encode('ascii') }}", "UnicodeEncodeError: "),
        ("{{ [].index(1) }}", "ValueError: 1 is not in list"),
        ("{{ raise_exception('two\\nlines') }}", "two lines$"),
    ],
)
def test_templates_that_run_into_something(source: str, says: str) -> None:
    pytest.importorskip("jinja2", reason="jinja2 isn't installed")
    from litegpt.text.chat import ChatTemplate

    with pytest.raises(ValueError, match=f"^chat template: {says}"):
        ChatTemplate(source).render([{"role": "user", "content": "Hi"}])


def _trainer(folder: Path) -> Trainer:
    data = TextWindows(np.arange(100) % 10, 8)
    config = TrainConfig(max_steps=1, batch_size=1, eval_interval=1)
    model = GPTModel(10, 8, 1, 1, 4, seed=0)
    return Trainer(model, data, config, checkpoints=Checkpoints(folder))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frozen": None}, "the run of step 1 has other weights under those trained"),
        ({"settings": []}, r"state\.json: settings must be an object, not \[\]"),
        ({"run": None}, r"state\.json: step is missing"),
        ({"run": {"step": 7}}, r"state\.json: run must be the run's at step 1"),
        ({"run": {"loss": "low"}}, r"state\.json: loss must be of the kind float \| None"),
        ({"run": {"step": -1}}, r"state\.json: step must be of the kind int, not -1"),
        ({"run": {"recent_losses": [1, "a"]}}, r"state\.json: recent_losses must be of the kind"),
    ],
)
def test_states_of_runs_that_can_not_be(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    """Their hashes are right: somebody has written them so."""
    _trainer(tmp_path).fit()
    path = tmp_path / "checkpoints" / "step-000001" / "state.json"
    state = json.loads(path.read_text())
    hashes = {name: of for name, of in state.pop("sha256").items() if name != "state.json"}
    for name, value in changes.items():
        state[name] = state[name] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(_with_hashes(state, hashes)))
    with pytest.raises(ValueError, match=says):
        _trainer(tmp_path).resume()
    for text, problem in (("{}", "not as it was"), ('{"a": NaN}', "Out of range")):
        path.write_text(text)
        with pytest.raises(OSError, match=rf"no checkpoint is whole: .*state\.json: {problem}"):
            _trainer(tmp_path).resume()
