"""Chains and rules of nftables by netlink: bad bytes, and the real kernel in a namespace."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.lab import namespaces
from strictarp.netlink import nftables
from strictarp.netlink.messages import MalformedMessage, Message, attribute, nested, text
from strictarp.netlink.nftables import DROP, HOOK_FORWARD, Chain, is_structure, parse_chain, parse_rule
from strictarp.netlink.policy import NETLINK_NETFILTER
from strictarp.netlink.socket import Events, Netlink

HEAD = bytes([2, 0, 0, 0])
HOOK = nested(4, attribute(1, bytes([0, 0, 0, 2])), attribute(2, bytes([255, 255, 255, 251])))
GOOD = (
    HEAD
    + text(1, "filter")
    + text(3, "FORWARD")
    + HOOK
    + attribute(5, bytes(4))
    + attribute(7, b"\x00\x03abc")
)


def _message(payload: bytes, kind: int = 0xA03) -> Message:
    return Message(kind, 0, 0, 0, memoryview(payload))


def test_a_base_chain_has_its_hook_priority_and_policy() -> None:
    assert parse_chain(_message(GOOD)) == Chain(2, "filter", "FORWARD", HOOK_FORWARD, -5, DROP)


@pytest.mark.parametrize(
    ("data", "comment"),
    [
        (b"\x00\x04abc\0", "abc"),
        (b"\x01\x02xx\x00\x03ab\0", "ab"),
        (b"", ""),
        (b"\x01", ""),
        (b"\x05\xff", ""),
    ],
)
def test_the_comment_of_a_rule_is_found_among_other_user_data(data: bytes, comment: str) -> None:
    payload = HEAD + attribute(3, bytes([0, 0, 0, 0, 0, 0, 0, 9])) + attribute(7, data)
    assert parse_rule(_message(payload)) == (9, comment)


@given(st.data())
def test_a_cut_or_changed_message_gives_a_value_or_the_parsers_own_error(data: st.DataObject) -> None:
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    for parse in (parse_chain, parse_rule):
        with contextlib.suppress(MalformedMessage):
            parse(_message(bytes(raw)))


def test_changes_of_set_elements_are_no_change_of_structure() -> None:
    assert [is_structure(_message(b"", 0xA00 | kind)) for kind in (2, 3, 6, 12, 15)] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert not is_structure(_message(b"", 0x103))


@pytest.mark.netns
async def test_the_kernel_tells_chains_rules_and_changes() -> None:
    namespace = namespaces.create("chains")
    with namespaces.entered(namespace):
        events, asked = Events(NETLINK_NETFILTER, (nftables.GROUP,)), Netlink(NETLINK_NETFILTER)
        chain = 'chain FORWARD { type filter hook forward priority -5; policy drop; accept comment "hi"; };'
        namespaces.run(namespace, ["nft", f"table inet filter {{ {chain} chain more {{ }}; }}"])
        assert any(message is not None and is_structure(message) for message in await events.wait())
        found = [parse_chain(message) for message in await asked.dump(nftables.encode_dump_chains())]
        assert found == [Chain(1, "filter", "FORWARD", 2, -5, DROP), Chain(1, "filter", "more")]
        (rule,) = await asked.dump(nftables.encode_dump_rules(found[0]))
        assert parse_rule(rule)[1] == "hi"
        assert await asked.dump(nftables.encode_dump_rules(found[1])) == []
        events.close()
        asked.close()
    namespace.close()
