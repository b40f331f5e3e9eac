"""SA6xx: each fires on its problem, and not on what is merely near it."""

import pytest

from strictarp.doctor.kinds import BGPAdvertisement
from strictarp.kube.objects import Service
from support.doctor_clusters import (
    CONFIG,
    NODES,
    VIP,
    advertisement,
    codes,
    daemonset,
    evidence,
    kube_proxy,
    lease,
    looked,
    made,
    node,
    objects,
    pool,
    service,
    sighted,
    signs,
    slice_of,
    with_our_speakers,
)

WEB = service("web", VIP)
OFF = signs(CONFIG.replace("true", "false"))


class TestPools:
    def test_pools_that_overlap_are_refused(self) -> None:
        seen = evidence(objects(pools=(pool(), pool("other", "192.0.2.110/32"))))
        ((subject, told),) = sighted("SA601", seen)
        assert subject == "IPAddressPool other"
        assert told.startswith("spec.addresses: 192.0.2.110/32 overlaps 192.0.2.100-192.0.2.119")
        assert sighted("SA601", evidence(objects(pools=(pool(), pool("other", "192.0.2.120/32"))))) == []

    def test_services_that_wait_for_refused_pools_are_a_consequence(self) -> None:
        waiting = service("late")
        seen = evidence(objects(pools=(pool("main", "oops"),), services=(WEB, waiting)))
        found = {each.code: each for each in looked(seen).findings}
        assert "SA611" not in found
        assert "SA611" in found["SA601"].consequences
        assert found["SA601"].affects == ("Service default/late",)

    def test_no_pool_and_services_that_wait(self) -> None:
        seen = evidence(objects(pools=(), services=(service("late"),)))
        assert sighted("SA602", seen) == [
            (
                "cluster",
                "MetalLB is here and there is no IPAddressPool; Service default/late wait for an address",
            )
        ]
        assert [each for each in codes(seen) if each.startswith("SA6")] == ["SA602"]
        assert sighted("SA602", evidence(objects(pools=(), services=()))) == []
        nobody = objects(pools=(), services=(service("late"),), daemonsets=(kube_proxy(),))
        assert sighted("SA602", evidence(nobody)) == []

    def test_a_pool_with_a_nodes_address(self) -> None:
        seen = evidence(objects(pools=(pool("main", "192.0.2.0/24"),)))
        assert [told for _, told in sighted("SA603", seen)] == [
            f"192.0.2.0/24 holds 192.0.2.{11 + index}, the address of Node {name}"
            for index, name in enumerate(NODES)
        ]
        assert sighted("SA603", evidence(objects())) == []

    def test_a_pool_in_the_service_range(self) -> None:
        seen = evidence(objects(pools=(pool(), pool("other", "203.0.113.0/24"))))
        assert sighted("SA604", seen) == [
            (
                "IPAddressPool other",
                "203.0.113.0/24 holds 203.0.113.10, the clusterIP of Service default/web: it overlaps the "
                "Service range",
            )
        ]
        assert sighted("SA604", evidence(objects())) == []

    def test_a_pool_in_the_pods_range(self) -> None:
        nodes = (node("node1", podCIDRs=["192.0.2.96/28", "odd"]), node("node2", podCIDR="198.51.100.0/24"))
        assert sighted("SA605", evidence(objects(nodes=nodes))) == [
            (
                "IPAddressPool main",
                "192.0.2.100-192.0.2.119 overlaps 192.0.2.96/28, the Pods of Node node1",
            )
        ]
        assert sighted("SA605", evidence(objects(nodes=nodes[1:]))) == []

    def test_a_pool_that_nobody_reads(self) -> None:
        seen = evidence(objects(pools=(pool(), pool("main", "192.0.2.200/32", namespace="default"))))
        assert sighted("SA606", seen) == [
            ("IPAddressPool main", "it is in namespace default; those in use are in metallb-system")
        ]
        elsewhere = objects(pools=(pool(namespace="lb"),), advertisements=(advertisement(namespace="lb"),))
        assert looked(evidence(elsewhere)).findings == ()

    def test_a_pool_in_no_nodes_subnet(self) -> None:
        seen = evidence(with_our_speakers(pools=(pool(), pool("far", "198.51.100.0/28"))))
        ((subject, told),) = sighted("SA607", seen)
        assert (subject, told) == (
            "IPAddressPool far",
            "198.51.100.0/28 is in no subnet of a node with a speaker; they have 192.0.2.0/24",
        )
        assert sighted("SA607", evidence(with_our_speakers())) == []

    def test_without_known_subnets_no_pool_is_far(self) -> None:
        far = (pool(), pool("far", "198.51.100.0/28"))
        assert sighted("SA607", evidence(objects(pools=far))) == []
        unclear = (lease("node1"), lease("node2", "?"))
        assert sighted("SA607", evidence(with_our_speakers(pools=far, leases=unclear))) == []

    def test_a_service_in_a_far_pool_is_a_consequence(self) -> None:
        far = service("far", "198.51.100.3")
        seen = with_our_speakers(
            pools=(pool("far", "198.51.100.0/28"),), services=(far,), slices=(slice_of("far"),)
        )
        ((finding),) = looked(evidence(seen)).findings
        assert (finding.code, finding.consequences) == ("SA607", ("SA614",))

    @pytest.mark.parametrize(("used", "found"), [(9, 1), (8, 0), (10, 1)])
    def test_a_pool_that_is_nearly_full(self, used: int, found: int) -> None:
        services = tuple(service(f"s{each}", f"192.0.2.{100 + each}") for each in range(used))
        seen = objects(pools=(pool("main", "192.0.2.100-192.0.2.109"),), services=services)
        assert len(sighted("SA608", evidence(seen))) == found

    def test_a_pool_made_for_one_service_is_full_on_purpose(self) -> None:
        assert sighted("SA608", evidence(objects(pools=(pool("main", f"{VIP}/32"),)))) == []

    @pytest.mark.parametrize(
        ("spec", "words"),
        [
            ({"ipAddressPools": ["main", "gone"]}, "spec.ipAddressPools: there is no IPAddressPool gone"),
            ({"ipAddressPoolSelectors": [{"matchLabels": {"a": "b"}}]}, "no IPAddressPool has these labels"),
            ({"nodeSelectors": [{"matchLabels": {"host": "node9"}}]}, "no Node has these labels"),
        ],
    )
    def test_an_advertisement_that_selects_nothing(self, spec: dict[str, object], words: str) -> None:
        ((subject, told),) = sighted("SA609", evidence(objects(advertisements=(advertisement(**spec),))))
        assert subject == "L2Advertisement main"
        assert words in told

    @pytest.mark.parametrize(
        "spec", [{}, {"ipAddressPools": ["main"]}, {"nodeSelectors": [{"matchLabels": {"host": "node1"}}]}]
    )
    def test_an_advertisement_that_selects_something(self, spec: dict[str, object]) -> None:
        assert sighted("SA609", evidence(objects(advertisements=(advertisement(**spec),)))) == []


