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

    def feed(self, token_id: int) -> str:
        """The characters that this token completes, perhaps none."""
        return self._decode(self._token_bytes(token_id))

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""
        return self._decode(b"", final=True)
