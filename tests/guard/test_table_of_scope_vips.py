"""The nftables table as text, its changes, and what the model makes of it."""

import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.arp.addresses import select
from strictarp.arp.announcing import solicit
from strictarp.arp.deciding import decide
from strictarp.arp.facts import VIP_DEVICE, Address, Device, Host
from strictarp.arp.nft import Ruleset
from strictarp.arp.nft_parse import parse_nft
from strictarp.arp.packets import Packet
from strictarp.arp.switching import Scope, switched
from strictarp.arp.vip_table import (
    Sender,
    VipTable,
    change_script,
    load_script,
    nameable,
    table_text,
    vip_table,
)
from strictarp.guard.table import same

VIPS = (0x0A600001, 0xC0000264)
ASKER = bytes.fromhex("020000000099")


def host_of(*addresses: Address, standin_first: bool = False) -> Host:
    nic = Device("eth0", bytes.fromhex("020000000001"))
    other = Device("eth1", bytes.fromhex("020000000002"))
    standin = Device(VIP_DEVICE, bytes.fromhex("020000000003"), arp=False)
    devices = (standin, nic, other) if standin_first else (nic, other, standin)
    held = tuple(Address(VIP_DEVICE, vip, vip, 32) for vip in VIPS)
    return Host(devices, (*addresses, *held))


def address(text: int, prefix: int, **more: object) -> Address:
    return Address("eth0", text, more.pop("peer", text), prefix, **more)  # type: ignore[arg-type]


ADDRESSES = st.lists(
    st.builds(
        lambda local, prefix, scope, secondary: address(local, prefix, scope=scope, secondary=secondary),
        st.sampled_from((0xC000020B, 0x0A000001, 0x0A000102, 0xAC100001)),
        st.sampled_from((0, 8, 24, 31, 32)),
        st.sampled_from((0, 200, 253, 254)),
        st.booleans(),
    ),
    max_size=4,
    unique_by=lambda each: each.local,
)


@given(ADDRESSES, st.sampled_from((0xC0000201, 0x0A000009, 0x0A000103, 0x08080808)), st.booleans())
def test_the_sender_is_what_arp_announce_2_would_choose(
    held: list[Address], target: int, standin_first: bool
) -> None:
    host = host_of(*held, standin_first=standin_first)
    sent = solicit(switched(host, Scope.VIPS, ["eth0"]), "eth0", target, VIPS[0])
    assert sent is not None
    chosen = select(host, "eth0", target)
    # The kernel may lend a Service IP to an interface without an address; the table never does.
    assert sent.sender_ip == (chosen if chosen not in VIPS else 0)


@given(
    st.sets(st.integers(1 << 24, (1 << 32) - 1), max_size=6),
    st.sets(st.integers(1 << 24, (1 << 32) - 1), max_size=6),
)
def test_a_change_touches_only_what_differs(before: set[int], after: set[int]) -> None:
    senders = (("eth0", (Sender(0, 0, 0xC000020B),)),)
    old, new = (VipTable(frozenset(vips), senders) for vips in (before, after))
    script = change_script(old, new)
    assert script.count("\n") == bool(before - after) + bool(after - before)
    assert ("delete table" in script) is False
    assert change_script(old, msgspec.structs.replace(new, senders=())) == load_script(
        msgspec.structs.replace(new, senders=())
    )


def test_other_interfaces_and_other_addresses_are_not_touched() -> None:
    host = host_of(address(0xC000020B, 24))
    after = switched(host, Scope.VIPS, ["eth0"])
    for name, target, silent in (
        ("eth0", VIPS[1], True),
        ("eth1", VIPS[1], False),
        ("eth0", 0xC000020B, False),
    ):
        packet = Packet(0xC0000201, target, ASKER, source=ASKER)
        filtered = decide(after, name, packet).rule == "filtered-input"
        assert filtered is silent


def test_replies_pass_and_an_address_that_is_the_nodes_own_too() -> None:
    host = host_of(address(0xC000020B, 24), address(VIPS[1], 32))
    assert host.vips == {VIPS[0]}
    after = switched(host, Scope.VIPS, ["eth0"])
    for target, operation, silent in ((VIPS[0], 2, False), (VIPS[0], 1, True), (VIPS[1], 1, False)):
        packet = Packet(0xC0000201, target, ASKER, source=ASKER, operation=operation)
        assert (decide(after, "eth0", packet).rule == "filtered-input") is silent


def test_switching_twice_is_switching_once() -> None:
    host = host_of(address(0xC000020B, 24))
    once = switched(host, Scope.VIPS, ["eth0"])
    assert switched(once, Scope.VIPS, ["eth0"]).nft == once.nft


@pytest.mark.parametrize(
    ("name", "good"), [("eth0.100", True), ("wg-0@x", True), ('a"b', False), ("eth*", False)]
)
def test_names_that_nft_would_take_otherwise_are_left_out(name: str, good: bool) -> None:
    assert nameable(name) is good


LISTED = """table arp strictarp {
\tset vips {
\t\ttype ipv4_addr
\t\telements = { 192.0.2.100, 10.96.0.1 }
\t}

\tchain in {
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname "eth0" arp operation request arp daddr ip @vips drop
\t}

\tchain out {
\t\ttype filter hook output priority filter; policy accept;
\t\toifname "eth0" arp operation request arp saddr ip @vips arp daddr ip NETWORK arp saddr ip set 192.0.2.11
\t\toifname "eth0" arp operation request arp saddr ip @vips arp saddr ip set 192.0.2.11
\t}
}
""".replace("NETWORK", "192.0.2.0/24")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("drop", "accept"),
        ("policy accept", "policy drop"),
        ("192.0.2.100, ", ""),
        ("192.0.2.100, ", "192.0.2.101, 192.0.2.100, "),
        ("set 192.0.2.11", "set 192.0.2.12"),
        ("operation request", "operation reply"),
        ("hook input priority filter", "hook input priority 5"),
        (' iifname "eth0" ', ' iifname "eth1" '),
        ("chain out", "chain more {\n}\nchain out"),
        ("drop\n", "drop\n\t\tnonsense that we do not know\n"),
        (LISTED, ""),
    ],
)
def test_what_somebody_changed_in_the_table_is_seen(old: str, new: str) -> None:
    wanted = vip_table(host_of(address(0xC000020B, 24)), ["eth0"])
    assert same(LISTED, wanted)
    changed = LISTED.replace(old.strip(" "), new.strip(" "), 1)
    assert changed != LISTED
    assert not same(changed, wanted)


def test_the_model_reads_what_it_wrote() -> None:
    for held in ((), (address(0xC000020B, 24), address(0x0A000001, 32))):
        wanted = vip_table(host_of(*held), ["eth0", "eth1"])
        (table,) = parse_nft(table_text(wanted)).tables
        assert Ruleset((table,)).tables[0].name == "strictarp"
        assert same(table_text(wanted), wanted)


@pytest.mark.netns
def test_nft_takes_every_table(tmp_path: object) -> None:
    for held in ((), (address(0xC000020B, 24), address(0x0A000001, 32), address(0xAC100001, 0))):
        for uplinks in ((), ("eth0",), ("eth0", "eth0.100")):
            wanted = vip_table(host_of(*held), [each for each in uplinks if each != "eth0.100"])
            argv = ["unshare", "--net", "nft", "-c", "-f", "-"]
            subprocess.run(argv, input=load_script(wanted), text=True, check=True)
