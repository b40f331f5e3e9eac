"""Each check of nodes in a case in which it must find something, and in the nearest in which it must not."""

import copy
import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strictarp.arp.facts_text import FactsText, text_of
from strictarp.doctor.check import Part
from strictarp.doctor.checks import node_addresses, node_filters, node_lasting, node_links, node_sysctls
from strictarp.doctor.diagnosis import diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node import tables
from strictarp.doctor.node.daemons import tuned_lines
from strictarp.doctor.node.view import Agent, Filter, Managed, Nic, NodeView, ProxySetting, VrrpInstance
from strictarp.errors import UserError
from support.arp_kernel import model_of
from support.command_hosts import IPVS, VIP, nic
from support.node_views import DEFAULT, IPVS_PROXY, NODE, STRICT, evidence, healthy, seen, view
from support.random_hosts import make

CHECKS = {
    check.code: check
    for module in (node_sysctls, node_lasting, node_addresses, node_filters, node_links)
    for check in module.CHECKS
}
SYSCTL_CONF = "/etc/sysctl.d/99-local.conf"
BOMB = "net.ipv4.conf.all.arp_ignore = 0\n"
PLAIN_PROXY = Agent("kube-proxy", 7, {"proxy-mode": "ipvs", "ipvs-strict-arp": "false"}, started=1000.0)
IPTABLES = Agent("kube-proxy", 7, {"proxy-mode": "iptables"})
TWO = (nic(), nic("eth1", 17), IPVS)
SECOND = "addr add 192.0.2.12/24 dev eth1"
OTHER_NET = "addr add 198.51.100.11/24 dev eth1"
DROP = (
    "table arp guard {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n"
    "\t\tarp operation request arp daddr ip %s counter packets 3 bytes 84 drop\n\t}\n}\n"
)
EARLY = (
    "table netdev early {\n\tchain in {\n\t\ttype filter hook ingress device eth0 priority filter; "
    "policy accept;\n\t\tarp daddr ip %s drop\n\t}\n}\n"
)
OUT = (
    "table arp guard {\n\tchain out {\n\t\ttype filter hook output priority filter; policy accept;\n"
    "\t\tarp operation %s drop\n\t}\n}\n"
)
BRIDGE = nic("br0", 20, kind="bridge")
PORT = nic(master="br0")
ON_BRIDGE = ("addr add 192.0.2.11/24 dev br0", DEFAULT, VIP, *STRICT)


def tuned(*lines: str) -> NodeView:
    text = "[main]\nsummary=x\n[sysctl]\n" + "\n".join(lines) + "\n"
    return healthy(
        tuned=tuned_lines([("/etc/tuned/own/tuned.conf", text)]), agents=(IPVS_PROXY, Agent("tuned", 9))
    )


def bonded(mode: str) -> NodeView:
    bond = nic("bond0", 20, kind="bond", mode=mode)
    return view(
        "addr add 192.0.2.11/24 dev bond0",
        DEFAULT,
        VIP,
        *STRICT,
        devices=(bond, nic(master="bond0"), IPVS),
    )


def bound(node: str, *lines: str, agents: Sequence[Agent] = (IPVS_PROXY,)) -> NodeView:
    return healthy(*lines, node=node, agents=agents)


def keepalived(vmac: bool) -> NodeView:
    return healthy(
        agents=(IPVS_PROXY, Agent("keepalived", 9)), keepalived=(VrrpInstance("VI_1", "eth0", vmac),)
    )


def managed(keep: str) -> NodeView:
    return healthy(
        agents=(IPVS_PROXY, Agent("systemd-networkd", 3), Agent("kube-vip", 9)),
        networkd=(Managed("eth0", "/run/systemd/network/10-netplan-eth0.network", keep),),
    )


KUBE_VIP = (IPVS_PROXY, Agent("kube-vip", 9))
STALE = "addr add 192.0.2.100/32 dev eth0"
CONFIG = "/var/lib/kubelet/pods/x/volumes/kubernetes.io~configmap/kube-proxy/config.conf"

