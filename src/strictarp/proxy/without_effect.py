"""Fields of a KubeProxyConfiguration that change nothing in ipvs mode on Linux, or nothing here. Pure.

They are read all the same: a value of the wrong type stops kube-proxy in any mode, so it is refused here too,
and a name that is in none of its structs is told (k8s.io/kube-proxy/config/v1alpha1, k8s.io/component-base).
"""

from __future__ import annotations

import re

from strictarp.proxy.fields import Fields

GATES = frozenset(
    {
        "TopologyAwareHints", "ServiceTrafficDistribution", "PreferSameTrafficDistribution",
        "KubeProxyDrainingTerminatingNodes", "MultiCIDRServiceAllocator", "LoadBalancerIPMode",
        "KubeProxyIPVS",
    }
)  # fmt: skip
"""Gates of what this program always does."""
_GATE = re.compile(r"[A-Z][A-Za-z0-9]*", re.ASCII)
_PORT_RANGE = re.compile(r"(\d{1,5})(?:([-+])(\d{1,5}))?", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+", re.ASCII)
_MANY = 2**31 - 1


def read(fields: Fields, warnings: list[str]) -> None:
    """Check everything of the document that `config` has no use for."""
    _gates(fields, warnings)
    if (text := fields.text("portRange")) and not _is_port_range(text):
        fields.fault("portRange", f"{text!r} is no range of ports such as 30000-32767")
    if (text := fields.text("showHiddenMetricsForVersion")) and not _VERSION.fullmatch(text):
        fields.fault("showHiddenMetricsForVersion", f"{text!r} is no minor version such as 1.34")
    fields.seconds("configSyncPeriod", 900.0)
    fields.seconds("udpIdleTimeout", 0.25)  # of files for 1.25 and older
    fields.boolean("enableProfiling")
    fields.boolean("windowsRunAsService")
    _logging(fields.section("logging"))
    windows = fields.section("winkernel")
    for name in ("networkName", "sourceVip", "rootHnsEndpointName"):
        windows.text(name)
    for name in ("enableDSR", "forwardHealthCheckVip"):
        windows.boolean(name)


def read_client(client: Fields) -> None:
    """How the API is asked, but for where it is."""
    client.text("acceptContentTypes")
    client.text("contentType")
    client.real("qps")
    client.number("burst", 10, 0, _MANY)


def read_modes(iptables: Fields, nftables: Fields) -> None:
    """What of the sections of other modes ipvs does not share."""
    iptables.boolean("localhostNodePorts", default=True)
    nftables.boolean("masqueradeAll")
    nftables.number("masqueradeBit", 14, 0, 31)


def _gates(fields: Fields, warnings: list[str]) -> None:
    """A gate changes nothing here. Which ones there are depends on the release, so only a name that no
    release can have is refused."""
    for gate, on in fields.switches("featureGates").items():
        if not _GATE.fullmatch(gate):
            fields.fault(f"featureGates.{gate}", "no feature gate of Kubernetes is called so")
        elif gate not in GATES:
            warnings.append(f"featureGates.{gate}: no feature gate that matters here, ignored")
        elif not on:
            warnings.append(f"featureGates.{gate}: cannot be switched off here, ignored")


def _logging(logging: Fields) -> None:
    logging.choice("format", ("", "text", "json"), "text")
    logging.number("verbosity", 0, 0, _MANY)
    logging.ignore("flushFrequency", "vmodule")  # numbers or text, by release
    logging.section("options").ignore("text", "json")


def _is_port_range(text: str) -> bool:
    """`80`, `80-90` or `80+10`, within 65535 (k8s.io/apimachinery util/net.ParsePortRange)."""
    found = _PORT_RANGE.fullmatch(text)
    if found is None:
        return False
    low, high = int(found[1]), int(found[3] or found[1])
    return low <= (low + high if found[2] == "+" else high) <= 65535
