"""What does Ctrl-C do to a run? The first asks the run to end, the second ends it at once."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)  # SIGTERM works as Ctrl-C does, also for a background process
EXIT_INTERRUPTED = 130


class Interrupts:
    """In this context, the first signal raises `KeyboardInterrupt`, and the second ends the process at once.

    Args:
        leave: called by the second signal before the process ends without cleaning up.
    """

    def __init__(self, leave: Callable[[], None] = lambda: None):
        self.came = False
        self._leave = leave
        self._notify: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        in_main = threading.current_thread() is threading.main_thread()  # Python runs signal handlers only there
        self._before = {number: signal.getsignal(number) for number in SIGNALS if in_main}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:  # a shell ignores it for a background job, which Ctrl-C must not end
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self.came:  # otherwise keep the handler: a second signal may come while the process ends
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _handle(self, *_: object) -> None:
        if self.came:
            self._leave()
            os._exit(EXIT_INTERRUPTED)
        self.came = True
        if self._notify is None:
            raise KeyboardInterrupt
        self._notify()

    @contextmanager
    def politely(self, notify: Callable[[], None]) -> Iterator[None]:
        """In this context, the first signal calls `notify`; `KeyboardInterrupt` is raised on exit.

        Args:
            notify: called between any two instructions, so it must do very little.
        """
        before, self._notify = self.came, notify
        try:
            yield
        finally:
            self._notify = None
        if self.came and not before:
            raise KeyboardInterrupt
