"""`strictarp node-report` on a node of the running kernel, with its files below another folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from strictarp.cli.main import main
from strictarp.doctor.check import Part
from strictarp.doctor.checks import node_addresses, node_filters, node_lasting, node_links, node_sysctls
from strictarp.doctor.diagnosis import diagnose
from strictarp.doctor.evidence import Evidence
from strictarp.doctor.node import tables
from strictarp.doctor.node.reading import Root
from strictarp.doctor.node.view import NodeView
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from support.segment import bind_vip, build, needs_root, write_sysctls

pytestmark = [needs_root, pytest.mark.netns]
CHECKS = tuple(
    check
    for module in (node_sysctls, node_lasting, node_addresses, node_filters, node_links)
    for check in module.CHECKS
)
STRICT = {"net/ipv4/conf/all/arp_ignore": 1, "net/ipv4/conf/all/arp_announce": 2}
K3S = "token: s3cret\nkube-proxy-arg: [proxy-mode=ipvs, ipvs-strict-arp=true]\n"
KEEPALIVED = "vrrp_instance A { interface eth0\n use_vmac\n auth_pass s3cret\n}\n"
KUBE_PROXY = "kube-proxy\0--proxy-mode=ipvs\0--ipvs-strict-arp=true\0--token=s3cret\0"
GUARD = (
    "table arp foreign { chain in { type filter hook input priority 0; "
    "arp daddr ip 192.0.2.100 counter drop\n}\n}\n"
)
EARLY = (
    "table netdev early { chain in { type filter hook ingress device eth0 priority 0; "
    "arp daddr ip 192.0.2.100 drop\n}\n}\n"
)


@pytest.fixture
def space() -> Iterator[Namespace]:
    with build(["node"]) as built:
        node = built.hosts["node"]
        bind_vip(node)
        namespaces.ip(node, "link set vips0 name kube-ipvs0", "route add default via 192.0.2.1")
        yield node


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "etc/sysctl.d/10-network.conf": "net.ipv4.conf.all.rp_filter=2\n",
        "etc/real.conf": "net.ipv4.conf.all.arp_ignore = 0\n",
        "usr/lib/sysctl.d/50-masked.conf": "net.ipv4.conf.all.arp_announce = 0\n",
        "etc/rancher/k3s/config.yaml": K3S,
        "etc/keepalived/keepalived.conf": KEEPALIVED,
        "proc/stat": "btime 1000\n",
        "proc/7/cmdline": KUBE_PROXY,
        "proc/7/stat": f"7 (kube-proxy) S {'0 ' * 18}500 0\n",
        "proc/8/cmdline": "sshd\0",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    # As the node sees them, absolute links lead below its own root; /dev/null masks.
    (tmp_path / "etc/sysctl.d/99-link.conf").symlink_to("/etc/real.conf")
    (tmp_path / "etc/sysctl.d/50-masked.conf").symlink_to("/dev/null")
    return tmp_path


def report(space: Namespace, root: Path, tmp_path: Path) -> NodeView:
    target = tmp_path / "report.json"
    with namespaces.entered(space):
        assert main(["node-report", "--root", str(root), "--node", "n1", "--json", str(target)]) in (0, 3)
    assert "s3cret" not in target.read_text()
    return msgspec.json.decode(target.read_bytes(), type=NodeView)


def codes(view: NodeView) -> set[str]:
    told = diagnose(Evidence(nodes={"n1": view}), CHECKS, frozenset({Part.NODES}))
    return {finding.code for finding in told.findings}


def nft(space: Namespace, text: str) -> None:
    with namespaces.entered(space):
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True, capture_output=True)


def test_files_and_daemons_below_the_root(space: Namespace, root: Path, tmp_path: Path) -> None:
    view = report(space, root, tmp_path)
    assert [(line.where, line.value) for line in view.lines] == [
        ("/etc/sysctl.d/10-network.conf:1", "2"),
        ("/etc/sysctl.d/99-link.conf:1", "0"),
    ]
    (proxy,) = view.agents
    assert (proxy.name, dict(proxy.flags)) == (
        "kube-proxy",
        {"proxy-mode": "ipvs", "ipvs-strict-arp": "true"},
    )
    assert proxy.started == pytest.approx(1005.0)
    assert [(each.owner, each.mode, each.strict) for each in view.proxy_settings] == [("k3s", "ipvs", True)]
    assert [(each.interface, each.vmac) for each in view.keepalived] == [("eth0", True)]


def test_what_the_kernel_has(space: Namespace, root: Path, tmp_path: Path) -> None:
    view = report(space, root, tmp_path)
    assert {"lo", "eth0", "kube-ipvs0"} == set(view.host.by_name)
    assert view.numbers[tables.FORWARD] in (0, 1)
    assert view.filters == ()


def test_the_fault_the_cure_and_the_time_bomb(space: Namespace, root: Path, tmp_path: Path) -> None:
    assert "SA201" in codes(report(space, root, tmp_path))
    write_sysctls(space, STRICT)
    found = codes(report(space, root, tmp_path))
    assert "SA201" not in found
    assert "SA206" in found
    (root / "etc/sysctl.d/99-link.conf").unlink()
    assert "SA206" not in codes(report(space, root, tmp_path))
    write_sysctls(space, {"net/ipv4/conf/eth0/arp_ignore": 3})
    assert "SA202" in codes(report(space, root, tmp_path))


def test_filters_are_judged_by_where_they_sit(space: Namespace, root: Path, tmp_path: Path) -> None:
    write_sysctls(space, STRICT)
    nft(space, GUARD)
    view = report(space, root, tmp_path)
    assert [(each.kind, each.name, each.unread) for each in view.filters] == [("nft", "arp foreign", "")]
    assert "SA401" in codes(view)
    nft(space, EARLY)
    found = codes(report(space, root, tmp_path))
    assert {"SA401", "SA402"} <= found


def test_a_tc_program_for_arp_is_seen(space: Namespace, root: Path, tmp_path: Path) -> None:
    add = "tc filter add dev eth0 ingress protocol arp bpf da bytecode '1,6 0 0 2'"
    add = f"tc qdisc add dev eth0 clsact && {add}"
    if namespaces.run(space, ["sh", "-c", add], check=False).returncode != 0:
        pytest.skip("this kernel has no clsact or no cls_bpf")
    view = report(space, root, tmp_path)
    assert [(each.kind, each.name, each.unread) for each in view.filters] == [
        ("tc", "eth0 ingress", "a BPF program decides")
    ]


def test_interfaces_of_other_kinds(space: Namespace, root: Path, tmp_path: Path) -> None:
    namespaces.ip(space, "link add br0 type bridge", "link set br0 up", "link set eth0 master br0")
    view = report(space, root, tmp_path)
    assert view.host.by_name["eth0"].master == "br0"
    found = codes(view)
    assert "SA309" in found  # the address stayed on the port


def test_the_summary_is_for_people(space: Namespace, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with namespaces.entered(space):
        main(["node-report", "--root", str(root), "--node", "n1"])
    out = capsys.readouterr().out
    assert "eth0: strictARP is NOT in force" in out
    assert "known daemons: kube-proxy" in out
    assert "s3cret" not in out


def test_five_thousand_addresses_are_read_and_judged_fast(
    space: Namespace, root: Path, tmp_path: Path
) -> None:
    lines = [
        f"addr add 10.{96 + i // 65536}.{i // 256 % 256}.{i % 256}/32 dev kube-ipvs0" for i in range(1, 5001)
    ]
    namespaces.ip(space, *lines)
    view = report(space, root, tmp_path)
    assert len(view.host.on_device["kube-ipvs0"]) == 5001
    assert "SA201" in codes(view)


@pytest.mark.parametrize(("capabilities", "blind"), [("-all,+net_admin", set()), ("-all", {"nftables"})])
def test_of_capabilities_it_takes_net_admin_alone(
    space: Namespace, tmp_path: Path, capabilities: str, blind: set[str]
) -> None:
    target = tmp_path / "report.json"
    argv = ["setpriv", f"--bounding-set={capabilities}", "--inh-caps=-all", "--no-new-privs"]
    with namespaces.entered(space):
        subprocess.run(
            [*argv, sys.executable, "-m", "strictarp", "node-report", "--json", str(target)],
            check=False,
            capture_output=True,
        )
    view = msgspec.json.decode(target.read_bytes(), type=NodeView)
    assert set(view.blind) == blind
    assert view.host.conf("arp_ignore", "eth0") == 0


def test_links_stay_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/a").symlink_to("../../../../etc/b")
    (tmp_path / "etc/round").symlink_to("round")
    root = Root(tmp_path)
    assert root.real("/etc/a") == "/etc/b"
    assert root.at("/../../etc/a") == tmp_path / "etc/b"
    assert root.read("/etc/a") is None
    assert root.read("/etc/round") is None


def test_what_may_not_be_read_is_told_and_nothing_else_is_lost(tmp_path: Path) -> None:
    for name in ("etc/a/secret.conf", "etc/closed/b.conf"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "etc/a/secret.conf").chmod(0o600)
    (tmp_path / "etc/closed").chmod(0o700)
    os.mkfifo(tmp_path / "etc/pipe")
    tmp_path.chmod(0o755)
    for folder in tuple(tmp_path.parents)[:-2]:  # all below /tmp, of which xdist makes one more
        folder.chmod(0o755)
    root = Root(tmp_path)
    os.seteuid(65534)
    try:
        assert root.read("/etc/a/secret.conf") is None
        assert root.read("/etc/closed/b.conf") is None
        assert root.glob("/etc/*/*.conf") == ["/etc/a/secret.conf"]
        assert root.read("/etc/pipe") is None
        assert not root.exists("/etc/closed/b.conf")
    finally:
        os.seteuid(0)
    assert set(root.blind) == {"/etc/a/secret.conf", "/etc/closed/b.conf", "/etc/closed"}
