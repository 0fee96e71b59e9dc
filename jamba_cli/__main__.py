"""`python -m jamba_cli`."""

from __future__ import annotations

import sys

from jamba_cli.app import main

sys.exit(main())
