"""How does `python -m bench VERB` run a verb, and with which exit code? The codes are those of the contract."""

import signal
import sys
import tempfile
import traceback

import typer

from bench.cli import inspection, runs, sr_eval, throughput
from bench.errors import EXIT_BROKEN, EXIT_USAGE, BenchError, NotMeasured, UserError, is_users, one_line
from bench.running.interrupts import EXIT_INTERRUPTED

try:
    from typer.exceptions import TyperException
except ImportError:  # before typer carried its own click
    from click import ClickException as TyperException  # type: ignore[assignment]

LONGEST_MESSAGE = 5000  # characters; a path alone may have 4096
EXIT_OURS = 70

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Which loss, and how do you know? --debug after any verb shows tracebacks.",
)
for verb in (
    *(runs.run, runs.report, runs.status, runs.suites),
    *(inspection.data, inspection.loss, sr_eval.sr_eval),
    *(throughput.compare, throughput.record, throughput.calibrate),
):
    app.command(verb.__name__.replace("_", "-"))(verb)


def main() -> None:
    """Run a verb; an error that a user can cause is one line on standard error."""
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"] or ["--help"]
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(app(arguments, prog_name="python -m bench", standalone_mode=False))
    except (UserError, BenchError) as error:
        if debug:
            raise
        fail(one_line(error), EXIT_BROKEN if isinstance(error, NotMeasured) else EXIT_USAGE)
    except TyperException as error:
        fail(error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        if is_users(error):
            fail(one_line(error), EXIT_USAGE)
        with tempfile.NamedTemporaryFile("w", prefix="bench-error-", suffix=".txt", delete=False) as file:
            file.write(traceback.format_exc())
        fail(f"an error of ours, not yours; the traceback is in {file.name}, please report it", EXIT_OURS)


def interrupt(*_: object) -> None:
    """Treat SIGTERM as Ctrl-C, also in a background process, which ignores Ctrl-C."""
    raise KeyboardInterrupt


def fail(message: str, code: int) -> None:
    """End with one line on standard error, without control characters: it may contain untrusted names."""
    from bench.store.validation import clipped

    print(f"bench: {clipped(' '.join(message.split()), LONGEST_MESSAGE)}", file=sys.stderr)
    sys.exit(code)
