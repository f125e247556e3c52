"""Ids in, whole characters out."""

import codecs

from litegpt.text.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes ids as they come; a character is held back until its last byte is there.

    The pieces that `feed` and, at the end, `flush` return, joined, are tokenizer.decode(all ids).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._token_bytes = tokenizer.token_bytes
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._space_first = tokenizer.space_first

    def feed(self, token_id: int) -> str:
        """The characters that this token completes, perhaps none."""
        piece = self._decode(self._token_bytes(token_id))
        if self._space_first and piece:
            self._space_first = False
            return piece.removeprefix(" ")
        return piece

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""
        return self._decode(b"", final=True)