CASES: dict[str, tuple[Evidence, Evidence]] = {
    "SA201": (evidence(view(NODE, DEFAULT, VIP)), evidence(healthy())),
    "SA202": (evidence(healthy("eth0.arp_ignore=3")), evidence(healthy("eth0.arp_ignore=2"))),
    "SA203": (evidence(healthy("eth0.arp_announce=3")), evidence(healthy("eth0.arp_announce=1"))),
    "SA204": (
        evidence(healthy(), healthy(node="n2"), view(NODE, DEFAULT, VIP, node="n3")),
        evidence(healthy(), healthy("all.arp_ignore=2", node="n2")),
    ),
    "SA205": (
        evidence(healthy(agents=(PLAIN_PROXY,))),
        evidence(
            healthy(
                agents=(PLAIN_PROXY,),
                files=[(SYSCTL_CONF, "net.ipv4.conf.*.arp_ignore=1\nnet.ipv4.conf.all.arp_announce=2\n")],
            ),
            healthy(node="n2"),
        ),
    ),
    "SA206": (
        evidence(healthy(files=[(SYSCTL_CONF, BOMB)])),
        evidence(
            healthy(files=[(SYSCTL_CONF, BOMB), ("/run/sysctl.d/99-z.conf", BOMB.replace("0", "1"))]),
            healthy(files=[(SYSCTL_CONF, "net.ipv4.conf.eth0.arp_ignore=0\n")], node="n2"),
        ),
    ),
    "SA207": (
        evidence(tuned("net.ipv4.conf.all.arp_announce=0")),
        evidence(tuned("net.ipv4.conf.all.arp_announce=2")),
    ),
    "SA208": (
        evidence(view(NODE, DEFAULT, VIP, "default.arp_ignore=1")),
        evidence(healthy("default.arp_ignore=1")),
    ),
    "SA209": (
        evidence(healthy(numbers={tables.INHERIT: 0})),
        evidence(healthy(numbers={tables.INHERIT: 2}), view(NODE, node="n2", numbers={tables.INHERIT: 0})),
    ),
    "SA210": (evidence(healthy("all.arp_ignore=8")), evidence(healthy("kube-ipvs0.arp_ignore=8"))),
    "SA211": (
        evidence(healthy("all.arp_ignore=2", "addr add 203.0.113.11/24 dev eth0")),
        evidence(healthy("all.arp_ignore=2"), healthy("addr add 203.0.113.11/24 dev eth0", node="n2")),
    ),
    "SA212": (
        evidence(healthy(SECOND, "all.arp_filter=1", devices=TWO)),
        evidence(healthy(SECOND, devices=TWO)),
    ),
    "SA213": (
        evidence(
            view(
                "addr add 203.0.113.11/24 dev eth1",
                "route add default via 203.0.113.1",
                NODE,
                VIP,
                *STRICT,
                "eth0.rp_filter=1",
                devices=TWO,
            )
        ),
        evidence(
            view(
                "addr add 203.0.113.11/24 dev eth1",
                "route add default via 203.0.113.1",
                NODE,
                VIP,
                *STRICT,
                "eth0.rp_filter=2",
                devices=TWO,
            ),
            healthy("all.rp_filter=1", node="n2"),
        ),
    ),
    "SA214": (
        evidence(
            view(
                NODE,
                "addr add 203.0.113.11/24 dev eth1",
                "route add default via 203.0.113.1",
                "route add 192.0.2.100/32 via 203.0.113.9",
                "eth0.proxy_arp=1",
                "eth0.forwarding=1",
                devices=TWO,
            ),
            vips=["192.0.2.100"],
        ),
        evidence(healthy("all.proxy_arp=1", "eth0.forwarding=1"), vips=["192.0.2.100"]),
    ),
    "SA215": (
        evidence(healthy(numbers={tables.IPVS_CONNTRACK: 0})),
        evidence(
            healthy(numbers={tables.IPVS_CONNTRACK: 1}),
            view(NODE, node="n2", agents=(IPTABLES,), numbers={tables.IPVS_CONNTRACK: 0}),
        ),
    ),
    "SA216": (
        evidence(healthy(numbers={tables.NEIGHBOURS: 900, tables.NEIGHBOURS_MOST: 1024})),
        evidence(healthy(numbers={tables.NEIGHBOURS: 300, tables.NEIGHBOURS_MOST: 1024})),
    ),
    "SA217": (
        evidence(healthy(numbers={tables.CONNECTIONS: 960, tables.CONNECTIONS_MOST: 1000})),
        evidence(healthy(numbers={tables.CONNECTIONS: 100, tables.CONNECTIONS_MOST: 1000})),
    ),
    "SA218": (
        evidence(healthy(proxy_settings=(ProxySetting(CONFIG, "kube-proxy", "ipvs", True, 1500.0),))),
        evidence(healthy(proxy_settings=(ProxySetting(CONFIG, "kube-proxy", "ipvs", True, 900.0),))),
    ),
    "SA219": (
        evidence(healthy(numbers={tables.FORWARD: 0})),
        evidence(healthy(numbers={tables.FORWARD: 1})),
    ),
    "SA301": (evidence(bound("n1", STALE)), evidence(bound("n1", STALE, agents=KUBE_VIP))),
    "SA302": (
        evidence(bound("n1", "addr add 192.0.2.100/32 dev lo")),
        evidence(
            view(
                NODE, DEFAULT, "addr add 192.0.2.100/32 dev lo", *STRICT, "addr add 192.0.2.100/32 dev eth0"
            ),
            vips=["192.0.2.100"],
        ),
    ),
    "SA303": (
        evidence(bound("n1", STALE, agents=KUBE_VIP), bound("n2", STALE, agents=KUBE_VIP)),
        evidence(bound("n1", STALE, agents=KUBE_VIP), bound("n2", agents=KUBE_VIP)),
    ),
    "SA304": (
        evidence(
            healthy("addr add 192.0.2.12/32 dev kube-ipvs0"),
            view("addr add 192.0.2.12/24 dev eth0", DEFAULT, VIP, *STRICT, node="n2"),
        ),
        evidence(healthy(), view("addr add 192.0.2.12/24 dev eth0", DEFAULT, VIP, *STRICT, node="n2")),
    ),
    "SA305": (
        evidence(view(NODE, DEFAULT, VIP, agents=(IPTABLES,))),
        evidence(view(NODE, DEFAULT, agents=(IPTABLES,)), healthy(node="n2")),
    ),
    "SA306": (evidence(view(NODE, DEFAULT, devices=(nic(),))), evidence(view(NODE, DEFAULT))),
    "SA307": (
        evidence(healthy(), healthy("addr add 192.0.2.101/32 dev kube-ipvs0", node="n2")),
        evidence(healthy(), healthy("addr add 10.96.0.10/32 dev kube-ipvs0", node="n2")),
    ),
    "SA308": (evidence(view(NODE, SECOND, DEFAULT, devices=TWO)), evidence(healthy(SECOND, devices=TWO))),
    "SA309": (
        evidence(view(*ON_BRIDGE, "addr add 192.0.2.77/24 dev eth0", devices=(BRIDGE, PORT, IPVS))),
        evidence(view(*ON_BRIDGE, "addr add 192.0.2.77/24 dev br0", devices=(BRIDGE, PORT, IPVS))),
    ),
    "SA401": (
        evidence(healthy(nft=DROP % "192.0.2.100")),
        evidence(
            healthy(nft=(DROP % "192.0.2.100").replace("guard", "strictarp")),
            healthy(nft=DROP % "192.0.2.55", node="n2"),
        ),
    ),
    "SA402": (
        evidence(healthy(nft=EARLY % "192.0.2.100")),
        evidence(healthy(nft=EARLY % "192.0.2.55"), healthy(nft=DROP % "192.0.2.100", node="n2")),
    ),
    "SA403": (
        evidence(healthy(arptables=":INPUT ACCEPT\n-A INPUT -j DROP -i any -d 192.0.2.11 --opcode 1\n")),
        evidence(healthy(arptables=":INPUT ACCEPT\n-A INPUT -j DROP -i any -d 192.0.2.100 --opcode 1\n")),
    ),
    "SA404": (
        evidence(healthy(nft=(DROP % "192.0.2.55").replace("drop", "dup to 192.0.2.1"))),
        evidence(healthy(nft=DROP % "192.0.2.55")),
    ),
    "SA405": (evidence(bonded("balance-alb")), evidence(bonded("active-backup"))),
    "SA406": (
        evidence(healthy(devices=(nic("phys", 30), nic(kind="macvlan", lower="phys", mode="bridge"), IPVS))),
        evidence(healthy(devices=(nic("phys", 30), nic(kind="vlan", lower="phys", vlan=7), IPVS))),
    ),
    "SA407": (
        evidence(healthy(nics=(Nic("eth0", "brcmfmac", True, False),))),
        evidence(
            healthy(nics=(Nic("eth0", "brcmfmac", True, True),)),
            healthy(nics=(Nic("eth0", "e1000e", False, False),), node="n2"),
        ),
    ),
    "SA408": (evidence(healthy(devices=(nic(carrier=False), IPVS))), evidence(healthy())),
    "SA409": (evidence(healthy(devices=(nic(arp=False), IPVS))), evidence(healthy())),
    "SA410": (
        evidence(view(*ON_BRIDGE, devices=(BRIDGE, PORT, IPVS), nics=(Nic("eth0", suppresses=True),))),
        evidence(view(*ON_BRIDGE, devices=(BRIDGE, PORT, IPVS), nics=(Nic("eth0"),))),
    ),
    "SA411": (
        evidence(view(NODE, DEFAULT, ipvs="missing")),
        evidence(view(NODE, ipvs="loaded"), view(NODE, node="n2", ipvs="missing", agents=(IPTABLES,))),
    ),
    "SA412": (
        evidence(healthy(STALE, agents=(*KUBE_VIP, Agent("metallb speaker", 5)))),
        evidence(
            healthy(agents=(IPVS_PROXY, Agent("metallb speaker", 5))),
            healthy(node="n2", agents=(*KUBE_VIP, Agent("metallb speaker", 5))),
        ),
    ),
    "SA413": (evidence(managed("")), evidence(managed("static"))),
    "SA414": (evidence(keepalived(True)), evidence(keepalived(False))),
    "SA415": (
        evidence(
            healthy(arptables="-A FORWARD -j DROP -d 192.0.2.9\n", numbers={tables.BRIDGE_ARPTABLES: 1})
        ),
        evidence(
            healthy(arptables="-A FORWARD -j DROP -d 192.0.2.9\n", numbers={tables.BRIDGE_ARPTABLES: 0}),
            healthy(
                arptables="-A INPUT -j DROP -d 192.0.2.9\n", numbers={tables.BRIDGE_ARPTABLES: 1}, node="n2"
            ),
        ),
    ),
    "SA416": (evidence(healthy(nft=OUT % "request")), evidence(healthy(nft=OUT % "nak"))),
}


