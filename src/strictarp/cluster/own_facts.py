"""Facts of nodes: those in files, and those of the node that this runs on. Thin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from strictarp.arp.collecting import collect
from strictarp.arp.facts import Host
from strictarp.errors import UserError
from strictarp.kube.objects import Node
from strictarp.netlink.messages import MalformedMessage, Refusal
from strictarp.netlink.socket import DumpInterrupted
from strictarp.sysctl.files import SysctlError
from strictarp.wire.naming import nodes_of_facts

THIS_HOST = "this host"


async def facts_by_node(files: Mapping[str, Host], nodes: Sequence[Node]) -> dict[str, tuple[str, Host]]:
    """Node → where its facts are from, and the facts. files: by the name of the file.

    Raises UserError for a file that is of no node, or of a node that another file is of.
    """
    names = {node.metadata.name for node in nodes}
    found: dict[str, tuple[str, Host]] = {}
    here = await _here()
    if here is not None:
        node = nodes_of_facts({THIS_HOST: here}, nodes)[THIS_HOST]
        if node in names:
            found[node] = (THIS_HOST, here)
    taken: dict[str, str] = {}
    for name, host in files.items():
        node = nodes_of_facts({name: host}, nodes)[name]
        if node not in names:
            raise UserError(
                f"--facts {name}: none of its addresses is an InternalIP of a node; collect it on a node: "
                f"strictarp facts --json {name}"
            )
        if node in taken:
            raise UserError(f"--facts {name}: these are facts of {node}, as are those in {taken[node]}")
        taken[node] = name
        found[node] = (name, host)
    return found


async def _here() -> Host | None:
    """The facts of this host, None where they cannot be read: then it is simply not known."""
    try:
        return await collect()
    except (OSError, SysctlError, Refusal, DumpInterrupted, MalformedMessage):
        return None
