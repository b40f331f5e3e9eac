"""The nftables table of scope `vips`: the kernel answers for no Service IP and names none as sender. Pure.

Family `arp`: its hooks are the kernel's own ARP alone. Sockets of family AF_PACKET see every request before
the hook `input`, and what they send does not pass `output` (arp_xmit in net/ipv4/arp.c), so that a speaker
hears and answers as ever. Requests for other addresses match nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec

from strictarp.arp.facts import SCOPE_HOST, SCOPE_LINK, Host, dotted

TABLE = "strictarp"
_NAME = re.compile(r'[^\s"\\*{};,]+')


class Sender(msgspec.Struct, frozen=True, gc=False):
    """Requests for an address of network/prefix name `address`. Of several senders the first that fits."""

    network: int
    prefix: int
    address: int


class VipTable(msgspec.Struct, frozen=True):
    """senders: interface → which address replaces a Service IP there; its keys are the interfaces covered."""

    vips: frozenset[int] = frozenset()
    senders: tuple[tuple[str, tuple[Sender, ...]], ...] = ()
    name: str = TABLE


def vip_table(host: Host, uplinks: Collection[str], *, name: str = TABLE) -> VipTable:
    """The table that this host needs on these interfaces. Names that nft cannot write are left out."""
    vips = host.vips
    named = [each for each in sorted(uplinks) if nameable(each)]
    return VipTable(vips, tuple((each, senders_on(host, each, vips)) for each in named), name)


def nameable(interface: str) -> bool:
    """nft takes this interface's name literally."""
    return _NAME.fullmatch(interface) is not None


def senders_on(host: Host, device: str, vips: Collection[int]) -> tuple[Sender, ...]:
    """What arp_announce=2 would choose out of `device`, target by target (inet_select_addr, scope link).

    A device without an address borrows: from its VRF, then from the first device that has one. The kernel
    may so lend a Service IP of kube-ipvs0, which this does not; with nothing to lend the sender is 0.0.0.0.
    """
    widest = SCOPE_LINK if host.conf("route_localnet", device) else SCOPE_HOST
    own = [
        Sender(each.peer >> (32 - each.prefix) << (32 - each.prefix), each.prefix, each.local)
        for each in host.on_device.get(device, ())
        if not each.secondary and min(each.scope, widest) <= SCOPE_LINK
    ]
    otherwise = own[0].address if own else _borrowed(host, device, vips)
    return (*own, Sender(0, 0, otherwise))


def _borrowed(host: Host, device: str, vips: Collection[int]) -> int:
    vrf = host.vrf(device)
    lenders = [vrf] if vrf else []
    lenders += [each.name for each in host.devices if host.vrf(each.name) == vrf]
    for lender in lenders:
        for each in host.on_device.get(lender, ()):
            if not each.secondary and each.scope < SCOPE_LINK and each.local not in vips:
                return each.local
    return 0


def table_text(table: VipTable) -> str:
    """The table as `nft list` would print it, but for order and white space."""
    elements = ", ".join(dotted(vip) for vip in sorted(table.vips))
    lines = [f"table arp {table.name} {{", "  set vips {", "    type ipv4_addr"]
    if elements:
        lines.append(f"    elements = {{ {elements} }}")
    lines += ["  }", "  chain in {", "    type filter hook input priority filter; policy accept;"]
    if table.senders:
        names = ", ".join(f'"{interface}"' for interface, _ in table.senders)
        lines.append(f"    iifname {{ {names} }} arp operation request arp daddr ip @vips drop")
    lines += ["  }", "  chain out {", "    type filter hook output priority filter; policy accept;"]
    lines += [f"    {rule}" for interface, senders in table.senders for rule in _rules(interface, senders)]
    return "\n".join([*lines, "  }", "}", ""])


def _rules(interface: str, senders: tuple[Sender, ...]) -> Iterator[str]:
    """A sender once corrected is no Service IP any more: the rules behind let it be."""
    for each in senders:
        to = ""
        if each.prefix:
            network = dotted(each.network)
            to = f"arp daddr ip {network}{f'/{each.prefix}' if each.prefix < 32 else ''} "
        yield (
            f'oifname "{interface}" arp operation request arp saddr ip @vips {to}'
            f"arp saddr ip set {dotted(each.address)}"
        )


def load_script(table: VipTable) -> str:
    """Puts the table in place of one of its name, there or not, in one transaction of `nft -f`."""
    return delete_script(table.name) + table_text(table)


def delete_script(name: str = TABLE) -> str:
    """Deletes the table, there or not."""
    return f"add table arp {name}\ndelete table arp {name}\n"


def change_script(before: VipTable, after: VipTable) -> str:
    """The smallest transaction from one to the other; empty when nothing changed."""
    if before == after:
        return ""
    if before.senders != after.senders or before.name != after.name:
        return load_script(after)
    gone, new = before.vips - after.vips, after.vips - before.vips
    parts = (("delete", gone), ("add", new))
    return "".join(
        f"{verb} element arp {after.name} vips {{ {', '.join(dotted(vip) for vip in sorted(vips))} }}\n"
        for verb, vips in parts
        if vips
    )
