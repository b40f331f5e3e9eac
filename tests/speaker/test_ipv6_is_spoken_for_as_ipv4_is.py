"""VIPs of both families in one machine: the same rules, by NDP instead of ARP."""

from __future__ import annotations

import pytest

from strictarp.arp import frames as arp
from strictarp.arp import ndp_frames as ndp
from strictarp.arp.ndp_frames import MalformedNdp, NdpFrame
from strictarp.hello import auth
from strictarp.speaker.actions import Kind
from strictarp.speaker.events import FrameReceived
from strictarp.speaker.settings import MS, SECOND
from support.speakers import (
    CLIENT6,
    CLIENT_MAC,
    GATEWAY6,
    GATEWAY_MAC,
    KEYS,
    VIP,
    VIP6,
    Table,
    address,
)

NEAR = 450 * MS
NONCE = b"nonce678"


def ndp_sent(table: Table, start: int = 0) -> list[NdpFrame]:
    return [ndp.decode(data) for data in table.sent[start:] if data[12:14] == b"\x86\xdd"]


def test_vips_of_both_families_have_owners_and_a_dead_ones_go_on() -> None:
    table = Table(vips=(VIP, VIP6)).settled()
    for vip in (VIP, VIP6):
        assert table.owners(vip) == table.first(vip)[:1]
    (gone,) = table.owners(VIP6)
    table.kill(gone)
    died = table.now
    table.after(NEAR + 60 * MS)
    assert table.owners(VIP6) == [name for name in table.first(VIP6) if name != gone][:1]
    (report,) = [each for time, _, each in table.reports if time > died and each.kind is Kind.TOOK_OVER
                 and each.address == VIP6]  # fmt: skip
    assert report.node == gone


