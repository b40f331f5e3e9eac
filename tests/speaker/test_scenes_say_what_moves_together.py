"""What `strictarp move`, `drain` and `rebalance` read from the API: owners, what moves together, and what
cannot.
"""

from __future__ import annotations

import msgspec
import pytest

from strictarp.errors import UserError
from strictarp.kube.custom import AnnouncedAddress, ServiceL2Status
from strictarp.kube.model import KubeObject
from strictarp.kube.objects import Lease, Service
from strictarp.speaker import l2status, moving, scene
from strictarp.speaker.candidates import Options
from strictarp.speaker.scene import Scene
from support.speaker_objects import advertisement, node, pool, service, slice_of

NS = "metallb-system"
NODES = ("node1", "node2", "node3")
BOTH = pool("lab", "192.0.2.100-192.0.2.119", "2001:db8::/120")


def announced(address: str, name: str) -> AnnouncedAddress:
    return msgspec.convert({"spec": {"address": address}, "status": {"node": name}}, AnnouncedAddress)


def status(name: str, owner: str) -> ServiceL2Status:
    body = {**l2status.body(f"default/{name}", owner), **l2status.status(f"default/{name}", owner, ())}
    return msgspec.convert(body, ServiceL2Status)


def make(*objects: KubeObject, drained: str = "", behind: str = "", **advertised: object) -> Scene:
    def here(each: KubeObject) -> KubeObject:
        return msgspec.structs.replace(each, metadata=msgspec.structs.replace(each.metadata, namespace=NS))

    services = [each.metadata.name for each in objects if isinstance(each, Service)]
    nodes = [
        node(name, drain="yes" if name == drained else "", Ready="False" if name == behind else "True")
        for name in NODES
    ]
    found = [
        here(BOTH),
        here(advertisement("lab", **advertised)),
        *nodes,
        *(slice_of(name) for name in services),
        *objects,
    ]
    return scene.make_scene(found, frozenset(NODES), NS, Options())


def test_our_objects_name_the_owner_of_each_address_and_metallbs_where_ours_are_missing() -> None:
    two = service("web", "192.0.2.100", "2001:db8::42")
    ours = make(
        two, announced("192.0.2.100", "node1"), announced("2001:db8::42", "node2"), status("web", "node3")
    )
    assert ours.owners == {"192.0.2.100": "node1", "2001:db8::42": "node2"}
    assert make(two, status("web", "node3")).owners == dict.fromkeys(("192.0.2.100", "2001:db8::42"), "node3")
    assert make(two, status("web", "node3"), announced("192.0.2.100", "")).owners == {"2001:db8::42": "node3"}


def test_addresses_of_a_service_and_services_that_share_one_are_a_unit() -> None:
    seen = make(
        service("a", "192.0.2.100"),
        service("b", "192.0.2.101", "2001:db8::42"),
        service("c", "192.0.2.100", "2001:db8::43"),
        service("d", "2001:db8::43"),
    )
    assert [(each.services, each.addresses) for each in scene.units(seen)] == [
        (("default/a", "default/c", "default/d"), ("192.0.2.100", "2001:db8::43")),
        (("default/b",), ("192.0.2.101", "2001:db8::42")),
    ]
    for text in ("default/d", "d", "192.0.2.100", "2001:db8:0::43"):
        assert scene.find_unit(seen, text).services == ("default/a", "default/c", "default/d")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.119", "192.0.2.119: no Service of type LoadBalancer has this address"),
        ("shop/web", "Service shop/web: there is none; name it as NAMESPACE/NAME, or by an address"),
        ("far", "Service default/far: nobody announces it: its addresses are not in one IPAddressPool"),
    ],
)
def test_what_cannot_be_found_is_named(text: str, why: str) -> None:
    with pytest.raises(UserError) as error:
        scene.find_unit(make(service("web"), service("far", "198.51.100.9")), text)
    assert str(error.value) == why


def test_places_are_as_good_as_any_other_and_neither_drained_nor_behind() -> None:
    assert set(scene.units(make(service("web")))[0].places) == set(NODES)
    assert set(scene.units(make(service("web"), drained="node2"))[0].places) == {"node1", "node3"}
    assert set(scene.units(make(service("web"), behind="node2"))[0].places) == {"node1", "node3"}


def test_refusals_name_the_nodes_that_there_are() -> None:
    seen = make(service("web"), drained="node2")
    unit = scene.find_unit(seen, "web")
    assert (
        scene.refused(seen, unit, "node9") == "Node node9: there is none; the nodes are node1, node2, node3"
    )
    why = "Service default/web cannot be moved to node2: it is drained; end that first (strictarp undrain)"
    assert scene.refused(seen, unit, "node2") == why
    assert scene.refused(seen, unit, "node3") is None


def test_what_only_one_node_may_announce_is_stuck_there() -> None:
    local = service("web", externalTrafficPolicy="Local")
    seen = make(local)
    unit = scene.find_unit(seen, "web")
    why = scene.stuck(seen, unit, "node1")
    assert why is not None
    assert why.startswith("no other node may announce it (node2: externalTrafficPolicy is Local")
    assert scene.stuck(make(service("web")), scene.find_unit(make(service("web")), "web"), "node1") is None


def test_a_lease_lives_by_the_latest_of_all_not_by_the_clock_here() -> None:
    def lease(name: str, at: str | None) -> Lease:
        body = {"metadata": {"name": f"strictarp-speaker-{name}"}, "spec": {"renewTime": at}}
        return msgspec.convert(body, Lease)

    leases = [
        lease("new", "2001-01-01T00:01:00.000000Z"),
        lease("fresh", "2001-01-01T00:00:21.000000Z"),
        lease("old", "2001-01-01T00:00:19.000000Z"),
        lease("odd", "yesterday"),
        lease("none", None),
        lease("unzoned", "2001-01-01T00:01:00"),
    ]
    assert moving.living_nodes(leases) == {"new", "fresh"}
    assert moving.living_nodes([]) == frozenset()
