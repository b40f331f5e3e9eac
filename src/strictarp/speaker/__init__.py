"""The Layer 2 speaker: who answers for an IP."""
