"""Arrays of strings in GGUF files: each is its size (uint64), then so many bytes of UTF-8.

A vocabulary and its merges are 100,000 of them. Going from one to the next takes a fifth of the
time in which a small model opens, so they are found, and cut apart, all at once.
"""

import mmap
import struct
from array import array

import numpy as np

_SIZE = struct.Struct("<Q")
_USUAL = 24  # bytes of a string, at most, on average
_AT_ONCE = 1 << 22  # bytes that are looked at
_PIECE = 1 << 16  # of them at a time, so that they stay in the processor's caches


def string_ends(data: mmap.mmap, begin: int, count: int) -> np.ndarray:
    """Where each of `count` strings ends (n,) int64; IndexError if that is beyond the data."""
    ends = _ends_of_short(data, begin, count)
    if ends is None:
        ends = _walk(data, begin, count)
    if count and ends[-1] > len(data):
        raise IndexError("a string ends beyond the data")
    return ends


def strings(data: mmap.mmap, begin: int, ends: np.ndarray) -> list[str]:
    """The strings that end there; UnicodeDecodeError if one isn't UTF-8."""
    if not ends.size:
        return []
    found = _after_nuls(data, begin, ends).split("\0")
    del found[0]
    if len(found) == len(ends):
        return found
    # A string holds a NUL of its own.
    starts = (begin + _SIZE.size, *(ends[:-1] + _SIZE.size).tolist())
    return [data[i:j].decode() for i, j in zip(starts, ends.tolist(), strict=True)]


def _after_nuls(data: mmap.mmap, begin: int, ends: np.ndarray) -> str:
    """The strings, each after a NUL in the place of its size."""
    content = np.frombuffer(data, np.uint8, int(ends[-1]) - begin, begin).copy()
    sizes = np.concatenate([[0], ends[:-1] - begin])  # where they begin, (n,)
    content[sizes] = 0
    keep = np.ones(len(content), np.bool_)
    for _ in range(1, _SIZE.size):
        sizes += 1
        keep[sizes] = False
    return str(content[keep].data, "utf-8")


def _ends_of_short(data: mmap.mmap, begin: int, count: int) -> np.ndarray | None:
    """string_ends of strings below 256 bytes; None if these aren't such.

    Seven bytes of such a size are 0. If each place that looks like a size stands where the string
    before it ends, it is one.
    """
    most = min(len(data) - begin, _USUAL * count, _AT_ONCE)
    content = np.frombuffer(data, np.uint8, most, begin)
    found, missing = [np.empty(0, np.int64)], count
    for first in range(0, most, _PIECE):
        if missing <= 0:  # else a file of zeros would have eight times too many
            break
        found.append(_like_sizes(content[first : first + _PIECE + 7]) + first)
        missing -= len(found[-1])
    sizes = np.concatenate(found)[:count]
    ends = sizes + _SIZE.size + content[sizes]
    if len(sizes) != count or sizes[:1].any() or not np.array_equal(sizes[1:], ends[:-1]):
        return None
    return begin + ends


def _like_sizes(content: np.ndarray) -> np.ndarray:
    """Where seven bytes that are 0 follow another byte: (n,) int64."""
    zero = content == 0
    two = zero[1:-1] & zero[2:]
    four = two[:-2] & two[2:]
    return np.flatnonzero(four[:-3] & four[3:])


def _walk(data: mmap.mmap, begin: int, count: int) -> np.ndarray:
    """string_ends, from string to string."""
    at, ends = begin, array("q")
    size, end = _SIZE.unpack_from, len(data)
    try:
        for _ in range(count):
            at += _SIZE.size + size(data, at)[0]
            if at > end:
                raise IndexError("a string ends beyond the data")
            ends.append(at)
    except struct.error:  # a size that isn't whole
        raise IndexError("a size ends beyond the data") from None
    return np.frombuffer(ends, np.int64)
