"""What is raised for files that can't be used."""


class ModelFormatError(ValueError):
    """A file isn't what it should be; the message names the file, and the field or tensor.

    It is one line, whatever characters the names in a file are made of.
    """

    def __init__(self, message: str) -> None:
        super().__init__(
            "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)
        )
