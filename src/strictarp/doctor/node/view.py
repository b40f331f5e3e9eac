"""What a node shows to root, as values that travel as JSON. Pure.

Never in it: whole command lines, environments, files. Of those only the settings that are known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from strictarp.arp.facts import Host
from strictarp.arp.facts_text import FactsText, host_of
from strictarp.arp.nft import Ruleset
from strictarp.arp.unsupported import Unsupported
from strictarp.doctor.node.arptables_save import arptables_rules
from strictarp.errors import UserError


class SysctlLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of a file that sets sysctls, in the order in which they are read.

    path: below /proc/sys, with globs as they stand. value: None for a line `-KEY` that only keeps globs off
    it. late: read by `sysctl --system` (procps), but not by systemd-sysctl at boot.
    """

    file: str
    line: int
    path: str
    value: str | None = None
    late: bool = False

    @property
    def where(self) -> str:
        """`/etc/sysctl.d/99-k8s.conf:3`."""
        return f"{self.file}:{self.line}"


class Agent(msgspec.Struct, frozen=True, omit_defaults=True):
    """A known program that runs. flags: those that are known here. started: seconds since the epoch."""

    name: str
    pid: int
    flags: Mapping[str, str] = {}
    started: float = 0.0


class ProxySetting(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the node that configures its service proxy; strict: None where it does not say.

    mode: `ipvs`, `iptables`, ...; empty where it does not say. changed: seconds since the epoch. owner: the
    agent that reads it when it starts.
    """

    file: str
    owner: str
    mode: str = ""
    strict: bool | None = None
    changed: float = 0.0


class VrrpInstance(msgspec.Struct, frozen=True, omit_defaults=True):
    """An instance of keepalived; vmac: it puts its addresses on a macvlan of its own."""

    name: str
    interface: str = ""
    vmac: bool = False
    addresses: tuple[str, ...] = ()


class Managed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An interface that systemd-networkd manages: by which file, and what it does to foreign addresses.

    keep: the value of KeepConfiguration, empty where the file does not say.
    """

    interface: str
    file: str
    keep: str = ""


class Nic(msgspec.Struct, frozen=True, omit_defaults=True):
    """What sysfs tells of a device beyond the facts. promiscuous: None where sysfs shows another namespace.

    suppresses: a port that answers ARP in the place of those behind it (neigh_suppress).
    """

    name: str
    driver: str = ""
    wireless: bool = False
    promiscuous: bool | None = None
    suppresses: bool = False


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table or hook that may drop or change ARP.

    kind: `nft`, `arptables` or `tc`. name: `arp guard`, `filter`, `eth0 ingress`. text: as it was listed; of
    tc only the lines that can hit ARP. unread: why its rules are not understood or not seen; empty when they
    are in the facts.
    """

    kind: str
    name: str
    text: str = ""
    unread: str = ""


class NodeView(msgspec.Struct, frozen=True, dict=True, omit_defaults=True):
    """A node.

    lines: of sysctl.d; tuned: of the active profile. numbers: sysctls (dotted) and sizes of tables. ipvs:
    state of the module `ip_vs`: "loaded", "loadable", "missing", or empty if that is not known. taken:
    seconds since the epoch. blind: what could not be looked at, and why.
    """

    node: str
    kernel: str = ""
    taken: float = 0.0
    facts: FactsText = FactsText(devices=())
    nics: tuple[Nic, ...] = ()
    lines: tuple[SysctlLine, ...] = ()
    tuned: tuple[SysctlLine, ...] = ()
    agents: tuple[Agent, ...] = ()
    proxy_settings: tuple[ProxySetting, ...] = ()
    keepalived: tuple[VrrpInstance, ...] = ()
    networkd: tuple[Managed, ...] = ()
    filters: tuple[Filter, ...] = ()
    numbers: Mapping[str, int] = {}
    ipvs: str = ""
    blind: Mapping[str, str] = {}

    @cached_property
    def host(self) -> Host:
        """The facts for the model, with the rules of legacy arptables.

        Raises UserError for a document that contradicts itself.
        """
        host = host_of(self.facts, name=f"report of node {self.node}")
        legacy = [each.text for each in self.filters if each.kind == "arptables" and not each.unread]
        try:
            tables = [table for text in legacy for table in arptables_rules(text).tables]
        except Unsupported as error:
            raise UserError(f"report of node {self.node}: filters: {error}") from error
        return msgspec.structs.replace(host, nft=Ruleset((*host.nft.tables, *tables))) if tables else host

    @cached_property
    def nic(self) -> Mapping[str, Nic]:
        """What sysfs tells, by device."""
        return {each.name: each for each in self.nics}

    def runs(self, *names: str) -> tuple[Agent, ...]:
        """The agents of these names that run here."""
        return tuple(each for each in self.agents if each.name in names)