def test_every_check_of_nodes_has_a_case_of_each_kind() -> None:
    assert CASES.keys() == CHECKS.keys()
    assert all(check.needs == {Part.NODES} for check in CHECKS.values())


@pytest.mark.parametrize("code", sorted(CASES))
def test_it_fires_and_says_what_to_do(code: str) -> None:
    found = seen(CHECKS[code], CASES[code][0])
    assert found
    for sighting in found:
        assert sighting.subject.split(" ")[0] in ("node", "nodes", "VIP")
        assert sighting.seen
        assert sighting.mend
        assert "None" not in sighting.seen + sighting.mend


@pytest.mark.parametrize("code", sorted(CASES))
def test_it_keeps_silent(code: str) -> None:
    assert seen(CHECKS[code], CASES[code][1]) == []


def test_a_tc_filter_makes_deaf_unless_nobody_knows_what_it_does() -> None:
    tc = Filter(
        "tc", "eth0 ingress", "filter protocol arp pref 9 flower\n\taction order 1: gact action drop\n"
    )
    assert [each.subject for each in seen(CHECKS["SA402"], evidence(healthy(filters=(tc,))))] == [
        "node n1 interface eth0"
    ]
    program = msgspec.structs.replace(tc, unread="a BPF program decides")
    assert seen(CHECKS["SA402"], evidence(healthy(filters=(program,)))) == []
    assert seen(CHECKS["SA404"], evidence(healthy(filters=(program,))))


