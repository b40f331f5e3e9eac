"""Facts of the namespace that this process is in, read by netlink and from /proc. Thin."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

from strictarp.arp.facts import Host
from strictarp.arp.gathering import CONF_KEYS, Told, gather, is_merged
from strictarp.arp.nft import NO_RULES, Ruleset, Table
from strictarp.arp.nft_reading import TableTold, read_table
from strictarp.arp.unsupported import Unsupported
from strictarp.netlink import look, nft_dump, policy, qdisc
from strictarp.netlink import traffic_control as tc
from strictarp.netlink.link_conf import parse_conf
from strictarp.netlink.messages import Message, Refusal
from strictarp.netlink.rtnl_encode import encode_dump_links
from strictarp.netlink.rtnl_parse import parse_link, parse_neighbour
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink, Transport
from strictarp.netlink.stacking import parse_stacking
from strictarp.sysctl import files

FIB_TRIE = Path("/proc/thread-self/net/fib_trie")
"""Not /proc/net: that shows the namespace of the process's first thread."""
_NFT_FAMILIES = {
    policy.FAMILY_ARP: "arp",
    policy.FAMILY_NETDEV: "netdev",
    policy.FAMILY_BRIDGE: "bridge",
}


async def collect() -> Host:
    """The facts, without nftables. Raises OSError, DumpInterrupted, Refusal, SysctlError."""
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
        sysctls={**files.snapshot(["all", "default"], CONF_KEYS), **_confs(messages)},
        proxy_delay=_proxy_delays(names),
        merged=_merged(),
        inherit=_inherit(),
    )


def _confs(links: list[Message]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for message in links:
        values = parse_conf(message)
        if values:
            found[parse_link(message).name] = {key: values[key] for key in CONF_KEYS if key in values}
    return found


def _proxy_delays(names: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        with contextlib.suppress(files.Missing):
            found[name] = files.read_int(f"net.ipv4.neigh.{name.replace('.', '/')}.proxy_delay")
    return found


def _inherit() -> int:
    try:
        return files.read_int("net.core.devconf_inherit_init_net")
    except files.Missing:
        return -1


def _merged() -> bool:
    with FIB_TRIE.open(encoding="ascii") as lines:
        return is_merged(lines)


async def nft_rules() -> tuple[Ruleset, tuple[str, ...]]:
    """Rules of nftables that may meet ARP, and what could not be read: "arp guard: expression 'fib'".

    Nothing where the kernel has no nftables. Raises MalformedMessage, DumpInterrupted.
    """
    tables: list[Table] = []
    unread: list[str] = []
    names = dict(socket.if_nameindex())
    try:
        async with Netlink(policy.NETLINK_NETFILTER) as netfilter:
            for number, family in _NFT_FAMILIES.items():
                for told in await _tables(netfilter, number, family):
                    try:
                        tables.append(read_table(told, names))
                    except Unsupported as error:
                        unread.append(f"{family} {told.name}: {error}")
    except Refusal as refusal:
        if refusal.errno in (errno.EPERM, errno.EACCES):
            unread.append("nftables: root is needed")
    except OSError:
        return NO_RULES, ()  # this kernel has no netfilter
    return Ruleset(tuple(tables)), tuple(unread)


async def tc_filters() -> tuple[str, ...]:
    """Filters of `tc` that see ARP, such as "tc eth0 ingress: bpf": what they do is not told by the kernel.

    Raises OSError, Refusal, MalformedMessage, DumpInterrupted.
    """
    names = dict(socket.if_nameindex())
    found: list[str] = []
    async with Netlink(NETLINK_ROUTE) as route:
        dump = route.dump
        qdiscs = [qdisc.parse_qdisc(each) for each in await dump(qdisc.encode_dump_qdiscs())]
        for index in sorted({each.index for each in qdiscs if each.kind in qdisc.FILTERING}):
            for place, word in ((tc.INGRESS, "ingress"), (tc.EGRESS, "egress")):
                filters = [tc.parse_told(each) for each in await dump(tc.encode_dump_filters(index, place))]
                kinds = sorted({each.kind for each in filters if each.meets_arp})
                found += [f"tc {names.get(index, index)} {word}: {kind}" for kind in kinds]
    return tuple(found)


async def _tables(netfilter: Transport, number: int, family: str) -> list[TableTold]:
    dump = netfilter.dump
    listed = [nft_dump.parse_table(each) for each in await dump(policy.encode_dump_nft_tables(number))]
    names = [name for name in listed if name]
    if not names:
        return []
    chains = [nft_dump.parse_chain(each) for each in await dump(nft_dump.encode_dump_chains(number))]
    rules = [nft_dump.parse_rule(each) for each in await dump(nft_dump.encode_dump_rules(number))]
    sets = [nft_dump.parse_set(each) for each in await dump(nft_dump.encode_dump_sets(number))]
    found: list[TableTold] = []
    for name in names:
        own = {each.name: each for each in sets if each.table == name}
        elements = {
            key: nft_dump.parse_elements(await dump(nft_dump.encode_dump_elements(number, name, key)))
            for key in own
        }
        found.append(
            TableTold(
                family,
                name,
                [each for each in chains if each.table == name],
                [each for each in rules if each.table == name],
                own,
                elements,
            )
        )
    return found
