"""KubeProxyConfiguration files: real ones work unchanged, faulty ones name every fault by its path."""

import json

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strictarp.errors import UserError
from strictarp.lab.manifests import KUBE_PROXY_CONFIG
from strictarp.proxy import config, settings
from strictarp.proxy.config import Config, Conntrack, DetectLocal, NodePortAddresses
from strictarp.proxy.effective import effective
from strictarp.proxy.fields import parse_duration, parse_network
from strictarp.proxy.sysctls import conntrack_size, conntrack_sysctls, kernel_sysctls, wanted_sysctls

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"


durations = st.sampled_from(["0s", "", "1m", "45s", "1h", None, "x"])
documents = st.fixed_dictionaries(
    {},
    optional={
        "ipvs": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "syncPeriod": durations,
                "minSyncPeriod": durations,
                "tcpTimeout": durations,
                "scheduler": st.sampled_from(["", "mh", "lc", None]),
                "strictARP": st.booleans() | st.none(),
                "excludeCIDRs": st.none() | st.just(["192.0.2.0/24"]),
            },
        ),
        "iptables": st.fixed_dictionaries({}, optional={"masqueradeBit": st.sampled_from([0, 31, None])}),
        "conntrack": st.fixed_dictionaries(
            {}, optional={"maxPerCore": st.sampled_from([0, 5, None]), "udpTimeout": durations}
        ),
        "bindAddress": st.sampled_from(["", "::", "192.0.2.1", None]),
        "healthzBindAddress": st.sampled_from(["", "[::1]:80", "127.0.0.1", "::1", None]),
        "nodePortAddresses": st.sampled_from([None, [], ["primary"], ["10.0.0.0/8", "::/0"]]),
        "detectLocalMode": st.sampled_from(["", "NodeCIDR", None]),
        "clusterCIDR": st.sampled_from(["", "10.0.0.0/8", "10.0.0.0/8,2001:db8::/32"]),
        "hostnameOverride": st.sampled_from(["", " Node1 "]),
        "featureGates": st.sampled_from([None, {}, {"KubeProxyIPVS": True}]),
        "oomScoreAdj": st.sampled_from([0, -5, None]),
    },
)


def faults(text: str, head: str = HEAD) -> list[str]:
    with pytest.raises(UserError) as caught:
        config.load(head + text, "f")
    return str(caught.value).splitlines()


def test_a_kubeadm_file_with_its_zero_values_means_the_defaults() -> None:
    text = KUBE_PROXY_CONFIG.format(kubeconfig="/var/lib/kube-proxy/kubeconfig.conf", pods="198.51.100.0/24")
    assert config.load(text, "f") == Config(
        kubeconfig="/var/lib/kube-proxy/kubeconfig.conf",
        detect_local=DetectLocal("ClusterCIDR", (parse_network("198.51.100.0/24"),)),
    )


def test_an_absent_or_empty_mode_is_ipvs_with_a_warning() -> None:
    for text in ("", 'mode: ""\n', "mode: null\n"):
        (warning,) = config.load(HEAD.replace("mode: ipvs\n", "") + text, "f").warnings
        assert warning.startswith("KubeProxyConfiguration f: mode: ")


@pytest.mark.parametrize("mode", ["iptables", "nftables", "userspace", "IPVS"])
def test_other_modes_end_with_a_message_that_says_what_to_do(mode: str) -> None:
    (fault,) = faults("", HEAD.replace("mode: ipvs", f"mode: {mode}"))
    assert fault.startswith("mode: ")
    assert "mode: ipvs" in fault
    assert mode in fault


def test_every_fault_has_a_line_that_begins_with_its_path() -> None:
    found = faults(
        """
bindAddress: here
clusterCIDR: 10.0.0.0/8,10.1.0.0/16
detectLocalMode: BridgeInterface
healthzBindAddress: localhost:10256
ipvs: {excludeCIDRs: [192.0.2.0/24, nonsense, 5], scheduler: fastest, strictARP: "yes", syncPeriod: 1,
       minSyncPeriod: -1s, tcpTimeout: soon}
iptables: {masqueradeBit: 32}
metricsBindAddress: 127.0.0.1:70000
nodePortAddresses: [primary, 192.0.2.0/24]
oomScoreAdj: 2000
conntrack: []
"""
    )
    assert sorted(line.split(":")[0] for line in found) == [
        "bindAddress",
        "clusterCIDR",
        "conntrack",
        "detectLocal.bridgeInterface",
        "healthzBindAddress",
        "iptables.masqueradeBit",
        "ipvs.excludeCIDRs[1]",
        "ipvs.excludeCIDRs[2]",
        "ipvs.minSyncPeriod",
        "ipvs.scheduler",
        "ipvs.strictARP",
        "ipvs.syncPeriod",
        "ipvs.tcpTimeout",
        "metricsBindAddress",
        "nodePortAddresses[0]",
        "oomScoreAdj",
    ]


