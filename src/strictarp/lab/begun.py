"""How a process that measures says that it has begun: by a file beside its result."""

from __future__ import annotations

from pathlib import Path


def begun_file(out: Path) -> Path:
    """Its name, another one for each result. Whoever starts the process takes an earlier one away."""
    return out.with_name(f"{out.name}.begun")
