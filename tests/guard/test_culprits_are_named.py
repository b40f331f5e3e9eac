"""Who may have changed a value: sysctl.d as systemd reads it, tuned, agents."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.guard.culprits import Evidence, reading_order, setting, suspects
from strictarp.guard.evidence import collect

ALL, ETH0, VLAN = (f"net.ipv4.conf.{name}.arp_ignore" for name in ("all", "eth0", "eth0/100"))


def winner(files: dict[str, str], name: str = ALL) -> tuple[str, int, str] | None:
    line = setting(name, Evidence(files=files))
    return None if line is None else (line.path, line.number, line.value)


def test_names_order_the_files_and_an_earlier_folder_hides_the_same_name() -> None:
    assert reading_order(
        [
            "/usr/lib/sysctl.d/50-a.conf",
            "/etc/sysctl.d/50-a.conf",
            "/run/sysctl.d/10-b.conf",
            "/usr/local/lib/sysctl.d/60-c.conf",
            "/etc/sysctl.d/README",
            "/etc/sysctl.conf",
            "/usr/lib/sysctl.d/99-z.conf",
        ]
    ) == [
        "/run/sysctl.d/10-b.conf",
        "/etc/sysctl.d/50-a.conf",
        "/usr/local/lib/sysctl.d/60-c.conf",
        "/usr/lib/sysctl.d/99-z.conf",
        "/etc/sysctl.conf",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("net.ipv4.conf.all.arp_ignore=0", "0"),
        ("  net/ipv4/conf/all/arp_ignore = 2  ", "2"),
        ("-net.ipv4.conf.all.arp_ignore = 1", "1"),
        ("net.ipv4.conf.*.arp_ignore = 1", "1"),
        ("#net.ipv4.conf.all.arp_ignore=0", None),
        ("; net.ipv4.conf.all.arp_ignore=0", None),
        ("net.ipv4.conf.all.arp_ignore", None),
        ("net.ipv4.*.arp_ignore=0", None),
        ("net.ipv4.conf.all.arp_ignore_=0", None),
        ("net.ipv4.conf.all.arp_ignore = 0\nnet.ipv4.conf.all.arp_ignore = 1", "1"),
        ("net.ipv4.conf.all.arp_ignore = 0\nnet.ipv4.conf.*.arp_ignore = 1", "0"),
        ("", None),
    ],
)
def test_lines_are_read_as_systemd_reads_them(text: str, found: str | None) -> None:
    seen = winner({"/etc/sysctl.d/a.conf": text})
    assert (seen[2] if seen else None) == found


def test_the_last_file_wins_and_its_line_is_named() -> None:
    files = {
        "/etc/sysctl.d/10-k8s.conf": "net.ipv4.conf.all.arp_ignore = 1",
        "/usr/lib/sysctl.d/50-vendor.conf": "# default\n\nnet.ipv4.conf.all.arp_ignore = 0",
    }
    assert winner(files) == ("/usr/lib/sysctl.d/50-vendor.conf", 3, "0")
    assert suspects(ALL, 0, Evidence(files=files)) == (
        "/usr/lib/sysctl.d/50-vendor.conf:3 sets net.ipv4.conf.all.arp_ignore = 0; applied by systemd-sysctl "
        "or `sysctl --system`",
    )
    assert suspects(ALL, 3, Evidence(files=files)) == ()  # no line sets that


def test_an_interface_with_a_dot_is_found() -> None:
    assert winner({"/etc/sysctl.d/a.conf": "net.ipv4.conf.eth0/100.arp_ignore = 3"}, VLAN)
    assert winner({"/etc/sysctl.d/a.conf": "net/ipv4/conf/eth0.100/arp_ignore = 3"}, VLAN)
    assert winner({"/etc/sysctl.d/a.conf": "net.ipv4.conf.eth0.100.arp_ignore = 3"}, VLAN) is None


def test_agents_are_named_for_what_they_can_have_done() -> None:
    evidence = Evidence(
        files={
            "/etc/sysctl.d/99-zzz-override_cilium.conf": "net.ipv4.conf.*.rp_filter = 0",
            "/etc/sysctl.conf": f"{ALL}=0",
        },
        tuned={"/usr/lib/tuned/mine/tuned.conf": "[main]\n[sysctl]\nnet.ipv4.conf.all.arp_announce=1\n[vm]"},
        keepalived="vrrp_instance a {\n  use_vmac vrrp0\n}",
        processes={"kube-router", "kube-proxy"},
    )
    assert "Cilium's sysctlfix" in suspects(ALL, 0, evidence)[0]
    assert "tuned's active profile" in suspects("net.ipv4.conf.all.arp_announce", 1, evidence)[0]
    assert [text.split()[0] for text in suspects(ALL, 1, evidence)] == [
        "kube-router",
        "kube-proxy",
        "keepalived",
    ]
    assert [text.split()[0] for text in suspects(ETH0, 1, evidence)] == ["keepalived"]
    assert suspects(ETH0, 7, evidence) == ()


def test_the_evidence_of_a_node_is_read_below_its_root(tmp_path: Path) -> None:
    for path, text in {
        "etc/sysctl.d/a.conf": "a = 1",
        "usr/lib/sysctl.d/b.conf": "b = 1",
        "etc/sysctl.conf": "c = 1",
        "etc/tuned/active_profile": "mine\n",
        "etc/tuned/profiles/mine/tuned.conf": "[main]\ninclude=base, missing\n",
        "usr/lib/tuned/base/tuned.conf": "[main]\ninclude = mine\n[sysctl]\nnet.x=1\n",
        "etc/keepalived/keepalived.conf": "use_vmac",
        "proc/7/comm": "kube-router\n",
        "proc/self/comm": "python",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "etc/sysctl.d/bad.conf").write_bytes(b"\xff\xfe")
    found = collect(tmp_path)
    assert {"/etc/sysctl.d/a.conf", "/usr/lib/sysctl.d/b.conf", "/etc/sysctl.conf"} <= found.files.keys()
    assert list(found.tuned) == ["/etc/tuned/profiles/mine/tuned.conf", "/usr/lib/tuned/base/tuned.conf"]
    assert (found.keepalived, set(found.processes)) == ("use_vmac", {"kube-router"})
    assert collect(tmp_path / "nothing") == Evidence(files={}, tuned={}, processes=frozenset())


@given(st.text(), st.text(), st.integers())
def test_any_text_is_survived(name: str, text: str, value: int) -> None:
    evidence = Evidence(files={"/etc/sysctl.conf": text}, tuned={"t": text}, keepalived=text)
    assert isinstance(suspects(name, value, evidence), tuple)
