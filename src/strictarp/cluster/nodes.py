"""What a node's proxy says about strictARP, and what that proves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from strictarp.kube.objects import Node


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of our proxy at `/strictarp`, as far as it is used here.

    restored: what it has put back since strictARP is off, a line each.
    """

    requested: bool
    in_force: bool
    reason: str = ""
    restored: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True, rename="camel"):
    """One node: `right`, `wrong` (it says otherwise), or `unseen`; why; and how to look for oneself.

    `reached`: something answered there, so that asking again would tell no more. `restored`: off again, its
    sysctls are as they were before strictARP; None where that is not known.
    """

    node: str
    address: str
    verdict: Literal["right", "wrong", "unseen"]
    reason: str
    in_force: bool | None = None
    check: str = ""
    reached: bool = True
    restored: bool | None = None


def restored(before: Sequence[Seen], now: Sequence[Seen]) -> tuple[Seen, ...]:
    """What is seen now after a way back, with whether each node's sysctls are as they were before."""
    was = {each.node: each.in_force for each in before}
    return tuple(
        each
        if each.restored or each.in_force is None
        else msgspec.structs.replace(each, restored=each.in_force == was.get(each.node))
        for each in now
    )


def internal_address(node: Node) -> str:
    """Its first InternalIP, empty without one."""
    addresses = node.status.addresses or ()
    return next((each.address for each in addresses if each.type == "InternalIP"), "")


def judge(node: str, address: str, answer: tuple[int, bytes] | str, *, wanted: bool) -> Seen:
    """What an answer proves: HTTP status and body, or in words why there was none.

    Wanted off, a node is right when its proxy no longer asks for strictARP: the sysctls themselves are put
    back by a proxy with a journal only, and `in_force` tells them.
    """
    status = read_status(answer)
    if isinstance(status, str):
        return _unseen(node, address, status, reached=not isinstance(answer, str))
    undone = None if status.requested else bool(status.restored) or not status.in_force
    if status.requested != wanted:
        told = "asks for strictARP" if status.requested else "does not ask for strictARP"
        return Seen(node, address, "wrong", f"its proxy {told}", status.in_force, restored=undone)
    verdict: Literal["right", "wrong"] = "right" if status.in_force or not wanted else "wrong"
    return Seen(node, address, verdict, status.reason, status.in_force, restored=undone)


def read_status(answer: tuple[int, bytes] | str) -> Status | str:
    """The proxy's status, or in words why it is not known."""
    if isinstance(answer, str):
        return answer
    code, body = answer
    if code == 404:
        return "its proxy is a kube-proxy, which does not tell"
    if code != 200:
        return f"its proxy answers with HTTP status {code}"
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "its proxy's answer cannot be read"


def _unseen(node: str, address: str, reason: str, *, reached: bool) -> Seen:
    check = f"ssh {address or node} sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce"
    return Seen(node, address, "unseen", reason, None, check, reached)


def wrong_text(nodes: Sequence[Seen]) -> str:
    """The nodes that say otherwise, in words."""
    return "; ".join(f"{each.node}: {each.reason}" for each in nodes if each.verdict == "wrong")
