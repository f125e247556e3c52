"""A browser, where there is one, and a small model that shows something."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, os.path.dirname(__file__))  # pytest imports by path; browser.py is beside

from browser import Browser, find_chromium

from litegpt import ByteTokenizer, GPTModel, TextModel


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium here")
    browser = Browser(executable, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def text_model() -> TextModel:
    """Three layers of four heads, over bytes."""
    return TextModel(GPTModel(256, 64, 3, 4, 32, dropout=0, init_std=0.3, seed=0), ByteTokenizer())


@pytest.fixture
def page_path(tmp_path: Path) -> Path:
    return tmp_path / "page.html"
