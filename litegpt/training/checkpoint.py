"""Checkpoints of a run: directories that are there whole, or not at all.

DIR/config.json, DIR/model.safetensors and what belongs to them are the best model so far by
validation loss (until there is one: the newest), and DIR/checkpoints/step-000250 is a checkpoint:

    config.json, model.safetensors    as GPTModel.save_pretrained writes them
    optimizer.safetensors             Optimizer.state_dict()
    state.json                        RunState, settings, data, and the sha256 of all files

The best model's files are in both places, without taking space twice where links can be made.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from litegpt.formats import (
    JsonFields,
    discard_directory,
    read_json,
    remove_leftovers,
    save_tensors,
    write_directory,
    write_together,
)
from litegpt.models import GPTModel
from litegpt.training.optimizer import Optimizer

FOLDER = "checkpoints"
_OPTIMIZER, _STATE = "optimizer.safetensors", "state.json"
_NAME = re.compile(r"step-(\d{6,12})")


class CheckpointError(OSError):
    """A checkpoint that can't be written, or none that can be read: one line that says why."""


@dataclass(frozen=True)
class Checkpoint:
    """One that is whole: its files are what they were when it was written."""

    path: Path
    state: dict[str, Any]

    @property
    def step(self) -> int:
        return _step_of(self.path)

    @property
    def fields(self) -> JsonFields:
        """The state, by type."""
        return JsonFields(self.path / _STATE, self.state)


def load_pretrained(model: GPTModel, directory: Path) -> None:
    """Copies the weights of a model's directory into a model of the same shape."""
    model.load_state_dict(GPTModel.from_pretrained(directory).state_dict())


