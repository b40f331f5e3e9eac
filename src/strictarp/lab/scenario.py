"""The format of scenarios: steps that disturb a lab, and what is expected meanwhile. Pure.

A step is a mapping of one verb to its fields (`stop: {process: speaker@owner, seconds: 5}`); a plain value
stands for the first field (`power-off: owner`), a word alone for a verb without fields (`heal`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, TypeVar

import msgspec

from strictarp.errors import UserError
from strictarp.lab import layout

OWNER, OTHER = "owner", "other"
"""Stand for the node that answered for the VIP when a repetition began, and the first one that did not."""
T = TypeVar("T")
_NODE = re.compile(rf"{OWNER}|{OTHER}|node[1-{layout.MAX_NODES}]")
_PROCESS = re.compile(rf"(speaker|proxy|web)@(?P<node>{_NODE.pattern})|controller|apiserver")
_WHERE = re.compile(r"^(?P<what>.*?) - at `\$\.?(?P<where>.*)`$", re.DOTALL)
MOST_SECONDS = 3600.0
MOST_RATE = 1_000_000


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """One disturbance."""


class Wait(Step, frozen=True):
    """Let time pass."""

    seconds: float


class PowerOff(Step, frozen=True):
    """kill -9 of all that runs on a node, and both its cables out."""

    node: str


class PowerOn(Step, frozen=True):
    """A node comes back as after a boot."""

    node: str


class LinkDown(Step, frozen=True):
    """The segment's cable of a node out; it still reaches the API."""

    node: str


class LinkUp(Step, frozen=True):
    """The cable in again."""

    node: str


class Kill(Step, frozen=True):
    """kill -9 of one process, which comes back after `away` seconds at the earliest."""

    process: str
    away: float = 0.0


class Terminate(Step, frozen=True):
    """SIGTERM to one process, which comes back after `away` seconds at the earliest."""

    process: str
    away: float = 0.0


class Stop(Step, frozen=True):
    """SIGSTOP; with `seconds`, SIGCONT after them, when the step ends."""

    process: str
    seconds: float = 0.0


class Continue(Step, frozen=True):
    """SIGCONT."""

    process: str


class Partition(Step, frozen=True):
    """Each island of nodes hears itself only; nodes that are not named stay with the client."""

    islands: tuple[tuple[str, ...], ...]


class Heal(Step, frozen=True):
    """The islands are joined again."""


class ApiAway(Step, frozen=True):
    """The API server is killed and stays away for so long; the step does not wait."""

    seconds: float


class ApiBack(Step, frozen=True):
    """Wait until the API server answers again."""


class RestartSpeakers(Step, frozen=True):
    """SIGTERM to one speaker after the other, each as soon as the one before has been back for `pause`; with
    `ready`, and once that one is ready, as in a rolling update of a DaemonSet.
    """

    pause: float = 1.0
    ready: bool = False


class Move(Step, frozen=True):
    """`strictarp move` of the Service to a node."""

    to: str


class Drain(Step, frozen=True):
    """`strictarp drain` of a node."""

    node: str


class Undrain(Step, frozen=True):
    """`strictarp undrain` of a node."""

    node: str


class ReplaceCard(Step, frozen=True):
    """Another network card in a node: the link goes, and comes back `away` seconds later with another MAC."""

    node: str
    away: float = 0.0


class ChangeMac(Step, frozen=True):
    """The card of a node gets another MAC while it is up."""

    node: str


class ForeignHost(Step, frozen=True):
    """A host that is no node takes the VIP for itself, announces it, and leaves after `seconds`."""

    seconds: float


class Flood(Step, frozen=True):
    """ARP requests of a foreign host for an address of nobody, `rate` a second, for `seconds`."""

    rate: int
    seconds: float


