"""The incremental picture equals one that is made afresh, whatever the order of changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.speaker.candidates import Why
from strictarp.speaker.links import Place
from strictarp.speaker.membership import Presence
from strictarp.speaker.picture import Picture, members, vips
from support.speaker_objects import advertisement, facts, node, pool, service, slice_of

ETH0 = Place(2, "eth0", bytes.fromhex("020000000001"), True, ((bytes([192, 0, 2, 11]), 24),))
ETH1 = Place(3, "eth1", bytes.fromhex("020000000002"), True, ((bytes([192, 0, 2, 12]), 24),))
VIP = bytes([192, 0, 2, 100])
READY = {"ready": True}


def picture_of(*, services: list, slices: list, known: object = None) -> Picture:
    made = Picture()
    made.put_facts(known or facts())
    for each in services:
        made.put_service(each.key, each)
    for each in slices:
        made.put_slice(None, each)
    made.judge()
    return made


def test_each_vip_is_shown_where_its_segment_is_with_the_order_of_election() -> None:
    found = vips(picture_of(services=[service()], slices=[slice_of()]).verdicts, [ETH0], "node1")
    vip = found[2][VIP]
    assert {each.node for each in vip.candidates} == {"node1", "node2", "node3"}
    assert vip.eligible


def test_a_node_out_of_the_election_sees_the_vip_and_may_not_own_it() -> None:
    known = facts(nodes=[node("node1", NetworkUnavailable="True")])
    made = picture_of(services=[service()], slices=[slice_of()], known=known)
    vip = vips(made.verdicts, [ETH0], "node1")[2][VIP]
    assert not vip.eligible
    assert "node1" not in {each.node for each in vip.candidates}


def test_interfaces_of_the_advertisement_choose_the_link() -> None:
    known = facts(advertisements=[advertisement("x", interfaces=["eth1"])])
    made = picture_of(services=[service()], slices=[slice_of()], known=known)
    found = vips(made.verdicts, [ETH0, ETH1], "node1")
    assert found[2] == {}
    assert found[3][VIP].eligible
    assert not vips(made.verdicts, [ETH0], "node1")[2][VIP].eligible


def test_services_that_share_an_address_have_one_owner_that_both_may_have() -> None:
    local = {"externalTrafficPolicy": "Local"}
    one, two = service("one", **local), service("two", **local)
    slices = [
        slice_of("one", ("node1", READY), ("node2", READY)),
        slice_of("two", ("node2", READY), ("node3", READY)),
    ]
    made = picture_of(services=[one, two], slices=slices)
    vip = vips(made.verdicts, [ETH0], "node2")[2][VIP]
    assert ([each.node for each in vip.candidates], vip.eligible) == (["node2"], True)
    assert not vips(made.verdicts, [ETH0], "node1")[2][VIP].eligible
    assert {each.metadata.name for each in made.services_of(VIP)} == {"one", "two"}


def test_members_carry_what_lease_and_node_say() -> None:
    presences = {"node1": Presence("node1", (ETH0.mac,)), "node2": Presence("node2")}
    nodes = {
        "node1": node("node1", address="192.0.2.11", Ready="False"),
        "node2": node("node2", address="203.0.113.9"),
    }
    found = members(presences, nodes, ETH0)
    assert found["node1"].macs == (ETH0.mac,)
    assert found["node1"].address == bytes([192, 0, 2, 11])
    assert found["node1"].not_ready
    assert (found["node2"].address, found["node2"].not_ready) == (b"", False)


def test_a_service_just_deleted_is_not_asked_for_before_it_is_judged() -> None:
    made = picture_of(services=[service("web"), service("mail")], slices=[slice_of("web"), slice_of("mail")])
    address = bytes([192, 0, 2, 100])
    assert [each.metadata.name for each in made.services_of(address)] == ["mail", "web"]
    made.put_service("default/web", None)
    assert [each.metadata.name for each in made.services_of(address)] == ["mail"]
    assert [each.service for each in made.verdicts_on([address])] == ["default/mail", "default/web"]
    made.judge()
    assert [each.service for each in made.verdicts_on([address])] == ["default/mail"]


changes = st.lists(
    st.one_of(
        st.tuples(st.just("service"), st.sampled_from("abc"), st.sampled_from(["100", "101", "gone"])),
        st.tuples(
            st.just("slice"), st.sampled_from(["s1", "s2"]), st.sampled_from(["a", "b", "empty", "gone"])
        ),
        st.tuples(st.just("facts"), st.sampled_from(["few", "many"]), st.just("")),
    ),
    max_size=20,
)


@given(changes)
def test_any_order_of_changes_ends_as_if_made_afresh(script: list[tuple[str, str, str]]) -> None:
    made, services, slices, known = Picture(), {}, {}, facts()
    made.put_facts(known)
    for what, name, value in script:
        if what == "service":
            new = None if value == "gone" else service(name, f"192.0.2.{value}")
            services[f"default/{name}"] = new
            made.put_service(f"default/{name}", new)
        elif what == "slice":
            endpoints = () if value == "empty" else (("node1", READY),)
            fresh = None if value == "gone" else slice_of(value, *endpoints, name=name)
            made.put_slice(slices.get(name), fresh)
            slices[name] = fresh
        else:
            known = facts(members=("node1",) if name == "few" else ("node1", "node2"))
            made.put_facts(known)
        if len(script) % 2:
            made.judge()
    made.judge()
    afresh = picture_of(
        services=[each for each in services.values() if each],
        slices=[each for each in slices.values() if each],
        known=known,
    )
    assert made.verdicts == afresh.verdicts


@pytest.mark.parametrize(
    "pools",
    [(pool("lab", "192.0.2.0/28"),), (pool("lab", "192.0.2.0/2x"),), ()],
    ids=["shrunk", "unreadable", "deleted"],
)
def test_a_live_address_is_announced_until_its_service_has_another(pools: tuple) -> None:
    made = picture_of(services=[service()], slices=[slice_of()])
    before = made.verdicts["default/web"].order
    made.put_facts(facts(pools=pools))
    made.judge()
    assert made.verdicts["default/web"].order == before
    assert ETH0.meets([each for each in made.ranges if each.holds((4, int.from_bytes(VIP)))])
    made.put_service("default/web", service("web", "192.0.2.101"))
    made.judge()
    assert made.verdicts["default/web"].why is Why.NOT_IN_POOL


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Within"}]}]},
        {"ipAddressPoolSelectors": [{"matchLabels": {"no key": "b"}}]},
        {"ipAddressPools": ["other", "other"]},
    ],
    ids=str,
)
def test_an_edit_that_cannot_be_meant_leaves_an_advertisement_as_it_was(spec: dict) -> None:
    made = picture_of(services=[service()], slices=[slice_of()])
    before = made.verdicts["default/web"]
    for _ in range(2):  # what is kept once is kept on
        made.put_facts(facts(advertisements=[advertisement(**spec)]))
        made.judge()
        assert made.verdicts["default/web"] == before
    made.put_facts(facts(advertisements=[advertisement(ipAddressPools=["other"])]))
    made.judge()
    assert made.verdicts["default/web"].why is Why.NO_ADVERTISEMENT
