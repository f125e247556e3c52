"""What is raised for files that can't be used."""


class ModelFormatError(ValueError):
    """A file isn't what it should be; the message names the file, and the field or tensor."""
