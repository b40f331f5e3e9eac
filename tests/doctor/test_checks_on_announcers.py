"""SA5xx: each fires on its problem, and not on what is merely near it."""

import pytest

from strictarp.doctor.kinds import (
    BGPAdvertisement,
    CiliumL2AnnouncementPolicy,
    DaemonSet,
    FelixConfiguration,
)
from strictarp.doctor.objects import Objects, SpeakerAnswer
from strictarp.kube.custom import AddressConflict, ConfigurationState
from strictarp.kube.objects import ConfigMap, Secret
from support.doctor_clusters import (
    CONFIG,
    ML,
    NODES,
    SPACE,
    VIP,
    codes,
    daemonset,
    evidence,
    kube_proxy,
    kube_vip,
    lease,
    looked,
    made,
    metallb,
    objects,
    ours,
    pool,
    service,
    sighted,
    signs,
    with_our_speakers,
)

BGP = (made(BGPAdvertisement, {"metadata": {"name": "b", "namespace": SPACE}}),)


def with_daemonsets(*more: DaemonSet, **changed: object) -> Objects:
    return objects(daemonsets=(kube_proxy(), *more), **changed)


def test_our_own_speakers_are_sound_too() -> None:
    assert looked(evidence(with_our_speakers())).findings == ()


class TestSeveralAnnouncers:
    def test_metallb_and_ours_on_the_same_services(self) -> None:
        seen = evidence(with_our_speakers(daemonsets=(kube_proxy(), metallb(), ours())))
        assert sighted("SA501", seen) == [
            (
                "cluster",
                "DaemonSet metallb-system/speaker and DaemonSet metallb-system/strictarp-speaker both answer "
                "ARP for Services without a loadBalancerClass",
            )
        ]
        finding = next(each for each in looked(seen).findings if each.code == "SA501")
        assert finding.affects == (f"VIP {VIP}",)

    def test_with_classes_of_their_own_they_may(self) -> None:
        both = (kube_proxy(), metallb("--lb-class=metallb"), ours())
        assert sighted("SA501", evidence(with_our_speakers(daemonsets=both))) == []

    @pytest.mark.parametrize(
        "other",
        [
            kube_vip(),
            daemonset("lbnodeagent", "registry/purelb/lbnodeagent:v1", namespace="purelb"),
            daemonset(
                "svclb-web-1", "rancher/klipper-lb:v1", labels={"svccontroller.k3s.cattle.io/svcname": "web"}
            ),
        ],
        ids=["kube-vip", "PureLB", "ServiceLB"],
    )
    def test_metallb_and_another(self, other: DaemonSet) -> None:
        seen = evidence(with_daemonsets(metallb(), other))
        assert "both take Services without a loadBalancerClass" in sighted("SA502", seen)[0][1]

    def test_each_with_a_class_of_its_own_is_fine(self) -> None:
        others = (
            kube_vip(lb_class_only="true"),
            kube_vip(svc_enable="false"),
            daemonset("openelb-speaker", "kubesphere/openelb:v1"),
            daemonset("other", "registry/other/speaker:v1"),
        )
        for other in others:
            assert sighted("SA502", evidence(with_daemonsets(metallb(), other))) == []

    def test_cilium_and_calico_count_by_their_configuration(self) -> None:
        policy = made(
            CiliumL2AnnouncementPolicy, {"metadata": {"name": "l2"}, "spec": {"loadBalancerIPs": True}}
        )
        config = made(
            ConfigMap,
            {
                "metadata": {"name": "cilium-config", "namespace": "kube-system"},
                "data": {"enable-l2-announcements": "true", "kube-proxy-replacement": "true"},
            },
        )
        cilium = objects(configmaps=(config,), cilium_policies=(policy,))
        assert "Cilium" in sighted("SA502", evidence(cilium))[0][1]
        assert sighted("SA502", evidence(objects(configmaps=(config,)))) == []
        felix = made(
            FelixConfiguration,
            {"metadata": {"name": "default"}, "spec": {"localSubnetL2Reachability": "PodsAndLoadBalancers"}},
        )
        seen = evidence(objects(felix=(felix,)))
        assert "Calico" in sighted("SA502", seen)[0][1]
        assert len(sighted("SA509", seen)) == 1
        assert sighted("SA509", evidence(objects())) == []


@pytest.mark.parametrize(
    "image",
    [
        "quay.io/metallb/speaker:v0.16.1",
        "registry.local:5000/rancher/mirrored-metallb-speaker:v1",
        "bitnami/metallb-speaker@sha256:0",
    ],
)
def test_metallb_is_known_by_its_mirrors_too(image: str) -> None:
    seen = with_daemonsets(daemonset("speaker", image, env=ML))
    assert looked(evidence(seen)).findings == ()


