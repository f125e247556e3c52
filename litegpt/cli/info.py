"""`litegpt info`: what runs here, and why."""

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from litegpt import __version__, kernels
from litegpt.cli.errors import check_backend


def add_parser(verbs: Any) -> None:
    parser = verbs.add_parser(
        "info",
        help="say which kernels, threads and processor there are",
        description="Version, backends available and chosen and why, threads, processor.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_backend()
    facts = describe()
    if arguments.json:
        print(json.dumps(facts, indent=2))
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
        "BLAS": blas,
        "Python": facts["python"],
        "NumPy": facts["numpy"],
    }.items():
        print(f"{name:<11}{value}")
    return 0


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
        "blas": _numpy_blas() if kernels.backend() == "numpy" else None,
        "python": platform.python_version(),
        "numpy": np.__version__,
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
