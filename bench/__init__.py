"""Benchmarks: each module has `run()`, which yields one JSON-able line a figure."""
