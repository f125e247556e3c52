"""What `import litegpt` offers."""

import ast
from pathlib import Path

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
