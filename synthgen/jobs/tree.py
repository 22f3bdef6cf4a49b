"""A YAML file as plain values that know their lines; what is no plain value is a fault."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from synthgen.errors import UsageError

# A job file is written by hand: more is a mistake, or aliases of aliases that would fill the memory.
_MOST_BYTES, _MOST_VALUES = 1_000_000, 20_000
_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[^}]*)\}")


@dataclass(slots=True)
class Faults:
    """Everything that is wrong with a job file, each with its line, told in one message."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        if (line, text) not in self.found:
            self.found.append((line, text))

    def raise_any(self) -> None:
        """UsageError with every fault by line, if there is one."""
        if not self.found:
            return
        lines = [f"{self.path}:{line}: {text}" for line, text in sorted(self.found, key=lambda fault: fault[0])]
        head = f"{self.path}: {len(lines)} faults, nothing was asked:\n" if len(lines) > 1 else ""
        raise UsageError(head + "\n".join(lines))


@dataclass(frozen=True, slots=True)
class Value:
    """A value and its line (of its key where it has one): text, number, switch, None, list or mapping of Values."""

    line: int
    data: Any

    @property
    def kind(self) -> str:
        names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
        return names.get(type(self.data), "a number")

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.data, dict):
            return {name: inner.plain() for name, inner in self.data.items()}
        return [inner.plain() for inner in self.data] if isinstance(self.data, list) else self.data


def read(path: Path, faults: Faults) -> Value:
    """The mapping that a file holds. Raises UsageError where it cannot be read at all; the rest goes to `faults`."""
    node = _compose(path)
    if node is None:
        raise UsageError(f"{path}: is empty; write the job's steps into it (synthgen run --help has an example)")
    if not isinstance(node, yaml.MappingNode):
        line = node.start_mark.line + 1
        raise UsageError(f"{path}:{line}: a job file is a mapping (name: ..., steps: ...), this is {_shape(node)}")
    found = _Reader(faults).value(node, 1, ())
    if found.data is None:
        faults.raise_any()
    return found


def _compose(path: Path) -> yaml.Node | None:
    text = _text(path)
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise UsageError(f"{path}:{line}: not YAML ({problem}); fix the line, or quote the text") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML ({str(error).splitlines()[0]}); fix the file") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deep for a job file") from None
    finally:
        if loader is not None:
            loader.dispose()


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file{near(path.name, _names(path.parent))}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > _MOST_BYTES:
        raise UsageError(
            f"{path}: {len(data) / 1e6:.1f} MB are no job file; at most {_MOST_BYTES / 1e6:.0f} MB are read"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02X}); save the file as UTF-8") from None


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()] if folder.is_dir() else []


def _shape(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


@dataclass(slots=True)
class _Reader:
    """Turns composed nodes into Values; nodes, not constructors, so that no tag can make anything."""

    faults: Faults
    values: int = 0

    def value(self, node: yaml.Node, line: int, parents: tuple[int, ...]) -> Value:
        self.values += 1
        if id(node) in parents or self.values > _MOST_VALUES:
            where = f"{self.faults.path}:{node.start_mark.line + 1}"
            why = "an alias holds itself" if id(node) in parents else f"aliases make more than {_MOST_VALUES:,} values"
            raise UsageError(f"{where}: {why}; write the values out")
        if isinstance(node, yaml.ScalarNode):
            return Value(line, self._scalar(node, line))
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._refuse(node.tag, line)
            return Value(line, None)
        inside = (*parents, id(node))
        if isinstance(node, yaml.SequenceNode):
            return Value(line, [self.value(one, one.start_mark.line + 1, inside) for one in node.value])
        return Value(line, self._mapping(node, inside))

    def _mapping(self, node: yaml.MappingNode, inside: tuple[int, ...]) -> dict[str, Value]:
        """The pairs in their order; what `<<` merges gives way to what is written beside it."""
        found: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, one in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                many = one.value if isinstance(one, yaml.SequenceNode) else [one]
                for part in reversed(many):
                    other = self.value(part, line, inside).data
                    if isinstance(other, dict):
                        merged = {**merged, **other}
                    else:
                        self.faults.add(line, "<< merges mappings; give it the alias of one")
            elif not isinstance(key, yaml.ScalarNode):
                self.faults.add(line, "a key must be a word")
            elif (name := self._expanded(key.value, line)) in found:
                self.faults.add(line, f"{name!r} is there twice (first in line {found[name].line}); keep one")
            else:
                found[name] = self.value(one, line, inside)
        return {**merged, **found}

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Any:
        if node.tag not in _PLAIN:
            if node.tag == "tag:yaml.org,2002:timestamp":
                return node.value
            return self._refuse(node.tag, line)
        if node.tag.endswith(":str"):
            return self._expanded(node.value, line)
        if ":" in node.value:  # in YAML 1.1 `1:30` is the number 90: nobody means that
            return node.value
        maker = yaml.SafeLoader("")
        try:
            return maker.construct_object(node)
        except (ValueError, yaml.YAMLError):
            self.faults.add(line, f"{node.value!r} does not fit its tag; write it without one")
            return None
        finally:
            maker.dispose()

    def _refuse(self, tag: str, line: int) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        self.faults.add(line, f"the tag {shown} is not allowed: a job file holds plain values; leave it out")

    def _expanded(self, text: str, line: int) -> str:
        def variable(found: re.Match[str]) -> str:
            name = found["name"]
            if name is None:  # $${ stands for ${ itself
                return "${"
            if name not in os.environ:
                hint = near(name, os.environ)
                self.faults.add(line, f"${{{name}}}: the environment has no such variable{hint}; export it first")
            return os.environ.get(name, "")

        return _VARIABLE.sub(variable, text)


def near(word: str, known: Any) -> str:
    """What may have been meant, as the end of a clause; empty where nothing is near."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def known_pairs(mapping: Value, known: tuple[str, ...], where: str, faults: Faults) -> Iterator[tuple[str, Value]]:
    """The pairs whose keys are known; each other key is a fault."""
    for name, value in mapping.data.items():
        if name in known:
            yield name, value
        else:
            hint = near(name, known) or f"; keys: {', '.join(known)}"
            faults.add(value.line, f"{where} has no key {name!r}{hint}")
