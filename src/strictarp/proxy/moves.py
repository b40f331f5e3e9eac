"""IPs that moved here on plan, and whom to pass packets of connections to that are not ours: no I/O. Pure.

The connections of a moved IP live in the previous owner's IPVS and connection tracking; this kernel would
reset them. For a bounded time TCP packets that belong to no connection here, and neither begin nor reset one,
are passed on to the previous owner, which goes on serving them. Who that is tells its RELEASE, which is
authenticated and names the next owner; and before that its OFFER, so that the rule is there in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

import msgspec

from strictarp.hello.frames import Frame
from strictarp.hello.messages import Accept, Offer, Release, Spent
from strictarp.hello.replay import Window
from strictarp.netlink import nft_maps
from strictarp.netlink.nft_maps import Element, Filling
from strictarp.proxy import nftables
from strictarp.proxy.liveness import Member

SECONDS = 60.0
OFFERED_SECONDS = 2.0
"""For so long an OFFER counts without its RELEASE."""
MOST = 256
"""IPs at a time; the connections of others are reset, as without this."""
TABLE = "strictarp-moved"
_TCP, _NO_PROTOCOL = 6, 253
"""And a number for experiments, which no packet has (RFC 3692)."""
_PROTOCOL = {"ip": ("ip protocol", "@nh,72,8"), "ip6": ("ip6 nexthdr", "@nh,48,8")}
"""The field as nft compares it, and as it sets it without touching any sum."""
_BEFORE_IPVS, _AFTER_IPVS = -100, -97
"""IPVS looks at -99 and -98 (net/netfilter/ipvs/ip_vs_core.c: ip_vs_ops4, ip_vs_ops6)."""


class Moved(msgspec.Struct, frozen=True, gc=False):
    """An IP, and until when packets of unknown connections go to `to`, the node that had it, on a link.

    offer: epoch and nonce of the offer by which it came.
    """

    vip: bytes
    node: int
    to: Member
    link: int
    until: float
    offer: tuple[int, int] = (0, 0)


class Moves:
    """Feed `hear`, `give_up` and `expire`; read `moved` when they say that it has changed.

    `own`: this node's id. `find`: id of a VIP → its address, None unless it is served here.
    `find_old`: node and link of a frame, and a VIP → the node, if it can be the next hop there on that link.
    """

    def __init__(
        self,
        own: int,
        find: Callable[[int], bytes | None],
        find_old: Callable[[int, int, bytes], Member | None],
    ) -> None:
        self.moved: dict[bytes, Moved] = {}
        self.too_many = 0
        self._own = own
        self._find = find
        self._find_old = find_old
        self._windows: dict[int, tuple[int, Window]] = {}

    def hear(self, frame: Frame, link: int, now: float) -> bool:
        """An authenticated frame of a node's present incarnation came; whether `moved` has changed."""
        message = frame.message
        if isinstance(message, Spent):
            return self._spent(frame.node, message)
        if not isinstance(message, Offer | Accept | Release) or not self._is_new(frame):
            return False
        vip = self._find(message.vip)
        if vip is None:
            return False
        offer = (message.epoch, message.nonce)
        if isinstance(message, Offer):
            return self._begin(vip, frame.node, link, now + OFFERED_SECONDS, offer)
        if isinstance(message, Release) and message.to == self._own:
            return self._begin(vip, frame.node, link, now + SECONDS, offer)
        before = self.moved.get(vip)
        return before is not None and _goes_elsewhere(before, frame.node, message) and self._drop({vip})

    def _is_new(self, frame: Frame) -> bool:
        incarnation, window = self._windows.get(frame.node, (0, Window()))
        if incarnation != frame.incarnation:
            window = Window()
        self._windows[frame.node] = (frame.incarnation, window)
        return window.accept(frame.seq)

    def _spent(self, node: int, message: Spent) -> bool:
        """No window counts here: it comes from a proxy, and a recorded one names an offer of the past."""
        vip, offer = self._find(message.vip), (message.epoch, message.nonce)
        return self._drop(
            {v for v, m in self.moved.items() if v == vip and m.node == node and m.offer == offer}
        )

    def _begin(self, vip: bytes, node: int, link: int, until: float, offer: tuple[int, int]) -> bool:
        old = self._find_old(node, link, vip)
        before = self.moved.get(vip)
        if old is None:
            return False
        if before is not None and before.node == node and until < before.until + OFFERED_SECONDS:
            return False  # said again
        if before is None and len(self.moved) >= MOST:
            self.too_many += 1
            return False
        self.moved[vip] = Moved(vip, node, old, link, until, offer)
        return True

    def give_up(self, dead: Set[str]) -> bool:
        """Nodes died: what went with them is better reset than left hanging."""
        return self._drop({vip for vip, moved in self.moved.items() if moved.to.name in dead})

    def expire(self, now: float) -> bool:
        """Time has passed."""
        return self._drop({vip for vip, moved in self.moved.items() if now >= moved.until})

    def next_at(self) -> float | None:
        """When to call `expire`, None for never."""
        return min((moved.until for moved in self.moved.values()), default=None)

    def _drop(self, vips: Set[bytes]) -> bool:
        for vip in vips:
            del self.moved[vip]
        return bool(vips)


