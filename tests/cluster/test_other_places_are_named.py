"""Clusters whose ConfigMap is not the place: which one is, what to write there, when it is edited."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from strictarp.cluster import shell
from strictarp.cluster.looking import read_signs
from strictarp.kube.objects import CONFIGMAPS, DAEMONSETS, NODES, PODS
from support.enable_bench import Bench, running_bench
from support.rolled_proxies import NODE_NAMES

KEY = ("kube-proxy", "kube-system")
K3S_ARGS = '["server","--kube-proxy-arg","proxy-mode=ipvs","--kube-proxy-arg=ipvs-strict-arp=false"]'


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(shell, "POLL", 0.05)
    monkeypatch.setattr(shell, "PROOF_LIMIT", 0.5)
    async with running_bench(tmp_path) as made:
        yield made


async def _nodes(bench: Bench, *, version: str = "", os_image: str = "", **metadata: object) -> None:
    info = {"kubeletVersion": version, "osImage": os_image}
    for name in NODE_NAMES:
        if metadata:
            await bench.api.client.merge_patch(NODES, name, {"metadata": metadata})
        status = {"status": {"nodeInfo": info}}
        await bench.api.client.merge_patch(NODES, name, status, subresource="status")


async def _without_proxy(bench: Bench) -> None:
    for resource in (CONFIGMAPS, DAEMONSETS):
        await bench.api.client.delete(resource, "kube-proxy", "kube-system")


async def _kubeadm_says(bench: Bench, text: str) -> None:
    patch = {"data": {"ClusterConfiguration": text}}
    await bench.api.client.merge_patch(CONFIGMAPS, "kubeadm-config", patch, "kube-system")


async def test_k3s_has_a_file_on_every_node_and_tells_what_it_runs_with(bench: Bench) -> None:
    await _without_proxy(bench)
    await _nodes(bench, version="v1.33.1+k3s1", annotations={"k3s.io/node-args": K3S_ARGS})
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "elsewhere")
    assert report["state"] == (
        "k3s: strictARP is switched on in /etc/rancher/k3s/config.yaml on every node, servers and agents; "
        "nothing was changed"
    )
    hints = report["hints"]
    assert isinstance(hints, list)
    assert 'set there: kube-proxy-arg: ["proxy-mode=ipvs", "ipvs-strict-arp=true"]' in hints
    assert "then run: systemctl restart k3s (servers), systemctl restart k3s-agent (agents)" in hints
    assert "node node2: runs now with kube-proxy-arg proxy-mode=ipvs, ipvs-strict-arp=false" in hints
    assert report["installer"]["name"] == "k3s"  # type: ignore[index]


async def test_rke2_is_seen_by_its_static_pods_too(bench: Bench) -> None:
    await _without_proxy(bench)
    await _nodes(bench, version="v1.33.1+rke2r1")
    await bench.api.client.create(
        PODS,
        {
            "metadata": {
                "name": "kube-proxy-node1",
                "namespace": "kube-system",
                "annotations": {"kubernetes.io/config.mirror": "x"},
            },
            "spec": {
                "nodeName": "node1",
                "containers": [{"name": "p", "image": "rancher/hardened-kubernetes:v1", "args": ["-v=2"]}],
            },
        },
    )
    (pod,) = (await read_signs(bench.api.client)).workloads
    assert (pod.kind, pod.node, pod.command) == ("static pod", "node1", ("-v=2",))
    code, report = await bench.run("disable", "--yes")
    assert (code, report["result"]) == (1, "elsewhere")
    assert "strictARP is switched off in /etc/rancher/rke2/config.yaml" in str(report["state"])
    assert "node node1: it is not shown what it runs with now" in str(report["hints"])


async def test_kubespray_is_refused_and_edited_only_with_the_word_that_it_will_not_last(bench: Bench) -> None:
    await _kubeadm_says(bench, "certificatesDir: /etc/kubernetes/ssl\n")
    version = bench.api.version
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"], bench.api.version) == (1, "elsewhere", version)
    assert "set there: kube_proxy_strict_arp: true" in str(report["hints"])
    assert (
        "add --configmap-anyway to edit ConfigMap kube-system/kube-proxy, key config.conf all the same; that "
        "lasts until the next run of cluster.yml or upgrade-cluster.yml"
    ) in str(report["hints"])
    code, report = await bench.run("enable", "--yes", "--configmap-anyway")
    assert (code, report["result"]) == (0, "done")
    assert report["hints"] == [
        "ConfigMap kube-system/kube-proxy: the edit lasts until the next run of cluster.yml or "
        "upgrade-cluster.yml; to last, set `kube_proxy_strict_arp: true` in the inventory, "
        "group_vars/k8s_cluster/k8s-cluster.yml"
    ]


async def test_talos_renders_its_hashed_configmap_at_once_so_it_is_never_edited(bench: Bench) -> None:
    await _without_proxy(bench)
    await _nodes(bench, os_image="Talos (v1.15.0)")
    text = "kind: KubeProxyConfiguration\nmode: ipvs\n"
    hashed = {"metadata": {"name": "kube-proxy-config-1a2b", "namespace": "kube-system"}}
    await bench.api.client.create(CONFIGMAPS, {**hashed, "data": {"kube-proxy.conf": text}})
    pod = {
        "containers": [{"image": "kube-proxy", "command": ["kube-proxy", "--config=/x/kube-proxy.conf"]}],
        "volumes": [{"name": "c", "configMap": {"name": "kube-proxy-config-1a2b"}}],
    }  # fmt: skip
    metadata = {"name": "kube-proxy", "namespace": "kube-system"}
    await bench.api.client.create(DAEMONSETS, {"metadata": metadata, "spec": {"template": {"spec": pod}}})
    version = bench.api.version
    code, report = await bench.run("enable", "--yes", "--configmap-anyway")
    assert (code, report["result"], bench.api.version) == (1, "elsewhere", version)
    assert "kind: KubeProxyConfig, mode: ipvs" in str(report["hints"])
    assert "--configmap-anyway" not in str(report["hints"])
    assert report["installer"]["holder"]["name"] == "kube-proxy-config-1a2b"  # type: ignore[index]


async def test_cilium_in_place_of_kube_proxy_is_not_applicable(bench: Bench) -> None:
    await _without_proxy(bench)
    metadata = {"name": "cilium-config", "namespace": "kube-system"}
    data = {"kube-proxy-replacement": "true"}
    await bench.api.client.create(CONFIGMAPS, {"metadata": metadata, "data": data})
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (4, "not applicable")
    assert str(report["state"]).startswith("not applicable: Cilium in place of kube-proxy: Cilium's eBPF")


@pytest.mark.parametrize("command", ["enable", "disable"])
async def test_another_mode_is_not_applicable(bench: Bench, command: str) -> None:
    text = (await bench.proxies.text()).replace("mode: ipvs", "mode: nftables")
    await bench.api.client.merge_patch(
        CONFIGMAPS, "kube-proxy", {"data": {"config.conf": text}}, "kube-system"
    )
    code, report = await bench.run(command, "--yes")
    assert (code, report["result"]) == (4, "not applicable")
    assert "mode: 'nftables'; strictARP is a setting of mode ipvs" in str(report["state"])


async def test_an_unknown_installer_is_told_with_what_was_seen(bench: Bench) -> None:
    await bench.api.client.delete(CONFIGMAPS, "kubeadm-config", "kube-system")
    await _nodes(bench, version="v1.33.1")
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (1, "unknown installer")
    assert (
        "seen: DaemonSet kube-system/kube-proxy runs registry.k8s.io/kube-proxy:v1.33.1 with "
        "/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf"
    ) in str(report["hints"])
    assert "seen: kubelet v1.33.1" in str(report["hints"])
    code, report = await bench.run("enable", "--yes", "--configmap-anyway")
    assert (code, report["result"]) == (0, "done")


async def test_another_key_and_another_daemonset_are_edited_where_the_proxies_read_them(bench: Bench) -> None:
    text = await bench.proxies.text()
    await bench.api.client.merge_patch(
        CONFIGMAPS, "kube-proxy", {"data": {"config.conf": None, "kube-proxy.conf": text}}, "kube-system"
    )
    container = {"image": "kube-proxy", "command": ["kube-proxy", "--config=/x/kube-proxy.conf"]}
    spec = {"template": {"spec": {"containers": [container]}}}
    await bench.api.client.merge_patch(DAEMONSETS, "kube-proxy", {"spec": spec}, "kube-system")
    code, report = await bench.run("enable", "--dry-run")
    assert (code, report["result"]) == (0, "dry run")
    assert str(report["diff"]).startswith("--- kube-proxy.conf\n+++ kube-proxy.conf\n")


async def test_a_daemonset_that_wants_no_pods_is_told(bench: Bench) -> None:
    bench.proxies.count = 0
    await bench.api.client.merge_patch(
        DAEMONSETS,
        "kube-proxy",
        {"spec": {"template": {"metadata": {"annotations": {"parked": "yes"}}}}},
        "kube-system",
    )
    while True:
        status = (await bench.api.client.get(DAEMONSETS, *KEY)).status
        if not status.desired_number_scheduled:
            break
        await asyncio.sleep(0.02)
    _, report = await bench.run("enable", "--yes")
    assert "DaemonSet kube-system/kube-proxy wants no pods, so no proxy takes the change up" in str(
        report["hints"]
    )


async def test_what_may_not_be_listed_is_got_by_name(bench: Bench) -> None:
    for path in ("/apis/apps/v1/daemonsets", "/apis/apps/v1/namespaces/kube-system/daemonsets", "/apis"):
        await bench.api.fault(kind="status", status=403, verb="list", path=path, count=1)
    signs = await read_signs(bench.api.client)
    assert [each.name for each in signs.workloads] == ["kube-proxy"]
    assert len(signs.unread) == 2
    assert signs.config_map("kubeadm-config") is not None


async def test_a_place_that_may_not_be_seen_is_exit_3(bench: Bench) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/kube-proxy"
    await bench.api.fault(kind="status", status=403, verb="get", path=path, count=1)
    code, report = await bench.run("enable", "--yes")
    assert (code, report["result"]) == (3, "cannot look")
    assert str(report["state"]).startswith("cannot tell where kube-proxy is configured: ")
