"""Templates for models: found, header checked, compiled once, rendered to messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import SandboxedEnvironment

from synthgen.data import folder
from synthgen.errors import UsageError
from synthgen.types import Message, Role

HEADER_KEYS = ("what", "variables", "answer", "source")
_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_HEADER = re.compile(r"\A\s*\{#-?(.*?)-?#\}", re.DOTALL)
_VARIABLE = re.compile(r"([A-Za-z_]\w*)\s*\(")

_environment = SandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=False,
)


@dataclass(frozen=True, slots=True)
class Template:
    """One compiled template; text from seeds and models enters as a variable and is never compiled."""

    name: str
    path: Path
    header: Mapping[str, str]
    variables: frozenset[str]
    digest: str
    compiled: jinja2.Template

    def render(self, **values: Any) -> tuple[Message, ...]:
        """Messages in the order of the role blocks (system, user, assistant), empty blocks left out.

        Raises UsageError, with file and line, when the template asks for what is not there.
        """
        try:
            context = self.compiled.new_context(values)
            rendered = [
                (role, "".join(self.compiled.blocks[role](context)).strip())
                for role in _ROLES
                if role in self.compiled.blocks
            ]
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            line = _error_line(error, self.compiled)
            raise UsageError(f"{self.path}:{line}: {error}; fix the template") from error
        return tuple(Message(role, text) for role, text in rendered if text)


def search_path(extra: Sequence[Path] = ()) -> list[Path]:
    """The folders that are searched, the user's first."""
    return [*extra, folder("prompts")]


def load(name: str, lang: str, extra: Sequence[Path] = ()) -> Template:
    """The template `recipe/part` for a language: `part.<lang>.jinja`, else `part.jinja`."""
    for base in search_path(extra):
        for file in (base / f"{name}.{lang}.jinja", base / f"{name}.jinja"):
            if file.is_file():
                return read(file, f"{name}.{lang}")
    known = sorted({n.rsplit(".", 1)[0] for n, _ in available(extra)})
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UsageError(f"no prompt {name} for {lang}{hint} (synthgen prompts list)")


def available(extra: Sequence[Path] = ()) -> Iterator[tuple[str, Path]]:
    """(name, file) of every template, those of `extra` hiding the built-in ones of the same name."""
    seen: set[str] = set()
    for base in search_path(extra):
        for file in sorted(base.rglob("*.jinja")):
            name = file.relative_to(base).as_posix().removesuffix(".jinja")
            if name not in seen:
                seen.add(name)
                yield name, file


def read(path: Path, name: str = "") -> Template:
    """Compile a file and hold it against its own header. Raises UsageError naming file and line."""
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    try:
        tree = _environment.parse(source)
        compiled = _environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise UsageError(f"{path}:{error.lineno}: {error.message}; fix the template") from error
    header = _header(source, path)
    declared = frozenset(_VARIABLE.findall(header["variables"]))
    _check_names(tree, declared, path)
    if "user" not in compiled.blocks:
        raise UsageError(f"{path}:1: no {{% block user %}}; a template needs the user's turn")
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return Template(name or path.stem, path, header, declared, digest, compiled)


def _header(source: str, path: Path) -> dict[str, str]:
    found = _HEADER.match(source)
    fields: dict[str, str] = {}
    key = ""
    for line in found.group(1).splitlines() if found else ():
        start = re.match(r"\s*(\w+):\s*(.*)", line)
        if start and start.group(1) in HEADER_KEYS:
            key = start.group(1)
            fields[key] = start.group(2).strip()
        elif key:
            fields[key] = f"{fields[key]} {line.strip()}".strip()
    missing = [k for k in HEADER_KEYS if k not in fields]
    if missing:
        raise UsageError(
            f"{path}:1: the header lacks {', '.join(missing)}; open the template with "
            "{# what: ... variables: name (type), ... answer: ... source: ... #}"
        )
    return fields


def _check_names(tree: nodes.Template, declared: frozenset[str], path: Path) -> None:
    used = meta.find_undeclared_variables(tree)
    for node in tree.find_all(nodes.Name):
        if node.name in used and node.name not in declared:
            near = get_close_matches(node.name, sorted(declared), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"{path}:{node.lineno}: unknown variable {node.name!r}{hint}")
    unused = sorted(declared - used)
    if unused:
        raise UsageError(f"{path}:1: the header declares {', '.join(unused)}, which the template does not use")
    kinds: tuple[type[nodes.Expr], ...] = (nodes.Getattr, nodes.Getitem)
    for kind in kinds:
        for part in tree.find_all(kind):
            word = _attribute(part)
            if word.startswith("_"):
                raise UsageError(f"{path}:{part.lineno}: {word!r} is not allowed in a template (sandbox)")
    for other in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        raise UsageError(f"{path}:{other.lineno}: a template stands alone; include, import and extends are not allowed")


def _attribute(node: nodes.Node) -> str:
    if isinstance(node, nodes.Getattr):
        return node.attr
    arg = cast(nodes.Getitem, node).arg
    return str(arg.value) if isinstance(arg, nodes.Const) else ""


def _error_line(error: BaseException, compiled: jinja2.Template) -> int:
    """The line of the template that a run-time error came from; the traceback has that of the code made from it."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = compiled.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line
