"""What a node's proxy says about strictARP, and what that proves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from strictarp.kube.objects import Node


class Status(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of our proxy at `/strictarp`, as far as it is used here."""

    requested: bool
    in_force: bool
    reason: str = ""


class Seen(msgspec.Struct, frozen=True, rename="camel"):
    """One node: `right`, `wrong` (it says otherwise), or `unseen`; why; and how to look for oneself.

    `reached`: something answered there, so that asking again would tell no more. `restored`: after a way
    back, whether its sysctls are as before, None where that is not known.
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
    """What is seen now, with whether each node's sysctls are in force as they were before."""
    was = {each.node: each.in_force for each in before}
    return tuple(
        msgspec.structs.replace(
            each, restored=None if each.in_force is None else each.in_force == was.get(each.node)
        )
        for each in now
    )


def internal_address(node: Node) -> str:
    """Its first InternalIP, empty without one."""
    addresses = node.status.addresses or ()
    return next((each.address for each in addresses if each.type == "InternalIP"), "")


def judge(node: str, address: str, answer: tuple[int, bytes] | str, *, wanted: bool) -> Seen:
    """What an answer proves: HTTP status and body, or in words why there was none.

    Wanted off, a node is right when its proxy no longer asks for strictARP: the sysctls themselves are left
    as they are by every proxy, and `in_force` tells them.
    """
    status = read_status(answer)
    if isinstance(status, str):
        return _unseen(node, address, status, reached=not isinstance(answer, str))
    if status.requested != wanted:
        told = "asks for strictARP" if status.requested else "does not ask for strictARP"
        return Seen(node, address, "wrong", f"its proxy {told}", status.in_force)
    verdict: Literal["right", "wrong"] = "right" if status.in_force or not wanted else "wrong"
    return Seen(node, address, verdict, status.reason, status.in_force)


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
