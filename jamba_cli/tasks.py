"""From the words of a command line to a task for the model."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jamba_cli.prompts import (
    SUMMARY_WORDS,
    WORDS_PER_QUOTE,
    question_task,
    summary_quotes,
    summary_task,
)
from jamba_cli.task_run import Task
from jamba_cli.terminal import is_tty, visible
from runtime.errors import UsageError

if TYPE_CHECKING:
    from runtime.sampling import SamplingParams

MOST_WORDS = 10_000
QUOTES_PER_WINDOW = 1.5
"""A window notes more quotes than its share of the summary, so that merging has a choice."""


def parse_length(text: str) -> str:
    """`short`, `medium`, `long`, or a number of words as digits; raises UsageError."""
    if text in SUMMARY_WORDS:
        return text
    match = re.fullmatch(r"(\d{1,5})\s*(?:w|words?)?", text.strip(), re.IGNORECASE)
    if match is None or not 1 <= int(match[1]) <= MOST_WORDS:
        raise UsageError(
            f"--length '{visible(text)}' is not short, medium, long or a number of words",
            hint="for example --length short or --length '300 words'",
        )
    return match[1]


def summary_max_tokens(length: str) -> int:
    """Room for a summary of this length: a word is about 1.5 tokens, a reference 8."""
    words = SUMMARY_WORDS.get(length) or int(length)
    return 256 + 2 * words


def summary(style: str, length: str, focus: str | None, *, plain: bool = False) -> Task:
    """The task of `summarize`; over several windows each is asked for its share."""

    def of_windows(count: int) -> str:
        if style != "quote":
            return summary_task(style=style, length=length, focus=focus)
        share = max(2, round(summary_quotes(length) * QUOTES_PER_WINDOW / count))
        return summary_task(style=style, length=str(share * WORDS_PER_QUOTE), focus=focus)

    text = summary_task(style=style, length=length, focus=focus)
    return Task("summarize", text, of_windows, plain)


def question(text: str) -> Task:
    """The task of `ask`."""
    return Task("ask", question_task(text))


def split_question(words: Sequence[str]) -> tuple[list[str], str]:
    """Sources and the question, which is the last word; raises UsageError if one is missing."""
    *sources, text = words
    if not text.strip():
        raise UsageError("the question is empty", hint='jamba ask FILE "QUESTION"')
    is_source = Path(text).exists() or (text.startswith("@") and " " not in text)
    if not sources and (is_tty(sys.stdin) or is_source):
        missing = "the question is missing" if is_source else "nothing to read"
        raise UsageError(missing, hint='jamba ask FILE "QUESTION", or pipe the text in')
    return sources, text


def sampling_params(
    max_tokens: int,
    temperature: float,
    top_p: float | None,
    top_k: int | None,
    min_p: float | None,
    repetition_penalty: float | None,
    seed: int | None,
    stop: Sequence[str] | None,
) -> SamplingParams:
    """The sampling options, None where the default holds."""
    from runtime.sampling import SamplingParams

    return SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=top_k or 0,
        min_p=min_p or 0.0,
        repetition_penalty=repetition_penalty or 1.0,
        seed=seed,
        stop=tuple(stop or ()),
    )
