"""Which service proxy this cluster has, in which mode, and what its configuration says of strictARP. Pure."""

from __future__ import annotations

import re

import msgspec

from strictarp.cluster.installers import Installer, node_args
from strictarp.cluster.signs import Signs, WorkloadSigns, flag, holder, is_ours, proxies
from strictarp.errors import UserError
from strictarp.kube.documents import Raw, parse_documents

IPVS, IPTABLES, NFTABLES, EBPF, OVN, KUBE_ROUTER = (
    "ipvs",
    "iptables",
    "nftables",
    "eBPF",
    "OVN",
    "kube-router",
)
_BY_INSTALLER = {"cilium": EBPF, "calico-ebpf": EBPF, "ovn-kubernetes": OVN, "kube-router": KUBE_ROUTER}
_COMMENTED = re.compile(r"^[ \t]*#[ \t]*strictARP\b", re.MULTILINE)
_IN_PROCESS = {"k3s": "k3s", "microk8s": "kubelite"}


class Setting(msgspec.Struct, frozen=True):
    """What a configuration says: mode ("" where it says none), strictARP (None where it says nothing).

    where: ConfigMap and key, or whose arguments. said: how strictARP stands there, in words. fault: why it
    cannot be read.
    """

    where: str
    mode: str = ""
    strict: bool | None = None
    said: str = ""
    fault: str = ""


class Proxying(msgspec.Struct, frozen=True):
    """All about it.

    mode: one of the constants above, "mixed" where nodes differ, "" if it cannot be found out. evidence: what
    says so, or why it is not known. settings: what was read, the effective one first. ours: strictarp's proxy
    runs; kubes: kube-proxies by title; both: of all that run.
    """

    mode: str = ""
    evidence: str = ""
    settings: tuple[Setting, ...] = ()
    ours: tuple[str, ...] = ()
    kubes: tuple[str, ...] = ()

    @property
    def setting(self) -> Setting | None:
        """The effective configuration."""
        return self.settings[0] if self.settings else None

    @property
    def strict(self) -> bool:
        """Every configuration that was read asks for strictARP, and in mode ipvs that is one at least."""
        return self.mode == KUBE_ROUTER or (
            bool(self.settings) and all(each.strict for each in self.settings)
        )


def read(signs: Signs, installer: Installer) -> Proxying:
    """What the signs show."""
    running = [each for each in proxies(signs) if each.desired != 0]
    ours = tuple(each.title for each in running if is_ours(each))
    kubes = tuple(each.title for each in running if not is_ours(each))
    settings = tuple(_settings(signs, running))
    base = Proxying(settings=settings, ours=ours, kubes=kubes)
    if not running and (mode := _BY_INSTALLER.get(installer.name)):
        return msgspec.structs.replace(base, mode=mode, evidence="; ".join(installer.signs))
    faults = [f"{each.where}: {each.fault}" for each in settings if each.fault]
    if faults:
        return msgspec.structs.replace(base, evidence=faults[0])
    modes = {each.mode: each.where for each in settings}
    if len(modes) == 1:
        ((mode, where),) = modes.items()
        return msgspec.structs.replace(base, mode=mode, evidence=f"{where} says so")
    if modes:
        told = ", ".join(f"{where}: {mode}" for mode, where in sorted(modes.items()))
        return msgspec.structs.replace(base, mode="mixed", evidence=told)
    return msgspec.structs.replace(base, evidence=_unknown(signs, installer))


def _unknown(signs: Signs, installer: Installer) -> str:
    if installer.name in _IN_PROCESS:
        return (
            f"kube-proxy runs inside {_IN_PROCESS[installer.name]}, and the API does not show its arguments"
        )
    missing = f"; not seen: {', '.join(signs.unread)}" if signs.unread else ""
    if not proxies(signs):
        return f"no pods of a service proxy are known{missing}"
    return f"its configuration was not seen{missing}"


def _settings(signs: Signs, running: list[WorkloadSigns]) -> list[Setting]:
    """Of each proxy that runs; of k3s, of each node that tells its arguments. Equal ones count once."""
    found: dict[tuple[str, bool | None], Setting] = {}
    for each in running:
        setting = _setting(signs, each)
        if setting is not None:
            found.setdefault((setting.mode + setting.fault, setting.strict), setting)
    for node in signs.nodes:
        words = node_args(node)
        if words and "+k3s" in node.kubelet_version and flag(words, "disable-kube-proxy") != "true":
            setting = _by_flags(_proxy_args(words), f"kube-proxy-arg of node {node.name}")
            found.setdefault((setting.mode, setting.strict), setting)
    return list(found.values())


def _proxy_args(words: tuple[str, ...]) -> tuple[str, ...]:
    """The values of `--kube-proxy-arg`, which may be given many times, as flags."""
    found = []
    for at, word in enumerate(words):
        if word == "--kube-proxy-arg" and at + 1 < len(words):
            found.append(words[at + 1])
        elif word.startswith("--kube-proxy-arg="):
            found.append(word.partition("=")[2])
    return tuple("--" + each.lstrip("-") for each in found)


def _setting(signs: Signs, workload: WorkloadSigns) -> Setting | None:
    """Of one proxy; None if neither its arguments nor its file were seen."""
    held = holder(signs) if workload.kind == "DaemonSet" else None
    if held is not None and held.daemonset == workload.name:
        config = signs.config_map(held.name)
        text = config.data.get(held.key) if config else None
        if text is not None:
            return read_text(text, held.title, ours=is_ours(workload))
    if workload.command and flag(workload.command, "config") is None:
        return _by_flags(workload.command, f"the arguments of {workload.title}", ours=is_ours(workload))
    return None


def _by_flags(words: tuple[str, ...], where: str, *, ours: bool = False) -> Setting:
    mode = flag(words, "proxy-mode") or (IPVS if ours else IPTABLES)
    value = flag(words, "ipvs-strict-arp")
    strict = None if value is None else value.lower() in {"true", "t", "1"}
    said = "--ipvs-strict-arp is not given" if value is None else f"--ipvs-strict-arp={value}"
    return Setting(where, mode, strict, said)


def read_text(text: str, where: str, *, ours: bool = False) -> Setting:
    """What a KubeProxyConfiguration says. Without a mode it is iptables (kube-proxy), or ipvs (`ours`)."""
    try:
        documents = list(parse_documents(text, where))
    except UserError as error:
        return Setting(where, fault=str(error).removeprefix(f"{where}: "))
    if len(documents) != 1:
        return Setting(where, fault=f"one document is expected, there are {len(documents)}")
    config = documents[0]
    mode, ipvs = config.get("mode"), config.get("ipvs")
    if not isinstance(mode, str | None):
        return Setting(where, fault=f"mode: must be text, not {type(mode).__name__}")
    if not isinstance(ipvs, dict | None):
        return Setting(where, fault=f"ipvs: must be a mapping, not {type(ipvs).__name__}")
    value = (ipvs or {}).get("strictARP")
    if not isinstance(value, bool | None):
        return Setting(where, fault=f"ipvs.strictARP: must be true or false, not {value!r:.40}")
    named = mode or (IPVS if ours else IPTABLES)
    return Setting(where, named, value, _said(value, ipvs, text))


def _said(value: bool | None, ipvs: Raw | None, text: str) -> str:
    if value is not None:
        return f"ipvs.strictARP is {str(value).lower()}"
    if _COMMENTED.search(text):
        return "ipvs.strictARP is commented out, which means false"
    return f"ipvs{'.strictARP' if ipvs is not None else ''} is absent, which means strictARP false"
