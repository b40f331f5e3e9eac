"""`strictarp facts` and `strictarp preflight` on a node with many addresses on kube-ipvs0.

Whole processes, as people start them: the interpreter and all imports are in the figures. Needs root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace

ADDRESSES = 5000
PODS = 110
RUNS = 3
POD = (
    "link add cali{0} type veth peer name pod{0}",
    "link set cali{0} up",
    "link set pod{0} up",
    "route add 10.244.0.{0}/32 dev cali{0}",
)
FILTER = """table arp filter {
  set vips { type ipv4_addr; elements = { %s }; }
  chain in { type filter hook input priority 0; iifname "cali*" arp daddr ip @vips drop; }
}
"""
COMMANDS = (
    ("facts", "--json", os.devnull),
    ("preflight", "--json", os.devnull),
    ("preflight", "--scope", "vips", "--uplink", "eth0", "--json", os.devnull),
)


def node(addresses: int = ADDRESSES, pods: int = PODS) -> Namespace:
    """A node with a NIC, pods behind interfaces without address, Service IPs, and a filter that names them.

    A bridge without ports stands in for the dummy device.
    """
    space = namespaces.create("node")
    vips = [IPv4Address("10.96.0.1") + number for number in range(addresses)]
    namespaces.ip(
        space,
        "link add eth0 type veth peer name uplink",
        "link set eth0 up",
        "link set uplink up",
        "addr add 192.0.2.11/24 dev eth0",
        "route add default via 192.0.2.1",
        *(line.format(number) for number in range(pods) for line in POD),
        "link add kube-ipvs0 type bridge",
        *(f"addr add {vip}/32 dev kube-ipvs0" for vip in vips),
    )
    with namespaces.entered(space):
        subprocess.run(["nft", "-f", "-"], input=FILTER % ", ".join(map(str, vips)), text=True, check=True)
    return space


SMALL = """
import os, sys
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""
"""Starts a program and says how it ended. The peak that Linux counts for a program begins with the memory of
the process that started it (exec_mmap, setmax_mm_hiwater_rss), so that has to be a small one."""


def measured(space: Namespace, *words: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MB of one command of ours in a namespace."""
    began = time.monotonic()
    argv = [sys.executable, "-m", "strictarp", *words]
    with namespaces.entered(space):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", SMALL, *argv], stdout=subprocess.PIPE, text=True, check=True
        )
    wall = time.monotonic() - began
    code, cpu, memory = done.stdout.splitlines()[-1].split()
    if int(code) not in (0, 2):
        raise RuntimeError(f"strictarp {' '.join(words)} ended with {code}")
    return wall, float(cpu), float(memory)


def run() -> Iterator[dict[str, object]]:
    """One line a command: the best of 3 runs."""
    space = node()
    for words in COMMANDS:
        runs = [measured(space, *words) for _ in range(RUNS)]
        wall, cpu, memory = (min(each) for each in zip(*runs, strict=True))
        yield {
            "command": " ".join(words[:3] if "--scope" in words else words[:1]),
            "addresses": ADDRESSES,
            "pods": PODS,
            "wall_seconds": round(wall, 2),
            "cpu_seconds": round(cpu, 2),
            "peak_mb": round(memory, 1),
        }
    space.close()
