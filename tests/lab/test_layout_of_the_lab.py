import ipaddress

import pytest

from strictarp.lab import layout


@pytest.mark.parametrize("count", [1, 3, 9])
def test_no_two_hosts_share_an_address_a_mac_or_a_subnet(count: int) -> None:
    hosts = (layout.client(), *layout.nodes(count))
    for value in ("address", "mac", "management", "name"):
        assert len({getattr(host, value) for host in hosts}) == count + 1
    pods = [ipaddress.ip_network(node.pod_subnet) for node in layout.nodes(count)]
    assert len(set(pods)) == count
    assert all(
        ipaddress.ip_address(node.pod_address) in pod
        for node, pod in zip(layout.nodes(count), pods, strict=True)
    )


@pytest.mark.parametrize("count", [0, 10, -1])
def test_a_lab_of_impossible_size_is_refused_with_the_limits(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 9 nodes"):
        layout.nodes(count)


def test_the_pool_lies_in_the_segment_and_meets_no_host() -> None:
    first, last = (ipaddress.ip_address(text) for text in layout.POOL.split("-"))
    assert first in layout.SEGMENT
    assert last in layout.SEGMENT
    hosts = [ipaddress.ip_address(host.address) for host in (layout.client(), *layout.nodes(9))]
    assert not any(first <= host <= last for host in hosts)
    assert not first <= ipaddress.ip_address(layout.UNUSED_ADDRESS) <= last


def test_a_node_routes_to_the_pods_of_all_others_and_to_none_of_its_own() -> None:
    nodes = layout.nodes(3)
    lines = layout.node_routes(nodes[0], nodes)
    assert f"route add {nodes[1].pod_subnet} via {nodes[1].address}" in lines
    assert not any(line.startswith(f"route add {nodes[0].pod_subnet}") for line in lines)
