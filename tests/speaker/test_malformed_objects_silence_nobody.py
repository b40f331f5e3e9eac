"""Whatever an object holds, the speaker goes on, and the other Services are announced as before."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from strictarp.hello.secret import UnusableSecret, read_cluster, read_keys
from strictarp.kube.custom import IPADDRESSPOOLS, L2ADVERTISEMENTS
from strictarp.kube.objects import ENDPOINTSLICES, LEASES, NAMESPACES, NODES, SECRETS, SERVICES
from strictarp.speaker import advertising, l2status, picture
from strictarp.speaker.candidates import Facts, Options, standings
from strictarp.speaker.links import Place
from strictarp.speaker.membership import Membership, segments
from strictarp.speaker.picture import Picture
from strictarp.speaker.pools import read_pool
from strictarp.speaker.silence import Silence
from strictarp.speaker.wishes import Wishes
from support.mutated import Body, listed, mutations
from support.speaker_objects import advertisement, lease, node, pool, service, slice_of

NAMES = ("node1", "node2", "node3")
PLACE = Place(
    2, "eth0", b"\2\0\0\0\0\1", True, ((bytes((192, 0, 2, 11)), 24), (bytes((198, 51, 100, 11)), 24))
)
LINKS = '{"eth0":{"mac":"02:00:00:00:00:09","addresses":["192.0.2.19/24","198.51.100.19/24"]}}'
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]}


def body(made: object, **more: object) -> Body:
    found: Body = msgspec.to_builtins(made)
    return found | more


ODD = {
    "service": body(
        service(
            "odd",
            "198.51.100.7",
            annotations={
                "metallb.io/allow-shared-ip": "k",
                "strictarp.io/announce-again": "1",
                "strictarp.io/move-to": "node1",
            },
            labels={"a": "b"},
            externalTrafficPolicy="Local",
            loadBalancerClass="",
        )
    ),
    "slice": body(
        slice_of("odd", ("odd-node", {"ready": True, "serving": True, "terminating": False}), ("node1", {})),
        addressType="IPv4",
    ),
    "node": body(
        node("odd-node", labels={"a": "b"}, address="192.0.2.19", taints=["x"], drain="true", Ready="True"),
    ),
    "pool": body(pool("odd", "198.51.100.0/24", labels={"a": "b"})),
    "advertisement": body(
        advertisement(
            "odd",
            ipAddressPools=["odd"],
            ipAddressPoolSelectors=[SELECTOR],
            nodeSelectors=[{"matchLabels": {"a": "b"}}, {"matchLabels": {"zone": "1"}}],
            preferredNodeSelectors=[{"weight": 10, "preference": {"matchLabels": {"a": "b"}}}],
            interfaces=["eth0", "eth*"],
            serviceSelectors=[SELECTOR],
        )
    ),
    "lease": body(lease("odd-node", links=LINKS)),
    "namespace": {"metadata": {"name": "kube-system", "uid": "11111111-2222-3333-4444-555555555555"}},
    "secret": {
        "metadata": {"name": "strictarp-hello", "namespace": "metallb-system"},
        "data": {"key": base64.b64encode(bytes(range(32))).decode(), "previous": ""},
    },
}
GOOD = body(service("good", "192.0.2.100"))
GOOD_SLICE = body(slice_of("good", ("node2", {"ready": True})))


class Seen:
    """One speaker's view of the API, built by the functions that the daemon uses."""

    def __init__(self, odd: dict[str, Body]) -> None:
        self.membership = Membership("node1")
        for each in [*(lease(name) for name in NAMES), *listed(LEASES, odd["lease"]).items]:
            self.membership.see(each, 0.0)
        living = self.membership.living(1.0)
        nodes = {
            each.key: each for each in listed(NODES, *(body(node(name)) for name in NAMES), odd["node"]).items
        }
        read = [read_pool(each) for each in listed(IPADDRESSPOOLS, body(pool()), odd["pool"]).items]
        complaints = [error for _, errors in read for error in errors]
        pools = tuple(found for found, _ in read)
        advertisements = listed(
            L2ADVERTISEMENTS, body(advertisement("lab", ipAddressPools=["lab"])), odd["advertisement"]
        ).items
        self.complaints = [*complaints, *advertising.faults(advertisements)]
        facts = Facts(
            pools,
            advertising.resolve(advertisements, pools, nodes),
            standings(living, nodes, segments(living), Options()),
            Options(),
        )
        made = Picture()
        for each in listed(SERVICES, GOOD, odd["service"]).items:
            made.put_service(each.key, each)
        for each in listed(ENDPOINTSLICES, GOOD_SLICE, odd["slice"]).items:
            made.put_slice(None, each)
        made.put_facts(facts)
        made.judge()
        self.verdicts = made.verdicts
        self.vips = picture.vips(made.verdicts, [PLACE], "node1")[PLACE.index]
        self.members = picture.members(living, nodes, PLACE)
        self.addresses = picture.node_addresses(nodes, PLACE)
        l2status.wanted(made.verdicts.values(), self.vips.keys(), "node1")
        silence = Silence()
        silence.news(made.verdicts, 0.0)
        silence.news(made.verdicts, 100.0)
        wishes = Wishes()
        wishes.in_force(made.verdicts, 0.0)
        self.refused = [*wishes.news(made.verdicts, 0.0), *wishes.news(made.verdicts, 100.0)]


