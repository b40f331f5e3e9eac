"""Whether the running kernel can answer ARP for a speaker at all: Linux 6.6, and what root may."""

from __future__ import annotations

import os

import pytest

from strictarp.speaker import kernel_answers

_missing = kernel_answers._missing() if os.geteuid() == 0 else "needs root"

needs_kernel_answers = pytest.mark.skipif(bool(_missing), reason=_missing or "-")
