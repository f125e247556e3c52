"""The limit: only the memory that must be read or copied, only the arithmetic that must be done."""

from contenders import Task
from litegpt.kernels import limits


def limit(
    read: float = 0,
    copied: float = 0,
    flops: float = 0,
    bfloat16: float = 0,
    q8: float = 0,
    q4: float = 0,
) -> Task:
    """Bytes read, bytes read and written in a copy, operations on float32, on bfloat16, on codes of
    8 and of 4 bits: one after the other."""
    works = []
    if read:
        works.append(limits.reading(round(read)))
    if copied:
        works.append(limits.copying(round(copied)))
    if flops:
        works.append(limits.multiplying(flops))
    if bfloat16:
        works.append(limits.multiplying(bfloat16, "bfloat16"))
    for format, operations in (("q8", q8), ("q4", q4)):
        if operations:
            works.append(limits.multiplying_codes(operations, format))

    def run() -> None:
        for work in works:
            work()

    return Task(run)