BEFORE = Seen(ODD)


def test_an_item_of_a_pool_that_is_wrong_and_listed_twice_is_told_once() -> None:
    _, complaints = read_pool(pool("odd", "nonsense", "nonsense"))
    assert len(complaints) == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutations(ODD))
def test_a_malformed_object_changes_nothing_for_another_service(odd: dict[str, Body]) -> None:
    seen = Seen(odd)
    verdict, before = seen.verdicts["default/good"], BEFORE.verdicts["default/good"]
    assert verdict.addresses == before.addresses
    order = [each.node for each in verdict.order if each.node in NAMES]
    if len(verdict.matching) == 1:  # else the odd advertisement has become one for all pools: that is sound
        assert order == [each.node for each in before.order if each.node in NAMES]
    assert set(order) == set(NAMES)
    assert bytes((192, 0, 2, 100)) in seen.vips
    told = ("IPAddressPool odd: spec.addresses: ", "L2Advertisement odd: spec.")
    assert all(each.startswith(told) for each in seen.complaints)
    assert len(set(seen.complaints)) == len(seen.complaints)
    assert all(key == "default/odd" for key, _ in seen.refused)
    for page in (listed(SERVICES, odd["service"]), listed(LEASES, odd["lease"])):
        assert all(each.told().partition(": ")[0] for each in page.refused)
    try:
        for secret in listed(SECRETS, odd["secret"]).items:
            read_keys(secret)
    except UnusableSecret as error:
        assert str(error).startswith("Secret metallb-system/strictarp-hello: data.")  # noqa: PT017 - or it is usable
    for namespace in listed(NAMESPACES, odd["namespace"]).items:
        read_cluster(namespace)


@pytest.mark.parametrize(
    "text", ["[" * 90_000, "{}", "[]", '{"eth0":{"mac":5}}', '{"eth0":{"mac":"x"}}', "\x00", ""]
)
def test_links_in_a_lease_that_cannot_be_read_leave_the_node_alive(text: str) -> None:
    membership = Membership("node1")
    membership.see(lease("odd-node", links=text), 0.0)
    assert "odd-node" in membership.living(1.0)


@pytest.mark.parametrize("data", [{"key": "é"}, {"key": "="}, {"key": "YQ=="}, {"key": "", "previous": "ab"}])
def test_a_key_that_cannot_be_used_is_named_by_its_field(data: dict[str, str]) -> None:
    (secret,) = listed(SECRETS, ODD["secret"] | {"data": data}).items
    with pytest.raises(UnusableSecret, match=r"data\."):
        read_keys(secret)
