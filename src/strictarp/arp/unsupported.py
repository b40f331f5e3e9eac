"""How the model says that it does not know something, or that the kernel would not do it. Pure."""

from __future__ import annotations


class Unsupported(Exception):
    """Something that the model does not know. The message names it."""


class Refused(Exception):
    """Something that the kernel refuses, so that nothing changes: a route that is there already."""
