"""Malformed, forged and repeated frames through the whole receiving side of a speaker."""
