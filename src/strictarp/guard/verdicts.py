"""Is strictARP in force on an interface? By the model of the kernel's ARP. Pure.

In force: the kernel answers for no Service IP there, and names none as the sender of its own requests.
"""

from __future__ import annotations

from collections.abc import Sequence

from strictarp.arp.announcing import solicit
from strictarp.arp.deciding import decide
from strictarp.arp.explaining import ASKER_MAC, assumed_asker
from strictarp.arp.facts import Host, dotted
from strictarp.arp.nft import Match
from strictarp.arp.packets import Packet
from strictarp.guard.keys import ALL
from strictarp.sysctl.effective import Announce, Verdict, announce_level, strictarp_in_force

SAMPLE = 16


def sampled(vips: Sequence[int], most: int = SAMPLE) -> Sequence[int]:
    """Some of them, spread evenly, the first and the last among them."""
    if len(vips) <= most:
        return vips
    return [vips[number * (len(vips) - 1) // (most - 1)] for number in range(most)]


def in_force(host: Host, device: str, *, most: int = SAMPLE) -> Verdict:
    """By the model, for up to `most` Service IPs. Without any, what the sysctls or our table would do to one.

    "all" stands for an interface with no values of its own. The host's nftables are our tables alone.
    """
    if device == ALL:
        return by_sysctls(host, ALL)
    if device not in host.by_name:
        return Verdict(False, f"{device} is not there")
    vips = host.vips
    if not vips and _waits(host, device):
        return Verdict(True, "no Service IP is bound yet; nftables keeps each off as soon as it is")
    if not vips:
        return by_sysctls(host, device)
    asked = sampled(sorted(vips), most)
    for vip in asked:
        said = _answered(host, device, vip) or _named(host, device, vip, vips)
        if said:
            return Verdict(False, said)
    some = f" ({len(asked)} of them tried)" if len(asked) < len(vips) else ""
    return Verdict(True, f"{len(vips)} Service IPs{some}: not answered, and not used as sender")


def _waits(host: Host, device: str) -> bool:
    """A table of scope `vips` covers the interface, and has no Service IP to drop requests for yet."""
    return any(
        isinstance(step, Match) and step.field == "iifname" and device in step.words
        for table in host.nft.tables
        for chain in table.chains
        if chain.hook == "input"
        for rule in chain.rules
        for step in rule
    )


def by_sysctls(host: Host, device: str) -> Verdict:
    """What the four numbers say."""
    return strictarp_in_force(
        host.own("arp_ignore", "all"),
        host.own("arp_ignore", device),
        all_announce=host.own("arp_announce", "all"),
        dev_announce=host.own("arp_announce", device),
    )


def _answered(host: Host, device: str, vip: int) -> str:
    for asker in (assumed_asker(host, device, vip), 0):
        decision = decide(host, device, Packet(asker, vip, ASKER_MAC, source=ASKER_MAC))
        if decision.answered:
            verdict = by_sysctls(host, device)
            why = verdict.reason if decision.rule == "local" and not verdict else f"rule {decision.rule}"
            return f"{dotted(vip)} is answered: {why}"
    return ""


def _named(host: Host, device: str, vip: int, vips: frozenset[int]) -> str:
    """A request for a neighbour of the Service IP, and for one of the interface's own."""
    for target in (assumed_asker(host, device, vip), vip ^ 1):
        sent = solicit(host, device, target, vip)
        if target and sent is not None and sent.sender_ip in vips:
            strict = announce_level(host.conf("arp_announce", device)) is Announce.BEST_OF_DEVICE
            why = (
                f"{device} has no address to name, and the kernel borrows one of kube-ipvs0's; give it one"
                if strict
                else by_sysctls(host, device).reason
            )
            return f"{dotted(sent.sender_ip)} is used as sender: {why}"
    return ""
