"""What an edit of pools takes away, what pools must not overlap, and the state that says so."""

import msgspec
import pytest

from strictarp.controller.configuring import Configuration, Rules, configure
from strictarp.controller.guard import Surroundings, losses, overlaps, read_ranges
from strictarp.controller.reporting import ADVERTISEMENTS, POOLS, state_of
from strictarp.errors import UserError
from strictarp.kube.custom import ConfigurationStateStatus
from strictarp.kube.objects import Node
from support.controller_objects import lb, pool_object, sound_pools

LAB = pool_object("lab", "192.0.2.100/30")
SHRUNK = pool_object("lab", "192.0.2.102/31")
REFUSE = Rules(refuse_edits=True)


def node(name: str, *addresses: str) -> Node:
    told = [{"type": "InternalIP", "address": each} for each in addresses]
    told.append({"type": "Hostname", "address": name})
    return msgspec.convert({"metadata": {"name": name}, "status": {"addresses": told}}, Node)


def test_an_edit_that_takes_an_address_in_use_is_refused_where_that_is_the_policy() -> None:
    before = configure(Configuration(), [LAB], (), (), REFUSE)
    web = lb("web", has=["192.0.2.101"], pool="lab")
    refused = configure(before, [SHRUNK], (), [web], REFUSE)
    assert refused.pools == before.pools
    assert refused.faults == (
        "IPAddressPool lab: spec: no longer gives 192.0.2.101 to Service default/web, which has it; put that "
        "back, or let the Service ask for another address or pool first",
    )
    assert configure(before, [], (), [web], REFUSE).faults == refused.faults
    assert configure(before, [SHRUNK], (), [web], Rules()).faults == ()


@pytest.mark.parametrize(
    "service",
    [
        lb("kept", has=["192.0.2.103"], pool="lab"),
        lb("not-ours", has=["192.0.2.101"], pool="lab", loadBalancerClass="example.com/x"),
        lb("by-others", has=["192.0.2.101"]),
        lb(
            "asks", has=["192.0.2.101"], pool="lab", annotations={"metallb.io/loadBalancerIPs": "192.0.2.102"}
        ),
        lb("moves", has=["192.0.2.101"], pool="lab", annotations={"metallb.io/address-pool": "other"}),
        lb("broken", has=["192.0.2.101"], pool="lab", cluster_ips=["None"]),
    ],
)
def test_who_loses_nothing_or_asks_for_it_stands_in_no_edits_way(service: object) -> None:
    other = sound_pools(pool_object("other", "198.51.100.0/24"))
    assert losses(sound_pools(SHRUNK), [service], "", other) == ()  # type: ignore[list-item]


def test_an_address_without_a_mark_is_in_use_where_a_pool_in_force_held_it() -> None:
    far = pool_object("far", "198.51.100.0/24")
    pools = sound_pools(SHRUNK, far)
    known = sound_pools(LAB)
    (told,) = losses(pools, [lb("web", has=["192.0.2.101"])], "", known)
    assert told.startswith("IPAddressPool lab: spec: no longer gives 192.0.2.101 to Service default/web, ")
    assert losses(pools, [lb("web", has=["192.0.2.101"])], "") == ()


def test_the_mark_of_older_releases_counts() -> None:
    old = {"metallb.universe.tf/ip-allocated-from-pool": "gone"}
    (told,) = losses(sound_pools(SHRUNK), [lb("web", has=["192.0.2.101"], annotations=old)], "")
    assert told.startswith("IPAddressPool gone: ")


def test_a_pool_that_is_closed_to_its_service_or_renamed_is_told_apart() -> None:
    web = lb("web", has=["192.0.2.101"], pool="lab")
    closed = pool_object("lab", "192.0.2.100/30", serviceAllocation={"namespaces": ["team"]})
    assert len(losses(sound_pools(closed), [web], "")) == 1
    assert losses(sound_pools(pool_object("renamed", "192.0.2.100/30")), [web], "") == ()


def test_overlaps_name_pool_item_and_whose_the_addresses_are() -> None:
    pools = sound_pools(
        pool_object("lab", "192.0.2.0/26", "2001:db8::/64"), pool_object("ok", "198.51.100.0/24")
    )
    around = Surroundings(
        read_ranges(["192.0.2.48/28"], "--service-range"),
        read_ranges(["192.0.2.60 - 192.0.2.90", "203.0.113.0/24"], "--dhcp-range"),
    )
    services = [lb("a", cluster_ips=["192.0.2.33"]), lb("b", cluster_ips=["192.0.2.34", "None"])]
    found = overlaps(
        pools, [node("n1", "192.0.2.9", "2001:db8::9"), node("n2", "10.0.0.1")], services, around
    )
    assert found == (
        ("lab", "192.0.2.0/26 holds 192.0.2.33, the clusterIP of Service default/a: it overlaps the Service "
                "range; give it addresses of its own"),
        ("lab", "192.0.2.0/26 holds 192.0.2.9, the address of Node n1; leave the nodes' own addresses out"),
        ("lab", "192.0.2.0/26 overlaps the DHCP range 192.0.2.60 - 192.0.2.90; give it addresses of its own"),
        ("lab", "192.0.2.0/26 overlaps the Service range 192.0.2.48/28; give it addresses of its own"),
        ("lab", "2001:db8::/64 holds 2001:db8::9, the address of Node n1; "
                "leave the nodes' own addresses out"),
    )  # fmt: skip


def test_a_range_that_cannot_be_read_is_a_usage_error_that_names_its_option() -> None:
    with pytest.raises(UserError, match=r"^--dhcp-range: '192\.0\.2\.1' has no prefix length") as raised:
        read_ranges(["192.0.2.1"], "--dhcp-range")
    assert raised.value.exit_code == 64


def test_the_configuration_state_is_metallbs_and_its_time_is_that_of_the_change() -> None:
    good = state_of(ConfigurationStateStatus(), {POOLS: ()}, "t1")
    assert msgspec.to_builtins(good) == {
        "result": "Valid",
        "conditions": (
            {
                "type": "poolReconcilerValid",
                "status": "True",
                "reason": "Reconciled",
                "message": "",
                "lastTransitionTime": "t1",
            },
        ),
    }
    assert state_of(good, {POOLS: ()}, "t2") == good
    bad = state_of(good, {POOLS: ("one", "two"), ADVERTISEMENTS: ()}, "t3")
    assert (bad.result, bad.error_summary) == ("Invalid", "one\ntwo")
    worse = state_of(bad, {POOLS: (), ADVERTISEMENTS: ("three",)}, "t4")
    assert (worse.result, worse.error_summary) == ("Invalid", "three")
    told = [
        [(each.type, each.status, each.reason, each.last_transition_time) for each in found.conditions or ()]
        for found in (bad, worse)
    ]
    assert told == [
        [(POOLS, "False", "ConfigurationError", "t3"), (ADVERTISEMENTS, "True", "Reconciled", "t3")],
        [(POOLS, "True", "Reconciled", "t4"), (ADVERTISEMENTS, "False", "ConfigurationError", "t4")],
    ]


def test_of_many_errors_the_configuration_state_tells_as_many_as_the_api_takes() -> None:
    many = state_of(ConfigurationStateStatus(), {POOLS: ("x" * 2000,) * 300}, "t1")
    (condition,) = many.conditions or ()
    assert condition.message == many.error_summary
    assert many.error_summary.endswith("\nand 250 more")
    assert len(many.error_summary) < 32_768
