"""The lab's cluster shows what a real one with our proxy would."""

from pathlib import Path

from strictarp.cluster.installers import recognise
from strictarp.cluster.looking import read_signs
from strictarp.cluster.signs import Holder
from strictarp.kube.objects import CONFIGMAPS, DAEMONSETS
from strictarp.lab import layout, manifests
from support.api import running_api


async def test_its_daemonset_is_our_proxy_and_reads_kubeadms_configmap(tmp_path: Path) -> None:
    made = manifests.cluster(layout.nodes(3), "/kubeconfig")
    kinds = {"ConfigMap": CONFIGMAPS, "DaemonSet": DAEMONSETS}
    async with running_api(tmp_path) as api:
        for document in made:
            if str(document["kind"]) in kinds:
                await api.client.create(kinds[str(document["kind"])], document, "kube-system")
        found = recognise(await read_signs(api.client))
    assert (found.name, found.confidence) == ("strictarp", "certain")
    assert found.holder == Holder("kube-proxy", "kube-proxy", "config.conf", default_mode="ipvs")
    assert found.apply == "kubectl -n kube-system rollout restart daemonset/kube-proxy"
