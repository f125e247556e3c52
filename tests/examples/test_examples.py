"""Every example runs to its end, and what it is to show is in what it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from litegpt import kernels

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHOWN = {
    "quick_start": [r"step 300: loss 0\.[0-5]\d+\nThis is the .*(cow|cock|man|maiden|cat|corn)"],
    "create_and_inspect": ["267,136 parameters, 1,068,544 bytes in memory", r"Llama +245,824"],
    "forward": [r"logits \(2, 100, 1000\), float32", "no logit before them: True"],
    "generation_settings": [
        r"greedy .* the cat'.* (sat|saw) ",
        "same text: True; another seed, the same: False",
    ],
    "training_step": [r"loss 6\.2\d+ nats", r"B=8 T=64: +\d"],
    "training_loop": ["before: 0% right", r"after: (9\d|100)% right"],
    "attention_seen": ["so 'abcxyzab' goes on with 'cxyzab'", "attention.html"],
    "sizes": [
        r"Tiny +24,320 +97,280",
        r"Small +267,136 +1,068,544",
        r"Medium +3,073,536 +12,294,144",
        r"Large +12,090,880 +48,363,520",
    ],
    "batch_generation": [r"'x' -> 'yz\\n abcdefgh', alone the same: True"],
    "lora": [
        r"the model: (9\d|100)% right upwards, 0% downwards",
        "on 16,384 parameters",
        r"loaded without them: (9\d|100)% right upwards, 0% downwards",
        r"merged: \d% right upwards, (9\d|100)% downwards",
    ],
    "scoring": [r"'d' after 're'", r"abcacbabc: perplexity \d{3}"],
    "export": ["100% same choices", r"GGUF, q4 +674,\d{3} bytes"],
}
NEED_MORE = {"chat_smollm2"}  # what it takes, and a test of its own


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} - NEED_MORE == set(SHOWN)


def _run(name: str, folder: Path, *arguments: object) -> str:
    """What an example prints."""
    package = str(Path(kernels.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": package, "PYTHONWARNINGS": "error,ignore::RuntimeWarning"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SHOWN)
def test_example(name: str, tmp_path: Path) -> None:
    printed = _run(name, tmp_path)
    for pattern in SHOWN[name]:
        assert re.search(pattern, printed), printed


def test_a_real_model_answers(smollm2: Path, tmp_path: Path) -> None:
    """The second answer knows the first question; another rung may word it otherwise."""
    pytest.importorskip("jinja2", reason="jinja2 isn't installed")
    questions = ("What is the capital of France?", "Which river flows through it?")
    printed = _run("chat_smollm2", tmp_path, smollm2, *questions)
    assert re.match(r"97 MB of weights, opened in \d", printed)
    _, first, second = printed.split("\n> ")
    assert first == f"{questions[0]}\nThe capital of France is Paris.\n"
    assert second.startswith(f"{questions[1]}\nThe river that flows through Paris is the ")
