"""A file here is a recipe; so is a file of the user's own, named by its path."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from synthgen.errors import UsageError
from synthgen.recipe import Recipe


def names() -> list[str]:
    """Every recipe that comes with the package, by name."""
    return sorted(r.name for r in members())


def members() -> Iterator[type[Recipe]]:
    for module in pkgutil.iter_modules(__path__):
        yield from _recipes_of(importlib.import_module(f"{__name__}.{module.name}"))


def find(name: str) -> type[Recipe]:
    """The recipe of that name, or the one in a Python file. Raises UsageError with what is near."""
    if name.endswith(".py"):
        return _from_file(Path(name))
    module = name.replace("-", "_")
    if any(found.name == module for found in pkgutil.iter_modules(__path__)):  # the others stay on the disk
        for recipe in _recipes_of(importlib.import_module(f"{__name__}.{module}")):
            if recipe.name == name:
                return recipe
    known = {r.name: r for r in members()}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
    raise UsageError(f"unknown recipe {name!r}; {hint}")


def prompts_beside(name: str) -> tuple[Path, ...]:
    """Templates of a recipe of the user's own: beside its file, or beside the package in a checkout."""
    if not name.endswith(".py"):
        return ()
    recipe = Path(name)
    folders = [recipe.parent / "prompts"]
    if recipe.resolve().parent.name == "recipes":
        folders.append(recipe.resolve().parents[2] / "prompts")
    return tuple(folders)


def _from_file(path: Path) -> type[Recipe]:
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    spec = importlib.util.spec_from_file_location(path.stem, path.absolute())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError) as error:
        raise UsageError(f"{path}:{getattr(error, 'lineno', None) or 1}: {error}") from error
    found = list(_recipes_of(module))
    if len(found) != 1:
        raise UsageError(f"{path}: one subclass of synthgen.recipe.Recipe is expected, {len(found)} are there")
    return found[0]


def _recipes_of(module: ModuleType) -> Iterator[type[Recipe]]:
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, Recipe) and value.__module__ == module.__name__:
            yield value
