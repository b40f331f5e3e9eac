"""SA52x: strictarp's own speakers: do they hear each other, and have they what they need? Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from strictarp.doctor.announcers import OURS
from strictarp.doctor.check import CLUSTER, Check, Severity, Sighting
from strictarp.doctor.cluster_view import ClusterView
from strictarp.doctor.objects import SpeakerAnswer
from strictarp.doctor.wording import WHOLE, node, on_cluster, pool, some, vip
from strictarp.hello.frames import Verdict
from strictarp.hello.secret import SECRET, UnusableSecret, read_keys
from strictarp.kube.ranges import Ip, parse_ip
from strictarp.speaker.actions import Kind
from strictarp.speaker.links import Subnet

_TOLD = frozenset({Kind.KERNEL_ANSWERS, Kind.CONTESTED, Kind.SAME_NAME, Kind.FROZEN})
"""Reports of a speaker that should never come."""
_MEND = {
    Kind.KERNEL_ANSWERS: "its own kernel answers for VIPs: strictarp guard there, or switch strictARP on",
    Kind.CONTESTED: "another host answers for its VIPs: strictarp probe IP names it",
    Kind.SAME_NAME: "two hosts run a speaker with one --node-name: give each its own",
    Kind.FROZEN: "the process was stopped for a while: look for CPU limits, suspended VMs and live migration",
}


def _no_key(view: ClusterView) -> Iterator[Sighting]:
    if view.announcer(OURS) is None:
        return
    name = f"Secret {view.namespace}/{SECRET}"
    mend = (
        f"let the controller make it: kubectl -n {view.namespace} delete secret {SECRET} --ignore-not-found, "
        "and see that strictarp controller runs"
    )
    try:
        if read_keys(view.objects.secret) is None:
            yield Sighting(name, "it is not there, or has no key", mend, view.vip_subjects)
    except UnusableSecret as error:
        yield Sighting(name, str(error).partition(": ")[2], mend, view.vip_subjects)


def _keyless(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.speakers:
        if not each.has_key:
            yield Sighting(
                node(each.node),
                "its speaker has no hello key, so it says and owns nothing",
                f"let it read the Secret: RBAC `get`, `watch` on secrets in {view.namespace}; its log "
                "says why",
            )


def _unequal(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.speakers:
        refused = each.refused.get(Verdict.TAG, 0)
        if refused:
            yield Sighting(
                node(each.node),
                f"its speaker refused {refused} hellos that are not signed with its key",
                f"kubectl -n {view.namespace} get secret {SECRET}: all speakers must read this one; "
                "restart those "
                "that were started before it was made anew",
            )


def _deaf(view: ClusterView) -> Iterator[Sighting]:
    """Leases say that others live on this segment, and not one hello of them has arrived."""
    for each in view.objects.speakers:
        peers = _neighbours(view, each)
        if each.has_key and peers and not each.reports.get(Kind.PEER_HEARD, 0):
            yield Sighting(
                node(each.node),
                f"its speaker hears no hello, though {some(peers)} share its segment",
                "let the switch, or the hypervisor's port (promiscuous mode, MAC filters, "
                "anti-spoofing), pass "
                f"Ethernet multicasts of type 0x88b5: tcpdump -eni IFACE ether proto 0x88b5 on {each.node}",
            )


def _losing(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.speakers:
        heard = each.reports.get(Kind.PEER_HEARD, 0)
        lost = each.reports.get(Kind.PEER_SILENT, 0)
        isolated = each.reports.get(Kind.ISOLATED, 0)
        if heard and (isolated or lost >= LOST_OFTEN):
            yield Sighting(
                node(each.node),
                f"its speaker lost its peers {lost} times, and was alone on the segment {isolated} times",
                "look at the link: ethtool -S IFACE, the switch port's errors, spanning tree and storm "
                "control",
            )


LOST_OFTEN = 5
"""PeerSilent reports since the speaker's start, from which on they are no single event."""


def _alarmed(view: ClusterView) -> Iterator[Sighting]:
    for each in view.objects.speakers:
        told = {Kind(kind): count for kind, count in each.reports.items() if kind in _TOLD and count}
        for kind, count in sorted(told.items()):
            yield Sighting(
                node(each.node), f"its speaker has reported {kind.value} {count} times", _MEND[kind]
            )


