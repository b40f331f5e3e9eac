"""The proxy's hands on a real kernel.

In namespaces with the model of IPVS and a bridge for kube-ipvs0; in the VM with everything real.
"""

import asyncio
import errno
import json
from collections.abc import AsyncIterator

import pytest

from strictarp.lab import namespaces
from strictarp.netlink.ipvs import RealServer, RealServerState, Timeouts, VirtualServer
from strictarp.netlink.messages import Message, Refusal
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.operations import (
    AddReal,
    AddServer,
    BindAddress,
    ChangeSets,
    Operation,
    RemoveReal,
    RemoveServer,
    SetReal,
    SetServer,
    UnbindAddress,
)
from strictarp.proxy.seam import HeldServer, KernelRefused, KernelView
from support.fake_ipvs import FakeIpvs

VIP4, VIP6 = bytes([192, 0, 2, 100]), bytes.fromhex("20010db8" + "00" * 11 + "64")
SERVER = VirtualServer(6, VIP4, 80)
REALS = [RealServer(bytes([198, 51, 100, 17 + n]), 8080) for n in range(3)]
RULES = """
table ip strictarp-test {
    set vips { type ipv4_addr; }
}
"""


def _render(change: ChangeSets) -> str:
    lines = [f"add element ip strictarp-test {name} {{ {element} }}" for name, element in change.add]
    lines += [f"delete element ip strictarp-test {name} {{ {element} }}" for name, element in change.remove]
    return "\n".join(lines) + "\n"


@pytest.fixture(
    params=[pytest.param("namespace", marks=pytest.mark.netns), pytest.param("vm", marks=pytest.mark.vm)]
)
async def kernel(request: pytest.FixtureRequest) -> AsyncIterator[LinuxKernel]:
    namespace = namespaces.create("proxy-kernel")
    with namespaces.entered(namespace):
        if request.param == "namespace":
            made = LinuxKernel(_render, generic=FakeIpvs(), device_kind="bridge")
        else:
            made = LinuxKernel(_render)
        await made.prepare()
        yield made
        made.close()
    namespace.close()


async def _all_done(kernel: LinuxKernel, *operations: Operation) -> None:
    assert await kernel.apply(operations) == [None] * len(operations)


def _seen(server: VirtualServer, *reals: RealServer) -> HeldServer:
    return HeldServer(server, {(real.address, real.port): RealServerState(real, 0, 0) for real in reals})


async def test_a_service_is_programmed_seen_changed_and_removed(kernel: LinuxKernel) -> None:
    assert await kernel.view() == KernelView({}, frozenset())
    await kernel.load_rules(RULES)
    six = VirtualServer(17, VIP6, 53)
    await _all_done(
        kernel,
        ChangeSets(add=(("vips", "192.0.2.100"),)),
        AddServer(SERVER),
        *(AddReal(SERVER.key, real) for real in REALS),
        BindAddress(VIP4),
        AddServer(six),
        BindAddress(VIP6),
    )
    seen = await kernel.view()
    assert seen.bound == {VIP4, VIP6}
    assert seen.servers == {SERVER.key: _seen(SERVER, *REALS), six.key: _seen(six)}
    assert b"192.0.2.100" in await kernel.list_rules("ip", "strictarp-test")

    weighted = VirtualServer(6, VIP4, 80, "wrr")
    silent = RealServer(REALS[0].address, 8080, 0)
    await _all_done(
        kernel,
        SetServer(weighted),
        SetReal(SERVER.key, silent),
        RemoveReal(SERVER.key, REALS[2]),
        UnbindAddress(VIP6),
        RemoveServer(six.key),
    )
    seen = await kernel.view()
    assert seen == KernelView({SERVER.key: _seen(weighted, silent, REALS[1])}, frozenset({VIP4}))
    assert (await kernel.reals(SERVER.key)).keys() == {(silent.address, 8080), (REALS[1].address, 8080)}

    await _all_done(
        kernel,
        UnbindAddress(VIP4),
        RemoveServer(SERVER.key),
        ChangeSets(remove=(("vips", "192.0.2.100"),)),
    )
    assert await kernel.view() == KernelView({}, frozenset())
    assert await kernel.reals(SERVER.key) == {}


async def test_doing_everything_twice_is_no_error_and_ends_the_same(kernel: LinuxKernel) -> None:
    program: list[Operation] = [AddServer(SERVER), AddReal(SERVER.key, REALS[0]), BindAddress(VIP4)]
    await _all_done(kernel, *program)
    changed: list[Operation] = [
        AddServer(VirtualServer(6, VIP4, 80, "wrr")),
        AddReal(SERVER.key, RealServer(REALS[0].address, 8080, 5)),
        BindAddress(VIP4),
    ]
    await _all_done(kernel, *changed)
    seen = await kernel.view()
    assert seen.servers == {
        SERVER.key: _seen(VirtualServer(6, VIP4, 80, "wrr"), RealServer(REALS[0].address, 8080, 5))
    }
    removal: list[Operation] = [
        RemoveReal(SERVER.key, REALS[0]),
        RemoveServer(SERVER.key),
        UnbindAddress(VIP4),
    ]
    await _all_done(kernel, *removal)
    await _all_done(kernel, *removal)


