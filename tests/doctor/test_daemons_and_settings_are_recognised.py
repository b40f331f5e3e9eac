"""Command lines and configuration files of a node: what is taken out of them, and what must not be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.doctor.node.agents import boot_time, recognise, started_at
from strictarp.doctor.node.daemons import (
    keep_configuration,
    network_files,
    tuned_includes,
    tuned_lines,
    vrrp_instances,
)
from strictarp.doctor.node.filters import arptables_filter, nft_filters, readable, tc_filter
from strictarp.doctor.node.proxy_files import PLACES, Place, read_setting
from strictarp.doctor.node.tables import neighbours

KNOWN = [
    (
        "/usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf --v 2",
        "kube-proxy",
        {"config": "/var/lib/kube-proxy/config.conf"},
    ),
    (
        "kube-proxy --proxy-mode ipvs --ipvs-strict-arp",
        "kube-proxy",
        {"proxy-mode": "ipvs", "ipvs-strict-arp": "true"},
    ),
    (
        "/usr/local/bin/k3s server --token s3cret --kube-proxy-arg=proxy-mode=ipvs",
        "k3s",
        {"proxy-mode": "ipvs"},
    ),
    (
        "/usr/local/bin/kube-router --run-service-proxy=false --auth x",
        "kube-router",
        {"run-service-proxy": "false"},
    ),
    ("/speaker --port=7472 --ml-secret s3cret", "metallb speaker", {}),
    ("/kube-vip manager", "kube-vip", {}),
    ("keepalived -f /etc/k.conf --use-file=/etc/k.conf", "keepalived", {"use-file": "/etc/k.conf"}),
    ("/usr/bin/python3 /usr/local/bin/strictarp speaker --node n1", "strictarp speaker", {}),
    ("python3 -m strictarp proxy --config c", "strictarp proxy", {}),
    ("/usr/bin/python3 -Es /usr/sbin/tuned -l -P", "tuned", {}),
    ("/usr/lib/systemd/systemd-networkd", "systemd-networkd", {}),
    ("/sbin/dhclient -4 -v eth0", "dhcp client", {}),
]


@pytest.mark.parametrize(("line", "name", "flags"), KNOWN)
def test_a_known_daemon(line: str, name: str, flags: dict[str, str]) -> None:
    found = recognise(line.split(" "), 12, 5.0)
    assert found is not None
    assert (found.name, dict(found.flags), found.started) == (name, flags, 5.0)


@pytest.mark.parametrize(
    "line", ["", "sshd: root@pts/0", "python3 -m http.server", "vi /etc/keepalived", "strictarp probe"]
)
def test_others_are_passed_over(line: str) -> None:
    assert recognise(line.split(" "), 12) is None


def test_secrets_of_command_lines_stay_where_they_are() -> None:
    for line, _, _ in KNOWN:
        assert "s3cret" not in str(recognise(line.split(" "), 1))


def test_the_time_of_start_is_boot_time_and_ticks() -> None:
    fields = " ".join(["S", *["0"] * 18, "250", "9"])
    assert started_at(f"12 (a) b) {fields}", boot_time("cpu 1\nbtime 1000\n"), 100) == 1002.5
    assert started_at("12 (x) S", 1000.0, 100) == 0.0


K3S, MICROK8S, CONFIG, K0S = PLACES[0], PLACES[4], PLACES[7], PLACES[6]
SETTINGS = [
    (K3S, "token: s3cret\nkube-proxy-arg:\n  - proxy-mode=ipvs\n  - ipvs-strict-arp=true\n", "ipvs", True),
    (K3S, "kube-proxy-arg+: proxy-mode=ipvs\n", "ipvs", None),
    (
        MICROK8S,
        "--kubeconfig=x\n# --proxy-mode=iptables\n--proxy-mode=ipvs\n--ipvs-strict-arp\n",
        "ipvs",
        True,
    ),
    (
        PLACES[5],
        "- command:\n  - kube-proxy\n  - --proxy-mode=ipvs\n  - --ipvs-strict-arp=false\n",
        "ipvs",
        False,
    ),
    (CONFIG, "kind: KubeProxyConfiguration\nmode: ipvs\nipvs:\n  strictARP: true\n", "ipvs", True),
    (CONFIG, '{"kind": "KubeProxyConfiguration", "ipvs": {"strictARP": false}}', "", False),
    (
        K0S,
        "spec:\n  network:\n    kubeProxy:\n      mode: ipvs\n      ipvs: {strictARP: true}\n",
        "ipvs",
        True,
    ),
]


@pytest.mark.parametrize(("place", "text", "mode", "strict"), SETTINGS)
def test_a_setting_is_read(place: Place, text: str, mode: str, strict: bool | None) -> None:
    found = read_setting(text, place, file="f", changed=3.0)
    assert found is not None
    assert (found.mode, found.strict, found.owner, found.changed) == (mode, strict, place.owner, 3.0)
    assert "s3cret" not in str(found)


@pytest.mark.parametrize(
    "text", ["", "token: x\n", "kube-proxy-arg:\n- v=3\n", "a: [", "- 1\n", "kube-proxy-arg:\n"]
)
def test_a_file_that_says_nothing_of_it(text: str) -> None:
    assert read_setting(text, K3S, file="f") is None


KEEPALIVED = """global_defs { router_id x }
vrrp_instance VI_1 {  # the first
    state MASTER
    interface eth0
    authentication { auth_type PASS
        auth_pass s3cret }
    use_vmac vrrp.51
    virtual_ipaddress {
        192.0.2.100/24 dev eth0 label eth0:1
        192.0.2.101
    }
}
vrrp_instance VI_2 { interface eth1
 virtual_ipaddress_excluded { 198.51.100.9 } ! no vmac: use_vmac
}
"""


def test_keepalived() -> None:
    first, second = vrrp_instances(KEEPALIVED)
    assert (first.name, first.interface, first.vmac) == ("VI_1", "eth0", True)
    assert first.addresses == ("192.0.2.100", "192.0.2.101")
    assert (second.interface, second.vmac, second.addresses) == ("eth1", False, ("198.51.100.9",))
    assert "s3cret" not in str((first, second))


def test_tuned_profiles_override_what_they_include() -> None:
    outer = "[main]\ninclude=openshift, ?virtual\n[sysctl]\nnet.ipv4.conf.all.arp_ignore=0\nvm.swappiness=1\n"
    inner = "[sysctl]\nnet.ipv4.conf.all.arp_ignore=1\nnet.ipv4.conf.all.arp_announce=2\n[vm]\nx=net.ipv4\n"
    assert tuned_includes(outer) == ["openshift", "virtual"]
    lines = tuned_lines([("inner", inner), ("outer", outer)])
    assert [(line.where, line.value) for line in lines] == [("outer:4", "0"), ("inner:3", "2")]


def test_networkd_by_its_state_file_and_drop_ins() -> None:
    state = 'ADMIN_STATE=x\nNETWORK_FILE=/run/x.network\nNETWORK_FILE_DROPINS="/etc/a.conf /etc/b.conf"\n'
    assert network_files(state) == ("/run/x.network", "/etc/a.conf", "/etc/b.conf")
    assert network_files("ADMIN_STATE=unmanaged\n") == ()
    texts = ["[Network]\nDHCP=yes\nKeepConfiguration=no\n", "[Network]\nKeepConfiguration=Static\n"]
    assert keep_configuration(texts) == "static"


RULESET = """table arp good {
	chain in {
		type filter hook input priority filter; policy accept;
		arp daddr ip 192.0.2.1 drop
	}
}
table arp odd {
	chain in {
		type filter hook input priority filter; policy accept;
		arp daddr ip 192.0.2.1 dup to 192.0.2.3
	}
}
"""


def test_a_table_that_is_not_understood_hides_no_other() -> None:
    good, odd = nft_filters(RULESET)
    assert (good.name, good.unread, odd.name) == ("arp good", "", "arp odd")
    assert "dup" in odd.unread
    assert readable([good, odd]) == good.text


def test_legacy_arptables() -> None:
    assert arptables_filter("*filter\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n") is None
    found = arptables_filter(":INPUT DROP\n-A INPUT -j ACCEPT -i any -d 192.0.2.1 --h-length 6 --opcode 1\n")
    assert found is not None
    assert found.unread == ""
    odd = arptables_filter("-A INPUT -j CLASSIFY --set-class 1:1\n")
    assert odd is not None
    assert odd.unread


def test_tc_filters_for_arp_that_stop_frames() -> None:
    shown = (
        "filter protocol all pref 1 bpf chain 0 \n"
        "filter protocol all pref 1 bpf chain 0 handle 0x1 x direct-action not_in_hw\n"
        "filter protocol arp pref 9 flower chain 0 \nfilter protocol arp pref 9 flower chain 0 handle 0x1 \n"
        "  eth_type arp\n\taction order 1: gact action drop\n"
    )
    found = tc_filter(shown, "eth0")
    assert found is not None
    assert found.name == "eth0 ingress"
    assert "bpf" not in found.text
    assert tc_filter(shown.replace("drop", "pass"), "eth0") is None


def test_entries_of_the_neighbour_table() -> None:
    assert neighbours("entries  allocs\n0000002a 00000001\n") == 42


@given(st.text(max_size=200), st.sampled_from(PLACES))
def test_any_text_is_a_setting_or_none(text: str, place: Place) -> None:
    read_setting(text, place, file="f")


@given(st.data())
def test_mutilated_files_are_read_or_passed_over(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([KEEPALIVED, RULESET, *(each[1] for each in SETTINGS)]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text = (
            text[:at]
            + data.draw(st.sampled_from(["", "{", "}", "\n", '"', "[", "\0", ": "]))
            + text[at + 2 :]
        )
    vrrp_instances(text)
    nft_filters(text)
    arptables_filter(text)
    tc_filter(text, "eth0")
    tuned_lines([("f", text)])
    network_files(text)
    for place in PLACES:
        read_setting(text, place, file="f")


@given(st.lists(st.text(max_size=12), max_size=6), st.text(max_size=60))
def test_any_command_line(argv: list[str], stat: str) -> None:
    recognise(argv, 1, started_at(stat, 1.0, 100))
