"""The one way in which the model says that it does not know something. Pure."""

from __future__ import annotations


class Unsupported(Exception):
    """Something that the model does not know. The message names it."""
