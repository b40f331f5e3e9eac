"""The Layer 2 speaker: who answers for an IP.

`machine.Machine` decides, for one node on one segment, and does no I/O. `settings` are its intervals,
`view` is what it is told of the API, `events` what goes in, `actions` what comes out.
"""
