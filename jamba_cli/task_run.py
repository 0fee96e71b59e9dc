"""What `summarize` and `ask` share: plan, load, read, answer, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jamba_cli.contexts.opening import Opened
from jamba_cli.contexts.saving import Account, Saving
from jamba_cli.evidence import Evidence, summarize_check
from jamba_cli.human import format_seconds
from jamba_cli.output import Output
from jamba_cli.plain_text import PlainText
from jamba_cli.reader import Reader
from jamba_cli.session import Session
from jamba_cli.sources.document import Document
from jamba_cli.windows import Plan, plan
from runtime.errors import UsageError

if TYPE_CHECKING:
    from jamba_cli.answering import Answer, Answerer
    from runtime.engine import Engine
    from runtime.sampling import SamplingParams

NANO = (
    "nano, the embedded 138M-parameter model, answers with quotes; for answers in prose: "
    "jamba models pull jamba2-3b"
)


@dataclass(frozen=True, slots=True)
class Task:
    """A command's task; `of_windows` gives what each of several windows is asked."""

    command: str
    text: str
    of_windows: Callable[[int], str] | None = None
    plain: bool = False  # strip Markdown from the answer


def run_task(task: Task, opened: Opened, params: SamplingParams) -> None:
    """Reads the document, answers the task on it and prints the result."""
    run, reader = opened.run, opened.reader
    output, reporter = run.output, run.reporter
    started = time.monotonic()
    document = opened.read()
    read_s = time.monotonic() - started
    reading = plan_reading(document, task.text, reader, run, params.max_tokens)
    if reader.style == "quote":
        output.note(NANO)
    started = time.monotonic()
    engine = load_engine(reader, run, min(reading.tokens, reading.limit) + params.max_tokens)
    timings = {"read": read_s, "load": time.monotonic() - started}
    from jamba_cli.answering import Answerer

    answerer = Answerer(
        engine, reader, reporter, params,
        chunk_tokens=run.settings.chunk_tokens,
        saving=Saving(run.settings, reader, output, opened.origin, keep=opened.kept),
    )  # fmt: skip
    plain = PlainText() if task.plain else None
    show = output.answer if plain is None else lambda text: output.answer(plain.push(text))
    windows = len(reading.windows)
    answer = answerer.run(
        task.text,
        reading,
        Evidence(document),
        show,
        map_task=task.of_windows(windows) if task.of_windows and windows > 1 else None,
    )
    if plain is not None:
        output.answer(plain.flush())
    if not output.json:
        output.end_answer()
    _report(task, answer, answerer, reading, run, timings)


def plan_reading(
    document: Document, task: str, reader: Reader, run: Session, max_tokens: int
) -> Plan:
    """How the document will be read, told where it is not whole."""
    limit = _limit(reader, run.settings.context, max_tokens)
    run.reporter.phase("tokenize", None, "tokens")
    context = run.settings.context or reader.config.max_context
    over_budget = run.settings.over_budget
    reading = plan(document, task, reader, limit, over_budget, context=context)
    run.reporter.advance(reading.tokens)
    run.reporter.finish()
    _tell(reading, run.output)
    return reading


def _limit(reader: Reader, context: int | None, max_tokens: int) -> int:
    """Prompt tokens that fit beside the longest answer."""
    most = reader.config.max_context
    if context is not None and context > most:
        raise UsageError(
            f"--context {context:,}: {reader.name} was made for {most:,} tokens at most",
            hint="longer inputs are read in windows",
        )
    limit = (context or most) - max_tokens
    if limit < 1:
        raise UsageError(
            f"--max-tokens {max_tokens:,} leaves nothing of a context of {context or most:,}",
            hint="lower --max-tokens",
        )
    return limit


def _tell(reading: Plan, output: Output) -> None:
    if len(reading.windows) > 1:
        output.warning(
            f"{reading.tokens:,} tokens do not fit the {reading.limit:,} that the context leaves "
            f"for the input: reading in {len(reading.windows)} windows, then merging their notes"
        )
    for name in reading.dropped:
        output.warning(f"dropped to fit the context: {name}")


def load_engine(reader: Reader, run: Session, context: int) -> Engine:
    """The model's weights, loaded with progress, held so that `context` tokens fit beside them."""
    from runtime.engine import Engine

    settings = run.settings
    run.reporter.phase("load", None, "bytes")

    def on_bytes(done: int, total: int) -> None:
        run.reporter.phase("load", total, "bytes")
        run.reporter.advance(done)

    engine = Engine.load(
        reader.directory,
        device=settings.device,
        scheme=settings.scheme,
        context=context,
        chunk_tokens=settings.chunk_tokens,
        on_bytes=on_bytes,
    )
    run.reporter.finish()
    if engine.scheme != "none":
        run.output.note(f"weights in {engine.scheme}")
    return engine


def _report(
    task: Task,
    answer: Answer,
    answerer: Answerer,
    reading: Plan,
    run: Session,
    timings: dict[str, float],
) -> None:
    output, usage = run.output, answerer.usage
    timings |= {
        "prefill": usage.prefill_s,
        "first_token": usage.first_token_s or 0.0,
        "decode": usage.decode_s,
    }
    memory = memory_report(answerer)
    if not answer.complete:
        output.warning(f"the answer was cut at --max-tokens {answerer.params.max_tokens:,}")
    if answer.references or answer.found:
        output.note(summarize_check(answer.references))
    account = answerer.saving.account if answerer.saving else Account()
    output.note(account.line(usage.input_tokens))
    run.reporter.memory(memory)
    output.detail(", ".join(f"{k} {format_seconds(v)}" for k, v in timings.items()))
    if not output.json:
        return
    result: Mapping[str, Any] = {
        "schema_version": 1,
        "command": task.command,
        "model": answerer.reader.name,
        "device": str(answerer.engine.device),
        "answer": answer.text.strip(),
        "found": answer.found,
        "complete": answer.complete,
        "references": [reference.as_json() for reference in answer.references],
        "tokens": {
            "input": usage.input_tokens,
            "reused": account.reused,
            "generated": usage.generated_tokens,
            "document": reading.tokens,
        },
        "context": account.as_json(usage.input_tokens),
        "windows": len(reading.windows),
        "dropped": list(reading.dropped),
        "timings_s": {name: round(seconds, 3) for name, seconds in timings.items()},
        "memory_bytes": memory,
        "warnings": output.warnings,
    }
    output.result(result)


def memory_report(answerer: Answerer) -> dict[str, int]:
    """Bytes by what holds them; peaks are of the process (host) and of torch (device)."""
    from runtime.memory import peaks

    cache = answerer.cache
    state = cache.ssm_nbytes if cache else 0
    kv = cache.nbytes - state if cache else 0
    held = answerer.engine.weights_nbytes + state + kv
    return {
        "weights": answerer.engine.weights_nbytes,
        "kv_cache": kv,
        "ssm_state": state,
        **peaks(answerer.engine.device, held),
    }
