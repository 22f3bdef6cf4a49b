"""One BLAS thread: at this size a second one gains little, and on a busy box both spin (measured: 5 times slower)."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_VARIABLES = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")  # not OMP_ or MKL_NUM_THREADS: torch reads those
_SETTERS = ("scipy_openblas_set_num_threads64_", "openblas_set_num_threads64_", "openblas_set_num_threads")


def one_blas_thread() -> None:
    """To be called before numpy is imported, or else after; without effect where the user chose a number."""
    if any(name in os.environ for name in _VARIABLES):
        return
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))
    numpy = sys.modules.get("numpy")
    if numpy is None or numpy.__file__ is None:
        return
    # Too late for the variables: tell the OpenBLAS that numpy's wheels carry. Another BLAS stays as it is.
    package = Path(numpy.__file__).parent
    for path in (*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")):
        library = ctypes.CDLL(str(path))
        for setter in _SETTERS:
            if hasattr(library, setter):
                getattr(library, setter)(1)
                break
