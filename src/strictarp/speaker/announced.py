"""AnnouncedAddress objects: who answers for an address, and what its owner knows of it. Pure.

One object an address, in the speaker's namespace, written by the owner. It stays, naming nobody, while a
Service has the address and nobody announces it: that it was announced before is worth knowing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from strictarp.arp.frames import mac_text
from strictarp.kube.custom import AddressState, Audited
from strictarp.speaker.l2status import label_value
from strictarp.speaker.observing import Holding

NODE_LABEL = "strictarp.io/node"
_MOST_SERVICES = 1024
_MOST_ANSWERERS = 64


class Seen(msgspec.Struct, frozen=True):
    """An address that this node owns, as it is now."""

    interface: str
    mac: bytes
    services: tuple[str, ...]
    holding: Holding


def object_name(address: str) -> str:
    """The name of the object about an address: letters, digits and what separates them in a name."""
    known = ipaddress.ip_address(address)
    return str(known) if known.version == 4 else known.exploded.replace(":", "-")


class Ledger:
    """Since when things are as they are. Times are RFC 3339 text."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._took: dict[bytes, str] = {}
        self._known: dict[bytes, tuple[Seen, str, AddressState]] = {}
        """What was seen last of each address, the address as text, and what was made of it."""

    def took(self, address: bytes, now: str) -> None:
        """This node has taken an address (packed) over."""
        self._took[address] = now
        self._known.pop(address, None)

    def states(self, owned: Mapping[bytes, Seen], now: str) -> dict[str, AddressState]:
        """What the objects about these addresses are to say."""
        self._known = {address: self._look(address, seen, now) for address, seen in owned.items()}
        self._took = {}
        return {text: state for _, text, state in self._known.values()}

    def _look(self, address: bytes, seen: Seen, now: str) -> tuple[Seen, str, AddressState]:
        known = self._known.get(address)
        if known is not None and known[0] == seen:
            return known  # nearly always: thousands of addresses are looked at again and again
        before = known[2] if known is not None else None
        state = AddressState(
            node=self._node,
            mac=mac_text(seen.mac),
            interface=seen.interface,
            since=before.since if before is not None else self._took.get(address, now),
            services=seen.services[:_MOST_SERVICES],
            runner_up=seen.holding.runner_up or None,
            audit=_audit(before, seen.holding.answerers, now),
        )
        return seen, str(ipaddress.ip_address(address)), state


def _audit(before: AddressState | None, answerers: frozenset[bytes] | None, now: str) -> Audited | None:
    """The same result again is what was first seen then."""
    if answerers is None:
        return None
    found = tuple(sorted(map(mac_text, answerers)))[:_MOST_ANSWERERS]
    last = before.audit if before is not None else None
    return last if last is not None and last.answerers == found else Audited(found, now)


def document(state: AddressState) -> dict[str, object]:
    """What to merge into the object: all fields of the status, those without a value removed."""
    fields: dict[str, object] = dict.fromkeys(_FIELDS)
    return {"metadata": {"labels": _labels(state)}, "status": fields | msgspec.to_builtins(state)}


def body(address: str, state: AddressState) -> dict[str, object]:
    """The object to create."""
    return {
        "metadata": {"name": object_name(address), "labels": _labels(state) if state.node else {}},
        "spec": {"address": address},
        "status": msgspec.to_builtins(state),
    }


def nobody(version: str, now: str) -> dict[str, object]:
    """What to merge once this node has let the address go, unless somebody wrote since that version. Its
    Services stay: they have been announced with it.
    """
    state = AddressState(since=now)
    status = dict.fromkeys(_FIELDS) | {"since": now}
    del status["services"]
    return {"metadata": {"resourceVersion": version, "labels": _labels(state)}, "status": status}


def selector_of_node(node: str) -> str:
    """The objects that name a node."""
    return f"{NODE_LABEL}={label_value(node)}"


def _labels(state: AddressState) -> dict[str, str | None]:
    return {NODE_LABEL: label_value(state.node) if state.node else None}


_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(AddressState))
