"""Hypothesis strategies for addresses, virtual servers and real servers over a tiny domain."""

from __future__ import annotations

from hypothesis import strategies as st

from strictarp.netlink.ipvs import RealServer, VirtualServer

ipv4 = st.binary(min_size=4, max_size=4)
ipv6 = st.binary(min_size=16, max_size=16)
addresses = ipv4 | ipv6
ports = st.integers(0, 65535)
protocols = st.sampled_from([6, 17, 132])


def virtual_servers(address: st.SearchStrategy[bytes] = addresses) -> st.SearchStrategy[VirtualServer]:
    return st.builds(
        VirtualServer,
        protocol=protocols,
        address=address,
        port=ports,
        scheduler=st.sampled_from(["rr", "wrr", "lc", "wlc", "sh", "mh"]),
        flags=st.sampled_from([0, 0x1, 0x10, 0x11]),
        timeout=st.integers(0, 86400),
    )


def real_servers(address: st.SearchStrategy[bytes] = addresses) -> st.SearchStrategy[RealServer]:
    return st.builds(RealServer, address=address, port=ports, weight=st.integers(0, 65535))
