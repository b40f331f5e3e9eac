"""The proxy's strictARP: asserted while wanted, put back when not, never touched without a journal."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from strictarp.arp.switching import Scope
from strictarp.cluster.nodes import judge
from strictarp.errors import UserError
from strictarp.guard.settings import PROXY, Settings
from strictarp.lab import namespaces
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from strictarp.proxy.operations import BindAddress
from strictarp.proxy.strictarp import DRIFTED, LEFT, RESTORED, StrictArp
from strictarp.sysctl import files
from support.guarding import NODE, OTHER_VIP, VIP, Node, inside, node, until
from support.segment import needs_root

pytestmark = [needs_root, pytest.mark.netns]
Said = list[tuple[str, str]]
IGNORE = "net.ipv4.conf.all.arp_ignore"


@contextlib.asynccontextmanager
async def strictarp(
    folder: Path, scope: str = "all"
) -> AsyncIterator[tuple[StrictArp, list[tuple[str, str]]]]:
    said: list[tuple[str, str]] = []
    made = StrictArp(
        Settings(Scope(scope), state=folder, owner=PROXY, host_root=folder),
        lambda reason, text: said.append((reason, text)),
    )
    try:
        yield made, said
    finally:
        await made.close()


async def document(made: StrictArp, *, requested: bool) -> dict[str, object]:
    async with Netlink(NETLINK_ROUTE) as route:
        links = await look.links(route)
    return dict(json.loads(msgspec.json.encode(made.document(links, requested=requested))))


def test_a_change_is_undone_told_once_and_stands_in_the_status(tmp_path: Path) -> None:
    (tmp_path / "etc/sysctl.d").mkdir(parents=True)
    (tmp_path / "etc/sysctl.d/50-old.conf").write_text("# why?\nnet.ipv4.conf.all.arp_ignore = 0\n")
    with node(VIP) as made:

        async def work() -> None:
            async with strictarp(tmp_path) as (arp, said):
                await arp.want(strict=True)
                for _ in range(2):
                    files.write(IGNORE, 0)
                    await until(lambda: files.read_int(IGNORE) == 1, "set again")
                await asyncio.sleep(0.1)
                ((reason, line),) = said
                assert reason == DRIFTED
                assert "/etc/sysctl.d/50-old.conf:2 sets net.ipv4.conf.all.arp_ignore = 0" in line
                told = await document(arp, requested=True)
                assert (told["scope"], told["drifts"], told["inForce"]) == ("all", 2, True)
                assert told["uplinks"]["eth0"]["inForce"] is True  # type: ignore[index]
                assert told["lastDrift"]["what"] == IGNORE  # type: ignore[index]
                assert "50-old.conf" in told["lastDrift"]["culprits"][0]  # type: ignore[index]
                answer = (200, msgspec.json.encode(told))
                assert judge("node1", NODE, answer, wanted=True).verdict == "right"
                assert (arp.drifts(), arp.in_force()) == (2, 1.0)

        inside(made, work)


def test_switched_off_it_puts_back_what_was_there(tmp_path: Path) -> None:
    with node(VIP) as made:
        before = made.values()

        async def work() -> None:
            async with strictarp(tmp_path) as (arp, said):
                await arp.want(strict=True)
                assert files.read_int(IGNORE) == 1
                await arp.want(strict=False)
                assert made.values() == before
                assert [reason for reason, _ in said] == [RESTORED]
                told = await document(arp, requested=False)
                assert f"{IGNORE} 1 -> 0" in told["restored"]  # type: ignore[operator]
                await arp.want(strict=True)
                assert files.read_int(IGNORE) == 1
            async with strictarp(tmp_path) as (arp, said):  # restarted
                await arp.want(strict=False)
                assert made.values() == before
                assert [reason for reason, _ in said] == [RESTORED]

        inside(made, work)


def test_without_a_journal_nothing_is_touched(tmp_path: Path) -> None:
    with node(VIP) as made:

        async def work() -> None:
            files.write(IGNORE, 1)  # somebody's own
            async with strictarp(tmp_path / "lib") as (arp, said):
                await arp.want(strict=False)
                assert files.read_int(IGNORE) == 1
                assert said == []
                assert not (tmp_path / "lib").exists()
                await arp.want(strict=True)
                (tmp_path / "lib/proxy.json").unlink()
                await arp.want(strict=False)
                assert [reason for reason, _ in said] == [LEFT]
                assert files.read_int(IGNORE) == 1

        inside(made, work)


def test_a_bad_journal_stops_strictarp_but_not_a_proxy_without_it(tmp_path: Path) -> None:
    (tmp_path / "proxy.json").write_text("{")
    with node(VIP) as made:
        before = made.values()

        async def work() -> None:
            async with strictarp(tmp_path) as (arp, said):
                with pytest.raises(UserError, match=r"proxy\.json: cannot be read"):
                    await arp.want(strict=True)
                await arp.want(strict=False)
                assert [reason for reason, _ in said] == [LEFT]
                assert "nothing was changed" in said[0][1]

        inside(made, work)
        assert made.values() == before
        assert (tmp_path / "proxy.json").read_text() == "{"


@pytest.mark.parametrize("scope", ["uplinks", "vips"])
def test_in_other_scopes_the_uplinks_decide(tmp_path: Path, scope: str) -> None:
    with node(VIP) as made:
        namespaces.ip(made.space, "link add cali1 type bridge", "link set cali1 up")

        async def work() -> None:
            async with strictarp(tmp_path, scope) as (arp, _):
                await arp.want(strict=True)
                told = await document(arp, requested=True)
                assert (told["inForce"], list(told["uplinks"])) == (True, ["eth0"])  # type: ignore[call-overload]
                assert files.read_int(IGNORE) == 0
                assert made.ask(VIP) == []
                assert _table(made) == (scope == "vips")
                await arp.want(strict=False)
                assert len(made.ask(VIP)) == 1
                assert not _table(made)

        inside(made, work)


def test_a_service_ip_is_silenced_before_it_is_bound(tmp_path: Path) -> None:
    with node(VIP) as made:

        async def work() -> None:
            async with strictarp(tmp_path, "vips") as (arp, _):
                await arp.want(strict=True)
                before = [OTHER_VIP, "203.0.113.6"]
                await arp.expect(BindAddress(socket.inet_aton(each)) for each in before)
                await arp.expect([BindAddress(bytes(16))])
                listed = namespaces.run(made.space, ["nft", "list", "table", "arp", "strictarp-proxy"]).stdout
                assert all(each in listed for each in before)
                namespaces.ip(made.space, f"addr add {OTHER_VIP}/32 dev kube-ipvs0")
                assert made.ask(OTHER_VIP) == []
                await asyncio.sleep(5.3)  # the other one never came
                listed = namespaces.run(made.space, ["nft", "list", "table", "arp", "strictarp-proxy"]).stdout
                assert (OTHER_VIP in listed, before[1] in listed) == (True, False)

        inside(made, work)


def _table(made: Node) -> bool:
    return "table arp strictarp-proxy" in namespaces.run(made.space, ["nft", "list", "tables"]).stdout


def test_the_nodes_own_subnet_is_an_uplink(tmp_path: Path) -> None:
    """A node address on another interface than the default route's."""
    with node(VIP) as made:
        namespaces.ip(
            made.space, "link add lan type veth peer name lanp", "link set lan up", "link set lanp up",
            "addr add 198.51.100.3/24 dev lan",
        )  # fmt: skip

        async def work() -> None:
            async with strictarp(tmp_path, "uplinks") as (arp, _):
                await arp.want(strict=True)
                assert made.value("lan", "arp_ignore") == 0
                arp.learn([bytes((198, 51, 100, 3)), bytes(16)])
                await until(lambda: made.value("lan", "arp_ignore") == 1, "covered")

        inside(made, work)
