"""When several answer for an address, or the wrong one: who is likely to blame, why, and what mends it. Pure.

A suspicion is told as one. What the evidence leaves open is called unclear, with the command that tells.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address

import msgspec

from strictarp.arp.facts import Host
from strictarp.arp.frames import parse_mac
from strictarp.arp.probing import Answerer, Findings, Verdict
from strictarp.kube.objects import Node
from strictarp.wire import macs
from strictarp.wire.announcers import Announcer
from strictarp.wire.kernels import PROXIES, KernelAnswer, kernel_answer
from strictarp.wire.naming import Here, Known, Name, Who, facts_of_nodes, known, name
from strictarp.wire.vips import IpAddress

_NOWHERE = Here()
SLOW_MS = 100.0
"""A kernel answers within a millisecond or so; a proxy waits up to 800 ms (proxy_delay)."""
STRICT = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
ENABLE = "for all nodes: strictarp enable"


class Fault(enum.StrEnum):
    """What an answerer that should be silent probably is."""

    KERNEL = "kernel"
    """A kernel with arp_ignore 0: it answers for addresses that it holds on another device."""
    ADDRESS_ON_NIC = "address-on-nic"
    """The address stands on the interface itself, where strictARP does not silence it."""
    ANNOUNCER = "second-announcer"
    PROXY_ARP = "proxy-arp"
    VIRTUAL_ROUTER = "virtual-router"
    FOREIGN = "foreign-host"
    UNCLEAR = "unclear"


class Culprit(msgspec.Struct, frozen=True):
    """One answerer that should not answer. sure: shown by FACTS or by the MAC itself, not only likely."""

    ip: str
    mac: str
    who: str
    fault: Fault
    sure: bool
    why: str
    mend: str


class Evidence(msgspec.Struct, frozen=True):
    """What is known besides the answers. facts: by node. announcers: who is said to announce."""

    known: Known = Known()
    facts: Mapping[str, Host] = {}
    announcers: Mapping[IpAddress, tuple[Announcer, ...]] = {}


def evidence(
    *,
    nodes: Sequence[Node] = (),
    answered: Iterable[Findings] = (),
    facts: Mapping[str, Host] | None = None,
    announcers: Mapping[IpAddress, tuple[Announcer, ...]] | None = None,
    here: Here = _NOWHERE,
) -> Evidence:
    """Put together what is known. facts: by any label, see `facts_of_nodes`; the rest as for `known`."""
    by_node = facts_of_nodes(facts or {}, nodes)
    told = known(nodes=nodes, answered=answered, facts=by_node, here=here)
    return Evidence(told, by_node, announcers or {})


class _Case(msgspec.Struct, frozen=True):
    """One answerer of one address, with what the other findings add.

    answered, asked: for how many addresses it answers, of how many that anybody answers for. crowd: every
    known node answers for this address.
    """

    found: Findings
    answerer: Answerer
    name: Name
    announcers: tuple[Announcer, ...]
    answered: int
    asked: int
    crowd: int


def culprits(findings: Sequence[Findings], evidence: Evidence) -> tuple[Culprit, ...]:
    """The suspects, in the order of findings and answers; none where all is well, or nobody answers."""
    answering = [each for each in findings if each.answerers]
    counts: dict[str, int] = {}
    for each in answering:
        for answerer in each.answerers:
            counts[answerer.mac] = counts.get(answerer.mac, 0) + 1
    suspects: list[Culprit] = []
    for each in answering:
        named = [name(evidence.known, parse_mac(answerer.mac)) for answerer in each.answerers]
        said = evidence.announcers.get(IPv4Address(each.ip), ())
        nodes = {one.node for one in named if one.who is Who.NODE}
        crowd = len(nodes) if nodes >= evidence.known.nodes else 0
        cases = [
            _Case(each, answerer, one, said, counts[answerer.mac], len(answering), crowd)
            for answerer, one in zip(each.answerers, named, strict=True)
        ]
        suspects += _of_address(cases, evidence)
    return tuple(suspects)


def _of_address(cases: Sequence[_Case], evidence: Evidence) -> list[Culprit]:
    if cases[0].found.verdict is Verdict.ONE and not _is_wrong(cases[0], evidence):
        return []
    suspects = [_judge(each, evidence) for each in cases if not _is_rightful(each)]
    unclear = [each for each in suspects if each.fault is Fault.UNCLEAR]
    if len(unclear) == 1 and len(suspects) > 1 and len(suspects) == len(cases):
        suspects.remove(unclear[0])  # the others explain it: this one is probably the announcer
    return suspects


def _is_rightful(case: _Case) -> bool:
    """It is the only node that is said to announce the address."""
    return {each.node for each in case.announcers} == {case.name.node} and case.name.who is Who.NODE


def _is_wrong(case: _Case, evidence: Evidence) -> bool:
    """The only answerer is not who it should be."""
    if case.name.who in (Who.FOREIGN, Who.VIRTUAL_ROUTER):
        return bool(evidence.known.nodes)
    nodes = {each.node for each in case.announcers}
    return bool(nodes) and case.name.who is Who.NODE and case.name.sure and case.name.node not in nodes


def _judge(case: _Case, evidence: Evidence) -> Culprit:
    host = evidence.facts.get(case.name.node)
    mac = parse_mac(case.answerer.mac)
    if macs.is_vrrp(mac):
        group = mac[5]
        return _culprit(
            case,
            Fault.VIRTUAL_ROUTER,
            f"its MAC is the virtual one of VRRP group {group}: a router or keepalived has this address",
            f"take {case.found.ip} out of virtual_ipaddress of the vrrp_instance with virtual_router_id "
            f"{group}, or out of the pool",
            sure=True,
        )
    if host is not None:
        answer = kernel_answer(host, mac, IPv4Address(case.found.ip))
        return _by_facts(case, answer)
    return _by_announcers(case) or _by_form(case) or _by_company(case)


def _by_facts(case: _Case, answer: KernelAnswer | None) -> Culprit:
    """The model of its kernel tells whether the kernel gave this answer."""
    ip = case.found.ip
    if answer is None:
        return _culprit(
            case,
            Fault.ANNOUNCER,
            "by its FACTS its kernel is silent for this address, so a program answers: an announcer",
            _which_announcer(case),
            sure=True,
        )
    if answer.rule in PROXIES:
        return _culprit(
            case,
            Fault.PROXY_ARP,
            f"{answer.device} answers for others ({answer.rule})",
            _on(case, _choose(answer, "proxy", f"sysctl -w net.ipv4.conf.{answer.device}.proxy_arp=0")),
            sure=True,
        )
    if answer.on_device:
        return _culprit(
            case,
            Fault.ADDRESS_ON_NIC,
            f"the address stands on {answer.device} itself, where strictARP does not silence it: left there "
            "by an announcer, or held by another one (kube-vip, keepalived, PureLB)",
            _on(case, _choose(answer, "ip addr del", f"ip addr del {ip}/32 dev {answer.device}")),
            sure=True,
        )
    where = f"on {answer.holders[0]}" if answer.holders else "by a route"
    return _culprit(
        case,
        Fault.KERNEL,
        f"its kernel answers on {answer.device} for an address that it holds {where}: arp_ignore does not "
        "silence it there",
        f"{_on(case, _choose(answer, 'arp_ignore', STRICT))}; {ENABLE}",
        sure=True,
    )


def _choose(answer: KernelAnswer, word: str, otherwise: str) -> str:
    """The command of that kind which the model has seen to work."""
    return next((each for each in answer.mends if word in each), otherwise)


def _by_announcers(case: _Case) -> Culprit | None:
    nodes = sorted({each.node for each in case.announcers})
    if case.name.who is not Who.NODE or len(nodes) < 2 or case.name.node not in nodes:
        return None
    sources = "; ".join(f"{each.node} by {each.source}" for each in case.announcers)
    return _culprit(
        case,
        Fault.ANNOUNCER,
        f"{len(nodes)} nodes are said to announce it: {sources}",
        _which_announcer(case),
    )


def _by_form(case: _Case) -> Culprit | None:
    answerer = case.answerer
    if case.found.form == "both" and answerer.forms == ("request",):
        why = "it answers an ordinary request and no address probe, as only proxy ARP does"
    elif case.found.form == "request" and answerer.first_ms > SLOW_MS:
        why = f"it took {answerer.first_ms:.0f} ms, and proxies delay their answers by up to 800 ms"
    else:
        return None
    return _culprit(
        case,
        Fault.PROXY_ARP,
        why,
        _on(case, "sysctl -a -r 'conf.*proxy_arp'; ip neigh show proxy")
        + ", and switch off what is not needed",
    )


def _by_company(case: _Case) -> Culprit:
    """From who else answers, and for what else this one does."""
    ip = case.found.ip
    if case.name.who is Who.FOREIGN:
        return _culprit(
            case,
            Fault.FOREIGN,
            "no node with a known MAC has this one"
            + (f"; {case.name.evidence}" if case.name.evidence else ""),
            f"find {case.answerer.mac} in the switch's table of MACs, and take {ip} off that host or out of "
            "the pool",
        )
    if case.found.verdict is Verdict.SEVERAL and case.asked > 1 and case.answered == case.asked:
        why = f"it answers for all {case.asked} addresses, as a kernel with kube-ipvs0 and arp_ignore 0 does"
    elif case.crowd > 1:
        why = f"all {case.crowd} known nodes answer, as kernels with kube-ipvs0 and arp_ignore 0 do"
    else:
        return _culprit(
            case,
            Fault.UNCLEAR,
            "an address left on an interface, a second announcer or a kernel with arp_ignore 0; "
            "the FACTS of that host would tell (strictarp facts --json FILE there, --facts FILE here)",
            _on(case, f"ip -4 addr show to {ip}; sysctl net.ipv4.conf.all.arp_ignore"),
        )
    return _culprit(case, Fault.KERNEL, why, f"{_on(case, STRICT)}; {ENABLE}")


def _which_announcer(case: _Case) -> str:
    node = case.name.node
    if not node:
        return "find out which program announces there, and stop one of the two"
    return (
        f"kubectl get pods -A -o wide --field-selector spec.nodeName={node} shows what announces there "
        "(MetalLB, kube-vip, PureLB, keepalived …); let one of them announce"
    )


def _on(case: _Case, command: str) -> str:
    return f"on {case.name.node or case.name.mac}: {command}"


def _culprit(case: _Case, fault: Fault, why: str, mend: str, *, sure: bool = False) -> Culprit:
    return Culprit(
        case.found.ip, case.answerer.mac, case.name.text or case.answerer.mac, fault, sure, why, mend
    )


def doubled(findings: Iterable[Findings]) -> tuple[str, ...]:
    """Of each MAC that answered one request more than once: that it is one host, and what that means."""
    return tuple(
        f"{each.mac} answered one request for {found.ip} more than once: one host with two voices, such as "
        "its kernel and a speaker, or a request that reached it by two ports"
        for found in findings
        for each in found.answerers
        if each.repeats
    )