def test_addresses_that_nobody_asks_for_by_arp_harm_nobody() -> None:
    routed = "addr add 203.0.113.100/32 dev kube-ipvs0"  # BGP leads to it: no announcer on the segment
    assert seen(CHECKS["SA201"], evidence(view(NODE, DEFAULT, routed), vips=["203.0.113.100"])) == []
    cluster_ip = "addr add 10.96.0.10/32 dev kube-ipvs0"
    assert seen(CHECKS["SA201"], evidence(view(NODE, DEFAULT, cluster_ip))) == []
    local_dns = ("addr add 10.96.0.10/32 dev lo", cluster_ip)
    assert seen(CHECKS["SA301"], evidence(healthy(*local_dns, agents=(IPVS_PROXY,)))) == []


def test_a_healthy_cluster_has_no_findings() -> None:
    views = [msgspec.structs.replace(healthy(), node=name) for name in ("n1", "n2", "n3")]
    told = diagnose(evidence(*views, vips=["192.0.2.100"]), tuple(CHECKS.values()), frozenset({Part.NODES}))
    assert (told.findings, told.exit_code) == ((), 0)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_host_is_judged_without_an_accident(seed: int) -> None:
    kinds = frozenset({"dummy", "bridge", "macvlan", "vlan", "bond", "vrf"})
    views = {}
    for name in ("n1", "n2"):
        made = model_of(make(random.Random(f"{seed} {name}"), kinds))
        facts = text_of(made)
        renamed = msgspec.json.encode(facts).replace(b'"d0"', b'"kube-ipvs0"')
        views[name] = NodeView(name, facts=msgspec.json.decode(renamed, type=FactsText), agents=(IPVS_PROXY,))
    vips = ["10.0.0.50", "192.0.2.100", "10.0.1.200"]
    for both in (evidence(*views.values()), evidence(*views.values(), vips=vips)):
        for check in CHECKS.values():
            for sighting in seen(check, both):
                assert sighting.mend