class TestServices:
    def test_one_that_waits_and_why(self) -> None:
        def why(**spec: object) -> str:
            late = service("late", **spec)  # type: ignore[arg-type]
            ((_, told),) = sighted("SA611", evidence(objects(services=(WEB, late))))
            return told

        assert "192.0.2.101 would do" in why()
        assert "unknown IPAddressPool gone" in why(annotations={"metallb.io/address-pool": "gone"})
        assert "both set" in why(loadBalancerIP=VIP, annotations={"metallb.io/loadBalancerIPs": VIP})
        assert sighted("SA611", evidence(objects())) == []

    def test_one_that_waits_where_nobody_gives_addresses(self) -> None:
        seen = objects(daemonsets=(kube_proxy(),), pools=(), services=(service("late"),))
        assert "nothing in this cluster was recognised" in sighted("SA611", evidence(seen))[0][1]

    @pytest.mark.parametrize("spec", [{"type": "ClusterIP"}, {"type": "NodePort"}])
    def test_other_types_wait_for_nothing(self, spec: dict[str, object]) -> None:
        assert sighted("SA611", evidence(objects(services=(service("late", **spec),)))) == []  # type: ignore[arg-type]

    def test_a_host_name_is_an_address_too(self) -> None:
        document = {
            "metadata": {"name": "a", "namespace": "b"},
            "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}},
        }
        assert sighted("SA611", evidence(objects(services=(made(Service, document),)))) == []

    def test_a_class_that_nobody_serves(self) -> None:
        late = service("late", loadBalancerClass="cloud.example/lb")
        seen = evidence(objects(services=(WEB, late)))
        assert sighted("SA612", seen) == [
            (
                "Service default/late",
                "spec.loadBalancerClass is cloud.example/lb; what is served: Services without a class",
            )
        ]
        assert [each for each in codes(seen) if each > "SA6"] == ["SA612"]
        has = service("late", "203.0.113.9", loadBalancerClass="cloud.example/lb")
        assert sighted("SA612", evidence(objects(services=(WEB, has)))) == []

    def test_an_address_that_is_not_announced(self) -> None:
        seen = evidence(objects(advertisements=()))
        assert sighted("SA613", seen) == [
            (
                "Service default/web",
                f"nobody announces {VIP}: no L2Advertisement selects its pool and the Service",
            )
        ]
        assert looked(seen).findings[0].affects == (f"VIP {VIP}",)
        assert sighted("SA613", evidence(objects())) == []

    def test_bgp_may_announce_it(self) -> None:
        bgp = (made(BGPAdvertisement, {"metadata": {"name": "b"}}),)
        assert sighted("SA613", evidence(objects(advertisements=(), bgp_advertisements=bgp))) == []

    def test_a_shared_address_with_selectors(self) -> None:
        shared = service("web", VIP, annotations={"metallb.io/allow-shared-ip": "a"})
        chosen = advertisement(serviceSelectors=[{}])
        ((_, told),) = sighted("SA613", evidence(objects(services=(shared,), advertisements=(chosen,))))
        assert "serviceSelectors" in told

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            (
                {
                    "services": (service("web", VIP, externalTrafficPolicy="Local"),),
                    "slices": (slice_of("web", ("gone",)),),
                },
                "externalTrafficPolicy is Local and no endpoint that can serve is on this node",
            ),
            (
                {"advertisements": (advertisement(nodeSelectors=[{"matchLabels": {"host": "x"}}]),)},
                "no L2Advertisement of the pool selects this node",
            ),
        ],
        ids=["Local", "nodeSelectors"],
    )
    def test_no_node_may_announce_and_why(self, changed: dict[str, object], words: str) -> None:
        ((subject, told),) = sighted("SA614", evidence(objects(**changed)))
        assert subject == "Service default/web"
        assert words in told
        assert sighted("SA614", evidence(objects())) == []

    def test_nodes_that_are_excluded(self) -> None:
        label = "node.kubernetes.io/exclude-from-external-load-balancers"
        nodes = tuple(
            made(type(node("node1")), {"metadata": {"name": name, "labels": {label: ""}}}) for name in NODES
        )
        seen = evidence(objects(nodes=nodes))
        assert f"label {label} is set" in sighted("SA614", seen)[0][1]
        finding = next(each for each in looked(seen).findings if each.code == "SA614")
        assert finding.mend == f"kubectl label node NODE {label}-"

    def test_a_service_without_endpoints(self) -> None:
        for slices in ((), (slice_of("web", ready=False),)):
            seen = evidence(objects(slices=slices))
            assert sighted("SA615", seen) == [
                ("Service default/web", f"nobody announces {VIP}: it has no endpoint that can serve")
            ]
            assert looked(seen).exit_code == 1
        assert sighted("SA615", evidence(objects())) == []

    def test_an_address_in_no_pool(self) -> None:
        strange = service("web", "192.0.2.200")
        assert sighted("SA616", evidence(objects(services=(strange,)))) == [
            ("Service default/web", "192.0.2.200 is in no IPAddressPool (or in more than one)")
        ]
        assert sighted("SA616", evidence(objects())) == []

    def test_one_candidate_alone(self) -> None:
        local = (service("web", VIP, externalTrafficPolicy="Local"),)
        seen = evidence(objects(services=local, slices=(slice_of("web", ("node2",)),)))
        ((_, told),) = sighted("SA617", seen)
        assert told.startswith(f"only node2 may announce {VIP}: the others: externalTrafficPolicy is Local")
        assert sighted("SA617", evidence(objects(services=local))) == []
        single = objects(nodes=(node("node1"),), slices=(slice_of("web", ("node1",)),))
        assert sighted("SA617", evidence(single)) == []


