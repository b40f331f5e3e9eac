"""Others' chains that drop forwarded packets by policy (Docker, ufw, firewalld), and openings in them. Pure.

No `accept` of ours overrides them: every base chain of a hook must accept. What they drop of ours are
answers: requests leave through IPVS in output, answers of endpoints elsewhere are forwarded, and
back-translated only after the chains at priority filter (net/netfilter/ipvs/ip_vs_core.c: ip_vs_reply4 in
forward at 99).

An opening is one rule in such a chain that accepts a mark, which our own table sets before and clears behind
it. A mark, a counter and a verdict are what iptables-nft can list too; with a match of nft's own, such as
`ct state`, it would refuse the whole table as incompatible.
"""

from __future__ import annotations

from collections.abc import Iterable

from strictarp.netlink.nftables import DROP, FAMILIES, HOOK_FORWARD, Chain
from strictarp.proxy.nftables import TABLE

_COMMENT = "strictarp: answers of Services, mark "
_STRAYS = {"kube-proxy": "nftables table kube-proxy", "KUBE-PROXY-CANARY": "iptables chain KUBE-PROXY-CANARY"}


def forwarding(chains: Iterable[Chain]) -> list[Chain]:
    """Others' base chains that forwarded packets pass, sorted."""
    found = (
        chain
        for chain in chains
        if chain.hook == HOOK_FORWARD and chain.family in FAMILIES and chain.table != TABLE
    )
    return sorted(found, key=lambda chain: (chain.family, chain.table, chain.name))


def dropping(chains: Iterable[Chain]) -> list[Chain]:
    """Those of them that drop by policy."""
    return [chain for chain in forwarding(chains) if chain.policy == DROP]


def kube_proxy_traces(chains: Iterable[Chain]) -> str:
    """What a kube-proxy in another mode has left, for people; empty without."""
    names = {name for chain in chains for name in (chain.table, chain.name)}
    return " and ".join(text for name, text in _STRAYS.items() if name in names)


def name(chain: Chain) -> str:
    """A chain as nft names it: family, table, chain."""
    return f"{FAMILIES[chain.family]} {chain.table} {chain.name}"


def advice(chain: Chain) -> str:
    """What is wrong with a chain, and how to mend it."""
    command = (
        f"{'ip6tables' if FAMILIES[chain.family] == 'ip6' else 'iptables'} -I FORWARD "
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        if (chain.table, chain.name) == ("filter", "FORWARD") and FAMILIES[chain.family] != "inet"
        else f"nft insert rule {name(chain)} ct state related,established accept"
    )
    return (
        f"nftables chain {name(chain)} drops forwarded packets that none of its rules accepts; answers of "
        f"endpoints to Services are forwarded. Mend it with: {command}; or start with --open-forward"
    )


def adjustment(chain: Chain, rules: Iterable[tuple[int, str]], mark: int) -> str:
    """A script that has our rule first in a chain that drops, and nowhere else; empty when it is so.

    `rules`: handle and comment of those that are in the chain. `mark`: 0 to have no opening.
    """
    wanted = f"{_COMMENT}{mark:#x}" if mark and chain.policy == DROP else ""
    own = [(handle, comment) for handle, comment in rules if comment.startswith(_COMMENT)]
    lines = [f"delete rule {name(chain)} handle {handle}\n" for handle, comment in own if comment != wanted]
    if wanted and all(comment != wanted for _, comment in own):
        match = f"meta mark & {mark:#x} == {mark:#x}"
        lines.append(f'insert rule {name(chain)} {match} counter accept comment "{wanted}"\n')
    return "".join(lines)
