"""Which nodes have a living speaker, after their Leases, and where those are on the wire. Pure.

Clocks of different hosts are not compared: a Lease counts as renewed when this node sees it change. It
expires only while this node sees its own renewals come back from the API: an API that is away, or a watch
that is stuck, buries nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_interface

import msgspec

from strictarp.arp.frames import mac_text, parse_mac
from strictarp.kube.objects import Lease
from strictarp.speaker.links import Place, Subnet

PREFIX = "strictarp-speaker-"
LABELS = {"app.kubernetes.io/name": "strictarp", "app.kubernetes.io/component": "speaker"}
SELECTOR = ",".join(f"{name}={value}" for name, value in LABELS.items())
LINKS_ANNOTATION = "strictarp.io/links"
RENEW = 10.0
"""Seconds between renewals of a Lease."""
EXPIRE = 40.0
"""Seconds without a renewal after which a node has no speaker."""
FRESH = 2.5 * RENEW
"""Seconds since the own renewal was last seen, within which the watch is believed to be current."""
_MOST_LINKS = 1024


class LinkFacts(msgspec.Struct, frozen=True):
    """One link as a Lease tells it: MAC, and own addresses with prefix length, as text."""

    mac: str
    addresses: tuple[str, ...] = ()


class Presence(msgspec.Struct, frozen=True):
    """What a node's Lease says. subnets: None when it does not say: then nothing is excluded by them."""

    node: str
    macs: tuple[bytes, ...] = ()
    subnets: tuple[Subnet, ...] | None = None


class _Seen(msgspec.Struct):
    presence: Presence
    renewed: str
    at: float


class Membership:
    """Feed `see` and `forget` from the watch; ask `living` whenever something depends on it.

    All times in seconds of one monotonic clock.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._seen: dict[str, _Seen] = {}
        self._was_fresh = True

    def see(self, lease: Lease, now: float) -> bool:
        """A Lease appeared or changed; whether what it says of its node is new."""
        presence = read_presence(lease)
        if presence is None:
            return False
        renewed = lease.spec.renew_time or ""
        before = self._seen.get(presence.node)
        if before is None or before.renewed != renewed:
            self._seen[presence.node] = _Seen(presence, renewed, now)
        else:
            before.presence = presence
        return before is None or before.presence != presence

    def forget(self, lease: Lease) -> None:
        """A Lease was deleted: its speaker has left for good."""
        self._seen.pop(lease.metadata.name.removeprefix(PREFIX), None)

    def living(self, now: float) -> dict[str, Presence]:
        """Nodes whose Lease has not expired."""
        own = self._seen.get(self._node)
        fresh = own is not None and now - own.at < FRESH
        if fresh and not self._was_fresh:
            for each in self._seen.values():  # they too could not renew, or be seen to
                each.at = now
        self._was_fresh = fresh
        if fresh:
            self._seen = {name: each for name, each in self._seen.items() if now - each.at < EXPIRE}
        return {name: each.presence for name, each in self._seen.items()}


def read_presence(lease: Lease) -> Presence | None:
    """What a Lease says; None when it is no speaker's. Links that cannot be read are left out."""
    name = lease.metadata.name
    if not name.startswith(PREFIX) or name == PREFIX:
        return None
    node = name.removeprefix(PREFIX)
    text = (lease.metadata.annotations or {}).get(LINKS_ANNOTATION)
    if text is None:
        return Presence(node)
    try:
        found = msgspec.json.decode(text, type=dict[str, LinkFacts])
        links = list(found.values())[:_MOST_LINKS]
        macs = tuple(parse_mac(link.mac) for link in links)
        subnets = tuple(_subnet(each) for link in links for each in link.addresses)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Presence(node)
    return Presence(node, macs, subnets)


def _subnet(text: str) -> Subnet:
    interface = ip_interface(text)
    return interface.ip.packed, interface.network.prefixlen


def lease_body(node: str, places: Iterable[Place], stamp: str) -> dict[str, object]:
    """The Lease to write. stamp: the time, RFC 3339 with microseconds."""
    links = {place.name: LinkFacts(mac_text(place.mac), _texts(place.subnets)) for place in places}
    return {
        "metadata": {
            "name": PREFIX + node,
            "labels": LABELS,
            "annotations": {LINKS_ANNOTATION: msgspec.json.encode(links).decode()},
        },
        "spec": {"holderIdentity": node, "leaseDurationSeconds": int(EXPIRE), "renewTime": stamp},
    }


def _texts(subnets: Iterable[Subnet]) -> tuple[str, ...]:
    return tuple(f"{ip_address(own)}/{prefix}" for own, prefix in subnets)


def segments(presences: Mapping[str, Presence]) -> dict[str, tuple[Subnet, ...]]:
    """Node → its subnets, for the nodes that tell them."""
    return {name: each.subnets for name, each in presences.items() if each.subnets is not None}