def test_pools_without_a_speaker() -> None:
    seen = evidence(with_daemonsets())
    assert "no speaker of MetalLB or strictarp was found" in sighted("SA503", seen)[0][1]
    assert sighted("SA503", evidence(with_daemonsets(pools=()))) == []
    assert sighted("SA503", evidence(objects())) == []


def test_metallb_by_bgp_only() -> None:
    seen = evidence(objects(advertisements=(), bgp_advertisements=BGP))
    assert sighted("SA504", seen) == [("cluster", "there are 1 BGPAdvertisements and no L2Advertisement")]
    assert [code for code in codes(seen) if code >= "SA6"] == []  # nothing is to be announced by ARP
    assert sighted("SA504", evidence(objects(bgp_advertisements=BGP))) == []


def test_kube_vip_by_bgp_on_lo_with_strictarp() -> None:
    def found(strict: bool, **env: str) -> list[tuple[str, str]]:
        text = CONFIG if strict else CONFIG.replace("true", "false")
        seen = with_daemonsets(kube_vip(bgp_enable="true", **env), signs=signs(text))
        return sighted("SA505", evidence(seen))

    assert len(found(True, vip_interface="lo")) == 1
    assert found(False, vip_interface="lo") == []
    assert found(True, vip_interface="eth0") == []


def test_metallb_without_memberlist() -> None:
    seen = evidence(with_daemonsets(metallb(env={})))
    assert "METALLB_ML_BIND_ADDR is not set" in sighted("SA506", seen)[0][1]
    assert sighted("SA507", seen) == []
    # From the downward API: a name, and no value in the template.
    assert sighted("SA506", evidence(with_daemonsets(metallb(env={**ML, "METALLB_ML_BIND_ADDR": ""})))) == []


def test_memberlist_without_a_key() -> None:
    bare = evidence(with_daemonsets(metallb(env={"METALLB_ML_BIND_ADDR": "0.0.0.0"})))
    assert len(sighted("SA507", bare)) == 1
    assert sighted("SA507", evidence(objects())) == []


def test_cilium_announces_and_does_not_serve() -> None:
    def found(replacement: str) -> int:
        data = {"enable-l2-announcements": "true", "kube-proxy-replacement": replacement}
        meta = {"name": "cilium-config", "namespace": "kube-system"}
        config = made(ConfigMap, {"metadata": meta, "data": data})
        return len(sighted("SA508", evidence(objects(configmaps=(config,)))))

    assert (found("false"), found("true"), found("strict")) == (1, 0, 0)


def test_keepalived_is_told() -> None:
    seen = evidence(with_daemonsets(metallb(), daemonset("ka", "osixia/keepalived:2.0")))
    assert sighted("SA510", seen) == [
        ("DaemonSet metallb-system/ka", "keepalived runs on nodes of this cluster")
    ]
    assert looked(seen).exit_code == 0
    assert sighted("SA510", evidence(objects())) == []


def test_announcers_that_are_not_ready() -> None:
    seen = evidence(with_daemonsets(metallb(ready=2)))
    assert sighted("SA511", seen) == [("DaemonSet metallb-system/speaker", "2 of 3 pods are ready")]
    assert sighted("SA511", evidence(with_daemonsets(metallb(), daemonset("x", "other:1", ready=0)))) == []


def test_a_component_that_refuses_its_configuration() -> None:
    def state(result: str) -> ConfigurationState:
        meta = {"name": "controller", "namespace": SPACE}
        return made(
            ConfigurationState, {"metadata": meta, "status": {"result": result, "errorSummary": "a\nb"}}
        )

    seen = evidence(objects(configuration_states=(state("Invalid"),)))
    assert sighted("SA512", seen) == [
        (f"ConfigurationState {SPACE}/controller", "it could not use the configuration: a b")
    ]
    assert sighted("SA512", evidence(objects(configuration_states=(state("Valid"), state("Unknown"))))) == []
    # It is a consequence of the pool that is wrong.
    wrong = (pool("main", "192.0.2.100"),)
    refused = looked(evidence(objects(configuration_states=(state("Invalid"),), pools=wrong))).findings
    assert [(each.code, each.consequences) for each in refused if each.code in ("SA601", "SA512")] == [
        ("SA601", ("SA512", "SA616"))
    ]


