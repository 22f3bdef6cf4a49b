"""The house keeps its own rules: floors, sizes, a light start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted((ROOT / "synthgen").rglob("*.py")) + sorted((ROOT / "finetune").rglob("*.py"))

# An import may only go down, or stay inside its own folder.
FLOORS = {
    "__main__": 12, "cli": 11, "jobs": 10,
    "session": 9, "validating": 9, "finish": 8, "given": 8, "cleaning": 8, "report": 7, "inputs": 7, "datafolder": 7, "runfolder": 7, "spending": 7, "pulse": 7, "estimate": 7,
    "run": 6, "recipes": 6, "output": 6,
    "asking": 5, "judging": 5,
    "speakers": 4, "batches": 4, "recipe": 4, "bodies": 4, "comparing": 4, "showing": 8, "figures": 4,
    "load": 3,
    "embedding": 5, "vectorstore": 2, "hub": 2,
    "serve": 2, "server": 2, "prompts": 2, "seeds": 3, "filters": 2, "formats": 2, "store": 2, "backends": 2,
    "data": 1, "rows": 1, "dedup": 1, "parsing": 1, "limit": 1, "line": 1, "growth": 1, "lock": 1, "budget": 1, "queries": 1, "verifiers": 1, "document_recipe": 5, "documents": 3, "reformulating": 2,
    "types": 0, "errors": 0, "supervisor": 0,
}  # fmt: skip
HEAVY = {
    "aiohttp",
    "jinja2",
    "rich",
    "numpy",
    "rapidfuzz",
    "orjson",
    "openai",
    "torch",
    "datasets",
    "trafilatura",
    "charset_normalizer",
}


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def _imports(path: Path) -> list[tuple[str, int]]:
    here = path.relative_to(ROOT).with_suffix("").parts
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                package = here[: len(here) - node.level]
                base = ".".join((*package, node.module or "")).rstrip(".")
            else:
                base = node.module or ""
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return [(name, line) for name, line in found if name.split(".")[0] == "synthgen"]


def test_imports_only_go_down() -> None:
    wrong = []
    for path in sorted((ROOT / "synthgen").rglob("*.py")):
        parts = path.relative_to(ROOT / "synthgen").with_suffix("").parts
        room = parts[0]
        if room == "__init__":
            continue
        for name, line in _imports(path):
            other = _room(name)
            if other in FLOORS and other != room and FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


def test_every_room_has_a_floor() -> None:
    rooms = {p.stem if p.is_file() else p.name for p in (ROOT / "synthgen").iterdir() if p.suffix in ("", ".py")}
    assert rooms - {"__init__", "__pycache__"} == set(FLOORS)


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes_and_first_sentence(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a module opens with one sentence that says what it is"
    assert source.count("\n") < 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, f"{node.name} does not fit a screen"


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_catches_everything(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            assert not broad or raises, f"line {node.lineno} catches everything and goes on"


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from synthgen.cli import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert loaded & HEAVY == set()
    assert "generate" in done.stdout


def test_core_dependencies_stay_few() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {d.split(">")[0].split("[")[0] for d in project["dependencies"]}
    assert names == {"aiohttp", "click", "jinja2", "numpy", "orjson", "pyyaml", "rapidfuzz", "rich"}
