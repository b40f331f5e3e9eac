"""Elements of Services with strange but usable addresses, on the running kernel: loaded, and read back.

One element that nft refuses would keep those of other Services away, and one that it shows otherwise would be
repaired for ever.
"""

import ipaddress
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strictarp.lab import namespaces
from strictarp.proxy.config import Config
from strictarp.proxy.nft_listing import parse_listings
from strictarp.proxy.nftables import FAMILIES, TABLE, change_elements, whole_table
from strictarp.proxy.operations import ChangeSets
from support.planning import HERE, HERE6, plan
from support.proxy_objects import endpoint_slice, service

pytestmark = pytest.mark.netns
four = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
six = st.one_of(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**33),  # ::a.b.c.d
    st.integers(0, 2**32 - 1).map(lambda n: n | 0xFFFF << 32),  # ::ffff:a.b.c.d
    st.integers(0, 2**32 - 1).map(lambda n: n | 0x64FF9B << 96),
).map(lambda n: str(ipaddress.IPv6Address(n)))
addresses = four | six
ranges = st.tuples(four, st.integers(0, 32)).map(lambda r: f"{r[0]}/{r[1]}") | st.tuples(
    six, st.integers(0, 128)
).map(lambda r: f"{r[0]}/{r[1]}")
MAPPED = "::ffff:192.0.2.1"


@pytest.fixture(scope="module")
def space() -> Iterator[namespaces.Namespace]:
    made = namespaces.create("nft")
    yield made
    made.close()


@settings(max_examples=12)
@given(
    some=st.lists(addresses, min_size=1, max_size=6),
    allowed=st.lists(ranges, max_size=8),
    protocol=st.sampled_from(["TCP", "UDP", "SCTP"]),
    port=st.integers(1, 65535),
)
@example(some=[MAPPED, "::2:0"], allowed=["::1:0/112", f"{MAPPED}/128", "1.2.3.4/7"], protocol="SCTP", port=1)
@example(some=[MAPPED, "1.2.3.4"], allowed=["::/0", "0.0.0.0/0", "::/1"], protocol="TCP", port=65535)
def test_every_element_is_taken_and_shown_as_it_was_given(
    space: namespaces.Namespace, some: list[str], allowed: list[str], protocol: str, port: int
) -> None:
    ends = [{"name": "p", "port": port, "protocol": protocol}]
    made = plan(
        service(
            "odd", "203.0.113.10", clusterIPs=["203.0.113.10", "2001:db8:9::10"], type="LoadBalancer",
            ports=[{**ends[0], "nodePort": port}], ingress=some, externalIPs=some,
            loadBalancerSourceRanges=allowed,
        ),
        endpoint_slice("odd", [(address, "node1") for address in some], ports=ends),
        endpoint_slice("odd", [(address, "node1") for address in some], ports=ends, kind="IPv6", name="six"),
        addresses=(HERE, HERE6),
    )  # fmt: skip
    elements = {(name, element) for name, found in made["sets"].items() for element in found}
    namespaces.run(space, ["nft", whole_table(Config(), (), elements)])
    assert _listed(space) == elements
    namespaces.run(space, ["nft", change_elements(ChangeSets(remove=tuple(elements)))])
    assert _listed(space) == set()
    namespaces.run(space, ["nft", change_elements(ChangeSets(add=tuple(elements)))])
    assert _listed(space) == elements


def _listed(space: namespaces.Namespace) -> set[tuple[str, str]]:
    argv = [["nft", "-j", "list", "table", family, TABLE] for family in FAMILIES.values()]
    return set(parse_listings([namespaces.run(space, each).stdout.encode() for each in argv]).elements)