def test_wrong_kind_and_unknown_mode_are_named() -> None:
    found = faults("", "apiVersion: v1\nkind: ConfigMap\nmode: ebpf\n")
    assert [line.split(":")[0] for line in found] == ["apiVersion", "kind", "mode"]


def test_unknown_fields_are_warned_of_by_path_and_old_ones_are_known() -> None:
    made = config.load(HEAD + "udpIdleTimeout: 250ms\nipvs: {strictArp: true}\nfoo: 1\n", "f")
    assert made.warnings == (
        "KubeProxyConfiguration f: foo: unknown field, ignored",
        "KubeProxyConfiguration f: ipvs.strictArp: unknown field, ignored",
    )


def test_json_is_read_too_and_broken_text_is_a_message() -> None:
    document = {"apiVersion": config.API_VERSION, "kind": config.KIND, "mode": "ipvs"}
    assert config.load(json.dumps(document), "f") == Config()
    for text in ("{", "- a\n", "a: b: c", "\x00", "'"):
        with pytest.raises(UserError):
            config.load(text, "f")


def test_primary_stands_alone_among_node_port_addresses() -> None:
    assert config.load(HEAD + "nodePortAddresses: [primary]", "f").node_port_addresses == NodePortAddresses(
        primary=True
    )


def test_an_address_without_port_gets_the_default_and_ipv6_needs_brackets() -> None:
    made = config.load(HEAD + 'healthzBindAddress: "::"\nmetricsBindAddress: "[::1]:80"', "f")
    assert (made.health, made.metrics) == (("::", 10256), ("::1", 80))
    assert config.load(HEAD + 'bindAddress: "::"', "f").metrics == ("::1", 10249)
    assert faults('metricsBindAddress: "::1:80:"')[0].startswith("metricsBindAddress")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m0s", 60), ("1h2m3.5s", 3723.5), ("-1.5h", -5400), ("0", 0), ("250ms", 0.25)],
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@given(st.text(max_size=12))
def test_a_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["mode", "ipvs", "iptables", "scheduler", "excludeCIDRs", "clusterCIDR", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_a_configuration_or_a_user_error(document: object) -> None:
    if isinstance(document, dict):
        document = {"apiVersion": config.API_VERSION, "kind": config.KIND, **document}
    try:
        made = config.load(json.dumps(document), "f")
    except UserError:
        return
    assert made.scheduler


def test_settings_have_defaults_bounds_and_named_faults() -> None:
    head = "apiVersion: strictarp.io/v1alpha1\nkind: ProxySettings\n"
    made = settings.load(head + "namespace: net\nliveness: {enabled: false, askInterval: 100ms}\n", "s")
    assert (made.namespace, made.liveness.enabled, made.liveness.ask_interval) == ("net", False, 0.1)
    assert made.liveness.silence == 3.5
    with pytest.raises(UserError, match=r"^liveness\.asks: .*\nliveness\.askInterval: "):
        settings.load(head + "liveness: {asks: 0, askInterval: often}\n", "s")


def test_strictarp_adds_its_two_sysctls_and_nothing_else() -> None:
    plain, strict = wanted_sysctls(Config()), wanted_sysctls(Config(strict_arp=True))
    assert {name: strict[name] for name in strict.keys() - plain.keys()} == {
        "net.ipv4.conf.all.arp_announce": "2",
        "net.ipv4.conf.all.arp_ignore": "1",
    }
    assert plain["net.ipv4.vs.conntrack"] == "1"


@pytest.mark.parametrize(
    ("scope", "places"),
    [("{scope: uplinks, uplinks: [eth1, eth0.100]}", ["eth0/100", "eth1"]), ("{scope: vips}", [])],
)
def test_a_lesser_scope_of_strictarp_wants_the_sysctls_of_that_scope(scope: str, places: list[str]) -> None:
    text = "apiVersion: strictarp.io/v1alpha1\nkind: ProxySettings\nstrictARP: "
    guard = settings.load(text + scope, "s").guard
    strict = wanted_sysctls(Config(strict_arp=True), guard)
    assert sorted(strict.keys() - wanted_sysctls(Config(), guard).keys()) == sorted(
        f"net.ipv4.conf.{place}.{key}" for place in places for key in ("arp_ignore", "arp_announce")
    )
    for odd in ("['']", "[a/b]", "[5]"):
        with pytest.raises(UserError, match=r"^strictARP\.uplinks\[0\]: "):
            settings.load(f"{text}{{uplinks: {odd}}}", "s")


def test_connection_tracking_is_sized_by_the_number_of_cpus() -> None:
    assert conntrack_size(Config().conntrack, 2) == {"net.netfilter.nf_conntrack_max": "131072"}
    assert conntrack_size(Config().conntrack, 8) == {"net.netfilter.nf_conntrack_max": "262144"}
    assert conntrack_size(Conntrack(max_per_core=0), 8) == {}


def test_times_of_connection_tracking_are_set_unless_they_are_0() -> None:
    made = config.load(
        HEAD + "conntrack: {tcpCloseWaitTimeout: 30m, udpTimeout: 10s, tcpBeLiberal: true}", "f"
    )
    assert conntrack_sysctls(made.conntrack) == {
        "net.netfilter.nf_conntrack_tcp_be_liberal": "1",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait": "1800",
        "net.netfilter.nf_conntrack_tcp_timeout_established": "86400",
        "net.netfilter.nf_conntrack_udp_timeout": "10",
    }


@pytest.mark.parametrize(
    ("release", "changed"),
    [
        ("3.10.0-1160.el7", False),
        ("4.1.0", True),
        ("5.8.18-1", True),
        ("5.9.0", False),
        ("6.1.0-18-amd64", False),
    ],
)
def test_reused_client_ports_need_help_on_old_kernels_only(release: str, changed: bool) -> None:
    assert bool(kernel_sysctls(release)) == changed


def test_what_has_no_effect_is_known_by_name() -> None:
    made = config.load(
        HEAD + "clientConnection: {qps: 2.5}\nconfigSyncPeriod: 5000h\nshowHiddenMetricsForVersion: '1.34'\n"
        "logging: {flushFrequency: 5s, vmodule: [], colour: red}\nwinkernel: {networkName: l2, speed: 1}\n",
        "f",
    )
    assert [warning.split(": ")[1] for warning in made.warnings] == ["logging.colour", "winkernel.speed"]


def test_an_empty_document_beside_the_configuration_is_none_and_a_second_one_is_refused() -> None:
    assert config.load(f"---\n---\n{HEAD}---\n", "f") == Config()
    assert faults(f"---\n{HEAD}") == ["(document): one document is expected, not several"]


def test_a_name_given_twice_is_warned_of_and_the_last_one_counts() -> None:
    made = config.load(HEAD + "ipvs: {scheduler: rr, scheduler: wlc}\noomScoreAdj: 1\noomScoreAdj: 2\n", "f")
    assert (made.scheduler, made.oom_score_adj) == ("wlc", 2)
    assert [warning.split(": ")[1] for warning in made.warnings] == ["ipvs.scheduler", "oomScoreAdj"]


def test_feature_gates_are_switches_and_those_of_others_are_ignored() -> None:
    made = config.load(
        HEAD + "featureGates: {LoadBalancerIPMode: true, KubeProxyIPVS: false, Foo: true}", "f"
    )
    assert [warning.split(": ")[1] for warning in made.warnings] == [
        "featureGates.KubeProxyIPVS",
        "featureGates.Foo",
    ]
    assert faults("featureGates: {Foo: maybe}")[0].startswith("featureGates.Foo: ")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("portRange: all", "portRange"),
        ("portRange: 90-80", "portRange"),
        ("portRange: 60000+6000", "portRange"),
        ('hostnameOverride: "  "', "hostnameOverride"),
        ("ipvs: {tcpTimeout: 999999h}", "ipvs.tcpTimeout"),
        ("ipvs: {udpTimeout: -1s}", "ipvs.udpTimeout"),
        ("ipvs: {syncPeriod: false}", "ipvs.syncPeriod"),
        ("ipvs: {minSyncPeriod: 1m}", "ipvs.syncPeriod"),
        ("iptables: {syncPeriod: -1s}", "iptables.syncPeriod"),
        ("conntrack: {min: -1}", "conntrack.min"),
        ("conntrack: {tcpEstablishedTimeout: -1h}", "conntrack.tcpEstablishedTimeout"),
        ("clientConnection: {burst: -1}", "clientConnection.burst"),
        ("configSyncPeriod: -1s", "configSyncPeriod"),
        ("clusterCIDR: 10.0.0.0/8,2001:db8::/32,10.0.0.0/8", "clusterCIDR"),
        ("clusterCIDR: 10.0.0.1", "clusterCIDR"),
        ("nodePortAddresses: [10.0.0.1]", "nodePortAddresses[0]"),
        ("detectLocalMode: clustercidr", "detectLocalMode"),
        ("{detectLocalMode: InterfaceNamePrefix}", "detectLocal.interfaceNamePrefix"),
        ("oomScoreAdj: -1001", "oomScoreAdj"),
        ("healthzBindAddress: 0.0.0.0:0", "healthzBindAddress"),
        ("bindAddress: fe80::1%eth0", "bindAddress"),
        ("clientConnection: {qps: fast}", "clientConnection.qps"),
        ("clientConnection: {qps: true}", "clientConnection.qps"),
        ("clientConnection: {contentType: 5}", "clientConnection.contentType"),
        ("clientConnection: {acceptContentTypes: [a]}", "clientConnection.acceptContentTypes"),
        ("featureGates: {not-a-gate: true}", "featureGates.not-a-gate"),
        ("iptables: {localhostNodePorts: 1}", "iptables.localhostNodePorts"),
        ("nftables: {masqueradeBit: 32}", "nftables.masqueradeBit"),
        ("nftables: {masqueradeAll: often}", "nftables.masqueradeAll"),
        ("logging: none", "logging"),
        ("logging: {format: xml}", "logging.format"),
        ("logging: {verbosity: -1}", "logging.verbosity"),
        ("showHiddenMetricsForVersion: old", "showHiddenMetricsForVersion"),
        ("udpIdleTimeout: 250", "udpIdleTimeout"),
        ("windowsRunAsService: 0", "windowsRunAsService"),
        ("winkernel: {enableDSR: maybe}", "winkernel.enableDSR"),
        ("configSyncPeriod: 9999999h", "configSyncPeriod"),
    ],
)
def test_each_rule_of_validation_names_its_field(text: str, path: str) -> None:
    head = HEAD if not text.startswith("{") else ""
    body = text if head else f"{HEAD}detectLocalMode: InterfaceNamePrefix\n"
    (fault,) = faults(body, head)
    assert fault.split(": ")[0] == path


