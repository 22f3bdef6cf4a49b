"""The command line: parses, calls, prints. Only click and the standard library at module level."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from synthgen import __version__
from synthgen.cli import decontaminate, dedup, doctor, export, generate, job, listing, look, serve, validate
from synthgen.cli.say import fault
from synthgen.errors import StoreError, SynthgenError, UsageError

_COMMANDS = (
    generate.generate, job.run, look.status, look.report, look.show, export.export, validate.validate, dedup.dedup,
    decontaminate.decontaminate,
    listing.recipes, listing.formats, listing.prompts, listing.seeds, serve.serve, doctor.doctor,
)  # fmt: skip


class _Group(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.commands, n=1)
            hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(self.commands)}"
            raise click.UsageError(f"no such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which they are used


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"synthgen {__version__}")
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """From seeds to an instruction dataset, on your own model servers or on the embedded model.

    Example: synthgen generate alpaca --count 20
    """


for _command in _COMMANDS:
    cli.add_command(_command)


def main(args: list[str] | None = None) -> None:
    """Run the program and exit with the code that says how it went."""
    sys.excepthook = _bug
    sys.exit(run(args))


def _bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last resort: a bug in a recipe of the user's own is told by its line; any other is ours, and says so."""
    own = [frame for frame in traceback.extract_tb(trace) if any(frame.filename == _absolute(a) for a in sys.argv[1:])]
    if own and "--verbose" not in sys.argv:
        place = f"{own[-1].filename}:{own[-1].lineno}"
        fault(f"{place}: {kind.__name__}: {error} (in your recipe; --verbose shows the way there)")
        sys.stdout.flush()
        os._exit(2)
    traceback.print_exception(kind, error, trace)
    fault("this is a bug in synthgen, not a mistake of yours; please report it with the lines above")
    sys.stdout.flush()
    os._exit(70)


def _absolute(argument: str) -> str:
    return str(Path(argument).absolute()) if argument.endswith(".py") else ""


def run(args: list[str] | None = None) -> int:
    """The exit code of one command. A user's mistake is one line; a bug is raised."""
    args = sys.argv[1:] if args is None else args
    verbose = "--verbose" in args
    try:
        _check_text(args)
        result: Any = cli.main(args, prog_name="synthgen", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):  # click makes the one of the other
        fault("interrupted; the same command continues")
        return 130
    except click.ClickException as error:
        fault(_one_line(error))
        return 2
    except SynthgenError as error:
        if verbose:
            traceback.print_exc()
        fault(str(error))
        return error.exit_code
    except BrokenPipeError:  # `synthgen show RUN | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit:  # click's own way out of a closed pipe
        return 0
    except OSError as error:
        return _refused(error)
    return result if isinstance(result, int) else 0


def _refused(error: OSError) -> int:
    """What the system says to a name that was given, or to stdout: nothing else is written without `StoreError`."""
    if error.errno == errno.ENAMETOOLONG:
        fault(f"{str(error.filename)[:80]}…: the name is too long for a file; give a shorter one")
        return UsageError.exit_code
    if error.errno == errno.EACCES and error.filename is not None:
        fault(f"{error.filename}: permission denied; make it readable, and the folders above it (chmod +rx)")
        return UsageError.exit_code
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename is not None:
        raise error
    fault("the disk that takes what is printed here is full; free some space and give the same command again")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return StoreError.exit_code


def _check_text(args: list[str]) -> None:
    """Bytes that are no UTF-8 reach us as halves of surrogate pairs, which neither run.json nor a server can hold."""
    for arg in args:
        if any("\ud800" <= character <= "\udfff" for character in arg):
            raise click.UsageError(f"the argument {arg!a} is not UTF-8; rename the file, or type it in UTF-8")


def _one_line(error: click.ClickException) -> str:
    text = error.format_message().replace("\n", " ").strip()
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "synthgen"
    return f"{text.rstrip('.')} ({command} --help)"
