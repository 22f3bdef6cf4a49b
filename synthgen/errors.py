"""Every error says its fate: try again, give up the task, or stop the run with an exit code."""

from __future__ import annotations

from typing import ClassVar, Literal

Fate = Literal["retry", "reject", "fail", "stop"]


class SynthgenError(Exception):
    """The root; its text is one line for the user: what, where, what to do."""

    fate: ClassVar[Fate] = "stop"
    exit_code: ClassVar[int] = 70


class UsageError(SynthgenError):
    """The user's own input is at fault: a flag, a seed row, a template, a folder."""

    exit_code = 2


class StoreError(SynthgenError):
    """The run folder cannot be used: locked, of another version, disk full, not writable."""

    exit_code = 3


class BudgetSpent(SynthgenError):  # noqa: N818 - says what happened
    """What the user allowed is spent: no request may be sent any more."""

    exit_code = 6


class BackendError(SynthgenError):
    """The server did not answer this time: timeout, connection, 429, 5xx."""

    fate: ClassVar[Fate] = "retry"
    exit_code: ClassVar[int] = 5

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, busy: bool = False, died: bool = False
    ) -> None:
        """`busy`: the server has too much to do, and said so (429, 503). `died`: it is gone, with all it had to do."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.busy, self.died = busy, died
        self.attempts = 1


class RequestRefused(BackendError):  # noqa: N818 - says what happened
    """This request will never be answered: prompt too long, malformed, content filter."""

    fate = "fail"


class NotAllowed(BackendError):  # noqa: N818 - the same
    """No request of this run will be answered: bad key, unknown model, nobody at the address."""

    fate = "stop"
    exit_code = 4


class NotYet(SynthgenError):  # noqa: N818 - the same
    """The answers are made elsewhere and are not there yet: the same command goes on when they are."""

    exit_code = 7


class ParseError(SynthgenError):
    """The answer has not the form that the prompt asked for."""

    fate = "reject"

    def __init__(self, message: str, *, text: str = "") -> None:
        super().__init__(message)
        self.text = text


class VerifierError(SynthgenError):
    """A verifier broke; never score 0 for it."""
