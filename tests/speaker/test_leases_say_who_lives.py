import json

import pytest

from strictarp.speaker.links import Place
from strictarp.speaker.membership import EXPIRE, RENEW, Membership, lease_body, read_presence
from support.speaker_objects import lease

ETH0 = Place(2, "eth0", bytes.fromhex("020000000001"), True, ((bytes([192, 0, 2, 11]), 24),))


def test_what_is_written_is_what_is_read() -> None:
    body = lease_body("node1", [ETH0], "now")
    links = body["metadata"]["annotations"]["strictarp.io/links"]
    presence = read_presence(lease("node1", links=links))
    assert (presence.node, presence.macs, presence.subnets) == ("node1", (ETH0.mac,), ETH0.subnets)


def test_the_last_of_many_vlans_counts_too() -> None:
    """A link that the others do not see would make the node a candidate in its own eyes alone."""
    known = [
        Place(index, f"bond0.{index}", ETH0.mac, True, ((bytes([10, index >> 8, index & 255, 11]), 24),))
        for index in range(1, 501)
    ]
    links = lease_body("node1", known, "now")["metadata"]["annotations"]["strictarp.io/links"]
    assert read_presence(lease("node1", links=links)).subnets == tuple(place.subnets[0] for place in known)


@pytest.mark.parametrize(
    "links", [None, "", "[]", '{"eth0": 5}', '{"eth0": {"mac": "x"}}', '{"e": {"mac": "", "addresses": 3}}']
)
def test_a_lease_that_tells_no_links_excludes_nothing(links: str | None) -> None:
    presence = read_presence(lease("node1", links=links))
    assert (presence.node, presence.macs, presence.subnets) == ("node1", (), None)


def test_an_address_that_is_none_is_refused_as_a_whole() -> None:
    links = json.dumps({"eth0": {"mac": "02:00:00:00:00:01", "addresses": ["192.0.2.300/24"]}})
    assert read_presence(lease("node1", links=links)).subnets is None


def keep_renewing(membership: Membership, name: str, until: float, start: float = 0.0) -> None:
    now = start
    while now <= until:
        membership.see(lease(name, renewed=f"at {now}"), now)
        now += RENEW


def test_a_node_whose_lease_is_not_renewed_is_gone_after_its_time() -> None:
    membership = Membership("me")
    membership.see(lease("other"), 0.0)
    keep_renewing(membership, "me", 60.0)
    assert membership.living(EXPIRE - 0.1).keys() == {"me", "other"}
    assert membership.living(EXPIRE).keys() == {"me"}


def test_the_same_lease_seen_again_is_no_renewal() -> None:
    membership = Membership("me")
    for now in (0.0, 20.0, 39.0):
        membership.see(lease("other", renewed="once"), now)
    keep_renewing(membership, "me", 60.0)
    assert "other" not in membership.living(41.0)


def test_nobody_expires_while_the_own_renewals_are_not_seen() -> None:
    membership = Membership("me")
    membership.see(lease("me", renewed="a"), 0.0)
    membership.see(lease("other", renewed="a"), 0.0)
    assert membership.living(1000.0).keys() == {"me", "other"}
    membership.see(lease("me", renewed="b"), 1001.0)
    assert membership.living(1001.0).keys() == {"me", "other"}, "the other gets its time too"
    keep_renewing(membership, "me", 1060.0, start=1011.0)
    assert membership.living(1050.0).keys() == {"me"}


def test_a_deleted_lease_is_a_speaker_that_left() -> None:
    membership = Membership("me")
    membership.see(lease("other"), 0.0)
    membership.forget(lease("other"))
    assert membership.living(0.0) == {}


def test_only_what_a_lease_says_anew_is_news() -> None:
    membership = Membership("me")
    assert membership.see(lease("other", renewed="1"), 0.0)
    assert not membership.see(lease("other", renewed="2"), 10.0)
    links = '{"eth0": {"mac": "02:00:00:00:00:01", "addresses": ["192.0.2.11/24"]}}'
    assert membership.see(lease("other", renewed="3", links=links), 20.0)
    assert membership.living(20.0)["other"].macs == (ETH0.mac,)


def test_leases_of_others_are_not_ours() -> None:
    foreign = lease("x")
    assert read_presence(foreign) is not None
    renamed = type(foreign)(type(foreign.metadata)(name="strictarp-controller"), foreign.spec)
    assert read_presence(renamed) is None
