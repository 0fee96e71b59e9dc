"""Shows what a model needs by scheme, and which setting would be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jamba_cli.human import format_bytes
from jamba_cli.session import Session
from runtime.errors import ModelError, UsageError

if TYPE_CHECKING:
    from runtime.loading import Source, Wish
    from runtime.plan import MemoryPlan, Planner
    from runtime.quantization import Quantization


def show(run: Session, shape: str | None, keep: Sequence[str], gpu_memory: float | None) -> None:
    """Prints a row a scheme and what is picked; raises MemoryFitError if nothing fits."""
    from runtime.loading import Wish
    from runtime.plan import choose
    from runtime.quantization import ALWAYS_KEPT

    settings = run.settings
    source = _source(settings.model, shape)
    kept = frozenset({*keep, *ALWAYS_KEPT})
    context = settings.context or source.config.max_context
    if context > source.config.max_context:
        raise UsageError(
            f"--context {context:,}: {source.name} was made for {source.config.max_context:,} "
            "tokens at most"
        )
    wish = Wish(settings.scheme, kept, context, settings.chunk_tokens)
    planner = _planner(source, wish, settings.device, gpu_memory)
    options = source.options(planner.device, wish)
    rows = _rows(planner, options, kept, context, settings.chunk_tokens)
    picked = next((plan for plan, _ in rows if _matches(plan, options) and plan.fits), None)
    if run.output.json:
        run.output.result(_as_json(source.name, planner, context, rows, picked))
    else:
        _show_table(run, source.name, planner, context, rows)
        if picked is not None:
            chunk = min(picked.chunk_tokens, context)
            run.output.line(f"picked: {_label(picked)}, {chunk:,} tokens at a time", "bold")
    if picked is None:
        choose(planner, options, context, settings.chunk_tokens, source.name)


def _source(model: str, shape: str | None) -> Source:
    """A model that is here, a shape, or the shape of a known model that is not here."""
    from runtime.config import JambaConfig
    from runtime.loading import Source
    from runtime.models import known, resolve
    from runtime.shapes import SHAPES
    from runtime.shapes import shape as named_shape

    if shape is not None:
        return Source(shape, named_shape(shape))
    try:
        directory = resolve(model)
    except ModelError:
        entry = known(model)
        for name in SHAPES if entry else ():
            config = named_shape(name)
            if entry and config.parameter_count == entry.parameters:
                return Source(entry.name, config)
        raise
    return Source(model, JambaConfig.from_json(directory), directory)


def _planner(source: Source, wish: Wish, device: str, gpu_memory: float | None) -> Planner:
    import torch

    from runtime import memory
    from runtime.devices import pick_device, pick_precision
    from runtime.loading import make_planner

    if gpu_memory is not None:
        target, available = torch.device("cuda"), int(gpu_memory * 1e9)
    else:
        target = pick_device(device)
        available = memory.free_bytes(target)
    precision = pick_precision(source.config, target)
    return make_planner(source, target.type, wish, precision, available)


def _rows(
    planner: Planner,
    options: Sequence[Quantization | None],
    keep: frozenset[str],
    context: int,
    chunk_tokens: int | None,
) -> list[tuple[MemoryPlan, int]]:
    """A plan and the longest context for what may be picked, every scheme, and Mamba kept."""
    from runtime.plan import candidates

    every = [*options, *candidates(planner.device, keep)]
    every += list(candidates(planner.device, keep | {"mamba"}))
    if len(options) == 1 and options[0] is not None and planner.config.quantization is not None:
        every = list(options)  # the files are in one scheme and no other
    return [
        (
            planner.best(option, context, chunk_tokens),
            planner.longest_context(option, chunk_tokens),
        )
        for option in dict.fromkeys(every)
    ]


def _matches(plan: MemoryPlan, options: Sequence[Quantization | None]) -> bool:
    wanted = [
        ("none", ()) if o is None else (o.scheme.name, tuple(sorted(o.keep))) for o in options
    ]
    return (plan.scheme, plan.keep) in wanted


def _label(plan: MemoryPlan) -> str:
    kept = [part for part in plan.keep if part != "head"]
    return f"{plan.scheme}, {' and '.join(kept)} kept" if kept else plan.scheme


def _show_table(
    run: Session,
    name: str,
    planner: Planner,
    context: int,
    rows: Sequence[tuple[MemoryPlan, int]],
) -> None:
    output = run.output
    where = f"{planner.device} with {format_bytes(planner.available)} free"
    output.line(f"{name}, {context:,} tokens of context, {where}", "bold")
    cells = [
        (
            *map(format_bytes, (plan.weights, plan.kv_cache + plan.state, plan.workspace)),
            format_bytes(plan.total),
            "yes" if plan.fits else "no",
            f"{longest:,}",
            _label(plan),
        )
        for plan, longest in rows
    ]
    heads = ("weights", "cache", "workspace", "total", "fits", "longest", "scheme")
    output.table(heads, cells, ">>>><>")


def _as_json(
    name: str,
    planner: Planner,
    context: int,
    rows: Sequence[tuple[MemoryPlan, int]],
    picked: MemoryPlan | None,
) -> dict[str, Any]:
    """The object of `jamba plan --json`; see docs/reference/cli.md."""

    def one(plan: MemoryPlan, longest: int) -> dict[str, Any]:
        return {
            "scheme": plan.scheme,
            "keep": list(plan.keep),
            "chunk_tokens": plan.chunk_tokens,
            "weights": plan.weights,
            "kv_cache": plan.kv_cache,
            "ssm_state": plan.state,
            "workspace": plan.workspace,
            "headroom": plan.headroom,
            "total": plan.total,
            "fits": plan.fits,
            "longest_context_tokens": longest,
        }

    plans = [one(plan, longest) for plan, longest in rows]
    chosen = [value for value, (plan, _) in zip(plans, rows, strict=True) if plan is picked]
    return {
        "schema_version": 1,
        "command": "plan",
        "model": name,
        "device": planner.device,
        "available_bytes": planner.available,
        "context_tokens": context,
        "plans": plans,
        "chosen": chosen[0] if chosen else None,
    }
