"""KubeProxyConfiguration v1alpha1: reading, defaults, validation. Pure.

Fields, defaults and checks are kube-proxy's (pkg/proxy/apis/config, v1.30), except: an absent `mode` is ipvs,
since this program has no other, and an unknown scheduler is refused when the file is read, not when used.
"""

from __future__ import annotations

import msgspec

from strictarp.errors import UserError
from strictarp.proxy import without_effect
from strictarp.proxy.addresses import pack
from strictarp.proxy.fields import (
    LONGEST_TIMER,
    Fields,
    Listen,
    Network,
    check_kind,
    interface_name_fault,
    read_mapping,
)

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
HEALTH_PORT, METRICS_PORT = 10256, 10249
SCHEDULERS = (
    "", "rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos",
)  # fmt: skip
"""Linux net/netfilter/ipvs/ip_vs_*.c; empty is rr."""
DETECT_LOCAL_MODES = ("", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
_MANY = 2**31 - 1


class DetectLocal(msgspec.Struct, frozen=True):
    """How traffic of local pods is told from other traffic (`detectLocalMode`).

    networks: for ClusterCIDR. name: the bridge, or the prefix of interface names.
    """

    mode: str = "ClusterCIDR"
    networks: tuple[Network, ...] = ()
    name: str = ""


class NodePortAddresses(msgspec.Struct, frozen=True):
    """Which addresses of the node serve NodePorts: primary ones, those in networks, or (neither) all."""

    primary: bool = False
    networks: tuple[Network, ...] = ()


class Conntrack(msgspec.Struct, frozen=True):
    """`conntrack`; 0 leaves a value as it is. Times in seconds."""

    max_per_core: int = 32768
    minimum: int = 131072
    tcp_established_timeout: float = 86400.0
    tcp_close_wait_timeout: float = 3600.0
    tcp_be_liberal: bool = False
    udp_timeout: float = 0.0
    udp_stream_timeout: float = 0.0


class Config(msgspec.Struct, frozen=True):
    """What of a KubeProxyConfiguration matters in ipvs mode on Linux. Durations are seconds."""

    hostname_override: str = ""
    kubeconfig: str = ""
    bind_address: str = "0.0.0.0"
    bind_address_hard_fail: bool = False
    health: Listen = ("0.0.0.0", HEALTH_PORT)
    metrics: Listen = ("127.0.0.1", METRICS_PORT)
    scheduler: str = "rr"
    strict_arp: bool = False
    exclude: tuple[Network, ...] = ()
    sync_period: float = 30.0
    min_sync_period: float = 0.0
    tcp_timeout: float = 0.0
    tcp_fin_timeout: float = 0.0
    udp_timeout: float = 0.0
    masquerade_bit: int = 14
    masquerade_all: bool = False
    detect_local: DetectLocal = DetectLocal()
    node_port_addresses: NodePortAddresses = NodePortAddresses()
    conntrack: Conntrack = Conntrack()
    oom_score_adj: int = -999
    warnings: tuple[str, ...] = ()


def load(text: str, source: str) -> Config:
    """Read a configuration from YAML or JSON. `source` names the file in warnings.

    Raises UserError with one line a fault, each beginning with the field's path as in the file.
    """
    faults: list[str] = []
    warnings: list[str] = []
    raw = read_mapping(text, faults, warnings)
    if faults:
        raise UserError("\n".join(faults))
    fields = Fields(raw, "", faults)
    check_kind(fields, API_VERSION, KIND)
    config = _read(fields, warnings)
    without_effect.read(fields, warnings)
    if faults:
        raise UserError("\n".join(faults))
    warnings += [f"{path}: unknown field, ignored" for path in fields.unknown()]
    named = tuple(f"{KIND} {source}: {warning}" for warning in warnings)
    return msgspec.structs.replace(config, warnings=named)


def overridden(name: str | None) -> str | None:
    """--hostname-override, trimmed and in lower case. Raises UserError when nothing is left of it."""
    if name is not None and not name.strip():
        raise UserError("--hostname-override: empty; leave it out or give the Node's name")
    return name and name.strip().lower()


def _read(fields: Fields, warnings: list[str]) -> Config:
    _mode(fields, warnings)
    bind_address = fields.text("bindAddress", "0.0.0.0")
    packed = pack(bind_address)
    if packed is None:
        fields.fault("bindAddress", f"{bind_address!r} is no IP address")
    v6 = packed is not None and len(packed) == 16
    ipvs, iptables = fields.section("ipvs"), fields.section("iptables")
    nftables = fields.section("nftables")
    without_effect.read_modes(iptables, nftables)
    _periods(iptables, 1.0)
    _periods(nftables, 1.0)
    sync, minimum = _periods(ipvs, 0.0)
    client = fields.section("clientConnection")
    without_effect.read_client(client)
    return Config(
        hostname_override=_hostname(fields),
        kubeconfig=client.text("kubeconfig"),
        bind_address=bind_address,
        bind_address_hard_fail=fields.boolean("bindAddressHardFail"),
        health=fields.listen("healthzBindAddress", "::" if v6 else "0.0.0.0", HEALTH_PORT),
        metrics=fields.listen("metricsBindAddress", "::1" if v6 else "127.0.0.1", METRICS_PORT),
        scheduler=ipvs.choice("scheduler", SCHEDULERS, "rr") or "rr",
        strict_arp=ipvs.boolean("strictARP"),
        exclude=ipvs.networks("excludeCIDRs"),
        sync_period=sync,
        min_sync_period=minimum,
        tcp_timeout=ipvs.seconds("tcpTimeout", 0.0, LONGEST_TIMER),
        tcp_fin_timeout=ipvs.seconds("tcpFinTimeout", 0.0, LONGEST_TIMER),
        udp_timeout=ipvs.seconds("udpTimeout", 0.0, LONGEST_TIMER),
        masquerade_bit=iptables.number("masqueradeBit", 14, 0, 31),
        masquerade_all=iptables.boolean("masqueradeAll"),
        detect_local=_detect_local(fields),
        node_port_addresses=_node_port_addresses(fields),
        conntrack=_conntrack(fields.section("conntrack")),
        oom_score_adj=fields.number("oomScoreAdj", -999, -1000, 1000),
    )


def _mode(fields: Fields, warnings: list[str]) -> None:
    mode = fields.text("mode", "ipvs")
    if mode != "ipvs":
        known = mode in ("iptables", "nftables")
        fields.fault(
            "mode",
            f"strictarp serves ipvs only, not {mode if known else repr(mode)}: write `mode: ipvs`, or keep "
            "kube-proxy for this node",
        )
    elif not fields.given("mode"):
        warnings.append("mode: absent or empty is taken as ipvs (kube-proxy would take another)")


def _hostname(fields: Fields) -> str:
    text = fields.text("hostnameOverride")
    if text and not text.strip():
        fields.fault("hostnameOverride", "only blanks; leave it out or give the Node's name")
    return text.strip().lower()


def _periods(section: Fields, default_minimum: float) -> tuple[float, float]:
    """syncPeriod and minSyncPeriod."""
    sync = section.seconds("syncPeriod", 30.0)
    minimum = section.seconds("minSyncPeriod", default_minimum)
    if minimum > sync:
        section.fault("syncPeriod", f"{sync:g}s is shorter than minSyncPeriod, {minimum:g}s")
    return sync, minimum


def _detect_local(fields: Fields) -> DetectLocal:
    mode = fields.choice("detectLocalMode", DETECT_LOCAL_MODES, "ClusterCIDR") or "ClusterCIDR"
    names = fields.section("detectLocal")
    bridge, prefix = names.text("bridgeInterface"), names.text("interfaceNamePrefix")
    networks = _cluster_cidr(fields)
    if mode == "BridgeInterface" and not bridge:
        names.fault("bridgeInterface", "detectLocalMode BridgeInterface needs the bridge's name here")
    if mode == "InterfaceNamePrefix" and not prefix:
        names.fault("interfaceNamePrefix", "detectLocalMode InterfaceNamePrefix needs the prefix here")
    for name, value in (("bridgeInterface", bridge), ("interfaceNamePrefix", prefix)):
        if reason := interface_name_fault(value):
            names.fault(name, reason)
    chosen = {"BridgeInterface": bridge, "InterfaceNamePrefix": prefix}.get(mode, "")
    return DetectLocal(mode, networks if mode == "ClusterCIDR" else (), chosen)


def _cluster_cidr(fields: Fields) -> tuple[Network, ...]:
    text = fields.text("clusterCIDR")
    found = [fields.network("clusterCIDR", part.strip()) for part in text.split(",") if text]
    networks = [network for network in found if network is not None]
    if len(found) > 2 or (len(networks) == 2 and networks[0].version == networks[1].version):
        fields.fault("clusterCIDR", f"{text!r}: one CIDR is expected, or two of different families")
    return tuple(networks)


def _node_port_addresses(fields: Fields) -> NodePortAddresses:
    entries = list(fields.texts("nodePortAddresses"))
    if [text for _, text in entries] == ["primary"]:
        return NodePortAddresses(primary=True)
    found = [fields.network(where, text) for where, text in entries]
    return NodePortAddresses(networks=tuple(network for network in found if network is not None))


def _conntrack(fields: Fields) -> Conntrack:
    return Conntrack(
        max_per_core=fields.number("maxPerCore", 32768, 0, _MANY),
        minimum=fields.number("min", 131072, 0, _MANY),
        tcp_established_timeout=fields.seconds("tcpEstablishedTimeout", 86400.0),
        tcp_close_wait_timeout=fields.seconds("tcpCloseWaitTimeout", 3600.0),
        tcp_be_liberal=fields.boolean("tcpBeLiberal"),
        udp_timeout=fields.seconds("udpTimeout", 0.0),
        udp_stream_timeout=fields.seconds("udpStreamTimeout", 0.0),
    )
