"""Sysctls: effective values (pure) and reading and writing them."""
