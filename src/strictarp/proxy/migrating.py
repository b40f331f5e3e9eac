"""Taking a node over from kube-proxy, and giving it back: which steps, in which order. Pure.

The order is what keeps connections. Before anything of kube-proxy's goes, all of ours is there: established
connections that its rules have translated live on in connection tracking, as long as some chain of type nat
is there, and new ones have a virtual server. The other way round as much.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from strictarp.errors import UserError
from strictarp.netlink.nftables import Chain
from strictarp.proxy import kube_chains


class Step(enum.StrEnum):
    """One step; the value says it to people."""

    PROGRAM = "program everything, adopting what is in IPVS and on kube-ipvs0"
    REMOVE_TABLES = "delete the nftables tables kube-proxy"
    REMOVE_CHAINS = "remove kube-proxy's chains from the iptables tables, and the jumps to them"
    DRAIN = "wait until no connection goes through IPVS any more"
    REMOVE_OURS = (
        "delete our nftables tables and openings; virtual servers and addresses are kube-proxy's now"
    )
    CLEAN_UP = "remove our virtual servers, nftables tables and kube-ipvs0"


class Found(msgspec.Struct, frozen=True):
    """What is on the node.

    mode: what a kube-proxy answers at its /proxyMode, empty when none does. ours: a strictarp proxy answers
    there. legacy: tables of iptables-legacy are in the kernel, which nft does not see.
    """

    chains: tuple[Chain, ...] = ()
    mode: str = ""
    ours: bool = False
    legacy: bool = False


def takeover(found: Found) -> list[Step]:
    """Steps to take the node over. Raises UserError while a kube-proxy runs: it would undo them."""
    if found.mode:
        raise UserError(
            f"a kube-proxy in {found.mode} mode answers on this node: stop it first (what it has programmed "
            "goes on working); one in nftables mode flushes IPVS whenever it starts"
        )
    steps = [] if found.ours else [Step.PROGRAM]
    if kube_chains.own_tables(found.chains):
        steps.append(Step.REMOVE_TABLES)
    if kube_chains.iptables_tables(found.chains):
        steps.append(Step.REMOVE_CHAINS)
    return steps


def give_back(found: Found) -> list[Step]:
    """Steps to leave the node to the kube-proxy that runs now. Raises UserError unless it alone does."""
    if found.ours:
        raise UserError("a strictarp proxy answers on this node: stop it first, and start kube-proxy")
    if not found.mode:
        raise UserError(
            "no kube-proxy answers on this node: start it first, so that new connections are always served"
        )
    if found.mode == "ipvs":
        return [Step.REMOVE_OURS]
    # In iptables mode rules of nat catch new connections before IPVS has them, and IPVS goes on with its own.
    # One in nftables mode has flushed IPVS at its start.
    return [Step.DRAIN, Step.CLEAN_UP] if found.mode == "iptables" else [Step.CLEAN_UP]


def notes(found: Found, steps: Sequence[Step]) -> list[str]:
    """What has to be known besides, one line each."""
    said = []
    if found.legacy:
        said.append(
            "iptables-legacy has tables here, which nft does not see; look for chains of kube-proxy with: "
            "iptables-legacy-save | grep KUBE-"
        )
    if Step.REMOVE_CHAINS in steps:
        said.append("ipsets named KUBE-* stay, unused, until the next boot or `ipset destroy`")
    if found.mode == "nftables":
        said.append("connections through IPVS ended when this kube-proxy started: it flushes IPVS")
    return said
