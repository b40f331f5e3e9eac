"""Edits of a live cluster: enable and disable."""
