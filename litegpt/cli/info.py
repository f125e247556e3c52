"""`litegpt info`: what runs here, and why; and what a model's weights are kept as."""

import argparse
import platform
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from litegpt import __version__, kernels
from litegpt.cli.errors import InputError, check_backend
from litegpt.cli.generate import add_model, load
from litegpt.cli.output import say, say_json
from litegpt.models import GPTModel
from litegpt.nn.frozen import FrozenParameter


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "info",
        help="say which kernels, threads and processor there are",
        description="Version, backends available and chosen and why, threads, processor. With "
        "--model: its size in memory, and what rounding its weights has missed.",
    )
    add_model(parser, default=None)
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    facts = describe()
    if hasattr(arguments, "model"):
        facts["model"] = describe_model(load(arguments).model)
    elif hasattr(arguments, "dtype") or hasattr(arguments, "adapter"):
        raise InputError("--dtype and --adapter say how --model is read, which is missing")
    if arguments.json:
        say_json(facts)
        return 0
    backends = ", ".join(facts["backends"])
    because = f"compiled kernels: {facts['native_error']}" if facts["native_error"] else ""
    blas = f"used, {facts['blas']}" if facts["blas"] else "not used: the matrix product is our own"
    for name, value in {
        "litegpt": facts["version"],
        "backend": f"{facts['backend']} ({facts['chosen_because']})",
        "available": f"{backends} ({because})" if because else backends,
        "threads": facts["threads"] if facts["backend"] != "numpy" else "NumPy's own",
        "processor": facts["processor"],
        "bfloat16": (
            "has an instruction: --precision bfloat16 trains faster"
            if facts["multiplies_bfloat16"]
            else "no instruction in use for its products: --precision bfloat16 is no faster"
        ),
        "BLAS": blas,
        "Python": facts["python"],
        "NumPy": facts["numpy"],
        **(_in_words(facts["model"]) if "model" in facts else {}),
    }.items():
        say(f"{name:<11}{value}")
    return 0


def _in_words(model: dict[str, Any]) -> dict[str, str]:
    lines = {
        "parameters": f"{model['parameters']:,}",
        "memory": f"{model['bytes'] / 1e6:,.1f} MB ({4 * model['parameters'] / 1e6:,.1f} as plain "
        "float32)",
    }
    for name, kept in model["formats"].items():
        lines[name] = f"{kept['arrays']} arrays, {kept['bytes'] / 1e6:,.1f} MB"
        if kept["largest_error"]:
            lines[name] += (
                f"; rounding misses {kept['error']:.2%} of the weights, "
                f"{kept['largest_error']:.2%} in {kept['worst']}"
            )
    return lines


def describe() -> dict[str, Any]:
    """The facts, as --json prints them. blas is None where no product goes through it."""
    return {
        "version": __version__,
        "backend": kernels.backend(),
        "backends": kernels.available_backends(),
        "chosen_because": kernels.chosen_because,
        "native_error": kernels.native_error,
        "threads": kernels.num_threads(),
        "processor": processor(),
        "multiplies_bfloat16": kernels.multiplies_bfloat16(),
        "blas": _numpy_blas() if kernels.backend() == "numpy" else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def describe_model(model: GPTModel) -> dict[str, Any]:
    """Parameters, bytes, and for each format the arrays kept in it.

    error is what rounding an array has missed (FrozenParameter.error), the median of the arrays;
    worst names the one with the largest.
    """
    formats: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if isinstance(parameter, FrozenParameter):
            format, error = parameter.format, parameter.error
        else:
            format, error = str(parameter.data.dtype), 0.0
        kept = formats.setdefault(format, {"arrays": 0, "bytes": 0, "errors": {}})
        kept["arrays"] += 1
        kept["bytes"] += parameter.nbytes
        kept["errors"][name] = error
    for kept in formats.values():
        errors = kept.pop("errors")
        kept["error"] = median(errors.values())
        kept["largest_error"] = max(errors.values())
        kept["worst"] = max(errors, key=lambda name: errors[name])
    return {
        "parameters": model.get_num_parameters(),
        "bytes": model.nbytes,
        "formats": formats,
    }


def processor() -> str:
    """The processor's name as its maker gives it, where the system tells; else its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _numpy_blas() -> str:
    config: Any = np.show_config(mode="dicts")
    blas = config["Build Dependencies"]["blas"]
    return f"{blas.get('name')} {blas.get('version')}"
