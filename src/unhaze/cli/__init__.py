"""Entry point: dispatches to a subcommand and turns errors into one line and an exit status.

Exit status: 0 done; 1 ran, some inputs failed; 2 wrong use, nothing ran; 130 stopped by Ctrl-C.
Results go to stdout, messages to stderr. Nothing heavy is imported here, nor at the top of a verb's
file.
"""

import atexit
import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from unhaze.errors import UnhazeError
from unhaze.extras import explain_missing
from unhaze.restore.resources import share_heaps

# Verb: its file here and, in that, its command. Only the one that is called for is loaded.
VERBS = {
    "run": ("run", "run"),
    "batch": ("batch", "batch"),
    "preview": ("preview", "preview"),
    "train": ("train", "train"),
    "eval": ("eval", "evaluate"),
    "export": ("export", "export"),
    "list": ("listing", "list_names"),
    "data": ("data", "data"),
    "weights": ("weights", "weights"),
    "zoo": ("zoo", "zoo"),
    "report": ("report", "report"),
    "serve": ("serve", "serve"),
}
WITHOUT_LARGE_PRODUCTS = ("run", "batch", "preview", "serve")  # of matrices, in NumPy


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `unhaze ARGUMENTS` (default: those of the process) and returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        spare_the_collector()
        spare_threads_of_blas(words)
    open_streams()
    write_whole()
    print_any_name()
    share_heaps()
    stdout = sys.stdout
    try:
        words = with_verb(words)
        for verb in words[:1] if words[0] in VERBS else VERBS:
            unhaze.add_command(command_of(verb), verb)
        status = unhaze.main(words, prog_name="unhaze", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "unhaze"
        return complain(f"{error.format_message()} (see '{where} --help')", 2)
    except click.ClickException as error:
        return complain(error.format_message(), 2)
    except UnhazeError as error:
        return complain(str(error), 2)
    except ModuleNotFoundError as error:
        missing = explain_missing(error, owner_of(words))
        if missing is None:
            raise
        return complain(str(missing), 2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("unhaze: stopped", err=True)
        return 130
    except BrokenPipeError:
        return reader_gone()
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return reader_gone()  # it broke in a verb: click replaces stdout and exits
    except OSError as error:
        discard_what_is_stuck()
        return complain(f"{error.filename or 'system'}: {error.strerror or error}", 2)
    except MemoryError:
        return complain("not enough memory", 2)
    return status or 0


def with_verb(words: list[str]) -> list[str]:
    """`unhaze photo.jpg` means `unhaze run photo.jpg`; a mistyped verb is not taken for a photo."""
    if not words:
        raise click.UsageError("give a photo, a folder or a command")
    if words[0] in VERBS or words[0] in ("-h", "--help", "--version"):
        return words
    if not Path(words[0]).exists():
        from difflib import get_close_matches

        close = get_close_matches(words[0], VERBS, n=1)
        if close:
            raise click.UsageError(
                f"no command and no file '{words[0]}'; did you mean '{close[0]}'?"
            )
    return ["run", *words]


def command_of(verb: str) -> click.Command:
    """Returns the command of a verb, loaded."""
    file, name = VERBS[verb]
    return getattr(import_module(f"unhaze.cli.{file}"), name)


def owner_of(words: list[str]) -> str:
    """Returns the command that an error names: the verb; for `data` and `list` both words."""
    words = with_verb(words)
    return (
        " ".join(words[:2])
        if words[0] in ("data", "list", "report", "weights", "zoo")
        else words[0]
    )


def complain(message: str, status: int) -> int:
    """Prints an error in one line, without its line breaks, and returns `status`."""
    click.echo("unhaze: error: " + " ".join(message.split()), err=True)
    return status


def reader_gone() -> int:
    """The status after `unhaze list nets | head`; Python does not complain again at exit."""
    discard_stdout()
    return 141  # As for a program that the signal SIGPIPE ended.


def discard_what_is_stuck() -> None:
    """Discards what stdout does not take, as on a full disk: Python would complain at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        discard_stdout()


def discard_stdout() -> None:
    """Sends what is still to be written to stdout to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def spare_the_collector() -> None:
    """Has Python look for cyclic garbage less often, and not at its exit: a tenth of a short run.

    What is imported stays, and memory that is given back as the process ends is given back anyway.
    """
    gc.set_threshold(50_000, 10, 10)
    atexit.register(gc.freeze)


def spare_threads_of_blas(words: Sequence[str]) -> None:
    """Has NumPy start no thread for each core when it is imported, where it would use none of them:
    they take 40 ms of processor time, in every worker process, too.
    """
    if words and (words[0] not in VERBS or words[0] in WITHOUT_LARGE_PRODUCTS):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def open_streams() -> None:
    """Puts the null device in the place of standard streams that are closed (`unhaze a.jpg >&-`).

    Without it the next file that is opened would be taken for stdout.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def write_whole() -> None:
    """Has stdout written whole or with an error with PYTHONUNBUFFERED as well, where Python passes
    on what the system takes of a write, such as all that a full disk has room for.
    """
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        how = {"encoding": sys.stdout.encoding, "errors": sys.stdout.errors}
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True, **how)


def print_any_name() -> None:
    """Lets file names that are no valid text be printed, as the bytes that they are."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            unicode = (stream.encoding or "").lower().startswith("utf")
            reconfigure(errors="surrogateescape" if unicode else "backslashreplace")


@click.group(
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="unhaze", message="%(prog)s %(version)s")
def unhaze() -> None:
    """Removes haze from photos and videos, and trains the networks that do it.

    `run` may be left out: `unhaze photo.jpg` means `unhaze run photo.jpg`.
    """
    import logging

    level = os.environ.get("UNHAZE_LOG", "").upper()
    known = logging.getLevelNamesMapping().get(level, logging.WARNING)
    logging.basicConfig(format="unhaze: %(message)s", level=known)
