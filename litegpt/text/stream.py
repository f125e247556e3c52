"""Ids in, whole characters out."""

import codecs

from litegpt.text.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes ids as they come; a character is held back until its last byte is there.

    The pieces that `feed` and, at the end, `flush` return, joined, are tokenizer.decode(all ids).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._space_first = tokenizer.space_first

    @property
    def pending(self) -> bool:
        """Whether a character has begun that isn't whole yet."""
        return bool(self._decoder.getstate()[0])

    def feed(self, token_id: int) -> str:
        """The characters that this token completes, perhaps none."""
        piece = self._decoder.decode(self._token_bytes(token_id))
        if self._space_first and piece:
            self._space_first = False
            return piece.removeprefix(" ")
        return piece

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)
