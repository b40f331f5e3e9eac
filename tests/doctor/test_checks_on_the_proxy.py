"""SA0xx and SA1xx: each fires on its problem, and not on what is merely near it."""

import pytest

from strictarp.cluster.signs import ConfigMapSigns, NodeSigns, Signs
from strictarp.doctor.objects import ProxyAnswer
from support.doctor_clusters import (
    CONFIG,
    OUR_PROXY,
    codes,
    daemonset,
    evidence,
    kube_proxy,
    looked,
    objects,
    proxy_pod,
    sighted,
    signs,
    workload_signs,
)

CILIUM = ConfigMapSigns("cilium-config", {"kube-proxy-replacement": "true"})
IPTABLES = signs(CONFIG.replace("ipvs\n", "iptables\n", 1))
OFF = signs(CONFIG.replace("true", "false"))


def test_nothing_is_found_in_a_sound_cluster() -> None:
    found = looked(evidence(objects()))
    assert found.findings == ()
    assert found.exit_code == 0


class TestProxyMode:
    @pytest.mark.parametrize("mode", ["iptables", "nftables"])
    def test_another_mode_is_told_and_no_problem(self, mode: str) -> None:
        seen = evidence(objects(signs=signs(f"kind: KubeProxyConfiguration\nmode: {mode}\n")))
        assert sighted("SA001", seen) == [
            (
                "service proxy",
                f"mode is {mode}: ConfigMap kube-system/kube-proxy, key config.conf says so",
            )
        ]
        assert looked(seen).exit_code == 0

    def test_no_mode_means_iptables(self) -> None:
        seen = evidence(objects(signs=signs("kind: KubeProxyConfiguration\n")))
        assert "mode is iptables" in sighted("SA001", seen)[0][1]

    def test_ebpf_without_a_proxy_is_told(self) -> None:
        seen = evidence(objects(signs=signs(None, workloads=(), maps=[CILIUM])))
        assert "mode is eBPF" in sighted("SA001", seen)[0][1]
        assert sighted("SA001", evidence(objects())) == []

    def test_a_mode_that_nobody_tells(self) -> None:
        seen = evidence(objects(signs=signs(None, workloads=())))
        assert sighted("SA002", seen) == [
            ("service proxy", "the mode cannot be found out: no pods of a service proxy are known")
        ]
        assert looked(seen).exit_code == 1

    def test_k3s_tells_by_the_arguments_of_its_nodes(self) -> None:
        def node(name: str, args: str) -> NodeSigns:
            return NodeSigns(name, annotations={"k3s.io/node-args": args}, kubelet_version="v1.34.1+k3s1")

        ipvs = '["server","--kube-proxy-arg","proxy-mode=ipvs","--kube-proxy-arg","ipvs-strict-arp=true"]'
        same = evidence(objects(signs=Signs(nodes=(node("n1", ipvs), node("n2", ipvs)))))
        assert (sighted("SA002", same), sighted("SA009", same), sighted("SA101", same)) == ([], [], [])
        mixed = evidence(objects(signs=Signs(nodes=(node("n1", ipvs), node("n2", '["agent"]')))))
        assert sighted("SA009", mixed) == [
            ("service proxy", "kube-proxy-arg of node n2: iptables, kube-proxy-arg of node n1: ipvs")
        ]

    def test_k3s_without_arguments_is_not_known(self) -> None:
        nodes = (NodeSigns("n1", kubelet_version="v1.34.1+k3s1"),)
        assert "kube-proxy runs inside k3s" in sighted("SA002", evidence(objects(signs=Signs(nodes))))[0][1]

    @pytest.mark.parametrize(
        ("tag", "found"), [("v1.34.9", []), ("v1.35.0", ["SA003"]), ("v1.39.1", ["SA003"])]
    )
    def test_mode_ipvs_is_deprecated_from_1_35_on(self, tag: str, found: list[str]) -> None:
        image = f"registry/kube-proxy:{tag}"
        seen = objects(signs=signs(workloads=[workload_signs("kube-proxy", image)]))
        assert codes(evidence(seen)) == found

    @pytest.mark.parametrize(
        ("tag", "words"), [("v1.40.0", "feature gate"), ("v1.43.2", "no mode ipvs any more")]
    )
    def test_mode_ipvs_is_off_from_1_40_on(self, tag: str, words: str) -> None:
        image = f"registry/kube-proxy:{tag}"
        seen = evidence(objects(signs=signs(workloads=[workload_signs("kube-proxy", image)])))
        assert codes(seen) == ["SA004"]
        assert words in sighted("SA004", seen)[0][1]

    def test_without_a_tag_the_version_of_the_api_counts(self) -> None:
        seen = signs(workloads=[workload_signs("kube-proxy", "registry/kube-proxy@sha256:0")])
        assert codes(evidence(objects(signs=seen, version="v1.36.2+k"))) == ["SA003"]
        assert codes(evidence(objects(signs=seen, version="odd"))) == []

    def test_in_k3s_the_proxy_is_as_old_as_the_kubelet(self) -> None:
        args = {"k3s.io/node-args": '["server","--kube-proxy-arg=proxy-mode=ipvs"]'}
        for version, found in (("v1.34.1+k3s1", []), ("v1.35.0+k3s1", ["SA003"])):
            nodes = (NodeSigns("n1", annotations=args, kubelet_version=version),)
            seen = evidence(objects(signs=Signs(nodes), version="v1.36.2"))
            assert [code for code in codes(seen) if code == "SA003"] == found

    def test_our_own_proxy_is_not_deprecated(self) -> None:
        seen = signs(None, workloads=[OUR_PROXY])
        for code in ("SA003", "SA004", "SA005"):
            assert sighted(code, evidence(objects(signs=seen, version="v1.44.0"))) == []

    def test_two_proxies_at_once(self) -> None:
        seen = evidence(objects(signs=signs(workloads=[workload_signs(), OUR_PROXY])))
        assert sighted("SA005", seen) == [
            (
                "service proxy",
                "at work at the same time: DaemonSet kube-system/kube-proxy and DaemonSet "
                "kube-system/strictarp-proxy",
            )
        ]
        idle = workload_signs(desired=0)
        assert sighted("SA005", evidence(objects(signs=signs(workloads=[idle, OUR_PROXY])))) == []

    def test_a_proxy_beside_cilium(self) -> None:
        seen = evidence(objects(signs=signs(maps=[CILIUM])))
        assert "runs beside Cilium" in sighted("SA006", seen)[0][1]
        other = ConfigMapSigns("cilium-config", {"kube-proxy-replacement": "false"})
        assert sighted("SA006", evidence(objects(signs=signs(maps=[other])))) == []

    @pytest.mark.parametrize(
        "text",
        ["mode: [", "mode: [a]", "ipvs: 3", "mode: ipvs\nipvs: {strictARP: maybe}", "", "a: 1\n---\nb: 2"],
    )
    def test_a_configuration_that_cannot_be_read(self, text: str) -> None:
        assert [code for code in codes(evidence(objects(signs=signs(text)))) if code < "SA1"] == ["SA007"]

    def test_kube_router_always_has_it(self) -> None:
        command = ("kube-router", "--run-service-proxy=true")
        router = workload_signs("kube-router", "registry/kube-router:2", *command, config_maps=())
        seen = evidence(objects(signs=signs(None, workloads=[router])))
        assert codes(seen) == ["SA008"]
        plugin = workload_signs(
            "kube-router", "r", "kube-router", "--run-service-proxy=false", config_maps=()
        )
        assert sighted("SA008", evidence(objects(signs=signs(workloads=[plugin, workload_signs()])))) == []


