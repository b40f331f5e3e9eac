"""What a guard is told. Values."""

from __future__ import annotations

from pathlib import Path

import msgspec

from strictarp.arp.switching import Scope
from strictarp.arp.vip_table import TABLE

GUARD, PROXY = "guard", "proxy"


class Settings(msgspec.Struct, frozen=True):
    """owner: whose journal and table it is, "guard" or "proxy": both may run on a node. uplinks: by name, or
    none to have them found. state: the folder of the journal. host_root: where the host's files are mounted,
    for telling who changed a value.
    """

    scope: Scope = Scope.ALL
    uplinks: tuple[str, ...] = ()
    state: Path = Path("/var/lib/strictarp")
    owner: str = GUARD
    host_root: Path = Path("/")

    @property
    def table(self) -> str:
        """The name of the nftables table of scope `vips`."""
        return TABLE if self.owner == GUARD else f"{TABLE}-{self.owner}"