def test_a_client_gets_an_answer_that_overrides_what_it_has() -> None:
    table = Table(vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    machine = table.machines[owner]
    for asked, to in (
        (ndp.solicit(CLIENT_MAC, CLIENT6, VIP6), CLIENT_MAC),
        (ndp.solicit(CLIENT_MAC, CLIENT6, VIP6, to=table.macs[owner]), CLIENT_MAC),
        (_without_mac(ndp.solicit(CLIENT_MAC, CLIENT6, VIP6, to=table.macs[owner])), CLIENT_MAC),
    ):
        found = machine.answer(asked, table.now)
        assert found is not None
        assert found.address == VIP6
        told = ndp.decode(found.data)
        assert (told.destination, told.receiver, told.target) == (to, CLIENT6, VIP6)
        assert (told.solicited, told.override, told.router) == (True, True, False)
        assert told.mac == table.macs[owner]
        assert told.sender == VIP6
        by_step = machine.step(FrameReceived(asked), table.now)
        assert found in by_step
    for other in set(table.machines) - {owner}:
        assert table.machines[other].answer(ndp.solicit(CLIENT_MAC, CLIENT6, VIP6), table.now) is None


def _without_mac(data: bytes) -> bytes:
    """A unicast question may leave its own MAC out (RFC 4861 4.3)."""
    asked = ndp.decode(data)
    return ndp.encode(
        NdpFrame(asked.destination, asked.source, asked.kind, asked.sender, asked.receiver, asked.target)
    )


def test_a_host_that_tests_whether_the_address_is_taken_learns_that_it_is() -> None:
    table = Table(vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    found = table.machines[owner].answer(ndp.probe(CLIENT_MAC, VIP6), table.now)
    assert found is not None
    told = ndp.decode(found.data)
    assert (told.destination, told.receiver, told.solicited) == (ndp.ALL_NODES_MAC, ndp.ALL_NODES, False)
    assert told.mark == b""


def test_a_marked_probe_gets_the_tag_that_only_a_speaker_can_give() -> None:
    table = Table(vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    mac = table.macs[owner]
    found = table.machines[owner].answer(ndp.probe(CLIENT_MAC, VIP6, nonce=NONCE), table.now)
    assert found is not None
    assert auth.is_mark(KEYS, ndp.decode(found.data).mark, nonce=NONCE, address=VIP6, mac=mac)


@pytest.mark.parametrize(
    "asked",
    [
        ndp.solicit(CLIENT_MAC, CLIENT6, VIP6)[:-1],
        ndp.solicit(CLIENT_MAC, CLIENT6, address("2001:db8::101")),
        ndp.solicit(CLIENT_MAC, VIP6, VIP6),
        ndp.unsolicited(CLIENT_MAC, VIP6),
        ndp.encode(NdpFrame(b"\2" * 6, CLIENT_MAC, ndp.SOLICITATION, CLIENT6, VIP6, VIP6)),
        ndp.encode(NdpFrame(ndp.ALL_NODES_MAC, CLIENT_MAC, ndp.SOLICITATION, CLIENT6, CLIENT6, VIP6)),
        arp.request(CLIENT_MAC, b"\1\2\3\4", VIP),
    ],
)
def test_what_asks_not_for_an_own_vip_is_not_answered(asked: bytes) -> None:
    table = Table(vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    machine = table.machines[owner]
    assert machine.answer(asked, table.now) is None
    table.inject(owner, asked)
    assert table.owners(VIP6) == [owner]


def test_an_owner_announces_at_the_same_times_as_by_arp_and_to_who_asked() -> None:
    table = Table(vips=(VIP6,), gateway6=GATEWAY6)
    table.show()
    table.ask(VIP6)
    table.after(1200 * MS)
    start = len(table.sent)
    (owner,) = table.owners(VIP6)
    table.after(6 * SECOND)
    frames = ndp_sent(table, start)
    to_all = [each for each in frames if each.kind == ndp.ADVERTISEMENT and each.receiver == ndp.ALL_NODES]
    assert len(to_all) == 4, "after the first one"
    for each in to_all:
        assert (each.target, each.mac, each.override, each.solicited) == (
            VIP6,
            table.macs[owner],
            True,
            False,
        )
    directed = [each for each in frames if each.kind == ndp.SOLICITATION and each.sender == VIP6]
    assert {(each.target, each.destination) for each in directed} == {
        (CLIENT6, CLIENT_MAC),
        (GATEWAY6, GATEWAY_MAC),
    }
    assert all(each.mac == table.macs[owner] for each in directed)


def test_a_claim_asks_as_nobody_and_the_gateway_as_itself() -> None:
    table = Table(vips=(VIP6,), gateway=None, gateway6=GATEWAY6)
    table.show()
    table.after(1300 * MS)
    (owner,) = table.owners(VIP6)
    asked = [each for each in ndp_sent(table) if each.kind == ndp.SOLICITATION]
    probes = [each for each in asked if each.source == table.macs[owner] and each.target == VIP6]
    assert [each.is_probe and len(each.mark) for each in probes] == [8, 8, 8]
    gateways = [each for each in asked if each.target == GATEWAY6 and each.sender != VIP6]
    assert gateways
    assert not any(each.is_probe for each in gateways), "a probe could make a router give its address up"
    assert all(each.mac == each.source for each in gateways)


def test_a_foreign_host_that_has_the_address_ends_the_claim_and_is_named() -> None:
    table = Table(vips=(VIP6,))
    mac = b"\x02\0\0\0\0\x66"
    table.foreign = {VIP6: mac}
    table.show()
    table.after(4 * SECOND)
    assert table.owners(VIP6) == []
    assert {report.mac for report in table.reported(Kind.ADDRESS_CONFLICT)} == {mac}
    table.foreign = {}
    table.after(4 * SECOND)
    assert len(table.owners(VIP6)) == 1


def test_another_that_advertises_an_owned_address_is_reported_and_moves_nothing() -> None:
    table = Table(vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    for _ in range(3):
        table.inject(owner, ndp.unsolicited(b"\x02\0\0\0\0\x66", VIP6))
        table.after(50 * MS)
    (report,) = table.reported(Kind.ADDRESS_CONFLICT)
    assert (report.address, report.mac) == (VIP6, b"\x02\0\0\0\0\x66")
    assert table.owners(VIP6) == [owner]


def test_a_peer_whose_hellos_are_lost_still_objects_by_its_marked_advertisement() -> None:
    table = Table(("a", "b"), vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    (other,) = set(table.machines) - {owner}
    table.deaf_to_hellos.add((owner, other))
    table.after(3 * SECOND)
    assert table.owners(VIP6) == [owner]
    assert any(each.detail == "a speaker answers for it" for each in table.reported(Kind.CLAIM_LOST, other))


def test_a_lone_node_asks_the_ipv6_gateway_whether_the_wire_lives() -> None:
    table = Table(("a", "b"), vips=(VIP6,), gateway=None, gateway6=GATEWAY6).settled()
    (owner,) = table.owners(VIP6)
    (other,) = set(table.machines) - {owner}
    table.kill(owner)
    table.gateway_answers = False
    table.after(2 * SECOND)
    assert table.owners(VIP6) == []
    table.gateway_answers = True
    table.after(2 * SECOND)
    assert table.owners(VIP6) == [other]


def test_malformed_advertisements_are_counted_and_change_nothing() -> None:
    table = Table(vips=(VIP6,)).settled()
    (owner,) = table.owners(VIP6)
    whole = ndp.unsolicited(b"\x02\0\0\0\0\x66", VIP6)
    for cut in range(14, len(whole)):
        table.inject(owner, whole[:cut])
        with pytest.raises(MalformedNdp):
            ndp.decode(whole[:cut])
    counters = table.machines[owner].counters
    assert sum(count for why, count in counters.items() if why.startswith("ndp: ")) == len(whole) - 14
    assert table.reported(Kind.ADDRESS_CONFLICT) == []
    assert table.owners(VIP6) == [owner]
