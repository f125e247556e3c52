"""What `import litegpt` offers."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import litegpt
from litegpt import nn

NAMES = (
    "ScaledDotProductAttention MultiHeadAttention create_causal_mask create_padding_mask "
    "LayerNorm FeedForward Embedding PositionalEncoding LearnedPositionalEncoding "
    "TransformerBlock GPTModel"
).split()


def test_the_documented_names_are_on_both_floors() -> None:
    for name in NAMES:
        assert getattr(litegpt, name) is getattr(nn, name)
    for name in set(NAMES) - {"create_causal_mask", "create_padding_mask"}:
        assert callable(getattr(litegpt, name).forward)


def test_every_export_is_there() -> None:
    for module in (litegpt, nn):
        assert all(hasattr(module, name) for name in module.__all__)


def test_the_version_can_be_read_without_importing() -> None:
    """So that building needs neither NumPy nor the extension."""
    tree = ast.parse(Path(litegpt.__file__).read_text())
    versions = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
    ]
    assert versions == [litegpt.__version__]


def test_type_checkers_read_the_names_that_there_are() -> None:
    """Names come lazily; those that the source shows lead to the same objects."""
    tree = ast.parse(Path(litegpt.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imported = [
        (statement.module, alias.name)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    ]
    assert sorted(name for _, name in imported) == litegpt.__all__
    for module, name in imported:
        assert getattr(litegpt, name) is getattr(import_module(str(module)), name)


def test_names_that_there_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'litegpt' has no attribute 'GTPModel'"):
        litegpt.GTPModel  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'GTPModel'"):
        from litegpt import GTPModel  # noqa: F401
    assert {"GPTModel", "nn", "__version__"} <= set(dir(litegpt))


def test_importing_is_done_when_it_is_needed() -> None:
    """A parser of arguments needs no NumPy; floors are attributes without being imported first."""
    code = (
        "import sys, litegpt, litegpt.cli; assert 'numpy' not in sys.modules; "
        "litegpt.nn.Linear; assert 'litegpt.training' not in sys.modules; litegpt.Trainer"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_greedy_generation_from_a_file_draws_nothing(tmp_path: Path) -> None:
    """numpy.random takes a tenth of a program's start."""
    litegpt.GPTModel(10, 8, 1, 1, 4, seed=0).save_pretrained(tmp_path)
    code = (
        "import sys, numpy; eager = 'numpy.random' in sys.modules; from litegpt import GPTModel; "
        f"GPTModel.from_pretrained({str(tmp_path)!r}).generate([[1]], 3, temperature=0); "
        "assert eager or 'numpy.random' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("before", "after"), [(None, "20"), ("26", "26")])
def test_numpys_idle_threads_soon_sleep(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    """Unless somebody has said otherwise."""
    name = "OPENBLAS_THREAD_TIMEOUT"
    monkeypatch.delenv(name, raising=False)
    if before:
        monkeypatch.setenv(name, before)
    code = f"import litegpt.formats, os; print(os.environ[{name!r}])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == after


def test_adapters_are_imported_when_they_are_asked_for() -> None:
    code = (
        "import sys; from litegpt import GPTModel, TextModel; peft = 'litegpt.models.peft'; "
        "assert peft not in sys.modules; from litegpt import LoRAConfig; assert peft in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