class TestSetting:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("mode: ipvs\nipvs: {strictARP: false}\n", "ipvs.strictARP is false"),
            ("mode: ipvs\nipvs:\n  # strictARP: true\n  scheduler: rr\n", "is commented out"),
            ("mode: ipvs\nipvs: {scheduler: rr}\n", "ipvs.strictARP is absent"),
            ("mode: ipvs\n", "ipvs is absent"),
            ("mode: ipvs\nipvs: null\n", "ipvs is absent"),
            ('{"mode": "ipvs", "ipvs": {"strictARP": null}}', "absent"),
        ],
    )
    def test_off_in_every_spelling(self, text: str, words: str) -> None:
        seen = evidence(objects(signs=signs(text)))
        ((subject, told),) = sighted("SA101", seen)
        assert subject == "service proxy"
        assert words in told
        assert "Service IPs are announced by MetalLB" in told
        assert looked(seen).exit_code == 2

    def test_off_is_mended_where_it_lasts(self) -> None:
        def mend(**more: object) -> str:
            text = CONFIG.replace("true", "false")
            found = looked(evidence(objects(signs=signs(text, **more))))
            return next(each.mend for each in found.findings if each.code == "SA101")

        assert mend() == "strictarp enable"
        assert "KubeProxyConfig" in mend(os_image="Talos (v1.9.0)")

    def test_off_with_nobody_to_announce_is_a_warning(self) -> None:
        seen = evidence(objects(signs=OFF, daemonsets=(kube_proxy(),), pools=(), advertisements=()))
        assert [code for code in codes(seen) if code.startswith("SA1")] == ["SA102"]

    def test_on_is_no_finding_in_either_check(self) -> None:
        for code in ("SA101", "SA102"):
            assert sighted(code, evidence(objects())) == []
            assert sighted(code, evidence(objects(signs=IPTABLES))) == []

    def test_a_place_that_is_written_anew(self) -> None:
        talos = {"os_image": "Talos (v1.9.0)"}
        by_hand = signs(managers=("kubectl-edit",), **talos)  # type: ignore[arg-type]
        ((_, told),) = sighted("SA103", evidence(objects(signs=by_hand)))
        assert "set there by kubectl-edit" in told
        rendered = signs(managers=("talos",), **talos)  # type: ignore[arg-type]
        assert sighted("SA103", evidence(objects(signs=rendered))) == []
        assert sighted("SA103", evidence(objects(signs=signs(managers=("kubectl-edit",))))) == []  # kubeadm

    def test_proxies_older_than_the_setting(self) -> None:
        pods = (proxy_pod("node1", "2026-05-01T11:59:59Z"), proxy_pod("node2", "2026-05-01T12:00:00Z"))
        ((subject, told),) = sighted("SA104", evidence(objects(pods=pods)))
        assert subject == "DaemonSet kube-system/kube-proxy"
        assert told.startswith("1 proxies run longer than since 2026-05-01T12:00:00Z")
        assert "node1 since 2026-05-01T11:59:59Z" in told

    def test_a_container_that_was_restarted_has_read_it(self) -> None:
        state = {"name": "kube-proxy", "state": {"running": {"startedAt": "2026-05-01T13:00:00Z"}}}
        pods = (proxy_pod("node1", "2026-04-01T00:00:00Z", containerStatuses=[state]),)
        assert sighted("SA104", evidence(objects(pods=pods))) == []

    def test_without_a_known_time_nothing_is_older(self) -> None:
        pods = (proxy_pod("node1", "2026-04-01T00:00:00Z"),)
        assert sighted("SA104", evidence(objects(pods=pods, configured_at=""))) == []

    def test_a_rollout_under_way(self) -> None:
        seen = objects(daemonsets=(kube_proxy(updated=1), *objects().daemonsets[1:]))
        assert sighted("SA105", evidence(seen)) == [
            ("DaemonSet kube-system/kube-proxy", "1 of 3 proxies are new")
        ]
        assert sighted("SA105", evidence(objects())) == []

    def test_a_node_that_says_otherwise(self) -> None:
        answers = (
            ProxyAnswer("node1", True, True, True),
            ProxyAnswer("node2", True, True, False, "eth0: arp_ignore is 0"),
            ProxyAnswer("node3", True, False, False),
            ProxyAnswer("node4", False),
        )
        assert sighted("SA106", evidence(objects(proxies=answers))) == [
            ("node node2", "strictARP is asked for and not in force: eth0: arp_ignore is 0"),
            ("node node3", "its proxy does not ask for strictARP, the configuration does"),
        ]
        assert sighted("SA106", evidence(objects(proxies=answers[:1]))) == []

    def test_a_kube_proxy_proves_nothing(self) -> None:
        seen = evidence(
            objects(proxies=(ProxyAnswer("node1", False), ProxyAnswer("node2", True, True, True)))
        )
        ((_, told),) = sighted("SA107", seen)
        assert "the proxies of node1 do not tell" in told
        assert looked(seen).exit_code == 0
        assert sighted("SA107", evidence(objects(proxies=(ProxyAnswer("node2", True, True, True),)))) == []

    def test_a_guard_holds_it_instead(self) -> None:
        guard = daemonset("strictarp-guard", "registry/strictarp:1", "guard", "--scope", "uplinks")
        seen = evidence(objects(signs=OFF, daemonsets=(*objects().daemonsets, guard)))
        ((_, told),) = sighted("SA109", seen)
        assert told.endswith("DaemonSet metallb-system/strictarp-guard keeps strictARP in force instead")
        assert (sighted("SA101", seen), looked(seen).exit_code) == ([], 0)
        assert sighted("SA109", evidence(objects(daemonsets=(*objects().daemonsets, guard)))) == []
        assert sighted("SA109", evidence(objects(signs=OFF))) == []

    def test_a_setting_that_nobody_uses(self) -> None:
        ((_, told),) = sighted("SA108", evidence(objects(signs=IPTABLES)))
        assert "strictARP is true and the mode is iptables" in told
        assert sighted("SA108", evidence(objects())) == []