def _goes_elsewhere(moved: Moved, node: int, message: Accept | Release) -> bool:
    """Whether the IP goes to the node that its packets are passed to, from here or from a third one, or was
    offered here and goes to another: round in a ring they would go until their time to live is over.
    """
    if isinstance(message, Accept):
        return moved.node == node
    if message.to == 0:
        return False
    return moved.node == message.to or (moved.node == node and message.epoch >= moved.offer[0])


def script(links: Mapping[int, str], families: Iterable[int] = (4, 16)) -> str:
    """The nftables script of rules that pass on what `fillings` names, nothing yet.

    `links`: names of links by index; without any the tables are deleted. `families`: widths of the addresses
    of those that this kernel has.
    """
    lines: list[str] = []
    for width in families:
        family = nftables.FAMILIES[width]
        lines += [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]
        if links:
            lines += _table(family, links)
    return "\n".join([*lines, ""])


def _table(family: str, links: Mapping[int, str]) -> list[str]:
    """The table of one family.

    In the hook after connection tracking; a copy goes out untracked, with its time to live one less
    (nf_dup_ipv4, nf_dup_ipv6).

    It goes out as if this host had sent it, by way of IPVS (ip_vs_in_hook at LOCAL_OUT). That would take it
    for a packet of an earlier connection from the same port, which it remembers for two minutes, and send it
    to the endpoint of that. So the copy is no TCP for as long as IPVS looks. No sum is touched, and the
    packet is the same again afterwards. Only copies leave by a link for an address of this host, untracked.
    """
    kind = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family]
    protocol, field = _PROTOCOL[family]
    maps, rules = [], []
    for link, name in sorted(links.items()):
        maps.append(f"  map {_map(link)} {{ type {kind} : {kind}; flags timeout; }}")
        passing = f'dup to {family} daddr map @{_map(link)} device "{name}" drop'
        rules += [f"    meta l4proto tcp {match} {passing}" for match in nftables.UNKNOWN]
    names = ", ".join(f'"{name}"' for _, name in sorted(links.items()))
    copies = f"oifname {{ {names} }} ct state untracked fib daddr type local"
    chains = {
        "pass": ("prerouting priority mangle", rules),
        "hide": (
            f"output priority {_BEFORE_IPVS}",
            [f"    {copies} {protocol} {_TCP} {field} set {_NO_PROTOCOL}"],
        ),
        "show": (
            f"output priority {_AFTER_IPVS}",
            [f"    {copies} {protocol} {_NO_PROTOCOL} {field} set {_TCP}"],
        ),
    }
    lines = []
    for name, (hook, inside) in chains.items():
        lines += [f"  chain {name} {{", f"    type filter hook {hook}; policy accept;", *inside, "  }"]
    return [f"table {family} {TABLE} {{", *maps, *lines, "}"]


def _map(link: int) -> str:
    return f"to{link}"


def fillings(
    moved: Mapping[bytes, Moved], links: Iterable[int], now: float, families: Iterable[int] = (4, 16)
) -> list[Filling]:
    """What the maps of the script's tables shall hold to pass exactly these on.

    The kernel forgets each element by itself when its time is over, also without this process.
    """
    lasting = sorted((each for each in moved.values() if each.until > now), key=lambda each: each.vip)
    return [
        Filling(
            nft_maps.FAMILIES[width],
            TABLE,
            _map(link),
            tuple(
                Element(each.vip, each.to.next_hop(each.vip), max(1, round((each.until - now) * 1000)))
                for each in lasting
                if (len(each.vip), each.link) == (width, link)
            ),
        )
        for width in families
        for link in links
    ]
