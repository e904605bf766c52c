"""Copy the declarative folders into the wheel, build the optional C kernel; everything else is in setup.cfg."""

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED_FOLDERS = ("backends", "jobs")


class BuildWithShippedFiles(build_py):
    """Put `backends/*.toml` and `jobs/*.toml` under `qkd_qiskit/_shipped/`, where `qkd_qiskit.shipped` looks first."""

    def run(self) -> None:
        """Build the package, then copy the TOML files beside it."""
        super().run()
        if self.editable_mode:
            return  # an editable install reads the checkout's own folders
        for folder in SHIPPED_FOLDERS:
            target = Path(self.build_lib, "qkd_qiskit", "_shipped", folder)
            target.mkdir(parents=True, exist_ok=True)
            for source in sorted((ROOT / folder).glob("*.toml")):
                shutil.copy(source, target / source.name)


# Without a compiler the install goes on and NumPy does the kernel's work (qkd_qiskit/exact/compiled.py).
KERNEL = Extension(
    "qkd_qiskit.exact._kernel",
    ["qkd_qiskit/exact/_kernel.c"],
    depends=["qkd_qiskit/exact/_steps.h"],
    extra_compile_args=[] if sys.platform == "win32" else ["-std=gnu99", "-O3", "-ffp-contract=fast", "-Wno-psabi"],
    libraries=[] if sys.platform == "win32" else ["m"],
    optional=True,
)

setup(cmdclass={"build_py": BuildWithShippedFiles}, ext_modules=[KERNEL])
