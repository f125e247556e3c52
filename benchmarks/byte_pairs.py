"""Byte pairs in Python beside the package `tokenizers`: opening GPT-2's vocabulary, and encoding.

    python benchmarks/byte_pairs.py VOCAB_JSON FILE

Each text is encoded by both in alternation, by ours with no word met before; the ids must be the
same. Processor time.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tokenizers

from litegpt import BytePairTokenizer, load_tokenizer
from litegpt.text import SubwordTokenizer


def _taken(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    made = work()
    return time.process_time() - start, made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("vocabulary", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    content = load_tokenizer(arguments.vocabulary).to_json()
    code = sorted((Path(__file__).parents[1] / "litegpt").rglob("*.py"))
    texts = {
        arguments.file.name: arguments.file.read_text(),
        "litegpt's own code": "".join(path.read_text() for path in code),
        "one word of 100,000 letters": "ab" * 50_000,
    }
    written = json.dumps(content)
    package = SubwordTokenizer.from_json(content)
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in ("opening", *texts)}
    for _ in range(arguments.repetitions):
        ours, _ = _taken(lambda: BytePairTokenizer.from_json(json.loads(written)))
        theirs, _ = _taken(lambda: tokenizers.Tokenizer.from_str(written))
        rows["opening"].append((ours, theirs))
        for name, text in texts.items():
            unused = BytePairTokenizer.from_json(content)
            assert unused is not None
            ours, ids = _taken(partial(unused.encode, text))
            theirs, same = _taken(partial(package.encode, text))
            assert ids.tolist() == same.tolist()
            rows[name].append((ours, theirs))
    print(f"{'':30}  Python  package")
    for name, seconds in rows.items():
        ours, theirs = (statistics.median(column) for column in zip(*seconds, strict=True))
        print(f"{name:30} {ours:5.3f} s  {theirs:5.3f} s  {ours / theirs:.2f} x")


if __name__ == "__main__":
    main()
