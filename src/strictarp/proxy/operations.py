"""What the proxy tells the kernel to do, as values. Pure.

A list of operations is carried out in its order. Each is idempotent in effect: adding what is there already,
or removing what is gone, counts as done (after a lost answer the mirror may be behind the kernel).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TypeAlias

import msgspec

from strictarp.netlink.ipvs import Key, RealServer, VirtualServer, describe, endpoint

Element: TypeAlias = tuple[str, str]
"""Name of an nftables set, and the element as nft writes it (`192.0.2.1 . tcp . 80`)."""


class AddServer(msgspec.Struct, frozen=True, gc=False):
    """Add a virtual server."""

    server: VirtualServer


class SetServer(msgspec.Struct, frozen=True, gc=False):
    """Change scheduler, flags and timeout of a virtual server in place."""

    server: VirtualServer


class RemoveServer(msgspec.Struct, frozen=True, gc=False):
    """Delete a virtual server with all its real servers."""

    key: Key


class AddReal(msgspec.Struct, frozen=True, gc=False):
    """Add a real server to a virtual server."""

    key: Key
    real: RealServer


class SetReal(msgspec.Struct, frozen=True, gc=False):
    """Change the weight of a real server."""

    key: Key
    real: RealServer


class RemoveReal(msgspec.Struct, frozen=True, gc=False):
    """Delete a real server; its connections end (expire_nodest_conn)."""

    key: Key
    real: RealServer


class BindAddress(msgspec.Struct, frozen=True, gc=False):
    """Put an address on kube-ipvs0 (/32 or /128): packets to it become local and meet IPVS."""

    address: bytes


class UnbindAddress(msgspec.Struct, frozen=True, gc=False):
    """Take an address from kube-ipvs0."""

    address: bytes


class ChangeSets(msgspec.Struct, frozen=True, gc=False):
    """Add and delete elements of sets of our nftables table, in one transaction."""

    add: tuple[Element, ...] = ()
    remove: tuple[Element, ...] = ()


Operation: TypeAlias = (
    AddServer
    | SetServer
    | RemoveServer
    | AddReal
    | SetReal
    | RemoveReal
    | BindAddress
    | UnbindAddress
    | ChangeSets
)


def describe_operation(operation: Operation) -> str:
    """An operation for people, for logs."""
    match operation:
        case AddServer(server) | SetServer(server):
            return f"{_verb(operation)} virtual server {describe(server.key)}"
        case RemoveServer(key):
            return f"remove virtual server {describe(key)}"
        case AddReal(key, real) | SetReal(key, real) | RemoveReal(key, real):
            where = endpoint(real.address, real.port)
            return f"{_verb(operation)} real server {where} (weight {real.weight}) of {describe(key)}"
        case BindAddress(address) | UnbindAddress(address):
            return f"{_verb(operation)} address {ip_address(address)}"
        case ChangeSets(add, remove):
            return f"add {len(add)} and delete {len(remove)} elements of nftables sets"


_VERBS = {
    AddServer: "add",
    SetServer: "change",
    AddReal: "add",
    SetReal: "change",
    RemoveReal: "remove",
    BindAddress: "bind",
    UnbindAddress: "unbind",
}


def _verb(operation: Operation) -> str:
    return _VERBS.get(type(operation), "change")
