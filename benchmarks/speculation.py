"""What guessing ahead from the text gains, on a text that repeats itself.

    python benchmarks/speculation.py MODEL FILE

The model (SmolLM2's GGUF file, say) goes on with the first bytes of FILE, put twice and begun once
more: greedily, with and without guesses, in alternation. Both must give the same tokens.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from litegpt import TextModel

NEW = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("file", type=Path)
    parser.add_argument("--bytes", type=int, default=600, help="of the file (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    model = TextModel.from_pretrained(arguments.model)
    text = arguments.file.read_bytes()[: arguments.bytes].decode(errors="ignore")
    ids = model.ids(2 * text + text[:40])
    seconds: dict[int, list[float]] = {0: [], 4: [], 8: [], 16: []}
    wanted = None
    for _ in range(arguments.repetitions):
        for count, taken in seconds.items():
            steps = model.model.stream(ids, NEW, temperature=0, speculate=count)
            made = [next(steps)]  # the prompt is read
            start = time.process_time()
            made.extend(steps)
            taken.append(time.process_time() - start)
            wanted = made if wanted is None else wanted
            assert np.array_equal(made, wanted)
    plain = statistics.median(seconds[0])
    print(f"{len(ids)} tokens read, {NEW - 1} written in {plain:.3f} s of processor time")
    for count in [count for count in seconds if count]:
        taken = statistics.median(seconds[count])
        print(f"{count:2} guesses: {taken:.3f} s, {plain / taken:.2f} times as fast")


if __name__ == "__main__":
    main()
