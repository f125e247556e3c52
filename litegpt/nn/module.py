"""What every layer can do: name its parameters, switch modes, give and take its state."""

import fnmatch
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from litegpt.kernels.reference.linear import check_precision
from litegpt.nn.arrays import check_fit
from litegpt.nn.parameter import Parameter


class Module:
    """A layer. Its attributes that are Parameters, Modules or lists of Modules are its parts.

    A subclass defines `forward`, which is also what calling it does. Layers that are trained
    have `forward_train(x, rng)` too: it returns the output and `backward`, which takes the
    output's gradient, adds into the parameters' `grad` and returns the input's gradient. A new
    layer is in training mode.
    """

    training = True
    precision = "float32"  # of forward_train's products, and of their backward

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "forward" in cls.__dict__:
            cls.__call__ = cls.forward  # type: ignore[attr-defined,method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def _children(self) -> Iterator[tuple[str, "Module"]]:
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    if isinstance(item, Module):
                        yield f"{name}.{i}", item

    def modules(self) -> list["Module"]:
        """This module and all its parts, each before its own parts."""
        found = [self]
        for _, child in self._children():
            found += child.modules()
        return found

    def _walk(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self._children():
            yield from child._walk(f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, Parameter) pairs; one that is used in two places comes once, first name first."""
        seen: set[int] = set()
        for name, parameter in self._walk(""):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    def freeze(self, *patterns: str, trainable: bool = False) -> list[str]:
        """Says of the parameters whose names fit a pattern (`blocks.0.*`) that they aren't trained.

        Their gradients aren't computed, and optimizers made from then on pass them over; trainable
        says the opposite. Returns their names; a pattern that fits none: ValueError. Weights kept
        for inference alone can't be trained: RuntimeError.
        """
        parameters = dict(self.named_parameters())
        fitting = {pattern: fnmatch.filter(parameters, pattern) for pattern in patterns}
        for pattern, names in fitting.items():
            if not names:
                raise ValueError(
                    f"no parameter is called {pattern!r}; one that there is: {min(parameters)}"
                )
        names = list(dict.fromkeys(name for names in fitting.values() for name in names))
        for name in names:
            if trainable:
                parameters[name].check_trainable()
            parameters[name].trainable = trainable
        return names

    def zero_grad(self) -> None:
        """Sets every gradient to zero."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def train(self, mode: bool = True) -> Self:
        """Training mode (dropout drops) for this module and its parts; returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def set_precision(self, precision: str) -> Self:
        """How dense layers multiply in forward_train and its backward: "float32" or "bfloat16".

        In bfloat16 both operands of each product are rounded to it, and products added in float32
        (kernels.linear); all else, weights and gradients among it, stays float32, and so does the
        plain call. Some processors do this twice as fast (kernels.multiplies_bfloat16). For this
        module and its parts; returns self. Another precision: ValueError.
        """
        check_precision(precision)
        for module in self.modules():
            module.precision = precision
        return self

    def eval(self) -> Self:
        """Evaluation mode (nothing is dropped); returns self."""
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """`with module.evaluating():` is evaluation mode, then every part's mode as before.

        Several may overlap in any order: each ends what it began.
        """
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    @property
    def nbytes(self) -> int:
        """Bytes in memory now: parameters, gradients once used, tables, packed copies."""
        arrays = {
            id(value): value.nbytes
            for module in self.modules()
            for value in vars(module).values()
            if isinstance(value, np.ndarray)
        }
        return sum(p.nbytes for p in self.parameters()) + sum(arrays.values())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Name -> array. The arrays are the parameters' own: copy what has to stay as it is."""
        return {name: parameter.data for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> None:
        """Copies arrays into the parameters of the same names.

        Names missing or unexpected (unless strict is False), and arrays of a wrong shape, are a
        ValueError that lists all of them; nothing has been changed then.
        """
        parameters = dict(self.named_parameters())
        arrays = {name: np.asarray(value) for name, value in state.items()}
        check_fit("state_dict", parameters, arrays, strict)
        for name in arrays.keys() & parameters.keys():
            parameters[name].check_trainable()
        for name, parameter in parameters.items():
            if name in arrays:
                parameter.data[...] = arrays[name]