class TestAddresses:
    def test_one_address_twice(self) -> None:
        seen = evidence(objects(services=(WEB, service("two", VIP)), slices=(slice_of(), slice_of("two"))))
        ((subject, told),) = sighted("SA621", seen)
        assert subject == f"VIP {VIP}"
        assert "no metallb.io/allow-shared-ip on default/two, default/web" in told

    @pytest.mark.parametrize(
        ("keys", "ports", "words"),
        [
            (("a", "b"), ((80,), (81,)), "sharing keys differ: a, b"),
            (("a", "a"), ((80,), (80, 81)), "both have port 80/TCP"),
            (("a", "a"), ((80,), (81,)), None),
        ],
    )
    def test_one_address_shared(
        self, keys: tuple[str, str], ports: tuple[tuple[int, ...], tuple[int, ...]], words: str | None
    ) -> None:
        both = tuple(
            service(name, VIP, annotations={"metallb.io/allow-shared-ip": key}, ports=port)
            for name, key, port in zip(("web", "two"), keys, ports, strict=True)
        )
        found = sighted("SA621", evidence(objects(services=both)))
        assert len(found) == (words is not None)
        assert words is None or words in found[0][1]

    def test_a_service_with_a_nodes_address(self) -> None:
        seen = evidence(objects(services=(service("web", "192.0.2.12"),)))
        assert sighted("SA622", seen) == [
            ("VIP 192.0.2.12", "Service default/web have the address of Node node2")
        ]
        assert sighted("SA622", evidence(objects())) == []

    def test_k3s_servicelb_gives_the_nodes_addresses(self) -> None:
        labels = {"svccontroller.k3s.cattle.io/svcname": "web"}
        lb = daemonset("svclb-web-1", "rancher/klipper-lb:v1", labels=labels)
        both = (service("web", "192.0.2.12"), service("two", "192.0.2.12"))
        seen = evidence(objects(daemonsets=(kube_proxy(), lb), pools=(), services=both))
        assert (sighted("SA622", seen), sighted("SA621", seen)) == ([], [])

    def test_a_pool_that_gave_it_is_the_cause(self) -> None:
        seen = objects(pools=(pool("main", "192.0.2.12/32"),), services=(service("web", "192.0.2.12"),))
        findings = {each.code: each.consequences for each in looked(evidence(seen)).findings}
        assert findings["SA603"] == ("SA622",)

    def test_an_external_ip_of_a_node(self) -> None:
        web = service("web", VIP, externalIPs=["192.0.2.11", "odd"])
        seen = objects(services=(web,))
        assert sighted("SA623", evidence(seen)) == [
            ("Service default/web", "spec.externalIPs has 192.0.2.11, the address of Node node1")
        ]
        iptables = signs(CONFIG.replace("ipvs\n", "iptables\n", 1))
        assert sighted("SA623", evidence(objects(services=(web,), signs=iptables))) == []
        assert sighted("SA623", evidence(objects())) == []

    def test_an_external_ip_that_nobody_announces(self) -> None:
        web = service("web", VIP, externalIPs=["192.0.2.50", "192.0.2.11", VIP])
        assert [subject for subject, _ in sighted("SA624", evidence(objects(services=(web,))))] == [
            "VIP 192.0.2.50"
        ]
        assert sighted("SA624", evidence(objects(services=(web,), signs=OFF))) == []
        routed = service("web", VIP, externalIPs=["203.0.113.50"])
        assert sighted("SA624", evidence(with_our_speakers(services=(routed,)))) == []

    @pytest.mark.parametrize(
        ("address", "words"), [("192.0.2.255", "ends in .255"), ("198.51.100.0", "ends in .0"), (VIP, None)]
    )
    def test_an_address_that_looks_like_a_broadcast(self, address: str, words: str | None) -> None:
        found = sighted("SA625", evidence(objects(services=(service("web", address),))))
        assert len(found) == (words is not None)
        assert words is None or words in found[0][1]

    def test_the_broadcast_of_a_known_subnet(self) -> None:
        links = '{"eth0":{"mac":"02:00:00:00:00:01","addresses":["192.0.2.97/27"]}}'
        leases = (lease("node1", links),)

        def found(address: str) -> list[str]:
            seen = with_our_speakers(leases=leases, services=(service("web", address),))
            return [told for _, told in sighted("SA625", evidence(seen))]

        assert found("192.0.2.127")[0].startswith("it is the broadcast address of the nodes' subnet (/27)")
        assert found("192.0.2.96")[0].startswith("it is the network address of the nodes' subnet (/27)")
        assert found("192.0.2.126") == []

    def test_old_ways_to_ask_for_an_address(self) -> None:
        old = service(
            "web", VIP, loadBalancerIP=VIP, annotations={"metallb.universe.tf/address-pool": "main"}
        )
        seen = evidence(objects(services=(old,)))
        assert sighted("SA626", seen) == [("Service default/web", f"spec.loadBalancerIP is {VIP}")]
        assert sighted("SA627", seen) == [
            ("Service default/web", "annotation metallb.universe.tf/address-pool has the old prefix")
        ]
        assert looked(seen).exit_code == 0
        new = service("web", VIP, annotations={"metallb.io/address-pool": "main"})
        assert looked(evidence(objects(services=(new,)))).findings == ()
