"""The command line: each command parses, calls a module below, and prints.

Nothing here imports torch before a command runs, so that a help is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from .grading import check, grade
from .look import animate, dates, diff, explore, show, write
from .measure import bench, compare
from .options import in_one_line, missing_package

PROGRAM = "attention-variants"
#: What a group raises for a command that is missing or unknown; other wrong arguments have classes derived from it.
_UsageError = typer.BadParameter.__base__
_INTERRUPTED = 130  # as shells count: 128 and the number of the signal


class _Command(TyperCommand):
    """A command whose flags do not ask for a value in its help: ``--rules``, not ``--rules <bool>``."""

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the one for the help included."""
        return _without_types(super().get_params(ctx))


class _Commands(TyperGroup):
    """Commands that say in one line on standard error what is wrong, and exit with 2."""

    def get_params(self, ctx: Any) -> Any:
        """All parameters, the one for the help included."""
        return _without_types(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what it raises for a wrong argument becomes a line."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()  # now, and not when Python ends: a reader who has left is noticed here
            return status
        except KeyboardInterrupt:
            status, words = _INTERRUPTED, "interrupted"
        except BrokenPipeError:  # whoever read our output has seen enough, as in `| head`
            raise
        except ModuleNotFoundError as error:
            status, words = 2, missing_package(error)
        except (ValueError, TypeError, OSError, ImportError) as error:
            status, words = 2, str(error)
        in_one_line(f"{ctx.command_path} {ctx.invoked_subcommand}", words)
        raise typer.Exit(status)

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Parse and run; what cannot be parsed becomes a line."""
        run: Any = super().main
        try:
            status = run(*args, standalone_mode=False, **options) or 0
        except typer.TyperException as error:
            _refuse(error)
            status = 2
        return sys.exit(status) if standalone_mode else status


def _without_types(params: Any) -> Any:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


def _refuse(error: typer.TyperException) -> None:
    """Say what is wrong with the arguments: what came, what was expected, where to read on."""
    ctx: Any = getattr(error, "ctx", None)  # usage errors know the command that was parsed
    where = ctx.command_path if ctx else PROGRAM
    if isinstance(error.__cause__, ValueError) and hasattr(error.__cause__, "errors"):  # pydantic knows what came
        (details, *_) = error.__cause__.errors()
        raised = details.get("ctx", {}).get("error")  # by a parser of ours or of typer, which say themselves what came
        error.message = f"{details['msg']}; got {details['input']!r}" if raised is None else str(raised)
    message = error.format_message()
    if ctx and isinstance(ctx.command, _Commands) and type(error) is _UsageError:
        message += f" Expected one of {', '.join(ctx.command.list_commands(ctx))}."
    in_one_line(where, f"{message} (see {where} --help)")


app = typer.Typer(
    name=PROGRAM,
    cls=_Commands,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {metadata.version(PROGRAM)}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Seven versions of attention, one change at a time: read them, and see that they are equal.

    Exit status: 0 if all is well; 1 if compare or bench found something that
    is not equal, check a function that is wrong, or dates an answer in doubt;
    2 for a wrong argument.

    Example: attention-variants compare --mask causal
    """


for _panel, _commands in {
    "Read and look": (show, diff, animate, explore, dates, write),
    "Measure": (compare, bench),
    "Write it yourself": (check, grade),
}.items():
    for _command in _commands:
        app.command(cls=_Command, rich_help_panel=_panel)(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    status : int
        0 if all is well, 1 if `compare` or `bench` found a variant that is not equal, `check` a function that is
        wrong, or `dates` an answer in doubt, 2 for a wrong argument, 130 after Ctrl-C.
    """
    return int(get_command(app).main(args=argv, prog_name=PROGRAM, standalone_mode=False))
