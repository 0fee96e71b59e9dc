"""Every expected failure: what happened, what to do next, and the exit code it becomes."""

from __future__ import annotations


class JambaError(Exception):
    """An expected failure. `message` is one line; `hint` names the next step."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(JambaError):
    """The command line contradicts itself or misses something."""

    exit_code = 2


class InputError(JambaError):
    """A source can't be read: missing, corrupt, encrypted, or scanned without text."""

    exit_code = 3


class BudgetError(JambaError):
    """The input has more tokens than the context, and the user asked to refuse."""

    exit_code = 4


class MemoryFitError(JambaError):
    """Model, scheme and context do not fit the device's memory."""

    exit_code = 5


class ModelError(JambaError):
    """A model is missing, broken or of an unsupported kind."""

    exit_code = 6


class ConfigError(ModelError):
    """config.json has an unknown key or an unsupported value."""


class CheckpointError(ModelError):
    """Weights are missing, extra or of the wrong shape."""


class TokenizerError(ModelError):
    """The tokenizer or chat template is missing or broken."""


class PartialError(JambaError):
    """Under --strict: some sources were skipped or damaged."""

    exit_code = 7
