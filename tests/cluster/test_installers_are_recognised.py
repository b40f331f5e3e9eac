"""Where kube-proxy is configured: every installer by its signs, and no answer from none."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.cluster.installers import Installer, recognise
from strictarp.cluster.recipes import RECIPES, Place
from strictarp.cluster.signs import ConfigMapSigns, NodeSigns, Signs, WorkloadSigns, flag, holder

CONFIG = ConfigMapSigns("kube-proxy", data={"config.conf": "", "kubeconfig.conf": ""})
PROXY = WorkloadSigns(
    "DaemonSet",
    "kube-system",
    "kube-proxy",
    images=("registry.k8s.io/kube-proxy:v1.33.1",),
    command=("/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"),
    config_maps=("kube-proxy",),
    desired=3,
)
BY_FLAGS = msgspec.structs.replace(
    PROXY, command=("/usr/local/bin/kube-proxy", "--proxy-mode=ipvs"), config_maps=()
)


def _node(name: str = "n1", **rest: object) -> NodeSigns:
    return msgspec.structs.replace(NodeSigns(name), **rest)


def _kubeadm(text: str = "kind: ClusterConfiguration\n", *nodes: NodeSigns, **rest: object) -> Signs:
    config = ConfigMapSigns("kubeadm-config", data={"ClusterConfiguration": text})
    signs = Signs(nodes or (_node(kubelet_version="v1.33.1"),), (PROXY,), (CONFIG, config))
    return msgspec.structs.replace(signs, **rest)


def _bare(*nodes: NodeSigns, **rest: object) -> Signs:
    return msgspec.structs.replace(Signs(nodes), **rest)


K3S = _node(
    kubelet_version="v1.33.1+k3s1",
    annotations={"k3s.io/node-args": '["server","--kube-proxy-arg","proxy-mode=ipvs"]'},
)
K3S_WITHOUT = _node(
    kubelet_version="v1.33.1+k3s1", annotations={"k3s.io/node-args": '["server","--disable-kube-proxy"]'}
)
RKE2_POD = msgspec.structs.replace(
    BY_FLAGS, kind="static pod", name="kube-proxy-n1", node="n1", images=("index.docker.io/rancher/hk:v1",)
)
CILIUM = ConfigMapSigns("cilium-config", data={"kube-proxy-replacement": "true"})
TALOS_MAP = ConfigMapSigns("kube-proxy-config-1a2b3c", data={"kube-proxy.conf": ""})
TALOS_PROXY = msgspec.structs.replace(
    PROXY, command=("kube-proxy", "--config=/etc/kube-proxy.conf"), config_maps=(TALOS_MAP.name,)
)
TALOS = _node(os_image="Talos (v1.15.0)")
K0S = _node(kubelet_version="v1.33.1+k0s")
RANCHER = _node(
    kubelet_version="v1.33.1+rke2r1",
    labels={"rke.cattle.io/machine": "u"},
    annotations={
        "cluster.x-k8s.io/cluster-name": "prod",
        "cluster.x-k8s.io/cluster-namespace": "fleet-default",
    },
)
OVN = WorkloadSigns("DaemonSet", "ovn-kubernetes", "ovnkube-node", desired=3)
CALICO = WorkloadSigns(
    "DaemonSet", "calico-system", "calico-node", env={"FELIX_BPFENABLED": "true"}, desired=3
)
ROUTER = WorkloadSigns("DaemonSet", "kube-system", "kube-router", command=("--run-service-proxy=true",))
OURS = msgspec.structs.replace(
    PROXY,
    images=("registry.example/strictarp:1",),
    command=("strictarp", "proxy", "--config", "/c/config.conf"),
)
OFF = msgspec.structs.replace(PROXY, desired=0)
KKP_MAP = msgspec.structs.replace(CONFIG, labels={"kubermatic-addon": "kube-proxy"})

CASES: list[tuple[str, Signs, str, str, Place]] = [
    ("kubeadm", _kubeadm(), "kubeadm", "certain", Place.CONFIGMAP),
    (
        "kubeadm whose own ConfigMap we may not read",
        _bare(
            _node(annotations={"kubeadm.alpha.kubernetes.io/cri-socket": "x"}),
            config_maps=(CONFIG,),
            workloads=(PROXY,),
        ),
        "kubeadm",
        "likely",
        Place.CONFIGMAP,
    ),
    ("kubespray", _kubeadm("certificatesDir: /etc/kubernetes/ssl\n"), "kubespray", "likely", Place.SOURCE),
    (
        "kubekey",
        _kubeadm("controlPlaneEndpoint: lb.kubesphere.local:6443\n"),
        "kubekey",
        "likely",
        Place.CONFIGMAP,
    ),
    (
        "cluster api",
        _kubeadm("x: y", _node(annotations={"cluster.x-k8s.io/machine": "m"})),
        "cluster-api",
        "certain",
        Place.CONFIGMAP,
    ),
    (
        "eks anywhere",
        _kubeadm("imageRepository: public.ecr.aws/eks-distro/kubernetes\n"),
        "eks-anywhere",
        "certain",
        Place.CONFIGMAP,
    ),
    (
        "kubeone",
        _kubeadm("x: y", _node(labels={"v1.kubeone.io/operating-system": "ubuntu"})),
        "kubeone",
        "certain",
        Place.SOURCE,
    ),
    ("kkp", _bare(_node(), config_maps=(KKP_MAP,), workloads=(PROXY,)), "kkp", "certain", Place.SOURCE),
    ("k3s", _bare(K3S), "k3s", "certain", Place.NODE_FILES),
    (
        "rke2",
        _bare(_node(kubelet_version="v1.33.1+rke2r1"), workloads=(RKE2_POD,)),
        "rke2",
        "certain",
        Place.NODE_FILES,
    ),
    ("rancher", _bare(RANCHER, workloads=(RKE2_POD,)), "rancher", "certain", Place.SOURCE),
    (
        "rke1",
        _bare(_node(annotations={"rke.cattle.io/internal-ip": "192.0.2.1"})),
        "rke1",
        "certain",
        Place.SOURCE,
    ),
    (
        "talos",
        _bare(TALOS, config_maps=(TALOS_MAP,), workloads=(TALOS_PROXY,)),
        "talos",
        "certain",
        Place.SOURCE,
    ),
    ("talos by flags", _bare(TALOS, workloads=(BY_FLAGS,)), "talos-legacy", "certain", Place.SOURCE),
    ("k0s", _bare(K0S, config_maps=(CONFIG,), workloads=(PROXY,)), "k0s", "certain", Place.SOURCE),
    (
        "microk8s",
        _bare(_node(labels={"microk8s.io/cluster": "true"})),
        "microk8s",
        "certain",
        Place.NODE_FILES,
    ),
    (
        "kops",
        _bare(_node(labels={"kops.k8s.io/instancegroup": "nodes"}), workloads=(RKE2_POD,)),
        "kops",
        "certain",
        Place.SOURCE,
    ),
    ("kube-router", _bare(_node(), workloads=(ROUTER,)), "kube-router", "certain", Place.NONE),
    (
        "cilium, kube-proxy not there",
        _kubeadm(workloads=(), config_maps=(CILIUM,)),
        "cilium",
        "certain",
        Place.NONE,
    ),
    ("cilium on k3s", _bare(K3S_WITHOUT, config_maps=(CILIUM,)), "cilium", "certain", Place.NONE),
    ("calico, kube-proxy parked", _kubeadm(workloads=(CALICO, OFF)), "calico-ebpf", "certain", Place.NONE),
    (
        "calico by its own setting",
        _kubeadm(workloads=(), felix_bpf=True),
        "calico-ebpf",
        "certain",
        Place.NONE,
    ),
    ("ovn", _bare(_node(), workloads=(OVN,)), "ovn-kubernetes", "certain", Place.NONE),
    (
        "our proxy alone",
        _bare(
            _node(),
            config_maps=(CONFIG,),
            workloads=(OURS,),
        ),
        "strictarp",
        "certain",
        Place.CONFIGMAP,
    ),
    (
        "nothing known",
        _bare(_node(), workloads=(PROXY,), config_maps=(CONFIG,)),
        "unknown",
        "unknown",
        Place.NONE,
    ),
    ("nothing at all", Signs(), "unknown", "unknown", Place.NONE),
]  # fmt: skip


@pytest.mark.parametrize(("title", "signs", "name", "confidence", "place"), CASES)
def test_each_installer_is_recognised_and_says_what_it_rests_on(
    title: str, signs: Signs, name: str, confidence: str, place: Place
) -> None:
    found = recognise(signs)
    assert (found.name, found.confidence, found.place) == (name, confidence, place)
    assert found.signs or signs == Signs()
    assert found.known == (name != "unknown")
    assert bool(found.not_applicable) == (place is Place.NONE and found.known)


def test_no_recipe_is_without_a_case() -> None:
    assert {name for _, _, name, _, _ in CASES} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_where_what_and_how(name: str) -> None:
    recipe = RECIPES[name]
    signs = next(signs for _, signs, found, _, _ in CASES if found == name)
    on, off = recognise(signs), recognise(signs, wanted=False)
    assert "{" not in on.where + on.apply
    if recipe.place is not Place.NONE:
        assert all((on.where, on.edit, on.apply, on.default))
        assert on.edit != off.edit
    assert bool(on.nodes) == (recipe.place is Place.NODE_FILES)


def test_the_edit_is_worded_for_the_wanted_value() -> None:
    spray = _kubeadm("certificatesDir: /etc/kubernetes/ssl\n")
    assert recognise(spray).edit == "kube_proxy_strict_arp: true"
    assert recognise(spray, wanted=False).edit == "kube_proxy_strict_arp: false"
    assert "arp_ignore=1" in recognise(_bare(_node(labels={"kops.k8s.io/instancegroup": "a"}))).edit


def test_ranchers_cluster_is_named_by_its_nodes() -> None:
    found = recognise(_bare(RANCHER))
    assert "clusters.provisioning.cattle.io fleet-default/prod" in found.where
    assert found.apply.startswith("kubectl -n fleet-default edit clusters.provisioning.cattle.io prod")


def test_signs_of_two_distributions_make_no_answer() -> None:
    found = recognise(_bare(K3S, _node("n2", kubelet_version="v1.33.1+rke2r1")))
    assert found.name == "unknown"
    assert found.signs == ("kubelet version has +k3s on n1", "kubelet version has +rke2 on n2")


def test_an_unknown_installer_lists_what_was_seen() -> None:
    signs = _bare(
        _node(kubelet_version="v1.33.1", os_image="Nobody's Linux"),
        workloads=(BY_FLAGS,),
        config_maps=(ConfigMapSigns("my-kube-proxy", data={"a": "", "b": ""}),),
        unread=("nodes: forbidden",),
    )
    assert recognise(signs).signs == (
        "DaemonSet kube-system/kube-proxy runs registry.k8s.io/kube-proxy:v1.33.1 with "
        "/usr/local/bin/kube-proxy --proxy-mode=ipvs",
        "ConfigMap kube-system/my-kube-proxy has the keys a, b",
        "kubelet v1.33.1",
        "OS image Nobody's Linux",
        "not seen: nodes: forbidden",
    )


def test_a_kube_proxy_beside_cilium_is_what_is_configured_and_cilium_is_named() -> None:
    found = recognise(_kubeadm(config_maps=(CONFIG, CILIUM, ConfigMapSigns("kubeadm-config"))))
    assert (found.name, found.not_applicable) == ("kubeadm", "")
    assert found.traps[-1].startswith("Cilium in place of kube-proxy is here as well (ConfigMap kube-system/")


def test_cilium_that_leaves_services_to_kube_proxy_is_no_replacement() -> None:
    partial = ConfigMapSigns("cilium-config", data={"kube-proxy-replacement": "false"})
    assert (
        recognise(_kubeadm(config_maps=(CONFIG, partial, ConfigMapSigns("kubeadm-config")))).name == "kubeadm"
    )


def test_our_proxy_in_a_kubeadm_cluster_is_configured_by_kubeadms_configmap() -> None:
    ours = msgspec.structs.replace(PROXY, command=("strictarp", "proxy", "--config", "/x/config.conf"))
    found = recognise(_kubeadm(workloads=(ours,)))
    assert (found.name, found.configmap_lasts) == ("kubeadm", True)
    assert found.signs[-1] == "DaemonSet kube-system/kube-proxy runs strictarp proxy"


def test_the_place_that_the_proxies_really_read_is_told_with_its_command() -> None:
    other = msgspec.structs.replace(
        PROXY, name="strictarp-proxy", images=("x/strictarp:1",), config_maps=("strictarp-proxy",),
        command=("strictarp", "proxy", "--config=/etc/strictarp/config.yaml"),
    )  # fmt: skip
    data = ConfigMapSigns("strictarp-proxy", data={"config.yaml": "", "settings.yaml": ""})
    found = recognise(_bare(_node(), workloads=(other,), config_maps=(data,)))
    assert found.where == "ConfigMap kube-system/strictarp-proxy, key config.yaml"
    assert found.apply == "kubectl -n kube-system rollout restart daemonset/strictarp-proxy"


def test_a_parked_kube_proxy_gives_way_to_the_proxy_that_runs() -> None:
    ours = msgspec.structs.replace(
        PROXY, name="strictarp-proxy", images=("x/strictarp:1",), config_maps=("strictarp-proxy",)
    )
    data = ConfigMapSigns("strictarp-proxy", data={"config.conf": ""})
    held = holder(Signs(workloads=(OFF, ours), config_maps=(CONFIG, data)))
    assert held is not None
    assert (held.daemonset, held.name, held.default_mode) == ("strictarp-proxy", "strictarp-proxy", "ipvs")


@pytest.mark.parametrize(
    ("data", "path", "key"),
    [
        (("config.conf", "kubeconfig.conf"), None, "config.conf"),
        (("config.conf", "config.yaml"), "/var/lib/kube-proxy/config.conf", "config.conf"),
        (("kube-proxy.conf",), "/etc/kubernetes/kube-proxy.conf", "kube-proxy.conf"),
        (("config.yaml",), None, "config.yaml"),
        (("config.yaml", "kube-proxy.conf"), None, None),
        (("own.yaml",), "/x/own.yaml", "own.yaml"),
        (("own.yaml",), None, None),
    ],
)
def test_the_key_of_the_configuration_is_found_or_not_claimed(
    data: tuple[str, ...], path: str | None, key: str | None
) -> None:
    command = ("kube-proxy", f"--config={path}") if path else ()
    proxy = msgspec.structs.replace(PROXY, command=command)
    maps = (ConfigMapSigns("kube-proxy", data=dict.fromkeys(data, "")),)
    found = holder(Signs(workloads=(proxy,), config_maps=maps))
    assert (found.key if found else None) == key


def test_a_proxy_run_by_flags_alone_reads_no_configmap() -> None:
    assert holder(Signs(workloads=(BY_FLAGS,), config_maps=(CONFIG,))) is None


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("--x=1",), "1"),
        (("-x", "1"), "1"),
        (("--x",), "true"),
        (("--x", "--y"), "true"),
        (("--x=1", "--x=2"), "2"),
        (("--x=a=b",), "a=b"),
        (("x=1", "--xy=1"), None),
    ],
)
def test_flags_are_read_as_a_go_program_does(words: tuple[str, ...], value: str | None) -> None:
    assert flag(words, "x") == value


_names = st.sampled_from(["kube-proxy", "kubeadm-config", "cilium-config", "strictarp", "x"])
_text = st.sampled_from(
    ["", "true", "config.conf", "certificatesDir: /etc/kubernetes/ssl", "--config=/a/b", "{"]
)
_maps = st.dictionaries(
    st.sampled_from(["config.conf", "ClusterConfiguration", "kube-proxy-replacement", "k3s.io/node-args",
                     "microk8s.io/cluster", "rke.cattle.io/machine", "kubermatic-addon"]),
    _text | st.just('["server", 1, null]'),
    max_size=3,
)  # fmt: skip
_signs = st.builds(
    Signs,
    nodes=st.lists(
        st.builds(
            NodeSigns,
            _names,
            labels=_maps,
            annotations=_maps,
            os_image=st.sampled_from(["", "Talos (v1)"]),
            kubelet_version=st.sampled_from(["", "v1+k3s1", "v1+rke2r1", "v1+k0s", "v1"]),
        ),
        max_size=3,
    ).map(tuple),
    workloads=st.lists(
        st.builds(
            WorkloadSigns,
            st.sampled_from(["DaemonSet", "static pod"]),
            st.just("kube-system"),
            _names,
            images=st.lists(_names, max_size=1).map(tuple),
            command=st.lists(_text | _names, max_size=3).map(tuple),
            config_maps=st.lists(_names, max_size=2).map(tuple),
            desired=st.sampled_from([None, 0, 3]),
        ),
        max_size=3,
    ).map(tuple),
    config_maps=st.lists(st.builds(ConfigMapSigns, _names, data=_maps, labels=_maps), max_size=3).map(tuple),
    felix_bpf=st.sampled_from([None, True, False]),
)


@given(_signs)
def test_whatever_a_cluster_shows_the_answer_is_whole(signs: Signs) -> None:
    found = recognise(signs)
    assert found.name in RECIPES
    assert found.known == (found.name != "unknown")
    assert found.signs or not found.known
    if found.configmap_lasts:
        assert found.holder is not None
        assert found.where == found.holder.title
    assert msgspec.json.decode(msgspec.json.encode(found), type=Installer) == found