def mutilated(data: st.DataObject, value: object) -> object:
    """One part of a document is another thing."""
    if isinstance(value, dict | list) and value and data.draw(st.integers(0, 9)):
        at = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        changed = copy.copy(value)
        changed[at] = mutilated(data, value[at])  # type: ignore[index, call-overload]
        return changed
    odd = ["", "x", "eth0", "net/ipv4", "192.0.2.100/32", -1, 0, 1 << 70, 1.5, None, True, [], {}]
    return data.draw(st.sampled_from(odd))


@settings(max_examples=60)
@given(st.data())
def test_forged_reports_are_refused_or_judged(data: st.DataObject) -> None:
    code = data.draw(st.sampled_from(sorted(CASES)))
    documents = [msgspec.to_builtins(each) for each in CASES[code][0].nodes.values()]
    views = []
    for document in documents:
        try:
            forged = msgspec.convert(mutilated(data, mutilated(data, document)), NodeView)
            _ = forged.host
        except (msgspec.ValidationError, UserError):
            return
        views.append(forged)
    for check in CHECKS.values():
        seen(check, evidence(*views))


def test_views_survive_the_journey_as_json() -> None:
    for pair in CASES.values():
        for each in pair[0].nodes.values():
            assert msgspec.json.decode(msgspec.json.encode(each), type=NodeView) == each
