"""How links sit on each other: parents, VLAN ids, VRF tables, modes, a bond's active slave. Pure.

Attributes after Linux include/uapi/linux/if_link.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from strictarp.netlink.messages import MalformedMessage, Message, attributes, read_text, read_u16, read_u32
from strictarp.netlink.rtnl_encode import IFINFOMSG

_IFLA_LINK, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = 5, 18, 37
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_FIRST = 1
"""Of every kind the attribute that is read: IFLA_VLAN_ID, IFLA_VRF_TABLE, IFLA_BOND_MODE, ..."""
_MACVLAN_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}
_IPVLAN_MODES = {0: "l2", 1: "l3", 2: "l3s"}
_BOND_MODES = dict(
    enumerate(
        ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
    )
)


class Stacking(msgspec.Struct, frozen=True, gc=False):
    """What a link sits on.

    lower: index of the parent, 0 without one in this namespace. vlan: id of a VLAN. table: of a VRF. mode:
    iproute2's word for that of a macvlan, ipvlan or bond. backup: a slave of a bond that is not active.
    """

    lower: int = 0
    vlan: int = 0
    table: int = 0
    mode: str = ""
    backup: bool = False


def parse_stacking(message: Message) -> Stacking:
    """What a link message tells. Raises MalformedMessage."""
    found = attributes(message.payload, IFINFOMSG.size)
    info = attributes(found.get(_IFLA_LINKINFO, memoryview(b"")))
    kind = read_text(info[_INFO_KIND]) if _INFO_KIND in info else ""
    here = _IFLA_LINK in found and _IFLA_LINK_NETNSID not in found and kind != "veth"
    stacking = Stacking(
        lower=read_u32(found[_IFLA_LINK], name="lower link") if here else 0, backup=_is_backup(info)
    )
    if kind not in _READERS or _INFO_DATA not in info:
        return stacking
    data = attributes(info[_INFO_DATA])
    field, read = _READERS[kind]
    return msgspec.structs.replace(stacking, **{field: read(data[_FIRST])}) if _FIRST in data else stacking


def _is_backup(info: Mapping[int, memoryview]) -> bool:
    if _INFO_SLAVE_KIND not in info or read_text(info[_INFO_SLAVE_KIND]) != "bond":
        return False
    return bytes(attributes(info.get(_INFO_SLAVE_DATA, memoryview(b""))).get(_FIRST, b"")) == b"\1"


def _byte(value: memoryview) -> int:
    if len(value) < 1:
        raise MalformedMessage("bond mode: 0 bytes, 1 expected")
    return value[0]


_READERS: Mapping[str, tuple[str, Callable[[memoryview], int | str]]] = {
    "vlan": ("vlan", lambda value: read_u16(value, name="VLAN id")),
    "vrf": ("table", lambda value: read_u32(value, name="VRF table")),
    "macvlan": ("mode", lambda value: _MACVLAN_MODES.get(read_u32(value, name="macvlan mode"), "")),
    "ipvlan": ("mode", lambda value: _IPVLAN_MODES.get(read_u16(value, name="ipvlan mode"), "")),
    "bond": ("mode", lambda value: _BOND_MODES.get(_byte(value), "")),
}
