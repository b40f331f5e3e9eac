"""`ip addr` on ipvlans: what the model refuses, typed into a kernel too (that of the VM has ipvlan)."""

import re
import subprocess

import pytest

from strictarp.arp import commands
from strictarp.arp.building import Builder
from strictarp.arp.facts import Device, Host
from strictarp.arp.unsupported import Refused
from strictarp.lab import namespaces
from support.arp_kernel import node, write_sysctl
from support.command_hosts import nic
from support.near_tools import bring_near

LINKS = (
    *("link add e0 type veth peer name f0", "link add e1 type veth peer name f1"),
    *("link add link e0 name x0 type ipvlan mode l2", "link add link e0 name x1 type ipvlan mode l2"),
    *("link add link e1 name y0 type ipvlan mode l2", "link set x0 up"),
)
TAKEN = ("addr add 10.0.0.1/24 dev x0",)
SHARED = ("addr add 10.0.0.1 peer 10.0.9.9/24 dev x0",)
LINES: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "twice with another prefix": (TAKEN, "addr add 10.0.0.1/8 dev x0", False),
    "again with the prefix": (TAKEN, "addr add 10.0.0.1/24 dev x0", False),
    "put in place of itself": (TAKEN, "addr replace 10.0.0.1/24 dev x0", True),
    "put in place of one with another prefix": (TAKEN, "addr replace 10.0.0.1/25 dev x0", False),
    "another of the subnet": (TAKEN, "addr add 10.0.0.2/24 dev x0", True),
    "on its sister, which is down": (TAKEN, "addr add 10.0.0.1/24 dev x1", False),
    "on the sister that is up": (("addr add 10.0.0.1/24 dev x1",), "addr add 10.0.0.1/32 dev x0", False),
    "on the parent": (TAKEN, "addr add 10.0.0.1/24 dev e0", True),
    "on an ipvlan, when the parent has it": (("addr add 10.0.0.1/24 dev e0",), TAKEN[0], True),
    "on an ipvlan of another parent": (TAKEN, "addr add 10.0.0.1/24 dev y0", True),
    "the peer is what another has": (TAKEN, "addr add 10.7.0.1 peer 10.0.0.1/32 dev x0", False),
    "only the peer's side is taken": (SHARED, "addr add 10.0.0.1/32 dev x0", True),
    "a peer that is a peer already": (SHARED, "addr add 10.0.0.2 peer 10.0.9.9/32 dev x1", False),
    "what is a peer already": (SHARED, "addr add 10.0.9.9/32 dev x1", False),
    "after it was deleted": ((*TAKEN, "addr del 10.0.0.1/24 dev x0"), "addr add 10.0.0.1/8 dev x1", True),
    "after its ipvlan was deleted": ((*TAKEN, "link del x0"), "addr add 10.0.0.1/8 dev x1", True),
    "a secondary that went with its primary": (
        (*TAKEN, "addr add 10.0.0.2/24 dev x0", "addr del 10.0.0.1/24 dev x0"),
        "addr add 10.0.0.2/24 dev x1",
        True,
    ),
}
"""What was typed before, a line, and whether it is taken."""


def model_of(lines: tuple[str, ...]) -> tuple[Host, list[str]]:
    """The host after the lines, and those of them that were refused."""
    builder = Builder()
    for number, name in enumerate(("e0", "f0", "e1", "f1")):
        builder.add_device(nic(name, number, up=False))
    for name, lower in (("x0", "e0"), ("x1", "e0"), ("y0", "e1")):
        builder.add_device(Device(name, bytes(6), kind="ipvlan", lower=lower, mode="l2", up=name == "x0"))
    refused = []
    for line in lines:
        try:
            commands.run(builder, f"ip {line}")
        except Refused:
            refused.append(line)
    return builder.build(), refused


def refused_by_kernel(lines: tuple[str, ...]) -> list[str]:
    """The lines that the running kernel refuses on such a host."""
    typed = (*LINKS, *lines)
    with node() as space, namespaces.entered(space):
        write_sysctl("ipv6/conf/default/disable_ipv6", 1)
        for name in ("all", "default"):
            write_sysctl(f"ipv4/conf/{name}/promote_secondaries", 0)
        done = subprocess.run(
            ["ip", "-force", "-batch", "-"],
            input="\n".join(typed) + "\n",
            text=True,
            capture_output=True,
            check=False,
        )
    return [typed[int(number) - 1] for number in re.findall(r"Command failed -:(\d+)", done.stderr)]


@pytest.mark.parametrize("name", LINES)
def test_the_model_takes_what_the_kernel_takes(name: str) -> None:
    before, line, taken = LINES[name]
    host, refused = model_of((*before, line))
    assert refused == ([] if taken else [line])
    if not taken:
        assert host == model_of(before)[0]


@pytest.mark.vm
def test_the_kernel_of_the_vm_takes_what_the_model_takes() -> None:
    bring_near("ip")
    refused = {name: refused_by_kernel((*before, line)) for name, (before, line, _) in LINES.items()}
    assert refused == {name: [] if taken else [line] for name, (_, line, taken) in LINES.items()}
