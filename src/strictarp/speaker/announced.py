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
        self._since: dict[bytes, str] = {}
        self._audits: dict[bytes, Audited] = {}

    def took(self, address: bytes, now: str) -> None:
        """This node has taken an address (packed) over."""
        self._since[address] = now
        self._audits.pop(address, None)

    def states(self, owned: Mapping[bytes, Seen], now: str) -> dict[str, AddressState]:
        """What the objects about these addresses are to say."""
        self._since = {address: self._since.get(address, now) for address in owned}
        self._audits = {
            address: self._audit(address, answerers, now)
            for address, seen in owned.items()
            if (answerers := seen.holding.answerers) is not None
        }
        return {
            str(ipaddress.ip_address(address)): AddressState(
                node=self._node,
                mac=mac_text(seen.mac),
                interface=seen.interface,
                since=self._since[address],
                services=seen.services[:_MOST_SERVICES],
                runner_up=seen.holding.runner_up or None,
                audit=self._audits.get(address),
            )
            for address, seen in owned.items()
        }

    def _audit(self, address: bytes, answerers: frozenset[bytes], now: str) -> Audited:
        """The same result again is what was first seen then."""
        found = tuple(sorted(map(mac_text, answerers)))[:_MOST_ANSWERERS]
        before = self._audits.get(address)
        return before if before is not None and before.answerers == found else Audited(found, now)


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
