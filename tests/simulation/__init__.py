"""The deterministic simulator: whole real machines on a simulated segment and clock.

    schedule   a seed's plan: nodes, VIPs, settings, faults (a value that can be printed)
    world      the plan carried out: clock, segment, API, nodes, hosts; faults act on it
    trace      everything that matters, in order of time
    invariants what the protocol promises, checked over the whole trace
    run        one seed from plan to verdict

Time is true time in µs; each node has its own clock with drift. Chance is one generator per schedule.
"""