async def test_a_refused_operation_is_explained_and_stops_nobody(kernel: LinuxKernel) -> None:
    outcomes = await kernel.apply(
        [
            AddServer(VirtualServer(6, VIP4, 81, "nosuch")),
            AddReal((6, VIP4, 82), REALS[0]),
            ChangeSets(add=(("nosuchset", "192.0.2.100"),)),
            AddServer(SERVER),
            BindAddress(VIP4),
        ]
    )
    assert outcomes[3:] == [None, None]
    assert "load module ip_vs_nosuch" in (outcomes[0] or "")
    assert "its virtual server does not exist" in (outcomes[1] or "")
    assert "nft refused the rules" in (outcomes[2] or "")
    assert (await kernel.view()).servers.keys() == {SERVER.key}


async def test_rules_are_one_transaction(kernel: LinuxKernel) -> None:
    with pytest.raises(KernelRefused, match="syntax error"):
        await kernel.load_rules(RULES + "nonsense")
    assert await kernel.list_rules("ip", "strictarp-test") == b""
    await kernel.load_rules(RULES)
    shown = json.loads(await kernel.list_rules("ip", "strictarp-test"))
    assert [item["set"]["name"] for item in shown["nftables"] if "set" in item] == ["vips"]


async def test_a_device_that_was_deleted_is_told_and_made_again(kernel: LinuxKernel) -> None:
    await _all_done(kernel, BindAddress(VIP4))
    before = {link.name: link for link in (await kernel.host_links()).links}["kube-ipvs0"]
    assert not before.up
    here = namespaces.current()
    namespaces.ip(here, "link delete kube-ipvs0")
    (outcome,) = await kernel.apply([BindAddress(VIP4)])
    assert "kube-ipvs0: the device is gone" in (outcome or "")
    await _all_done(kernel, UnbindAddress(VIP4))
    await kernel.prepare()
    await _all_done(kernel, BindAddress(VIP4))
    held = await kernel.host_links()
    again = {link.name: link for link in held.links}["kube-ipvs0"]
    assert {a.address for a in held.addresses if a.index == again.index} == {VIP4}
    here.close()


async def test_changes_elsewhere_wake_and_our_own_do_not(kernel: LinuxKernel) -> None:
    await _all_done(kernel, BindAddress(VIP4))
    changes = kernel.changes()
    # What was told while the device was made comes first.
    await asyncio.wait_for(anext(changes), 5)
    waiting = asyncio.ensure_future(anext(changes))
    await _all_done(kernel, BindAddress(VIP6), UnbindAddress(VIP6))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    here = namespaces.current()
    namespaces.ip(here, "address add 192.0.2.11/24 dev lo")
    await asyncio.wait_for(waiting, 5)
    here.close()


async def test_timeouts_are_set(kernel: LinuxKernel) -> None:
    await kernel.set_timeouts(Timeouts(901, 121, 301))


@pytest.mark.netns
async def test_vips_are_bound_on_the_device_that_is_named() -> None:
    namespace = namespaces.create("own-device")
    with namespaces.entered(namespace):
        theirs = LinuxKernel(_render, generic=FakeIpvs(), device_kind="bridge")
        await theirs.prepare()
        await _all_done(theirs, BindAddress(VIP4))
        ours = LinuxKernel(_render, generic=FakeIpvs(), device_kind="bridge", device="vips0")
        await ours.prepare()
        assert await ours.addresses() == frozenset()
        await _all_done(ours, BindAddress(VIP6))
        assert (await ours.view()).bound == {VIP6}
        await ours.remove_device()
        assert {link.name for link in (await theirs.host_links()).links} == {"lo", "kube-ipvs0"}
        assert await theirs.addresses() == {VIP4}
        theirs.close()
        ours.close()
    namespace.close()


@pytest.mark.netns
async def test_a_kernel_without_ipvs_is_told_with_its_module() -> None:
    class WithoutIpvs(FakeIpvs):
        async def query(self, message: bytes) -> list[Message]:
            raise Refusal(errno.ENOENT)

    namespace = namespaces.create("no-ipvs")
    with namespaces.entered(namespace):
        kernel = LinuxKernel(_render, generic=WithoutIpvs(), device_kind="bridge")
        with pytest.raises(KernelRefused, match="load module ip_vs"):
            await kernel.prepare()
        kernel.close()
        kernel = LinuxKernel(_render, generic=FakeIpvs(), device_kind="nosuchkind")
        with pytest.raises(KernelRefused, match="kube-ipvs0 cannot be made: load module nosuchkind"):
            await kernel.prepare()
        kernel.close()
    namespace.close()
