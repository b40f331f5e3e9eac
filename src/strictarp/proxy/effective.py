"""The configuration with all defaults filled in, as `--write-config-to` writes it. Pure."""

from __future__ import annotations

import copy
from ipaddress import ip_address

import yaml

from strictarp.proxy import config
from strictarp.proxy.fields import Raw, parse_duration, read_mapping

_DEFAULTS: dict[str, object] = {
    "apiVersion": config.API_VERSION,
    "bindAddress": "0.0.0.0",
    "bindAddressHardFail": False,
    "clientConnection": {
        "acceptContentTypes": "",
        "burst": 10,
        "contentType": "application/vnd.kubernetes.protobuf",
        "kubeconfig": "",
        "qps": 5,
    },
    "clusterCIDR": "",
    "configSyncPeriod": "15m0s",
    "conntrack": {
        "maxPerCore": 32768,
        "min": 131072,
        "tcpBeLiberal": False,
        "tcpCloseWaitTimeout": "1h0m0s",
        "tcpEstablishedTimeout": "24h0m0s",
        "udpStreamTimeout": "0s",
        "udpTimeout": "0s",
    },
    "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""},
    "detectLocalMode": "ClusterCIDR",
    "enableProfiling": False,
    "featureGates": {},
    "healthzBindAddress": "",
    "hostnameOverride": "",
    "iptables": {
        "localhostNodePorts": True,
        "masqueradeAll": False,
        "masqueradeBit": 14,
        "minSyncPeriod": "1s",
        "syncPeriod": "30s",
    },
    "ipvs": {
        "excludeCIDRs": [],
        "minSyncPeriod": "0s",
        "scheduler": "rr",
        "strictARP": False,
        "syncPeriod": "30s",
        "tcpFinTimeout": "0s",
        "tcpTimeout": "0s",
        "udpTimeout": "0s",
    },
    "kind": config.KIND,
    "logging": {
        "flushFrequency": "5s",
        "format": "text",
        "options": {"json": {"infoBufferSize": "0"}, "text": {"infoBufferSize": "0"}},
        "verbosity": 0,
    },
    "metricsBindAddress": "",
    "mode": "ipvs",
    "nftables": {"masqueradeAll": False, "masqueradeBit": 14, "minSyncPeriod": "1s", "syncPeriod": "30s"},
    "nodePortAddresses": [],
    "oomScoreAdj": -999,
    "portRange": "",
    "showHiddenMetricsForVersion": "",
    "winkernel": {},
    "windowsRunAsService": False,
}


def effective(text: str, override: str | None = None) -> str:
    """What a valid configuration amounts to, as YAML; unknown fields are left out."""
    return str(yaml.safe_dump(effective_document(text, override), sort_keys=False))


def effective_document(text: str, override: str | None = None) -> dict[str, object]:
    """What a valid configuration amounts to, as JSON values; unknown fields are left out.

    override: the node's name by --hostname-override, which comes before the file's.
    """
    raw = read_mapping(text, [], [])
    made = _over(_DEFAULTS, raw)
    if override is not None:
        made["hostnameOverride"] = override
    v6 = ip_address(str(made["bindAddress"])).version == 6
    made["healthzBindAddress"] = made["healthzBindAddress"] or (
        f"[::]:{config.HEALTH_PORT}" if v6 else f"0.0.0.0:{config.HEALTH_PORT}"
    )
    made["metricsBindAddress"] = made["metricsBindAddress"] or (
        f"[::1]:{config.METRICS_PORT}" if v6 else f"127.0.0.1:{config.METRICS_PORT}"
    )
    return made


def _over(defaults: dict[str, object], raw: object) -> dict[str, object]:
    """Defaults, with what is given instead. A mapping without names of its own is taken as it is."""
    if not isinstance(raw, dict):
        return copy.deepcopy(defaults)
    if not defaults:
        return copy.deepcopy(raw)
    return {
        name: _over(default, raw.get(name)) if isinstance(default, dict) else _given(raw.get(name), default)
        for name, default in defaults.items()
    }


def _given(value: Raw, default: object) -> object:
    return default if value in (None, "") or _zero(value) else value


def _zero(value: Raw) -> bool:
    """A duration of 0, which counts as absent."""
    try:
        return isinstance(value, str) and parse_duration(value) == 0
    except ValueError:
        return False