class Checkpoints:
    """The checkpoints in `directory` of one run: the last ones, and the best.

    save_model and load_model write and read a model's files in a directory. A run that hasn't
    begun with `newest` begins anew; it refuses to where checkpoints are, unless told to replace
    them, and replaces them when its first one is whole.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        replace: bool = False,
        save_model: Callable[[GPTModel, Path], None] = GPTModel.save_pretrained,
        load_model: Callable[[GPTModel, Path], None] = load_pretrained,
    ) -> None:
        self.directory = Path(directory)
        self.load_model = load_model
        self._save_model = save_model
        self._folder = self.directory / FOLDER
        self._replace = replace
        self._current: Checkpoint | None = None  # the last one written or read
        self._published: Path | None = None  # whose model the directory's is

    @property
    def step(self) -> int | None:
        """That of the last checkpoint written or read."""
        return self._current.step if self._current else None

    @property
    def published_step(self) -> int | None:
        """That of the model which this run has made the directory's."""
        return _step_of(self._published) if self._published else None

    def check_destination(self) -> None:
        """ValueError where another run's checkpoints would be lost."""
        if not (self._current or self._replace) and self._found():
            raise ValueError(
                f"{self.directory}: holds the checkpoints of a run; resume goes on with it, "
                "and replace begins anew"
            )

    def newest(self, tell: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        tell hears of those that are broken, which are removed. CheckpointError if all are.
        """
        broken: dict[Path, str] = {}
        for path in reversed(self._found()):
            try:
                self._current = Checkpoint(path, _verified(path))
            except (OSError, ValueError) as error:
                broken[path] = str(error)
                continue
            for other, why in broken.items():
                tell(f"{why}; the run goes on from {path.name}, the one before")
                discard_directory(other)
            return self._current
        if broken:
            raise CheckpointError(f"no checkpoint is whole: {'; '.join(broken.values())}")
        return None

    def load_optimizer(self, optimizer: Optimizer, checkpoint: Checkpoint) -> None:
        with safe_open(checkpoint.path / _OPTIMIZER, framework="numpy") as file:
            optimizer.load_state_dict(_Stored(file))

    def save(
        self, model: GPTModel, optimizer: Optimizer, state: Mapping[str, Any], step: int
    ) -> None:
        """Writes the checkpoint of a step; CheckpointError if that fails, and all is as before.

        If the last one written or read is of this step, only its state is written again.
        """
        path = self._folder / f"step-{step:06}"
        try:
            if self._current and self._current.step == step:
                hashes = {k: v for k, v in self._current.state["sha256"].items() if k != _STATE}
                state = _with_hashes(state, hashes)
                write_together({path / _STATE: partial(_write_json, state)})
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                remove_leftovers(self._folder)
                fill = partial(self._fill, model, optimizer, state)
                write_directory(path, fill, self._make_way)
                state = read_json(path / _STATE).fields
        except (OSError, ValueError) as error:
            before = f"that of step {self.step} is whole" if self._current else "there is none yet"
            raise CheckpointError(
                f"{path}: this checkpoint can't be written ({_reason(error)}); {before}"
            ) from error
        self._current = Checkpoint(path, dict(state))

    def _fill(
        self, model: GPTModel, optimizer: Optimizer, state: Mapping[str, Any], directory: Path
    ) -> None:
        self._save_model(model, directory)
        moments = optimizer.state_dict()
        write_together({directory / _OPTIMIZER: partial(save_tensors, tensors=moments)})
        hashes = {path.name: _sha256(path) for path in sorted(directory.iterdir())}
        _write_json(_with_hashes(state, hashes), directory / _STATE)

    def _make_way(self) -> None:
        """Removes another run's checkpoints, which this one replaces."""
        if self._current is None:
            for path in self._found():
                discard_directory(path)

    def publish(self, best_step: int | None, keep_last: int) -> None:
        """Makes a checkpoint's model that of the directory, and removes checkpoints grown old.

        It is the best one's; the newest one's where the best isn't known, or not whole. It stays,
        as the last keep_last do. CheckpointError if that fails.
        """
        assert self._current
        newest = self._current.path
        best = newest if best_step is None else self._folder / f"step-{best_step:06}"
        try:
            if best not in (newest, self._published) and not _is_whole(best):
                best = newest
            if best != self._published:
                files = [p for p in best.iterdir() if p.name not in (_OPTIMIZER, _STATE)]
                write_together({self.directory / p.name: partial(_link, p) for p in files})
                self._published = best
            remove_leftovers(self._folder)
            for path in self._found()[:-keep_last]:
                if path not in (best, newest):
                    discard_directory(path)
        except OSError as error:
            raise CheckpointError(
                f"{self.directory}: can't be given the model of {best.name} ({_reason(error)}); "
                f"{newest.name} is whole"
            ) from error

    def _found(self) -> list[Path]:
        """Checkpoints by step, oldest first; not looked into."""
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        found = (path for path in paths if _NAME.fullmatch(path.name) and path.is_dir())
        return sorted(found, key=_step_of)


class _Stored(Mapping[str, np.ndarray]):
    """The tensors of an open safetensors file, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file, self._names = file, frozenset(file.keys())

    def __getitem__(self, name: str) -> np.ndarray:
        return self._file.get_tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _is_whole(path: Path) -> bool:
    try:
        _verified(path)
    except (OSError, ValueError):
        return False
    return True


def _verified(path: Path) -> dict[str, Any]:
    """The state of a checkpoint; ValueError naming the first file that isn't as it was written."""
    state = read_json(path / _STATE)
    hashes = dict(state.section("sha256").fields)
    of_state = hashes.pop(_STATE, None)
    try:
        expected = _with_hashes(state.fields, hashes)["sha256"][_STATE]
    except ValueError as error:  # NaN, which no state was written with
        raise ValueError(f"{path / _STATE}: {error}") from None
    if of_state != expected:
        raise ValueError(f"{path / _STATE}: not as it was written (its sha256 differs)")
    for name, of_file in hashes.items():
        if not (path / name).is_file():
            raise ValueError(f"{path / name}: missing")
        if _sha256(path / name) != of_file:
            raise ValueError(f"{path / name}: not as it was written (its sha256 differs)")
    return dict(state.fields)


def _with_hashes(state: Mapping[str, Any], of_files: Mapping[str, str]) -> dict[str, Any]:
    """The state with the hashes of the files, and of all this."""
    content = {**state, "sha256": dict(of_files)}
    written = json.dumps(content, sort_keys=True, allow_nan=False).encode()
    content["sha256"][_STATE] = hashlib.sha256(written).hexdigest()
    return content


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _link(path: Path, target: Path) -> None:
    """The same file in another place; a copy where the file system knows no links."""
    target.unlink()
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
