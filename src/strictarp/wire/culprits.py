"""When several answer for an address, or the wrong one: who is likely to blame, why, and what mends it. Pure.

A suspicion is told as one. What the evidence leaves open is called unclear, with the command that tells.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address

import msgspec

from strictarp.arp.decision import Rule
from strictarp.arp.facts import Host
from strictarp.arp.frames import parse_mac
from strictarp.arp.probing import Answerer, Findings, Verdict
from strictarp.kube.objects import Node
from strictarp.wire import macs
from strictarp.wire.announcers import Announcer
from strictarp.wire.kernels import KernelAnswer, kernel_answer, mends
from strictarp.wire.naming import GivenFacts, Here, Known, Name, Who, known, name, nodes_of_facts
from strictarp.wire.vips import IpAddress

_NOWHERE, _NO_FACTS = Here(), GivenFacts()
SLOW_MS = 100.0
"""A kernel answers within a millisecond or so; a proxy waits up to 800 ms (proxy_delay)."""
STRICT = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
_PROXY_OFF = {
    Rule.PROXY_ARP: "sysctl -w net.ipv4.conf.{device}.proxy_arp=0",
    Rule.PROXY_ARP_PVLAN: "sysctl -w net.ipv4.conf.{device}.proxy_arp_pvlan=0",
    Rule.PROXY_NEIGHBOUR: "ip neigh del proxy {ip} dev {device}",
}
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
    """One answerer that should not answer, or may be the one that should not where it is unclear which.

    sure: shown by FACTS or by the MAC itself, not only likely.
    """

    ip: str
    mac: str
    who: str
    fault: Fault
    sure: bool
    why: str
    mend: str

    @property
    def lead(self) -> str:
        """How it is called."""
        if self.fault is Fault.UNCLEAR:
            return "suspect"
        return "culprit" if self.sure else "likely culprit"

    @property
    def label(self) -> str:
        """Who, with the MAC."""
        return self.mac if self.who == self.mac else f"{self.who} ({self.mac})"


class Evidence(msgspec.Struct, frozen=True):
    """What is known besides the answers.

    facts: by node. unread: nodes whose FACTS lack the rules of nftables that they name. announcers: who is
    said to announce. vips: the addresses that nobody but a node may have.
    """

    known: Known = Known()
    facts: Mapping[str, Host] = {}
    unread: frozenset[str] = frozenset()
    announcers: Mapping[IpAddress, tuple[Announcer, ...]] = {}
    vips: frozenset[IpAddress] = frozenset()


def evidence(
    *,
    nodes: Sequence[Node] = (),
    answered: Iterable[Findings] = (),
    facts: GivenFacts = _NO_FACTS,
    announcers: Mapping[IpAddress, tuple[Announcer, ...]] | None = None,
    vips: Iterable[IpAddress] = (),
    here: Here = _NOWHERE,
) -> Evidence:
    """Put together what is known.

    vips: the external addresses of the cluster. The rest as for `known`.
    """
    labels = nodes_of_facts(facts.hosts, nodes)
    by_node = {labels[label]: host for label, host in facts.hosts.items()}
    return Evidence(
        known=known(nodes=nodes, answered=answered, facts=by_node, here=here),
        facts=by_node,
        unread=frozenset(node for label, node in labels.items() if label in facts.unread),
        announcers=announcers or {},
        vips=frozenset(vips),
    )


class _Case(msgspec.Struct, frozen=True):
    """One answerer of one address, with what the other findings add.

    answered, disputed: for how many addresses it answers, of those for which several do. crowd: how many
    nodes answer for this address, if all known ones do.
    """

    found: Findings
    answerer: Answerer
    name: Name
    announcers: tuple[Announcer, ...]
    answered: int
    disputed: int
    crowd: int


def culprits(findings: Sequence[Findings], evidence: Evidence) -> tuple[Culprit, ...]:
    """The suspects, in the order of findings and answers; none where all is well, or nobody answers."""
    answering = [each for each in findings if each.answerers]
    disputed = [each for each in answering if each.verdict is Verdict.SEVERAL]
    counts: dict[str, int] = {}
    for each in disputed:
        for answerer in each.answerers:
            counts[answerer.mac] = counts.get(answerer.mac, 0) + 1
    suspects: list[Culprit] = []
    judge = _Judge(evidence)
    for each in answering:
        named = [name(evidence.known, parse_mac(answerer.mac)) for answerer in each.answerers]
        said = evidence.announcers.get(IPv4Address(each.ip), ())
        nodes = {one.node for one in named if one.who is Who.NODE}
        crowd = len(nodes) if nodes >= evidence.known.nodes else 0
        cases = [
            _Case(each, answerer, one, said, counts.get(answerer.mac, 0), len(disputed), crowd)
            for answerer, one in zip(each.answerers, named, strict=True)
        ]
        suspects += _of_address(cases, judge)
    return tuple(suspects)


def _of_address(cases: Sequence[_Case], judge: _Judge) -> list[Culprit]:
    if cases[0].found.verdict is Verdict.ONE and not _is_wrong(cases[0], judge.evidence):
        return []
    suspects = [judge(each) for each in cases if not _is_rightful(each)]
    weakest = (Fault.UNCLEAR, Fault.KERNEL) if any(each.sure for each in suspects) else (Fault.UNCLEAR,)
    weak = [each for each in suspects if each.fault in weakest and not each.sure]
    if len(weak) == 1 and len(suspects) > 1 and len(suspects) == len(cases):
        suspects.remove(weak[0])  # the others explain it: this one is probably the announcer
    return suspects


def _is_rightful(case: _Case) -> bool:
    """It is the only node that is said to announce the address."""
    return {each.node for each in case.announcers} == {case.name.node} and case.name.who is Who.NODE


def _is_wrong(case: _Case, evidence: Evidence) -> bool:
    """The only answerer is not who it should be."""
    if case.name.who in (Who.FOREIGN, Who.VIRTUAL_ROUTER):
        return bool(evidence.known.nodes) and IPv4Address(case.found.ip) in evidence.vips
    nodes = {each.node for each in case.announcers}
    return bool(nodes) and case.name.who is Who.NODE and case.name.sure and case.name.node not in nodes


class _Judge:
    """Judges cases one by one. What mends the same fault of a node is worked out once: it is not cheap."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._mends: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def __call__(self, case: _Case) -> Culprit:
        """The suspect."""
        host = self.evidence.facts.get(case.name.node)
        mac = parse_mac(case.answerer.mac)
        if macs.is_vrrp(mac):
            return _virtual_router(case, mac[5])
        if host is not None:
            answer = kernel_answer(host, mac, IPv4Address(case.found.ip))
            told = self._by_kernel(case, host, answer) if answer else _by_silence(case)
            return self._doubted(told, case.name.node)
        return _by_announcers(case) or _by_form(case) or _by_company(case)

    def _doubted(self, told: Culprit, node: str) -> Culprit:
        if node not in self.evidence.unread:
            return told
        why = f"{told.why}; but its FACTS name nftables tables whose rules were not read"
        return msgspec.structs.replace(told, sure=False, why=why)

    def _by_kernel(self, case: _Case, host: Host, answer: KernelAnswer) -> Culprit:
        """The model of its kernel gives this answer."""
        device, own = answer.device, answer.own
        if answer.rule in _PROXY_OFF:
            why = f"{device} answers for others ({answer.rule})"
            otherwise = _PROXY_OFF[answer.rule].format(ip=case.found.ip, device=device)
            mend = self._choose(case, host, answer, "proxy") or otherwise
            return _culprit(case, Fault.PROXY_ARP, why, _on(case, mend), sure=True)
        if own is not None:
            why = (
                f"the address stands on {device} itself, where strictARP does not silence it: left there by "
                "an announcer, or held by another one (kube-vip, keepalived, PureLB)"
            )
            mend = f"ip addr del {own.text} dev {device}"
            return _culprit(case, Fault.ADDRESS_ON_NIC, why, _on(case, mend), sure=True)
        where = f"on {answer.holders[0].device}" if answer.holders else "by a route"
        why = (
            f"its kernel answers on {device} for an address that it holds {where}: arp_ignore does not "
            "silence it there"
        )
        mend = self._choose(case, host, answer, "arp_ignore") or STRICT
        return _culprit(case, Fault.KERNEL, why, f"{_on(case, mend)}; {ENABLE}", sure=True)

    def _choose(self, case: _Case, host: Host, answer: KernelAnswer, word: str) -> str:
        """A command of that kind which the model has seen to work, or none."""
        key = (case.name.node, answer.device, answer.rule)
        if key not in self._mends:
            self._mends[key] = mends(host, answer)
        return next((each for each in self._mends[key] if word in each), "")


