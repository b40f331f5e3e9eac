"""Operations as netlink messages, and the kernel's answers as outcomes. Pure."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import TypeAlias

from strictarp.netlink.ipvs import explain_dest, explain_service
from strictarp.netlink.ipvs_encode import (
    encode_del_dest,
    encode_del_service,
    encode_new_dest,
    encode_new_service,
    encode_set_dest,
    encode_set_service,
)
from strictarp.netlink.messages import Refusal
from strictarp.netlink.rtnl_encode import encode_del_address, encode_new_address
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
    describe_operation,
)
from strictarp.proxy.seam import Impossible, SchedulerMissing, Vanished

IpvsOperation: TypeAlias = AddServer | SetServer | RemoveServer | AddReal | SetReal | RemoveReal
AddressOperation: TypeAlias = BindAddress | UnbindAddress


def ipvs_message(family: int, operation: IpvsOperation) -> bytes:
    """The message that carries an operation out; `family` is IPVS's generic netlink number."""
    match operation:  # the most frequent first
        case AddReal(key, real):
            return encode_new_dest(family, key, real)
        case AddServer(server):
            return encode_new_service(family, server)
        case SetServer(server):
            return encode_set_service(family, server)
        case RemoveServer(key):
            return encode_del_service(family, key)
        case SetReal(key, real):
            return encode_set_dest(family, key, real)
        case RemoveReal(key, real):
            return encode_del_dest(family, key, real)


def address_message(index: int, operation: AddressOperation) -> bytes:
    """The message that binds or unbinds, as /32 or /128, on the device with this index."""
    address = operation.address
    if isinstance(operation, BindAddress):
        return encode_new_address(index, address, 8 * len(address))
    return encode_del_address(index, address, 8 * len(address))


def follow_up(operation: IpvsOperation, refusal: Refusal | None) -> IpvsOperation | None:
    """What makes an addition true that the kernel refused because something is there already.

    It may be there with another scheduler or weight: then those are what must change.
    """
    if refusal is None or refusal.errno != errno.EEXIST:
        return None
    match operation:
        case AddServer(server):
            return SetServer(server)
        case AddReal(key, real):
            return SetReal(key, real)
        case _:
            return None


_GONE = frozenset({errno.ESRCH, errno.ENOENT})
_SERVER_KINDS: dict[int, type[str]] = {
    errno.ESRCH: Vanished,
    errno.ENOENT: SchedulerMissing,
    errno.EINVAL: Impossible,
}
_REAL_KINDS: dict[int, type[str]] = {
    errno.ESRCH: Vanished,
    errno.ENOENT: Vanished,
    errno.EINVAL: Impossible,
    errno.ERANGE: Impossible,
}
"""ip_vs_new_dest: EINVAL for what is neither unicast nor local, such as a subnet's broadcast address."""


def ipvs_outcome(operation: IpvsOperation, refusal: Refusal | None) -> str | None:
    """None when the table is as the operation wants it, else why not, for people."""
    if refusal is None:
        return None
    match operation:
        case AddServer(server) | SetServer(server):
            return _SERVER_KINDS.get(refusal.errno, str)(explain_service(server, refusal))
        case RemoveServer():
            if refusal.errno in _GONE:
                return None
        case RemoveReal(key, real):
            return None if refusal.errno in _GONE else explain_dest(key, real, refusal)
        case AddReal(key, real) | SetReal(key, real):
            return _REAL_KINDS.get(refusal.errno, str)(explain_dest(key, real, refusal))
    return f"{describe_operation(operation)}: {refusal}"


def address_outcome(operation: AddressOperation, refusal: Refusal | None, device: str) -> str | None:
    """None when the address is where the operation wants it, else why not, for people."""
    if refusal is None:
        return None
    if isinstance(operation, BindAddress):
        if refusal.errno == errno.EEXIST:
            return None
    elif refusal.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return None
    what = f"{describe_operation(operation)} on {device}"
    if refusal.errno == errno.ENODEV:
        return Vanished(f"{what}: the device is gone; it is made again")
    if refusal.errno == errno.EACCES and ip_address(operation.address).version == 6:
        return f"{what}: IPv6 is switched off there (net.ipv6.conf.{device}.disable_ipv6)"
    return f"{what}: {refusal}"
