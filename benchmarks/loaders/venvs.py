"""The readers in a virtual environment each: their pins do not go together."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# Their packages are installed alone, with what their reading of data imports of what they ask for. None of them
# imports it without torch; the build for CPUs is enough.
TORCH = ("torch==2.13.0+cpu", "torch==2.13.0")


@dataclass(frozen=True, slots=True)
class Reader:
    """`package` is installed without what it depends on, `needs` with; `script` speaks the protocol of readers/."""

    name: str
    package: str
    needs: str
    script: Path
    remark: str = ""


_LLAMA_FACTORY = """
    datasets==4.0.0 transformers>=4.55,<=5.6 trl>=0.18,<=0.24 peft==0.18.1 accelerate<=1.11 omegaconf pydantic fire
    numpy av scipy sentencepiece tiktoken matplotlib
"""
_TRL = "datasets>=5.2,<6 transformers>=5.17,<6 accelerate>=1.15 jinja2 psutil"
_AXOLOTL = """
    datasets==5.0.1 transformers==5.20.1 trl==1.14.1 peft==0.21.2 accelerate==1.15.0 pydantic addict fire colorama
    numba einops evaluate python-dotenv zstandard packaging art posthog
"""
_SWIFT = """
    datasets>=4.0,<4.8.5 transformers<5.20 trl<1.0 peft<0.21 accelerate modelscope pillow json-repair dacite numpy
    simplejson addict
"""
_NO_SOUND = "torchaudio is a stub where there is no wheel of it: files of sound alone need it"
_OLDER = "it asks for Python 3.12; its reading of data runs on 3.11 as well, where it is installed all the same"
READERS = {
    reader.name: reader
    for reader in (
        Reader(
            "LLaMA-Factory", "llamafactory==0.9.5", _LLAMA_FACTORY, HERE / "readers/read_llamafactory.py", _NO_SOUND
        ),
        Reader("TRL", "trl==1.16.0", _TRL, ROOT / "tests/readers/trl_rows.py"),
        Reader("axolotl", "axolotl==0.21.0", _AXOLOTL, HERE / "readers/read_axolotl.py", _OLDER),
        Reader("ms-swift", "ms-swift==4.6.0", _SWIFT, HERE / "readers/read_swift.py"),
    )
}


def python_of(reader: Reader, cache: Path) -> Path:
    """The Python of the reader's environment, which is made where it is not there; minutes, and 1 to 2 GB each."""
    folder = cache / reader.package
    python, stamp = folder / "bin" / "python", folder / ".stamp"
    recipe = "\n".join((*TORCH, reader.package, *reader.needs.split()))
    if stamp.is_file() and stamp.read_text("utf-8") == recipe:
        return python
    print(f"installing {reader.package} into {folder}", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    _pip(python, "uv")
    if not _uv(python, TORCH[0], check=False):
        _uv(python, TORCH[1])
    _uv(python, *reader.needs.split())
    _pip(python, "--no-deps", "--ignore-requires-python", reader.package)
    stamp.write_text(recipe, "utf-8")
    return python


def _pip(python: Path, *words: str) -> None:
    subprocess.run([python, "-m", "pip", "install", "-qq", *words], check=True)


def _uv(python: Path, *words: str, check: bool = True) -> bool:
    """uv installs an environment in seconds where pip takes minutes; certificates and folders are those of pip."""
    command = [python.with_name("uv"), "pip", "install", "--quiet", "--python", python, *_links(python), *words]
    surroundings = os.environ | {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    null = None if check else subprocess.DEVNULL
    return subprocess.run(command, env=surroundings, check=check, stderr=null).returncode == 0


def _links(python: Path) -> Sequence[str]:
    told = [python, "-m", "pip", "config", "get", "global.find-links"]
    folders = subprocess.run(told, capture_output=True, text=True, check=False).stdout.split()
    return [word for folder in folders for word in ("--find-links", folder)]