def _neighbours(view: ClusterView, speaker: SpeakerAnswer) -> list[str]:
    """The other nodes with a Lease that have a subnet in common with this one, as the Leases tell."""
    own = view.presences.get(speaker.node)
    networks = set(map(_network, own.subnets or ())) if own else set()
    return sorted(
        name
        for name, each in view.presences.items()
        if name != speaker.node and networks & set(map(_network, each.subnets or ()))
    )


def _network(subnet: Subnet) -> tuple[int, int, int]:
    own, prefix = subnet
    return len(own), prefix, int.from_bytes(own, "big") >> (8 * len(own) - prefix)


def _taken(view: ClusterView) -> Iterator[Sighting]:
    """What speakers found before they ever announced an address."""
    for each in view.objects.conflicts:
        spec = each.spec
        ip = _parsed(spec.address)
        if ip is None:
            continue
        holder = next(
            (one.metadata.name for one in view.objects.pools if _holds(view, one.metadata.name, ip)), None
        )
        where = pool(holder) if holder else WHOLE
        yield Sighting(
            where,
            f"{spec.mac or 'another host'} answers for {spec.address}, which is in no use here (seen "
            "from node "
            f"{spec.node or '?'}{f', {spec.seen}' if spec.seen else ''})",
            f"take {spec.address} out of the pool, or away from that host; then: kubectl -n "
            f"{each.metadata.namespace} delete addressconflict {each.metadata.name}",
            (vip(ip_address(spec.address)),),
        )


def _holds(view: ClusterView, name: str, ip: Ip) -> bool:
    return any(each.name == name and each.holds(ip) for each in view.parsed_pools)


def _parsed(text: str) -> Ip | None:
    try:
        return parse_ip(text)
    except ValueError:
        return None


_SPEAKERS = frozenset({"leases"})

CHECKS = (
    Check(
        "SA521",
        "The speakers' hello key is missing",
        Severity.ERROR,
        "Without the key a speaker that starts says and owns nothing; those that run keep the one they have.",
        CLUSTER,
        on_cluster(_no_key),
        reads=_SPEAKERS | {"secrets"},
    ),
    Check(
        "SA522",
        "A speaker has no hello key",
        Severity.ERROR,
        "It says and owns nothing; if it is the only candidate of an address, nobody answers for that one.",
        CLUSTER,
        on_cluster(_keyless),
        causes=("SA521",),
        explains=lambda _, __: True,
        reads=_SPEAKERS,
    ),
    Check(
        "SA523",
        "A speaker meets hellos with another key",
        Severity.ERROR,
        "Speakers with different keys do not hear each other, and only the question on the wire before "
        "each claim "
        "keeps them from owning one address twice.",
        CLUSTER,
        on_cluster(_unequal),
        reads=_SPEAKERS,
    ),
    Check(
        "SA524",
        "A speaker is deaf: no hello arrives",
        Severity.WARNING,
        "A switch or hypervisor that filters hellos takes the fast failover away: dead owners are "
        "noticed only "
        "by asking on the wire.",
        CLUSTER,
        on_cluster(_deaf),
        reads=_SPEAKERS,
    ),
    Check(
        "SA525",
        "A speaker loses its peers again and again",
        Severity.WARNING,
        "Each loss may move addresses; a segment that loses frames moves them for nothing.",
        CLUSTER,
        on_cluster(_losing),
        reads=_SPEAKERS,
    ),
    Check(
        "SA526",
        "A speaker has raised an alarm",
        Severity.WARNING,
        "It has seen on the wire what must not be; it may be over by now, its log says when it was.",
        CLUSTER,
        on_cluster(_alarmed),
        reads=_SPEAKERS,
    ),
    Check(
        "SA527",
        "An address of a pool is taken by somebody else",
        Severity.ERROR,
        "A Service that is given this address shares it with a host outside of the cluster.",
        CLUSTER,
        on_cluster(_taken),
        reads=frozenset({"addressconflicts"}),
    ),
)
