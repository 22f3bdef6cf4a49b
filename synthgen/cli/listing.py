"""`recipes`, `formats`, `prompts`, `seeds`: what there is."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from synthgen.cli.say import as_json

_JSON = click.option("--json", "json_", is_flag=True, help="One JSON object on stdout.")


@click.command()
@click.argument("name", required=False)
@_JSON
def recipes(name: str | None, json_: bool) -> None:
    """List the recipes, or one recipe's knobs.

    Example: synthgen recipes alpaca
    """
    from synthgen import recipes as room

    if name is None:
        rows = [{"name": r.name, "summary": r.summary, "source": r.source} for r in room.members()]
        if json_:
            as_json({"recipes": rows})
        for row in rows if not json_ else ():
            click.echo(f"{row['name']:<16} {row['summary']}")
        return
    found = room.find(name)
    knobs = [
        {"name": n, "default": k.value("en"), "default_zh": k.value("zh"), "help": k.help, "low": k.low, "high": k.high}
        for n, k in found.knobs().items()
    ]
    if json_:
        as_json({"name": found.name, "summary": found.summary, "source": found.source, "knobs": knobs})
        return
    click.echo(f"{found.name}: {found.summary}")
    click.echo(f"source: {found.source}")
    click.echo(f"formats: {','.join(found.formats)}")
    click.echo("knobs (--set KNOB=VALUE):")
    for knob in knobs:
        zh = f" (zh: {knob['default_zh']})" if knob["default_zh"] != knob["default"] else ""
        click.echo(f"  {knob['name']:<22} {knob['default']!s:<6} {knob['help']}{zh}")


@click.command()
@_JSON
def formats(json_: bool) -> None:
    """List the formats that datasets are written in.

    Example: synthgen formats
    """
    from synthgen.formats import formats as members

    rows = [{"name": f.name, "file": f.file_name, "description": f.description} for f in members().values()]
    if json_:
        as_json({"formats": rows})
        return
    wide, long = max(len(row["name"]) for row in rows), max(len(row["file"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{wide}}  {row['file']:<{long}}  {row['description']}")


@click.group()
def prompts() -> None:
    """List, show, copy and check the templates that models see.

    Example: synthgen prompts copy my-prompts && synthgen generate alpaca --prompts my-prompts
    """


_PROMPTS = click.option(
    "--prompts",
    "folders",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="A folder searched first; repeatable.",
)


@prompts.command("list")
@_PROMPTS
@_JSON
def prompts_list(folders: tuple[Path, ...], json_: bool) -> None:
    """Every template by name, with what it is for.

    Example: synthgen prompts list
    """
    from synthgen import prompts as room

    rows = [(name, room.read(path)) for name, path in room.available(folders)]
    if json_:
        as_json({"prompts": [{"name": n, "path": str(t.path), "what": t.header["what"]} for n, t in rows]})
        return
    for name, template in rows:
        click.echo(f"{name:<36} {template.header['what']}")


@prompts.command("show")
@click.argument("name")
@_PROMPTS
@_JSON
def prompts_show(name: str, folders: tuple[Path, ...], json_: bool) -> None:
    """Print a template.

    Example: synthgen prompts show alpaca/tasks.zh
    """
    from synthgen import prompts as room

    lang = name.rsplit(".", 1)[-1] if name.endswith((".en", ".zh")) else "en"
    found = room.load(name.removesuffix(f".{lang}"), lang, folders)
    text = found.path.read_text(encoding="utf-8")
    if json_:
        as_json({"name": name, "path": str(found.path), "header": dict(found.header), "text": text})
    else:
        click.echo(text, nl=False)


@prompts.command("copy")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@_JSON
def prompts_copy(folder: Path, json_: bool) -> None:
    """Copy the built-in templates into FOLDER, to change them there and give it to --prompts.

    Example: synthgen prompts copy my-prompts
    """
    from synthgen import prompts as room
    from synthgen.errors import UsageError

    targets = {folder / f"{name}.jinja": path for name, path in room.available()}
    for target in targets:
        if target.exists():
            raise UsageError(f"{target}: is there already; give an empty folder")
    for target, path in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        if not json_:
            click.echo(str(target))
    if json_:
        as_json({"copied": [str(target) for target in targets]})


@prompts.command("check")
@click.argument("more", nargs=-1, metavar="[FOLDER]...", type=click.Path(path_type=Path, exists=True, file_okay=False))
@_PROMPTS
@_JSON
def prompts_check(more: tuple[Path, ...], folders: tuple[Path, ...], json_: bool) -> int:
    """Hold every template against its header; exit 1 if one is at fault.

    Example: synthgen prompts check my-prompts
    """
    from synthgen import prompts as room
    from synthgen.errors import UsageError

    faults = []
    number = 0
    for _, path in room.available((*more, *folders)):
        number += 1
        try:
            room.read(path)
        except UsageError as error:
            faults.append(str(error))
    if json_:
        as_json({"checked": number, "faults": faults})
    else:
        for line in faults:
            click.echo(line)
        click.echo(f"{number} templates checked, {len(faults)} at fault")
    return 1 if faults else 0


@click.group()
def seeds() -> None:
    """List and show seed tasks, built-in ones and your own.

    Example: synthgen seeds show en -n 3
    """


@seeds.command("list")
@_JSON
def seeds_list(json_: bool) -> None:
    """The built-in sets.

    Example: synthgen seeds list
    """
    from synthgen.data import folder
    from synthgen.seeds import read_seeds

    rows = []
    for path in sorted(p for p in folder("seeds").iterdir() if p.is_dir()):
        found = read_seeds([path])
        inputs = sum(1 for s in found if s.fields["input"])
        rows.append({"name": path.name, "path": str(path), "seeds": len(found), "with_input": inputs})
    if json_:
        as_json({"seeds": rows})
        return
    for row in rows:
        click.echo(f"{row['name']:<6} {row['seeds']} tasks, {row['with_input']} with input   {row['path']}")


@seeds.command("show")
@click.argument("path")
@click.option("-n", "number", type=click.IntRange(min=1), default=5, show_default=True, help="How many.")
@_JSON
def seeds_show(path: str, number: int, json_: bool) -> None:
    """Read seed tasks: PATH is en, zh, a file, a folder or hf:owner/name.

    Example: synthgen seeds show zh -n 2
    """
    from synthgen.data import folder
    from synthgen.seeds import read_seeds

    found = read_seeds([folder("seeds") / path if path in ("en", "zh") else path])
    if json_:
        as_json({"seeds": [{"id": s.id, **s.fields} for s in found[:number]]})
        return
    for seed in found[:number]:
        click.echo(f"{click.style(seed.id, fg='cyan')}  {seed.fields['instruction']}")
        for name in ("input", "output"):
            if seed.fields[name]:
                click.echo(f"  {name}: {seed.fields[name]}")
    click.echo(f"{min(number, len(found))} of {len(found)}", err=True)
