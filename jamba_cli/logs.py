"""Sends what is logged, here and in libraries, through the command's output."""

from __future__ import annotations

import logging
from collections.abc import Callable

OUR_LOGGERS = ("jamba_cli", "runtime", "quant")


class LogHandler(logging.Handler):
    """Our warnings are shown once each; our information and all libraries' only in detail."""

    def __init__(self, warning: Callable[[str], None], detail: Callable[[str], None]) -> None:
        super().__init__()
        self._warning = warning
        self._detail = detail
        self._shown: set[str] = set()

    def install(self, level: int) -> None:
        """Listens on all loggers; ours from `level` up, others from warnings up."""
        logging.getLogger().addHandler(self)
        for name in OUR_LOGGERS:
            logging.getLogger(name).setLevel(level)
        logging.captureWarnings(True)

    def remove(self) -> None:
        """Stops listening."""
        logging.captureWarnings(False)
        for name in OUR_LOGGERS:
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Shows a record, unless the same text was shown before."""
        text = record.getMessage().rstrip()
        if text in self._shown:
            return
        self._shown.add(text)
        ours = record.name.split(".")[0] in OUR_LOGGERS
        if ours and record.levelno >= logging.WARNING:
            self._warning(text)
        else:
            self._detail(text if ours else f"{record.name}: {text}")
