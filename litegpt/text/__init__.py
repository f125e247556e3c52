"""Tokenizers: text to ids and back."""

from litegpt.text.byte import ByteTokenizer
from litegpt.text.byte_pairs import BytePairTokenizer
from litegpt.text.char import CharTokenizer
from litegpt.text.examples import Example, ExampleEncoder, read_examples
from litegpt.text.extras import MissingExtraError
from litegpt.text.gguf_vocabulary import tokenizer_from_gguf
from litegpt.text.load import TOKENIZERS, load_tokenizer
from litegpt.text.stream import StreamDecoder
from litegpt.text.subword import SubwordTokenizer
from litegpt.text.tokenizer import Tokenizer
from litegpt.text.vocabulary import VocabularyTokenizer

__all__ = [
    "TOKENIZERS",
    "BytePairTokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "Example",
    "ExampleEncoder",
    "MissingExtraError",
    "StreamDecoder",
    "SubwordTokenizer",
    "Tokenizer",
    "VocabularyTokenizer",
    "load_tokenizer",
    "read_examples",
    "tokenizer_from_gguf",
]
