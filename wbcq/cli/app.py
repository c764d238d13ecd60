"""The command's parts, and how errors reach the user: one clear line."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from wbcq.cli import (
    demo_command,
    detect_train_command,
    differential_command,
    file_commands,
    predict_command,
    report_command,
    reproduce_command,
    serve_command,
    synthesize_command,
    train_command,
    tune_command,
)
from wbcq.errors import WbcqError

__all__ = ["app", "run"]

app = typer.Typer(
    name="wbcq",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo_command.demo)
app.command("synthesize")(synthesize_command.synthesize)
app.command("train")(train_command.train)
app.command("detect-train")(detect_train_command.detect_train)
app.command("predict")(predict_command.predict)
app.command("differential")(differential_command.differential)
app.command("serve")(serve_command.serve)
app.command("reproduce")(reproduce_command.reproduce)
app.command("report")(report_command.report)
app.command("info")(file_commands.info)
app.command("run")(file_commands.run)
app.command("bench")(file_commands.bench)
app.command("tune")(tune_command.tune)

# Typer brings its own copy of click since 0.16 and used the real one before: this is either's.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

_INTERRUPTED = 130  # 128 + SIGINT, as in shells


def _show_version(wanted: bool) -> None:
    if wanted:
        from wbcq.version import __version__

        print(f"wbcq {__version__}")
        raise typer.Exit


@app.callback()
def _wbcq(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the full trace of an error; goes anywhere.")
    ] = False,
) -> None:
    """Small CNNs as 8-bit integers: quantize, run and measure them.

    Start with `wbcq demo`: in a few minutes it trains a ResNet-18 on synthetic blood smears,
    quantizes it, and compares accuracy, speed and size. With your own pictures:
    `wbcq demo --data FOLDER`, one subfolder per class. `wbcq predict PICTURE` answers at once,
    with a small example model.

    A model file is what `wbcq.quantize(model, calib_loader).save("cells.wbcq")` writes in Python.
    """


def run(arguments: list[str]) -> int:
    """Runs one command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code: 0, 2 for wrong usage, 130 for Ctrl-C, 1 for any other error.
    """
    debug = "--debug" in arguments
    command = typer.main.get_command(app)
    try:
        code = command.main(
            [argument for argument in arguments if argument != "--debug"],
            prog_name="wbcq",
            standalone_mode=False,
        )
    except _UsageError as error:
        return _report_usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `wbcq info FILE | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {_explain(error)}")
        return 1
    if code == _INTERRUPTED:  # typer may turn Ctrl-C into this status itself
        _say("interrupted; no file is half written")
    return int(code or 0)


def _report_usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "wbcq"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if not message.strip():  # a bare `wbcq`: the help was printed
        return 2
    sentence = " ".join(message.split()).rstrip(".?!")
    print(f"{path}: {sentence}. See '{path} --help'.", file=sys.stderr)
    return 2


def _explain(error: Exception) -> str:
    message = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        extras = {"dask": "dask", "distributed": "dask", "fastapi": "serve", "uvicorn": "serve"}
        extra = extras.get(error.name or "", "demo")
        return f"this command needs {error.name}. Remedy: pip install 'wbcq[{extra}]'"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror.lower()}"
    if isinstance(error, WbcqError):
        return message
    if isinstance(error, MemoryError):
        return message or "out of memory. Remedy: a smaller batch or picture size"
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return f"{kind}{message} (--debug shows where)"


def _say(text: str) -> None:
    print(f"wbcq: {text}", file=sys.stderr)
