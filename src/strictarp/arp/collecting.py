"""Facts of the namespace that this process is in, read by netlink and from /proc. Thin."""

from __future__ import annotations

import contextlib
from pathlib import Path

from strictarp.arp.facts import Host
from strictarp.arp.gathering import CONF_KEYS, Told, gather, is_merged
from strictarp.netlink import look, policy
from strictarp.netlink.messages import Refusal
from strictarp.netlink.rtnl_encode import encode_dump_links
from strictarp.netlink.rtnl_parse import parse_link, parse_neighbour
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink, Transport
from strictarp.netlink.stacking import parse_stacking
from strictarp.sysctl import files

FIB_TRIE = Path("/proc/thread-self/net/fib_trie")
"""Not /proc/net: that shows the namespace of the process's first thread."""
_NFT_FAMILIES = {policy.FAMILY_ARP: "arp", policy.FAMILY_NETDEV: "netdev", policy.FAMILY_BRIDGE: "bridge"}


async def collect() -> Host:
    """The facts. Raises OSError, DumpInterrupted, Refusal, SysctlError."""
    async with Netlink(NETLINK_ROUTE) as route:
        return gather(await _ask(route))


async def _ask(route: Transport) -> Told:
    messages = await route.dump(encode_dump_links())
    links = [(parse_link(message), parse_stacking(message)) for message in messages]
    names = [link.name for link, _ in links]
    proxies = [parse_neighbour(message) for message in await route.dump(policy.encode_dump_proxies())]
    return Told(
        links=links,
        addresses=await look.addresses(route, 4),
        routes=await look.routes(route, 4),
        rules=[policy.parse_rule(message) for message in await route.dump(policy.encode_dump_rules())],
        proxies=[each for each in proxies if each is not None],
        sysctls=files.snapshot(["all", "default", *names], CONF_KEYS),
        proxy_delay=_proxy_delays(names),
        merged=_merged(),
    )


def _proxy_delays(names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        with contextlib.suppress(files.Missing):
            found[name] = files.read_int(f"net.ipv4.neigh.{name.replace('.', '/')}.proxy_delay")
    return found


def _merged() -> bool:
    with FIB_TRIE.open(encoding="ascii") as lines:
        return is_merged(lines)


async def nft_tables() -> tuple[str, ...]:
    """Names of the nftables tables that may meet ARP, such as "arp guard"; none without nftables."""
    found: list[str] = []
    for family, word in _NFT_FAMILIES.items():
        try:
            async with Netlink(policy.NETLINK_NETFILTER) as netfilter:
                messages = await netfilter.dump(policy.encode_dump_nft_tables(family))
        except (Refusal, OSError):
            continue
        found += [f"{word} {policy.parse_nft_table(message)}" for message in messages]
    return tuple(found)
