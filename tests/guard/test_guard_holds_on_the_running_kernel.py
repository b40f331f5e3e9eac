"""The guard against the running kernel: drift, new uplinks, crashes, and what the kernel tells of itself."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from strictarp.guard import once
from strictarp.guard.guardian import Guardian
from strictarp.guard.keys import Seen, Write
from strictarp.guard.sysctls import Sysctls
from strictarp.lab import namespaces
from strictarp.netlink.socket import NETLINK_ROUTE, Events
from strictarp.sysctl import files
from support.forked import Child
from support.guarding import VIP, guarding, inside, node, settings, until
from support.segment import needs_root

pytestmark = [needs_root, pytest.mark.netns]

ALL_IGNORE, ETH0_IGNORE = "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.eth0.arp_ignore"
_NETCONF_GROUP, _NEWNETCONF = 24, 80


@pytest.mark.parametrize(("scope", "name"), [("all", ALL_IGNORE), ("uplinks", ETH0_IGNORE)])
def test_a_changed_value_is_set_again_within_two_seconds(tmp_path: Path, scope: str, name: str) -> None:
    with node(VIP) as made:
        before = made.values()

        async def work() -> None:
            async with guarding(settings(tmp_path, scope)) as (guardian, drifts):
                assert files.read_int(name) == 1
                for number, value in enumerate((0, 3, 0), 1):
                    files.write(name, value)
                    seconds = await until(lambda: files.read_int(name) == 1, "set again")
                    print(f"{name}={value} set again after {seconds:.2f} s")
                    assert seconds < 2
                    assert [(d.what, d.was, d.again) for d in drifts][-1] == (name, str(value), "1")
                    assert guardian.drifts == {name: number}
                files.write(name, 2)  # stricter: nobody's business
                await asyncio.sleep(1.2)
                assert files.read_int(name) == 2
                assert len(drifts) == 3
                files.write(name, 1)

        inside(made, work)
        with namespaces.entered(made.space):
            assert asyncio.run(once.put_back(settings(tmp_path))).left == ()
        assert made.values() == before
        assert not (tmp_path / "guard.json").exists()


def test_a_look_costs_two_system_calls_an_interface(tmp_path: Path) -> None:
    with node(VIP) as made:

        async def work() -> None:
            async with guarding(settings(tmp_path)) as (guardian, _):
                devices = {guardian.picture.indexes["eth0"]: "eth0"}
                before = guardian.sysctls.calls
                guardian.sysctls.read(devices)
                assert guardian.sysctls.calls - before == 4  # `all` and eth0

        inside(made, work)


@pytest.mark.parametrize("scope", ["uplinks", "vips"])
def test_new_and_renewed_uplinks_are_covered_at_once(tmp_path: Path, scope: str) -> None:
    """eth1 comes, in the subnet of a VIP; eth0 goes and comes again, with an old value of its own."""
    with node(VIP, "198.51.100.7") as made:
        namespaces.run(made.space, ["sysctl", "-qw", f"{ETH0_IGNORE}=3"])

        async def work() -> None:
            async with guarding(settings(tmp_path, scope)) as (guardian, drifts):
                assert guardian.uplinks == ("eth0",)
                namespaces.ip(
                    made.space,
                    "link add eth1 type veth peer name p1",
                    "link set eth1 up",
                    "link set p1 up",
                    "addr add 198.51.100.3/24 dev eth1",
                )
                seconds = await until(lambda: set(guardian.verdicts) == {"eth0", "eth1"}, "eth1 covered")
                print(f"eth1 covered after {seconds:.2f} s")
                assert seconds < 1
                if scope == "uplinks":
                    assert made.value("eth1", "arp_ignore") == 1
                old = guardian.picture.indexes["eth0"]
                namespaces.ip(made.space, "link del eth0")
                await until(lambda: set(guardian.verdicts) == {"eth1"}, "eth0 gone")
                namespaces.veth((made.space, "eth0"), (made.far, "eth0"))
                seconds = await until(lambda: "eth0" in guardian.verdicts, "eth0 covered again")
                print(f"eth0 covered again after {seconds:.2f} s")
                assert seconds < 1
                assert guardian.picture.indexes["eth0"] != old
                assert all(guardian.verdicts.values())
                assert drifts == []

        inside(made, work)
        if scope == "uplinks":
            assert made.value("eth0", "arp_ignore") == 1
            with namespaces.entered(made.space):
                told = asyncio.run(once.put_back(settings(tmp_path)))
            assert made.value("eth0", "arp_ignore") == 0  # not the 3 of the eth0 that is gone
            assert any("gone, or was made anew" in line for line in told.done)


def test_a_renamed_uplink_keeps_its_entry(tmp_path: Path) -> None:
    with node(VIP) as made:
        namespaces.run(made.space, ["sysctl", "-qw", f"{ETH0_IGNORE}=3"])

        async def work() -> None:
            async with guarding(settings(tmp_path, "uplinks")) as (guardian, _):
                namespaces.ip(
                    made.space, "link set eth0 down", "link set eth0 name lan.0", "link set lan.0 up",
                    "route add default via 192.0.2.1",
                )  # fmt: skip
                await until(lambda: set(guardian.verdicts) == {"lan.0"}, "the new name")
                assert {entry.interface for entry in guardian.journal.entries} == {"lan.0"}

        inside(made, work)
        with namespaces.entered(made.space):
            asyncio.run(once.put_back(settings(tmp_path)))
        assert made.value("lan.0", "arp_ignore") == 3


class Mortal(Sysctls):
    """Is killed before its write number `last`, as by `kill -9`."""

    last = 0

    def write(self, write: Write, seen: Seen) -> None:
        if self.last == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.last -= 1
        super().write(write, seen)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_kill_between_journal_and_write_loses_nothing(tmp_path: Path, writes: int) -> None:
    with node(VIP) as made:
        for key, value in (("arp_ignore", 3), ("arp_announce", 1)):
            namespaces.run(made.space, ["sysctl", "-qw", f"net.ipv4.conf.eth0.{key}={value}"])
        before = made.values()

        async def guard() -> None:
            guardian = Guardian(settings(tmp_path), lambda drift: drift)
            guardian.sysctls = Mortal()
            Mortal.last = writes
            await guardian.start()

        child = Child(made.space, lambda: asyncio.run(guard()), str(tmp_path / "log"))
        _, status = os.waitpid(child.pid, 0)
        child.pid = 0
        # all.arp_ignore, all.arp_announce and eth0.arp_ignore are written; announce 1 yields to all's 2.
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if writes < 3 else 0)
        assert (made.values() == before) == (writes == 0)
        with namespaces.entered(made.space):
            told = asyncio.run(once.put_back(settings(tmp_path)))
        assert len(told.done) == writes
        assert made.values() == before


def test_two_guards_and_bad_journals_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with node(VIP) as made:
        before = made.values()
        (tmp_path / "guard.json").write_text('{"kind": "strictarp-guard-journal", "version": 1, "orig')

        async def work() -> None:
            guardian = Guardian(settings(tmp_path), lambda drift: drift)
            with pytest.raises(Exception, match=r"guard\.json: cannot be read"):
                await guardian.start()
            guardian.close()
            (tmp_path / "guard.json").unlink()
            async with guarding(settings(tmp_path)):
                second = Guardian(settings(tmp_path), lambda drift: drift)
                with pytest.raises(Exception, match=f"held by process {os.getpid()}"):
                    await second.start()
                second.close()
                with pytest.raises(Exception, match="held by process"):
                    await once.put_back(settings(tmp_path))

        inside(made, work)
        assert before != made.values()


def test_the_kernel_tells_nobody_of_arp_ignore_but_of_other_keys() -> None:
    """Why the guard has to look once a second."""
    with node() as made:

        async def told(key: str) -> list[int]:
            events = Events(NETLINK_ROUTE, (_NETCONF_GROUP,))
            try:
                files.write(files.conf("eth0", key), 1)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        return [each.type for each in await events.wait() if each is not None]
                return []
            finally:
                events.close()

        async def work() -> None:
            assert await told("arp_ignore") == []
            assert await told("arp_announce") == []
            assert await told("proxy_arp") == [_NEWNETCONF]

        inside(made, work)
