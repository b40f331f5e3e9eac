"""The checks, a module a subject; each module lists its own in `CHECKS`."""
