"""`jamba doctor`: what this machine and installation can do, what is slow, and why."""

from __future__ import annotations

from jamba_cli import options


def doctor(
    model: options.Model = None,
    device: options.Device = None,
    json: options.Json = False,
    no_color: options.NoColor = False,
) -> None:
    """Check machine, packages, kernels, models and terminal; say what is slow and why.

    Exits with 1 if something is broken.
    """
    from jamba_cli import session, show_doctor

    with session.start(json=json, no_color=no_color, model=model, device=device) as run:
        show_doctor.show(run)
