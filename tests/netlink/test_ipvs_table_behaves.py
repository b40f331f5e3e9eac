"""One suite of questions for two tables: the model that other tests trust, and in the VM the kernel."""

import asyncio
import errno
import re
import subprocess
from collections.abc import AsyncIterator, Callable

import pytest

from strictarp.netlink import genl
from strictarp.netlink import ipvs_encode as encode
from strictarp.netlink.ipvs import (
    FLAG_PERSISTENT,
    FLAG_SCHED2,
    Key,
    RealServer,
    RealServerState,
    Timeouts,
    VirtualServer,
)
from strictarp.netlink.ipvs_parse import parse_config, parse_dest, parse_info, parse_service
from strictarp.netlink.messages import Refusal
from strictarp.netlink.socket import NETLINK_GENERIC, Netlink, Transport
from support.fake_ipvs import FakeIpvs

VIP4, VIP6 = bytes([192, 0, 2, 100]), bytes.fromhex("20010db8" + "00" * 11 + "64")
POD4, POD6 = bytes([198, 51, 100, 17]), bytes.fromhex("20010db8" + "01" * 11 + "11")


Encoder = Callable[..., bytes]


class Table:
    """The questions, asked over a transport."""

    def __init__(self, transport: Transport, family: int) -> None:
        self.transport, self.family = transport, family

    async def do(self, encoder: Encoder, *arguments: object) -> int:
        (refusal,) = await self.transport.request([encoder(self.family, *arguments)])
        return 0 if refusal is None else refusal.errno

    async def services(self) -> list[VirtualServer]:
        found = [
            parse_service(m) for m in await self.transport.dump(encode.encode_dump_services(self.family))
        ]
        return sorted((s for s in found if s is not None), key=lambda s: s.key)

    async def reals(self, key: Key) -> list[RealServerState]:
        answers = await self.transport.dump(encode.encode_dump_dests(self.family, key))
        return sorted(
            (parse_dest(m, len(key[1])) for m in answers), key=lambda r: (r.server.address, r.server.port)
        )


@pytest.fixture(params=["model", pytest.param("kernel", marks=pytest.mark.vm)])
async def table(request: pytest.FixtureRequest) -> AsyncIterator[Table]:
    if request.param == "model":
        transport: Transport = FakeIpvs()
    else:
        await asyncio.to_thread(
            subprocess.run, ["modprobe", "-a", "ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"], check=True
        )
        transport = Netlink(NETLINK_GENERIC)
    family = await genl.resolve(transport, "IPVS")
    asked = Table(transport, family.number)
    assert await asked.do(encode.encode_flush) == 0
    yield asked
    await asked.do(encode.encode_flush)
    transport.close()


@pytest.mark.parametrize(("vip", "pod"), [(VIP4, POD4), (VIP6, POD6)], ids=["IPv4", "IPv6"])
async def test_a_service_lives_through_add_change_and_delete(table: Table, vip: bytes, pod: bytes) -> None:
    server = VirtualServer(6, vip, 80)
    assert await table.do(encode.encode_new_service, server) == 0
    assert await table.do(encode.encode_new_dest, server.key, RealServer(pod, 8080)) == 0
    assert await table.do(encode.encode_new_dest, server.key, RealServer(pod, 8081, 5)) == 0
    assert await table.services() == [server]
    assert await table.reals(server.key) == [
        RealServerState(RealServer(pod, 8080, 1), 0, 0),
        RealServerState(RealServer(pod, 8081, 5), 0, 0),
    ]

    changed = VirtualServer(6, vip, 80, "wrr", FLAG_PERSISTENT, 600)
    assert await table.do(encode.encode_set_service, changed) == 0
    assert await table.do(encode.encode_set_dest, server.key, RealServer(pod, 8080, 0)) == 0
    assert await table.do(encode.encode_del_dest, server.key, RealServer(pod, 8081)) == 0
    assert await table.services() == [changed]
    assert await table.reals(server.key) == [RealServerState(RealServer(pod, 8080, 0), 0, 0)]

    assert await table.do(encode.encode_del_service, server.key) == 0
    assert await table.services() == []
    assert await table.reals(server.key) == []


async def test_same_address_other_port_or_protocol_is_another_virtual_server(table: Table) -> None:
    servers = [VirtualServer(p, VIP4, port) for p in (6, 17, 132) for port in (53, 80)]
    for server in servers:
        assert await table.do(encode.encode_new_service, server) == 0
    assert await table.services() == servers


async def test_flags_are_kept_and_taken_back(table: Table) -> None:
    server = VirtualServer(6, VIP4, 80, "sh", FLAG_SCHED2)
    assert await table.do(encode.encode_new_service, server) == 0
    assert await table.services() == [server]
    plain = VirtualServer(6, VIP4, 80, "sh")
    assert await table.do(encode.encode_set_service, plain) == 0
    assert await table.services() == [plain]


