"""Taking a node over from kube-proxy, and giving it back: which steps, in which order. Pure.

The order is what keeps connections. Before anything of kube-proxy's goes, all of ours is there: established
connections that its rules have translated live on in connection tracking, as long as some chain of type nat
is there, and new ones have a virtual server. The other way round as much.
"""

from __future__ import annotations

import enum

import msgspec

from strictarp.errors import UserError
from strictarp.netlink.nftables import Chain
from strictarp.proxy import kube_chains
from strictarp.proxy.kube_leftovers import Legacy


class Step(enum.StrEnum):
    """One step; the value says it to people."""

    PROGRAM = "program everything, adopting what is in IPVS and on kube-ipvs0"
    REMOVE_TABLES = "delete the nftables tables kube-proxy"
    REMOVE_CHAINS = "remove kube-proxy's chains from the iptables tables, and the jumps to them"
    REMOVE_LEGACY = "remove kube-proxy's chains from the tables of iptables-legacy, and the jumps to them"
    DESTROY_SETS = "destroy the ipsets KUBE-*, which nothing uses any more"
    DRAIN = "wait until no connection goes through IPVS any more"
    REMOVE_OURS = (
        "delete our nftables tables and openings; virtual servers and addresses are kube-proxy's now"
    )
    CLEAN_UP = "remove our virtual servers, nftables tables and kube-ipvs0"


class Found(msgspec.Struct, frozen=True):
    """What is on the node.

    mode: what a kube-proxy answers at its /proxyMode, empty when none does. ours: a strictarp proxy answers
    there. legacy: tables of iptables-legacy, which nft does not see. sets: kube-proxy's ipsets.
    """

    chains: tuple[Chain, ...] = ()
    mode: str = ""
    ours: bool = False
    legacy: tuple[Legacy, ...] = ()
    sets: tuple[str, ...] = ()


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
    if any(each.removal for each in found.legacy):
        steps.append(Step.REMOVE_LEGACY)
    if found.sets:
        steps.append(Step.DESTROY_SETS)
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


def notes(found: Found) -> list[str]:
    """What has to be known besides, one line each."""
    said = [
        f"tables of {each.tool} are in the kernel ({', '.join(each.tables)}), and {each.tool}-save and "
        f"{each.tool}-restore are not here to look for chains of kube-proxy: install the package iptables "
        f"and run this again, or look yourself with: {each.tool}-save | grep KUBE-"
        for each in found.legacy
        if each.removal is None
    ]
    if found.mode == "nftables":
        said.append("connections through IPVS ended when this kube-proxy started: it flushes IPVS")
    return said
