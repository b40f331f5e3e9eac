"""What a kube-proxy in any mode has left in nftables and iptables-nft, and scripts that remove it. Pure.

Chains of the kubelet, which have similar names, stay: KUBE-FIREWALL, KUBE-KUBELET-CANARY and its hints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from strictarp.netlink.nftables import FAMILIES, Chain

TABLE = "kube-proxy"
"""Of nftables mode, one a family; all that is in it is kube-proxy's."""
_NAMES = frozenset(
    f"KUBE-{name}"
    for name in (
        *("SERVICES", "EXTERNAL-SERVICES", "NODEPORTS", "NODE-PORT", "POSTROUTING", "MARK-MASQ"),
        *("FORWARD", "PROXY-FIREWALL", "PROXY-CANARY", "LOAD-BALANCER", "SOURCE-RANGES-FIREWALL"),
        *("IPVS-FILTER", "IPVS-OUT-FILTER"),
    )
)
_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-")
_LIKE_IPTABLES = frozenset({"nat", "filter", "mangle"})


class BadListing(Exception):
    """The text is not what `nft -j list table` prints."""


def is_kube_proxys(name: str) -> bool:
    """Whether an iptables chain with this name is kube-proxy's."""
    return name in _NAMES or name.startswith(_PREFIXES)


def own_tables(chains: Iterable[Chain]) -> list[str]:
    """Tables of kube-proxy's nftables mode: family and name."""
    found = {FAMILIES[chain.family] for chain in chains if chain.table == TABLE and chain.family in FAMILIES}
    return [f"{family} {TABLE}" for family in sorted(found)]


def iptables_tables(chains: Iterable[Chain]) -> list[tuple[str, str]]:
    """Tables of iptables-nft in which kube-proxy has chains: family and name."""
    return sorted(
        {
            (FAMILIES[chain.family], chain.table)
            for chain in chains
            if chain.table in _LIKE_IPTABLES
            and FAMILIES.get(chain.family) in ("ip", "ip6")
            and is_kube_proxys(chain.name)
        }
    )


def modes(chains: Sequence[Chain]) -> list[str]:
    """The modes of kube-proxy that have left something in nftables, or in iptables by way of it."""
    names = {chain.name for chain in chains if is_kube_proxys(chain.name)}
    found = ["nftables"] if own_tables(chains) else []
    if any(name.startswith(("KUBE-SVC-", "KUBE-SEP-")) for name in names):
        found.append("iptables")
    elif names & {"KUBE-IPVS-FILTER", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER"}:
        found.append("ipvs")
    return found


def removal(family: str, table: str, listing: bytes) -> str:
    """A script that removes kube-proxy's chains from an iptables table, and the jumps to them; else nothing.

    `listing`: the table as nft's JSON. Empty when there is nothing. Raises BadListing.
    """
    try:
        entries = msgspec.json.decode(listing)["nftables"] if listing.strip() else []
        names = [entry["chain"]["name"] for entry in entries if "chain" in entry]
        theirs = [name for name in names if is_kube_proxys(name)]
        lines = [
            f"delete rule {family} {table} {rule['chain']} handle {rule['handle']}"
            for rule in _jumps(entries)
        ]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadListing(f"nft's listing of {family} {table} is not understood: {error!r}") from None
    lines += [f"flush chain {family} {table} {name}" for name in theirs]
    lines += [f"delete chain {family} {table} {name}" for name in theirs]
    return "".join(f"{line}\n" for line in lines)


def _jumps(entries: Iterable[dict[str, dict[str, object]]]) -> Iterator[dict[str, object]]:
    """Rules in others' chains that lead to kube-proxy's."""
    for entry in entries:
        rule = entry.get("rule")
        if rule is None or is_kube_proxys(str(rule["chain"])):
            continue
        expressions = rule["expr"]
        if not isinstance(expressions, list):
            raise TypeError("a rule's expressions are no list")
        for expression in expressions:
            for verdict in ("jump", "goto"):
                if isinstance(expression, dict) and is_kube_proxys(
                    str((expression.get(verdict) or {}).get("target", ""))
                ):
                    yield rule
