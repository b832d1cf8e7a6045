"""Why a command ends early, each with its exit code; the texts are shown in one line."""

from __future__ import annotations


class UsageError(Exception):
    """The command's arguments are invalid; the text is shown in one line."""


class RunFailedError(Exception):
    """The user's code failed; its traceback has been printed."""


class LoadFailedError(RunFailedError):
    """The user's code failed before any item ran."""


class OutputError(Exception):
    """The output cannot be written: a full disk, say."""


class OutputClosedError(Exception):
    """The reader of the output has closed it (``| head``)."""
