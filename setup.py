"""Builds the compiled kernels, litegpt.kernels._native; the rest is said in pyproject.toml.

Every flag of the C compiler is in this file. setuptools gives all sources of an extension the same
flags, so `BuildNative` compiles each unit itself and hands the objects to the linker.

LITEGPT_PURE=1            no compiled kernels: a wheel for any platform, the numpy rung serves
LITEGPT_REQUIRE_NATIVE=1  a missing or failing compiler is an error, not a warning
LITEGPT_WERROR=1          warnings in our own C are errors
"""

import os
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError
from setuptools.modified import newer_group

FLAGS = [
    "-O3",
    "-g0",
    "-std=c11",
    "-fno-math-errno",
    "-ffp-contract=off",  # a multiply-add is fused where the source says so, on every compiler
    "-fvisibility=hidden",
    "-pthread",
    "-fno-lto",  # some distributions' Python asks for it: units of unlike flags must not be merged
]
WARNINGS = ["-Wall", "-Wextra", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wvla"]

AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
# Processor -> csrc/isa/NAME.c -> what this unit may use.
ISA_FLAGS: dict[str, dict[str, list[str]]] = {
    "x86_64": {
        "baseline": [],
        "avx2": AVX2,
        "avx512": AVX512,
        "avx512vnni": [*AVX512, "-mavx512vnni"],
    },
    "aarch64": {"baseline": [], "neon": []},
}

HOW_TO_HELP = """\
  The compiled kernels were not built: {reason}
  LiteGPT will work on NumPy alone, many times slower. To build them, install a C compiler and
  Python's headers (Debian, Ubuntu: `apt install gcc python3-dev`; Fedora: `dnf install gcc
  python3-devel`), then install LiteGPT again. LITEGPT_PURE=1 silences this warning;
  LITEGPT_REQUIRE_NATIVE=1 makes it an error."""


def asked(variable: str) -> bool:
    """Whether an environment variable is set to something other than 0."""
    return os.environ.get(variable, "0") not in ("", "0")


def listed(pattern: str) -> list[str]:
    return sorted(str(path) for path in Path("csrc").glob(pattern))


def limited_api() -> bool:
    """One wheel serves CPython 3.11 and later; its free-threaded builds have no Limited API."""
    return not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildNative(build_ext):
    """Compiles the units, each with its own flags and several at a time, and links them."""

    def build_extension(self, ext: Extension) -> None:
        try:
            self.build_units(ext)
        except (BaseError, CCompilerError, ModuleNotFoundError) as error:
            if asked("LITEGPT_REQUIRE_NATIVE"):
                raise
            reason = str(error).splitlines()[0]
            print("\nWARNING\n" + HOW_TO_HELP.format(reason=reason) + "\n", file=sys.stderr)
            # What an earlier build left must not go into a wheel that is tagged as pure.
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
            self.extensions = self.distribution.ext_modules = []

    def build_units(self, ext: Extension) -> None:
        import numpy as np  # here, so that a pure build needs neither
        from Cython.Build import cythonize

        [generated] = cythonize(
            [Extension(ext.name, ["csrc/native.pyx"])],
            build_dir=self.build_temp,
            force=self.force,
            compiler_directives={"language_level": "3"},
        )
        # Cython lays copies of our headers beside its C, renewed by date alone: an older checkout's
        # would stay, and be found before ours.
        for copy in Path(generated.sources[0]).parent.glob("*.h"):
            copy.unlink()
        werror = ["-Werror"] if asked("LITEGPT_WERROR") else []
        theirs = os.environ.get("CFLAGS", "").split()  # last, so that they win
        ours = [*FLAGS, *WARNINGS, *werror, *theirs]
        units = dict.fromkeys(listed("*.c"), ours)
        for isa, flags in isa_flags(self.plat_name).items():
            units[f"csrc/isa/{isa}.c"] = [*ours, *flags]
        # Cython's C is not ours: its warnings are not for us to mend, nor for users to read.
        units[generated.sources[0]] = [*FLAGS, *theirs, "-w", f"-I{np.get_include()}"]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            compiled = [pool.submit(self.compile, ext, *unit) for unit in units.items()]
            objects = [unit.result() for unit in compiled]
        library = self.get_ext_fullpath(ext.name)
        if self.force or newer_group(objects, library):
            self.compiler.link_shared_object(
                objects, library, libraries=["m"], extra_postargs=["-pthread"]
            )

    def compile(self, ext: Extension, source: str, flags: list[str]) -> str:
        """The object of one unit, compiled again only if something that it reads is newer."""
        [object_file] = self.compiler.object_filenames([source], output_dir=self.build_temp)
        if self.force or newer_group([source, *ext.depends], object_file):
            self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                macros=ext.define_macros,
                include_dirs=ext.include_dirs,
                extra_postargs=flags,
            )
        return object_file


def isa_flags(platform: str) -> dict[str, list[str]]:
    """The units for a platform such as "linux-x86_64"; an unknown processor gets plain C."""
    processor = platform.rpartition("-")[2].replace("arm64", "aarch64")
    return ISA_FLAGS.get(processor, {"baseline": []})


class WheelOfWhatWasBuilt(bdist_wheel):
    """Tags the wheel after the build, which may have fallen back to pure Python."""

    def run(self) -> None:
        if not self.skip_build:
            self.run_command("build")
        if not self.distribution.has_ext_modules():
            self.root_is_pure, self.py_limited_api = True, False
        super().run()


native = Extension(
    "litegpt.kernels._native",
    sources=["csrc/native.pyx", *listed("*.c"), *listed("isa/*.c")],
    # The kernels' bodies are headers to the units of csrc/isa.
    depends=["setup.py", *listed("**/*.h"), *listed("**/*.px[di]")],
    include_dirs=["csrc"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if limited_api() else [],
    py_limited_api=limited_api(),
    optional=not asked("LITEGPT_REQUIRE_NATIVE"),
)
wheel_options = {"py_limited_api": "cp311"} if limited_api() else {}
pure = asked("LITEGPT_PURE")
setup(
    ext_modules=[] if pure else [native],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": WheelOfWhatWasBuilt},
    options={} if pure else {"bdist_wheel": wheel_options},
)