def _virtual_router(case: _Case, group: int) -> Culprit:
    return _culprit(
        case,
        Fault.VIRTUAL_ROUTER,
        f"its MAC is the virtual one of VRRP group {group}: a router or keepalived has this address",
        f"take {case.found.ip} out of virtual_ipaddress of the vrrp_instance with virtual_router_id {group}, "
        "or out of the pool",
        sure=True,
    )


def _by_silence(case: _Case) -> Culprit:
    return _culprit(
        case,
        Fault.ANNOUNCER,
        "by its FACTS its kernel is silent for this address, so a program answers: an announcer",
        _which_announcer(case),
        sure=True,
    )


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
    if case.found.verdict is Verdict.SEVERAL and case.answered == case.disputed > 1:
        why = (
            f"it answers for all {case.disputed} addresses for which several answer, as a kernel with "
            "kube-ipvs0 and arp_ignore 0 does"
        )
    elif case.crowd > 1:
        why = f"all {case.crowd} known nodes answer, as kernels with kube-ipvs0 and arp_ignore 0 do"
    else:
        return _culprit(
            case,
            Fault.UNCLEAR,
            "the announcer itself, a second one, a kernel with arp_ignore 0, or an address left on an "
            "interface; FACTS of that host would tell (strictarp facts --json FILE there, --facts FILE here)",
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
