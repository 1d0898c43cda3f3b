"""The command line: `ironbound`, or `python -m ironbound`.

Exit codes: 0 it went well, 1 what was run failed or does not hold, 2 what was asked for is not possible, 130 interrupted.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from ironbound.core.temporary import remove_temporary

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


def main() -> None:
    """The entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = run(sys.argv[1:], last=True)
    except KeyboardInterrupt:  # while the first modules were still read
        sys.stderr.write("Interrupted: nothing was begun.\n")
        code = INTERRUPTED
    if code == INTERRUPTED:  # a further Ctrl-C finds nobody to stop half way through his leaving
        remove_temporary()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str], last: bool = False) -> int:
    """Run a command; every outcome is an exit code, and no error a traceback unless --debug asks for it.

    last: the process ends with it, so that a further Ctrl-C has nothing to stop any more.
    """
    import typer

    from ironbound.cli.app import app
    from ironbound.cli.stopping import Interrupted
    from ironbound.core.errors import IronboundError

    wrong_use: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        code = app(args=list(arguments), prog_name="ironbound", standalone_mode=False)
        return int(code or 0)
    except Interrupted as stopped:
        return _stopped(_how_to_go_on(arguments, stopped.folder), last)
    except BrokenPipeError:
        return _nobody_reads(sys.stdout)
    except wrong_use as error:
        return _refused(arguments, error)
    except Exception as error:
        if "--debug" in arguments:
            raise
        known = isinstance(error, IronboundError)
        _complain(str(error) if known else f"{type(error).__name__}: {error}{_UNEXPECTED}")
        return _code_of(error)


_UNEXPECTED = ". This was not expected: it is a mistake in Ironbound or in the model. --debug shows where it happened."


def _code_of(error: Exception) -> int:
    """1 where a run failed, 2 where it could not be what was asked for."""
    from ironbound.core.errors import IronboundError, OutOfMemory, SoundnessAlarm

    if not isinstance(error, IronboundError) or isinstance(error, (SoundnessAlarm, OutOfMemory)):
        return 1
    return 2


def _refused(arguments: Sequence[str], error: Any) -> int:
    """Flags and arguments that the command does not have. Without any, the help is the answer."""
    message = str(error.format_message())
    if not arguments or type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(message.rstrip() + "\n")
        return 2
    context = getattr(error, "ctx", None)
    ended = message if message.endswith(("?", ".")) else f"{message}."
    _complain(f"{ended} See: {context.command_path if context is not None else 'ironbound'} --help")
    return 2


def _stopped(words: str, last: bool) -> int:
    """Say it, whatever else is pressed meanwhile; where nothing comes after it, to the end of the process."""
    before: Any = None
    with suppress(ValueError):  # signals belong to the main thread
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    _complain(words, word="Interrupted")
    if before is not None and not last:
        signal.signal(signal.SIGINT, before)
    return INTERRUPTED


def _command(arguments: Sequence[str]) -> str:
    """What was typed, as a shell reads it."""
    return f"ironbound {shlex.join(arguments)}"


def _how_to_go_on(arguments: Sequence[str], folder: Any) -> str:
    """The command that goes on with a run."""
    if folder is None:
        return f"nothing is kept of it. Begin again by: {_command(arguments)}"
    if not folder.exists():
        return f"nothing was written yet. Begin again by: {_command(arguments)}"
    again = [argument for argument in arguments if argument != "--resume"]
    named = any(argument == "--out" or argument.startswith("--out=") for argument in again)
    out = [] if named else ["--out", str(folder)]
    return f"what was finished is kept. Go on with: {_command([*again, *out, '--resume'])}"


def _complain(message: str, word: str = "Error") -> None:
    """One line, red where a terminal shows it."""
    from rich.text import Text

    from ironbound.cli.terminal import console
    from ironbound.core.rank import Rank
    from ironbound.core.text import shown

    ranked = Rank.of()
    if ranked.world > 1:
        word = f"{word} in process {ranked.rank + 1} of {ranked.world}"
    console(stderr=True).print(Text.assemble((f"{word}: ", "bold red"), (shown(message), "red")), soft_wrap=True)


def _nobody_reads(stream: TextIO) -> int:
    """Standard output was closed early, as by `| head`: end quietly."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return 1