async def test_refusals_have_the_numbers_that_we_explain(table: Table) -> None:
    server, real = VirtualServer(6, VIP4, 80), RealServer(POD4, 8080)
    assert await table.do(encode.encode_set_service, server) == errno.ESRCH
    assert await table.do(encode.encode_del_service, server.key) == errno.ESRCH
    assert await table.do(encode.encode_new_dest, server.key, real) == errno.ESRCH
    assert await table.do(encode.encode_new_service, VirtualServer(6, VIP4, 80, "nosuch")) == errno.ENOENT
    assert await table.do(encode.encode_new_service, server) == 0
    assert await table.do(encode.encode_new_service, server) == errno.EEXIST
    assert await table.do(encode.encode_set_service, VirtualServer(6, VIP4, 80, "nosuch")) == errno.ENOENT
    assert await table.do(encode.encode_set_dest, server.key, real) == errno.ENOENT
    assert await table.do(encode.encode_del_dest, server.key, real) == errno.ENOENT
    assert await table.do(encode.encode_new_dest, server.key, real) == 0
    assert await table.do(encode.encode_new_dest, server.key, real) == errno.EEXIST
    assert await table.do(encode.encode_set_dest, server.key, RealServer(POD4, 8080, 1 << 31)) == errno.ERANGE
    assert await table.services() == [server]


async def test_a_batch_says_of_each_message_what_became_of_it(table: Table) -> None:
    server = VirtualServer(6, VIP4, 80)
    batch = [encode.encode_new_service(table.family, server)] * 2
    batch += [
        encode.encode_new_dest(table.family, server.key, RealServer(POD4, port)) for port in range(1, 151)
    ]
    batch += [encode.encode_del_dest(table.family, server.key, RealServer(POD4, 151))]
    answers = await table.transport.request(batch)
    numbers = [0 if answer is None else answer.errno for answer in answers]
    assert numbers == [0, errno.EEXIST] + [0] * 150 + [errno.ENOENT]
    assert [state.server.port for state in await table.reals(server.key)] == list(range(1, 151))


async def test_a_zero_timeout_keeps_what_is(table: Table) -> None:
    async def ask() -> Timeouts:
        (answer,) = await table.transport.query(encode.encode_get_config(table.family))
        return parse_config(answer)

    assert await table.do(encode.encode_set_config, Timeouts(1000, 130, 310)) == 0
    assert await ask() == Timeouts(1000, 130, 310)
    assert await table.do(encode.encode_set_config, Timeouts(0, 99, 0)) == 0
    assert await ask() == Timeouts(1000, 99, 310)
    assert await table.do(encode.encode_set_config, Timeouts(900, 120, 300)) == 0


async def test_one_virtual_server_can_be_asked_for_alone(table: Table) -> None:
    server = VirtualServer(17, VIP6, 53)
    assert await table.do(encode.encode_new_service, server) == 0
    (answer,) = await table.transport.query(encode.encode_get_service(table.family, server.key))
    assert parse_service(answer) == server
    with pytest.raises(Refusal) as caught:
        await table.transport.query(encode.encode_get_service(table.family, (6, VIP6, 53)))
    assert caught.value.errno == errno.ESRCH


async def test_the_kernel_tells_its_version(table: Table) -> None:
    (answer,) = await table.transport.query(encode.encode_get_info(table.family))
    info = parse_info(answer)
    assert info.version >= (1, 2, 0)
    assert info.connection_table >= 256


@pytest.mark.vm
@pytest.mark.parametrize("table", ["kernel"], indirect=True)
async def test_ipvsadm_shows_what_we_programmed(table: Table) -> None:
    for vip, pod in ((VIP4, POD4), (VIP6, POD6)):
        server = VirtualServer(6, vip, 80, "wrr", FLAG_PERSISTENT, 600)
        assert await table.do(encode.encode_new_service, server) == 0
        assert await table.do(encode.encode_new_dest, server.key, RealServer(pod, 8080, 7)) == 0
    shown = await asyncio.to_thread(
        subprocess.run, ["ipvsadm", "-Ln"], capture_output=True, text=True, check=True
    )
    lines = [re.sub(r"\s+", " ", line).strip() for line in shown.stdout.splitlines()[3:]]
    assert lines == [
        "TCP 192.0.2.100:80 wrr persistent 600",
        "-> 198.51.100.17:8080 Masq 7 0 0",
        "TCP [2001:db8::64]:80 wrr persistent 600",
        "-> [2001:db8:101:101:101:101:101:111]:8080 Masq 7 0 0",
    ]
