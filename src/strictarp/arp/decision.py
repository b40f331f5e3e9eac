"""What the kernel does with one ARP packet on one device: the result as a value. Pure."""

from __future__ import annotations

import enum

import msgspec


class Rule(enum.StrEnum):
    """The rule that decided, by name. The sentences stand in `wording`."""

    # silent before the packet is looked at (arp_rcv, and the devices below)
    LINK_DOWN = "link-down"
    ARP_OFF = "arp-off"
    OTHER_HOST = "other-host"
    VLAN_UNKNOWN = "vlan-unknown"
    BOND_INACTIVE = "bond-inactive-slave"
    BRIDGE_FORWARDS = "bridge-forwards"
    TOO_SHORT = "too-short"
    HEADER_LENGTHS = "header-lengths"
    FILTERED_INPUT = "filtered-input"
    NO_IPV4 = "no-ipv4"
    # silent by its contents (arp_process)
    HEADER_TYPES = "header-types"
    OPERATION = "operation"
    TARGET_MULTICAST = "target-multicast"
    TARGET_LOOPBACK = "target-loopback"
    GRATUITOUS_DROPPED = "drop-gratuitous-arp"
    REPLY = "reply"
    # probes (sender 0.0.0.0)
    PROBE_NOT_LOCAL = "probe-not-local"
    # by the input route
    SENDER_MARTIAN = "sender-martian"
    SENDER_LOOPBACK = "sender-loopback"
    SENDER_IS_OURS = "sender-is-ours"
    SENDER_UNREACHABLE = "rp-filter-no-route-back"
    SENDER_ELSEWHERE = "rp-filter-other-interface"
    SENDER_NO_UNICAST = "sender-no-unicast"
    TARGET_ZERO = "target-zero"
    TARGET_BROADCAST = "target-broadcast"
    NO_ROUTE = "no-route"
    NOT_FORWARDING = "not-forwarding"
    SAME_INTERFACE = "same-interface"
    NOT_PROXIED = "not-proxied"
    # a local target
    IGNORE_NOT_ON_DEVICE = "arp-ignore-1"
    IGNORE_OTHER_SUBNET = "arp-ignore-2"
    IGNORE_SCOPE_HOST = "arp-ignore-3"
    IGNORE_ALL = "arp-ignore-8"
    ARP_FILTER = "arp-filter"
    FILTERED_OUTPUT = "filtered-output"
    # answered
    LOCAL = "local"
    PROXY_ARP = "proxy-arp"
    PROXY_ARP_PVLAN = "proxy-arp-pvlan"
    PROXY_NEIGHBOUR = "proxy-neighbour"


class Effect(enum.StrEnum):
    """What happens to the entry for the sender in the neighbour table of the device."""

    NONE = "none"
    LEARN = "learn"
    """Created or overridden at once, STALE (neigh_event_ns)."""
    UPDATE = "update"
    """An existing entry is updated under the rules of `neighbours`, and created as arp_accept allows."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The reply. sender_ip is what it claims, mac its sha; it goes to `destination`.

    delay: at most so many hundredths of a second pass before it is sent.
    """

    device: str
    mac: bytes
    sender_ip: int
    destination: bytes
    target_ip: int
    delay: int = 0


class Decision(msgspec.Struct, frozen=True, gc=False):
    """device: where the kernel saw the packet, after VLANs, bridges and bonds."""

    device: str
    rule: Rule
    answer: Answer | None = None
    effect: Effect = Effect.NONE

    @property
    def answered(self) -> bool:
        """A reply leaves the host."""
        return self.answer is not None