@pytest.mark.parametrize("nothing", ["null", '""', "0s"])
def test_zero_durations_are_absent_and_the_number_0_is_a_value(nothing: str) -> None:
    names = ("syncPeriod", "minSyncPeriod", "tcpTimeout", "tcpFinTimeout", "udpTimeout")
    text = "ipvs: {" + ", ".join(f"{name}: {nothing}" for name in names) + "}\n"
    assert config.load(HEAD + text, "f") == Config()
    made = config.load(
        HEAD + "iptables: {masqueradeBit: 0}\noomScoreAdj: 0\nconntrack: {maxPerCore: 0, min: 0}", "f"
    )
    assert (made.masquerade_bit, made.oom_score_adj) == (0, 0)
    assert (made.conntrack.max_per_core, made.conntrack.minimum) == (0, 0)


@given(documents)
def test_the_effective_configuration_means_the_same(document: dict[str, object]) -> None:
    text = json.dumps({"apiVersion": config.API_VERSION, "kind": config.KIND, "mode": "ipvs", **document})
    try:
        made = config.load(text, "f")
    except UserError:
        return
    again = config.load(effective(text), "f")
    assert msgspec.structs.replace(again, warnings=()) == msgspec.structs.replace(made, warnings=())


def test_the_effective_configuration_has_every_default() -> None:
    written = yaml.safe_load(
        effective(HEAD + "mode: ''\nbindAddress: '::'\nipvs: {tcpTimeout: 0s, strictARP: true}")
    )
    assert written["mode"] == "ipvs"
    assert written["metricsBindAddress"] == "[::1]:10249"
    assert written["ipvs"]["syncPeriod"] == "30s"
    assert written["ipvs"]["strictARP"] is True
    assert written["conntrack"]["tcpEstablishedTimeout"] == "24h0m0s"
    assert written["nodePortAddresses"] == []