AnyStep: TypeAlias = (
    Wait
    | PowerOff
    | PowerOn
    | LinkDown
    | LinkUp
    | Kill
    | Terminate
    | Stop
    | Continue
    | Partition
    | Heal
    | ApiAway
    | ApiBack
    | RestartSpeakers
    | Move
    | Drain
    | Undrain
    | ReplaceCard
    | ChangeMac
    | ForeignHost
    | Flood
)
VERBS: dict[str, type[AnyStep]] = {
    "wait": Wait,
    "power-off": PowerOff,
    "power-on": PowerOn,
    "link-down": LinkDown,
    "link-up": LinkUp,
    "kill": Kill,
    "terminate": Terminate,
    "stop": Stop,
    "continue": Continue,
    "partition": Partition,
    "heal": Heal,
    "api-away": ApiAway,
    "api-back": ApiBack,
    "restart-speakers": RestartSpeakers,
    "move": Move,
    "drain": Drain,
    "undrain": Undrain,
    "replace-card": ReplaceCard,
    "change-mac": ChangeMac,
    "foreign-host": ForeignHost,
    "flood": Flood,
}


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """The most that a figure may be: in any repetition, at the median, in any repetition in the VM."""

    worst: float
    median: float | None = None
    worst_in_vm: float | None = None


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Bounds of the figures; see `judging.Figures` for what each is."""

    outage_ms: float | Bound | None = None
    unanswered_ms: float | Bound | None = None
    answerers: float | Bound | None = None
    moves: float | Bound | None = None
    failed: float | Bound | None = None
    resets: float | Bound | None = None
    missed: float | Bound | None = None
    answers_after_waking: float | Bound | None = None

    def bounds(self) -> Iterator[tuple[str, Bound]]:
        """Those that are given, with the names that people write."""
        for field in msgspec.structs.fields(Expected):
            value = getattr(self, field.name)
            if value is not None:
                yield field.encode_name, value if isinstance(value, Bound) else Bound(value)


class Scenario(msgspec.Struct, frozen=True):
    """What a file says. `with_proxy` holds besides where the VIPs are in IPVS."""

    name: str
    title: str
    steps: tuple[tuple[str, AnyStep], ...]
    expect: Expected
    with_proxy: Expected = Expected()
    told: tuple[str, ...] = ()
    """Turns that some speaker has to log in each repetition, e.g. AddressConflict."""
    proxy: Literal["any", "strictarp"] = "any"

    def bounds(self, *, proxied: bool) -> list[tuple[str, Bound]]:
        """What is expected; `with-proxy` goes before."""
        found = dict(self.expect.bounds())
        return list((found | dict(self.with_proxy.bounds())).items() if proxied else found.items())


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    title: str
    steps: list[object]
    expect: Expected
    with_proxy: Expected = Expected()
    told: tuple[str, ...] = ()
    proxy: Literal["any", "strictarp"] = "any"


def parse(file: str, name: str, value: object) -> Scenario:
    """The scenario in a decoded file. Raises UserError naming file, step and field."""
    read = _convert(file, value, _File)
    if not read.steps:
        raise UserError(f"{file}: steps: there are none; write at least one, e.g. `- power-off: owner`")
    bounds = [
        *((f"expect: {key}", each) for key, each in read.expect.bounds()),
        *((f"with-proxy: {key}", each) for key, each in read.with_proxy.bounds()),
    ]
    if not bounds and not read.told:
        raise UserError(f"{file}: expect: there is nothing; write at least one, e.g. `outage-ms: 1000`")
    for where, bound in bounds:
        for given in (bound.worst, bound.median, bound.worst_in_vm):
            if given is not None and not given >= 0:
                raise UserError(f"{file}: {where}: {given}, must be a number from 0 on")
    steps = tuple(_step(file, number, each) for number, each in enumerate(read.steps, 1))
    return Scenario(name, read.title, steps, read.expect, read.with_proxy, read.told, read.proxy)


def _step(file: str, number: int, value: object) -> tuple[str, AnyStep]:
    where = f"{file}: step {number}"
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, dict) or len(value) != 1:
        raise UserError(f"{where}: must be one verb with its fields, e.g. `power-off: owner`, not {value!r}")
    ((verb, fields),) = value.items()
    kind = VERBS.get(verb)
    if kind is None:
        raise UserError(f"{where}: {verb!r} is no step; there are {', '.join(VERBS)}")
    where = f"{where}, {verb}"
    if fields is None:
        fields = {}
    elif not isinstance(fields, dict):
        names = [field.encode_name for field in msgspec.structs.fields(kind)]
        if not names:
            raise UserError(f"{where}: takes no value, {fields!r} is given")
        fields = {names[0]: fields}
    step = _convert(where, fields, kind)
    _check(where, step)
    return verb, step


def _convert(where: str, value: object, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        found = _WHERE.match(str(error))
        text = f"{found['where']}: {found['what']}" if found and found["where"] else str(error)
        raise UserError(f"{where}: {text.replace(' - at `$`', '')}") from None


def _check(where: str, step: AnyStep) -> None:
    """The values of one step: names that exist, times and rates that can be."""
    for field, value in msgspec.structs.asdict(step).items():
        match field:
            case "node" | "to" if not _NODE.fullmatch(value):
                raise UserError(f"{where}: {field}: {value!r} is no node; write {OWNER}, {OTHER} or node1 …")
            case "process" if not _PROCESS.fullmatch(value):
                raise UserError(
                    f"{where}: process: {value!r} is none; write speaker@NODE, proxy@NODE, web@NODE, "
                    "controller or apiserver"
                )
            case "seconds" | "away" | "pause" if not 0 <= value <= MOST_SECONDS:
                raise UserError(f"{where}: {field}: {value} is not within 0 to {MOST_SECONDS:.0f} s")
            case "rate" if not 1 <= value <= MOST_RATE:
                raise UserError(f"{where}: rate: {value} is not within 1 to {MOST_RATE} a second")
    if isinstance(step, Partition):
        _check_islands(where, step.islands)


def _check_islands(where: str, islands: Sequence[Sequence[str]]) -> None:
    named = [node for island in islands for node in island]
    if not named or not all(islands):
        raise UserError(f"{where}: islands: must be lists of nodes, e.g. [[owner], [node2, node3]]")
    for node in named:
        if not _NODE.fullmatch(node):
            raise UserError(f"{where}: islands: {node!r} is no node; write {OWNER}, {OTHER} or node1 …")
        if named.count(node) > 1:
            raise UserError(f"{where}: islands: {node} is named more than once")


def check_lab(scenario: Scenario, nodes: int, proxy: str) -> None:
    """Whether a lab of so many nodes can play it. Raises UserError naming the step."""
    if scenario.proxy == "strictarp" and proxy == "none":
        raise UserError(f"{scenario.name}: needs a lab with proxies, not `--proxy none`")
    for number, (verb, step) in enumerate(scenario.steps, 1):
        where = f"{scenario.name}: step {number}, {verb}"
        for node in _nodes_named(step):
            if node.startswith("node") and int(node.removeprefix("node")) > nodes:
                raise UserError(f"{where}: {node}: the lab has {nodes} nodes; see --nodes")
            if node == OTHER and nodes < 2:
                raise UserError(f"{where}: {OTHER}: the lab has one node only; see --nodes")
        if proxy == "none" and getattr(step, "process", "").startswith("proxy@"):
            raise UserError(f"{where}: process: there are no proxies with `--proxy none`")


def _nodes_named(step: AnyStep) -> Iterator[str]:
    if isinstance(step, Partition):
        for island in step.islands:
            yield from island
    elif node := getattr(step, "node", "") or getattr(step, "to", ""):
        yield node
    elif (found := _PROCESS.fullmatch(getattr(step, "process", ""))) and found["node"]:
        yield found["node"]


def to_builtins(scenario: Scenario) -> dict[str, object]:
    """As a file would hold it, for the way into the lab; `parse` reads it back."""
    value: dict[str, object] = {
        "title": scenario.title,
        "steps": [{verb: msgspec.to_builtins(step)} for verb, step in scenario.steps],
        "expect": _given(scenario.expect),
        "with-proxy": _given(scenario.with_proxy),
        "told": list(scenario.told),
        "proxy": scenario.proxy,
    }
    return value


def _given(expected: Expected) -> dict[str, object]:
    found: dict[str, object] = msgspec.to_builtins(expected)
    return {key: value for key, value in found.items() if value is not None}