class TestOurSpeakers:
    @pytest.mark.parametrize(
        ("data", "words"), [(None, "it is not there"), ({"key": "%"}, "no base64"), ({"key": "YQ=="}, "")]
    )
    def test_the_key_is_missing_or_unusable(self, data: dict[str, str] | None, words: str) -> None:
        secret = (
            None if data is None else made(Secret, {"metadata": {"name": "strictarp-hello"}, "data": data})
        )
        seen = evidence(with_our_speakers(secret=secret))
        ((subject, told),) = sighted("SA521", seen)
        assert subject == "Secret metallb-system/strictarp-hello"
        assert words in told
        assert not data or data["key"] not in told

    def test_metallb_needs_no_key_of_ours(self) -> None:
        assert sighted("SA521", evidence(objects())) == []
        assert sighted("SA521", evidence(with_our_speakers())) == []

    def test_a_speaker_without_a_key_is_a_consequence_of_that(self) -> None:
        speakers = (SpeakerAnswer("node1", has_key=False), SpeakerAnswer("node2", reports={"PeerHeard": 1}))
        alone = evidence(with_our_speakers(speakers=speakers))
        assert [subject for subject, _ in sighted("SA522", alone)] == ["node node1"]
        assert "SA522" in codes(alone)
        assert "SA522" not in codes(evidence(with_our_speakers(speakers=speakers, secret=None)))

    def test_another_key(self) -> None:
        speakers = (
            SpeakerAnswer("node1", reports={"PeerHeard": 1}, refused={"unauthenticated": 7, "short": 3}),
            SpeakerAnswer("node2", reports={"PeerHeard": 1}, refused={"replayed": 3}),
        )
        assert sighted("SA523", evidence(with_our_speakers(speakers=speakers))) == [
            ("node node1", "its speaker refused 7 hellos that are not signed with its key")
        ]

    def test_a_deaf_speaker(self) -> None:
        deaf = (SpeakerAnswer("node1", members=3, reports={"Seasoned": 1}),)
        seen = evidence(with_our_speakers(speakers=deaf))
        assert sighted("SA524", seen) == [
            ("node node1", "its speaker hears no hello, though node2, node3 share its segment")
        ]

    def test_a_speaker_alone_on_its_segment_is_not_deaf(self) -> None:
        deaf = (SpeakerAnswer("node1", members=3),)
        elsewhere = lease("node2", '{"eth0":{"mac":"02:00:00:00:00:02","addresses":["198.51.100.2/24"]}}')
        for leases in ((lease("node1"),), (lease("node1"), elsewhere), (elsewhere,)):
            assert sighted("SA524", evidence(with_our_speakers(speakers=deaf, leases=leases))) == []

    def test_a_link_that_loses_hellos(self) -> None:
        def found(**reports: int) -> int:
            speakers = (SpeakerAnswer("node1", reports={"PeerHeard": 9, **reports}),)
            return len(sighted("SA525", evidence(with_our_speakers(speakers=speakers))))

        assert (found(PeerSilent=9), found(Isolated=1), found(PeerSilent=1), found()) == (1, 1, 0, 0)

    def test_alarms(self) -> None:
        speakers = (
            SpeakerAnswer("node1", reports={"PeerHeard": 1, "KernelAnswers": 3, "TookOver": 9, "New": 1}),
        )
        assert sighted("SA526", evidence(with_our_speakers(speakers=speakers))) == [
            ("node node1", "its speaker has reported KernelAnswers 3 times")
        ]

    def test_an_address_that_is_taken(self) -> None:
        def conflict(address: str) -> AddressConflict:
            spec = {"address": address, "mac": "02:00:00:00:00:99", "node": "node1", "seen": "2026-05-01"}
            return made(AddressConflict, {"metadata": {"name": "x", "namespace": SPACE}, "spec": spec})

        seen = evidence(
            objects(conflicts=(conflict("192.0.2.110"), conflict("odd"), conflict("203.0.113.1")))
        )
        assert sighted("SA527", seen)[0] == (
            "IPAddressPool main",
            "02:00:00:00:00:99 answers for 192.0.2.110, which is in no use here (seen from node node1, "
            "2026-05-01)",
        )
        assert [subject for subject, _ in sighted("SA527", seen)] == ["IPAddressPool main", "cluster"]
        assert sighted("SA527", evidence(objects())) == []


def test_speakers_are_found_by_their_leases_too() -> None:
    """Outside of DaemonSets: as a service of the host."""
    seen = evidence(with_our_speakers(daemonsets=(kube_proxy(),), leases=tuple(map(lease, NODES))))
    assert looked(seen).findings == ()


def test_the_class_of_the_speakers_decides_whose_services_they_are() -> None:
    web = service("web", VIP, loadBalancerClass="edge")
    seen = with_daemonsets(metallb("--lb-class", "edge"), services=(web,))
    assert looked(evidence(seen)).findings == ()
