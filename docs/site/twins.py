"""Shows a kernel's two twins side by side where a page says

    <!-- twins NAME: csrc/kernels/FILE.h C_FUNCTION ... -->

NAME is one of litegpt.kernels.reference, or of a module in it (dropout.keep_mask).
The sources are read when the guide is built, so that they can't go out of date.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from litegpt.kernels import reference

ROOT = Path(__file__).resolve().parents[2]
TWINS = re.compile(r"^<!-- twins ([\w.]+): (\S+) ([\w ]+?) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if TWINS.search(markdown):
        page.meta["hide"] = ["toc"]  # its column goes to the twins
    return TWINS.sub(lambda found: side_by_side(*found.groups()), markdown)


def side_by_side(kernel: str, file: str, functions: str) -> str:
    """The NumPy function of a kernel, and beside it the C functions that do its work."""
    *module, name = kernel.split(".")
    source = import_module(".".join([reference.__name__, *module]))
    numpy_twin = inspect.getsource(getattr(source, name))
    c_twin = "\n".join(c_function(ROOT / file, name) for name in functions.split())
    left = _code("python", "NumPy: the contract", numpy_twin)
    right = _code("c", file, c_twin)
    return f'<div class="grid twins" markdown>\n\n{left}\n{right}\n</div>'


def c_function(path: Path, name: str) -> str:
    """A function of a C file with the comment above it; LookupError if there is none."""
    start = rf"(?:^/\*(?:(?!\*/).)*\*/\n)?^(?:static|INLINE)[^;{{}}]*\b{name}\("
    whole = rf"{start}[^{{]*\{{(?:[^\n]*\}}$|.*?^\}})"  # in one line, or up to a brace at its start
    found = re.search(whole, path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if not found:
        raise LookupError(f"{path}: no function {name}")
    return found[0] + "\n"


def _code(language: str, title: str, code: str) -> str:
    return f'```{language} title="{title}"\n{code.rstrip()}\n```\n'
