"""`node-report` where the kernel has everything: bonds, VLANs, dummies, macvlans, IPVS."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from strictarp.cli.main import main
from strictarp.doctor.check import Part
from strictarp.doctor.diagnosis import diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node.view import NodeView
from strictarp.doctor.registry import CHECKS
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace

pytestmark = [pytest.mark.vm, pytest.mark.timeout(180)]


@pytest.fixture
def space() -> Iterator[Namespace]:
    made = namespaces.create("node")
    namespaces.ip(
        made,
        "link add bond0 type bond mode balance-alb",
        "link add a0 type dummy",
        "link set a0 master bond0",
        "link set bond0 up",
        "addr add 192.0.2.11/24 dev bond0",
        "route add default via 192.0.2.1",
        "link add link bond0 name bond0.7 type vlan id 7",
        "link set bond0.7 up",
        "addr add 203.0.113.11/24 dev bond0.7",
        "link add kube-ipvs0 type dummy",
        "addr add 192.0.2.100/32 dev kube-ipvs0",
        "addr add 203.0.113.100/32 dev kube-ipvs0",
    )
    yield made
    made.close()


def test_bond_vlan_and_vips_are_read_and_judged(space: Namespace, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    with namespaces.entered(space):
        main(["node-report", "--node", "n1", "--json", str(target)])
    view = msgspec.json.decode(target.read_bytes(), type=NodeView)
    devices = view.host.by_name
    assert (devices["bond0"].kind, devices["bond0"].mode) == ("bond", "balance-alb")
    assert (devices["bond0.7"].kind, devices["bond0.7"].lower, devices["bond0.7"].vlan) == (
        "vlan",
        "bond0",
        7,
    )
    assert (devices["kube-ipvs0"].kind, devices["kube-ipvs0"].arp) == ("dummy", False)
    assert view.ipvs in ("loaded", "loadable")
    told = diagnose(Evidence(nodes={"n1": view}), CHECKS, frozenset({Part.NODES}))
    found = {(each.code, each.subject) for each in told.findings}
    assert ("SA201", "node n1 interface bond0") in found
    assert ("SA201", "node n1 interface bond0.7") in found
    assert ("SA405", "node n1 interface bond0") in found
    assert ("SA405", "node n1 interface bond0.7") in found
