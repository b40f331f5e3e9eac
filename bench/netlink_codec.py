"""What an IPVS message costs, ours against pyroute2 in the same run; the first sync of a large cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from pyroute2.netlink.generic.ipvs import ipvsmsg

from strictarp.netlink import ipvs_encode, look
from strictarp.netlink.exchange import join
from strictarp.netlink.ipvs import RealServer, VirtualServer
from strictarp.netlink.ipvs_parse import parse_dest, parse_service
from strictarp.netlink.messages import parse_messages
from strictarp.netlink.socket import BATCH, NETLINK_ROUTE, Netlink

_FAMILY = 33
_SERVICES, _REALS_EACH = 10_000, 5


def _microseconds(work: Callable[[], object], times: int) -> float:
    """The best of five rounds, a piece."""
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, time.perf_counter() - start)
    return best / times * 1e6


def _pyroute2(command: int, service: dict[str, object], dest: dict[str, object]) -> bytes:
    message = ipvsmsg()
    message["cmd"], message["version"] = command, 1
    message["header"]["type"], message["header"]["flags"] = _FAMILY, 0x5
    attrs: list[tuple[str, object]] = [
        ("IPVS_CMD_ATTR_SERVICE", {"attrs": [(f"IPVS_SVC_ATTR_{k}", v) for k, v in service.items()]})
    ]
    if dest:
        attrs.append(("IPVS_CMD_ATTR_DEST", {"attrs": [(f"IPVS_DEST_ATTR_{k}", v) for k, v in dest.items()]}))
    message["attrs"] = attrs
    message.encode()
    return bytes(message.data)


def _pyroute2_reads(raw: bytes, nested: str, wanted: str) -> object:
    """It decodes attributes when they are asked for."""
    message = ipvsmsg(raw)
    message.decode()
    return message.get_nested(nested, wanted)


def _against(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> dict[str, object]:
    own, other = _microseconds(ours, 5000), _microseconds(theirs, 200)
    return {
        "figure": name,
        "strictarp_us": round(own, 3),
        "pyroute2_us": round(other, 1),
        "ratio": round(other / own),
    }


def _codec() -> Iterator[dict[str, object]]:
    server = VirtualServer(6, bytes([192, 0, 2, 100]), 80)
    real = RealServer(bytes([198, 51, 100, 17]), 8080)
    key: dict[str, object] = {"AF": 2, "PROTOCOL": 6, "ADDR": "192.0.2.100", "PORT": 80}
    rest = {
        "SCHED_NAME": "rr",
        "FLAGS": {"flags": 0, "mask": 0xFFFFFFFF},
        "TIMEOUT": 0,
        "NETMASK": "255.255.255.255",
    }
    dest = {"ADDR_FAMILY": 2, "ADDR": "198.51.100.17", "PORT": 8080, "FWD_METHOD": 0, "WEIGHT": 1}
    dest |= {"U_THRESH": 0, "L_THRESH": 0}
    new_service = ipvs_encode.encode_new_service(_FAMILY, server)
    new_dest = ipvs_encode.encode_new_dest(_FAMILY, server.key, real)
    yield _against(
        "encode a virtual server",
        lambda: ipvs_encode.encode_new_service(_FAMILY, server),
        lambda: _pyroute2(1, key | rest, {}),
    )
    yield _against(
        "encode a real server",
        lambda: ipvs_encode.encode_new_dest(_FAMILY, server.key, real),
        lambda: _pyroute2(5, key, dest),
    )
    yield _against(
        "parse a virtual server",
        lambda: parse_service(next(parse_messages(new_service))),
        lambda: _pyroute2_reads(new_service, "IPVS_CMD_ATTR_SERVICE", "IPVS_SVC_ATTR_PORT"),
    )
    yield _against(
        "parse a real server",
        lambda: parse_dest(next(parse_messages(new_dest)), 4),
        lambda: _pyroute2_reads(new_dest, "IPVS_CMD_ATTR_DEST", "IPVS_DEST_ATTR_WEIGHT"),
    )


def _first_sync() -> dict[str, object]:
    """All messages of 10,000 virtual servers with 5 real servers each, in batches; nothing is sent."""
    start = time.perf_counter()
    messages: list[bytes] = []
    for n in range(_SERVICES):
        server = VirtualServer(6, bytes([203, 0, n >> 8, n & 255]), 80)
        messages.append(ipvs_encode.encode_new_service(_FAMILY, server))
        for m in range(_REALS_EACH):
            real = RealServer(bytes([198, 51, n & 255, m]), 8080)
            messages.append(ipvs_encode.encode_new_dest(_FAMILY, server.key, real))
    size = sum(len(join(messages[i : i + BATCH], i)) for i in range(0, len(messages), BATCH))
    return {
        "figure": f"encode {_SERVICES} virtual servers with {_REALS_EACH} real servers each",
        "seconds": round(time.perf_counter() - start, 3),
        "messages": len(messages),
        "bytes": size,
    }


async def _round_trips() -> dict[str, object]:
    """Dump the links of this host over and over: the way to the kernel and back, with parsing."""
    async with Netlink(NETLINK_ROUTE) as route:
        count = len(await look.links(route))
        start = time.perf_counter()
        for _ in range(300):
            await look.links(route)
        each = (time.perf_counter() - start) / 300 * 1e6
    return {"figure": f"dump {count} links of the running kernel", "strictarp_us": round(each, 1)}


def run() -> Iterator[dict[str, object]]:
    """Figures a line each: microseconds a message, ratio to pyroute2, seconds for a first sync."""
    yield from _codec()
    yield _first_sync()
    yield asyncio.run(_round_trips())
