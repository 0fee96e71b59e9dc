"""Runs all checks of `jamba doctor` and shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

from jamba_cli import diagnosis
from jamba_cli.diagnosis import Check
from jamba_cli.output import Output
from jamba_cli.session import Session
from runtime.errors import JambaError

STYLES = {"ok": None, "note": "dim", "slow": "yellow", "broken": "red"}


def show(run: Session) -> None:
    """Prints the report; a broken check is a JambaError at its end."""
    checks = list(_checks(run))
    broken = [check for check in checks if check.status == "broken"]
    if run.output.json:
        listed = [asdict(check) for check in checks]
        report = {"schema_version": 1, "command": "doctor", "ok": not broken, "checks": listed}
        run.output.result(report)
    else:
        _print(checks, run.output)
    if broken:
        names = ", ".join(check.name for check in broken)
        raise JambaError(f"{len(broken)} broken: {names}", hint=broken[0].advice or None)


def _checks(run: Session) -> Iterator[Check]:
    try:
        from jamba_cli import diagnosis_machine
    except (ImportError, OSError) as error:  # OSError: a shared library of torch is missing
        value = f"can't be imported: {error}"
        yield Check("machine", "torch", value, "broken", "install torch again")
        device_type = "cpu"
    else:
        yield from diagnosis_machine.machine(run.settings.device)
        device_type = diagnosis_machine.device_type(run.settings.device)
    yield from diagnosis.software()
    yield from diagnosis.kernels(device_type)
    yield from diagnosis.model_files(run.settings)
    yield from diagnosis.places()
    yield from diagnosis.terminal(run.output, run.settings)


def _print(checks: list[Check], output: Output) -> None:
    width = max(len(check.name) for check in checks)
    for section, group in groupby(checks, key=lambda check: check.section):
        output.line(section, "bold")
        for check in group:
            mark = "" if check.status in ("ok", "note") else f"{check.status}: "
            advice = f" ({check.advice})" if check.advice else ""
            line = f"  {check.name:<{width}}  {mark}{check.value}{advice}"
            output.line(line, STYLES[check.status])
    bad = [check for check in checks if check.status in ("slow", "broken")]
    output.line()
    for check in bad:
        output.line(f"{check.status}: {check.name}", STYLES[check.status])
    if not bad:
        output.line("nothing is broken, nothing slower than it has to be on this machine")
