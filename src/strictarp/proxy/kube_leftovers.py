"""What a kube-proxy has left outside of nftables: ipsets, and chains in tables of iptables-legacy. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import msgspec

from strictarp.proxy.kube_chains import is_kube_proxys

_LONGEST = 31
_SETS = (
    *("LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "IPVS-IPS", "HEALTH-CHECK-NODE-PORT"),
    *("LOAD-BALANCER", "LOAD-BALANCER-LOCAL", "LOAD-BALANCER-FW"),
    *("LOAD-BALANCER-SOURCE-CIDR", "LOAD-BALANCER-SOURCE-IP"),
    *("NODE-PORT-TCP", "NODE-PORT-UDP", "NODE-PORT-SCTP", "NODE-PORT-SCTP-HASH"),
    *("NODE-PORT-LOCAL-TCP", "NODE-PORT-LOCAL-UDP", "NODE-PORT-LOCAL-SCTP", "NODE-PORT-LOCAL-SCTP-HASH"),
)
SETS = frozenset(f"KUBE-{family}{name}"[:_LONGEST] for family in ("", "6-") for name in _SETS)
"""Names of kube-proxy's ipsets in both families (pkg/proxy/ipvs/ipset.go; older ones too), cut as there."""


class Legacy(msgspec.Struct, frozen=True):
    """Tables of iptables-legacy of one family that are in the kernel.

    tool: the program for them, without -save and -restore. removal: its script, empty for nothing to do;
    None when the program is not here, and nobody knows what the tables hold.
    """

    tool: str
    tables: tuple[str, ...]
    removal: str | None


class BadSave(Exception):
    """The text is not what `iptables-legacy-save` prints."""


def legacy_removal(saved: str) -> str:
    """What `iptables-legacy-restore --noflush` needs to remove kube-proxy's chains, and the jumps to them.

    `saved`: what `iptables-legacy-save` prints; each table is one transaction. Empty when there is nothing
    of kube-proxy's. Raises BadSave.
    """
    tables: dict[str, list[str]] = {}
    lines: list[str] | None = None
    chains: list[str] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            lines = tables.setdefault(line[1:].strip(), [])
            chains = []
        elif line.startswith((":", "-A ")) and lines is None:
            raise BadSave(f"a line before any table: {line[:60]!r}")
        elif line.startswith(":") and lines is not None:
            chains += [name for name in [line[1:].split(" ", 1)[0]] if is_kube_proxys(name)]
        elif line.startswith("-A ") and lines is not None:
            lines += _deletion(line)
        elif line.startswith("COMMIT") and lines is not None:
            lines += [f"-F {name}" for name in chains] + [f"-X {name}" for name in chains]
            lines = None
    if lines is not None:
        raise BadSave("the last table has no end")
    return "".join(
        f"*{table}\n" + "".join(f"{line}\n" for line in todo) + "COMMIT\n"
        for table, todo in tables.items()
        if todo
    )


def _deletion(line: str) -> Iterator[str]:
    """The deletion of a rule that leads from somebody else's chain into kube-proxy's."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise BadSave(f"{line[:60]!r}: {error}") from None
    targets = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-j", "-g")]
    if len(words) > 1 and not is_kube_proxys(words[1]) and any(map(is_kube_proxys, targets)):
        yield f"-D {line.removeprefix('-A ')}"
