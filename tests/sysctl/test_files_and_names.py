import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.sysctl import files

interface_names = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/:")).filter(
    lambda name: 0 < len(name) < 16 and name not in (".", "..")
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.conf.all.arp_ignore", "net/ipv4/conf/all/arp_ignore"),
        ("net.ipv4.conf.eth0/100.arp_ignore", "net/ipv4/conf/eth0.100/arp_ignore"),
        ("net/ipv4/conf/eth0.100/arp_ignore", "net/ipv4/conf/eth0.100/arp_ignore"),
        ("kernel.osrelease", "kernel/osrelease"),
    ],
)
def test_names_are_read_as_sysctl_reads_them(name: str, path: str) -> None:
    assert files.relative_path(name) == path


@given(interface_names)
def test_any_interface_name_finds_its_own_folder(interface: str) -> None:
    assert files.relative_path(files.conf(interface, "arp_ignore")) == f"net/ipv4/conf/{interface}/arp_ignore"


@pytest.mark.parametrize("name", ["", "net..x", "net/../../etc/passwd", "/etc/passwd", "net.ipv4.", "a/./b"])
def test_what_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(files.BadName):
        files.relative_path(name)


@pytest.mark.parametrize("interface", ["", "a/b", "..", "."])
def test_an_impossible_interface_is_refused(interface: str) -> None:
    with pytest.raises(files.BadName):
        files.conf(interface, "arp_ignore")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for interface, value in (("all", "1"), ("eth0", "0"), ("eth0.100", "3")):
        folder = tmp_path / "net/ipv4/conf" / interface
        folder.mkdir(parents=True)
        (folder / "arp_ignore").write_text(f"{value}\n")
    (tmp_path / "net/ipv4/conf/all/arp_announce").write_text("2\n")
    return tmp_path


def test_a_value_is_read_written_and_only_written_when_it_differs(root: Path) -> None:
    name = files.conf("eth0", "arp_ignore")
    assert files.read_int(name, root=root) == 0
    files.write(name, 2, root=root)
    assert files.read(name, root=root) == "2"
    assert files.ensure(name, 1, root=root) == 2
    before = (root / files.relative_path(name)).stat().st_mtime_ns
    assert files.ensure(name, 1, root=root) is None
    assert (root / files.relative_path(name)).stat().st_mtime_ns == before


def test_a_snapshot_leaves_out_what_is_not_there(root: Path) -> None:
    seen = files.snapshot(["all", "eth0", "eth0.100", "gone0"], ["arp_ignore", "arp_announce"], root=root)
    assert seen == {
        "all": {"arp_ignore": 1, "arp_announce": 2},
        "eth0": {"arp_ignore": 0},
        "eth0.100": {"arp_ignore": 3},
    }


def test_a_missing_key_is_its_own_error_and_nothing_is_created(root: Path) -> None:
    with pytest.raises(files.Missing, match=r"net\.ipv4\.conf\.gone0\.arp_ignore"):
        files.read("net.ipv4.conf.gone0.arp_ignore", root=root)
    with pytest.raises(files.Missing):
        files.write("net.ipv4.conf.eth0.arp_announce", 2, root=root)
    assert not (root / "net/ipv4/conf/eth0/arp_announce").exists()


def test_a_value_that_is_no_number_is_told(root: Path) -> None:
    (root / "net/ipv4/conf/eth0/arp_ignore").write_text("many\n")
    with pytest.raises(files.BadValue, match="'many'"):
        files.read_int("net.ipv4.conf.eth0.arp_ignore", root=root)


@pytest.mark.skipif(not Path("/proc/sys/kernel/ostype").exists(), reason="no /proc/sys")
def test_a_key_that_cannot_be_written_is_its_own_error() -> None:
    with pytest.raises(files.NotWritable, match=r"kernel\.ostype"):
        files.write("kernel.ostype", "Linux")
    assert files.ensure("kernel.ngroups_max", files.read_int("kernel.ngroups_max")) is None


def test_the_kernels_version_is_two_numbers() -> None:
    version = files.kernel_version()
    assert f"{version[0]}.{version[1]}" in os.uname().release


@pytest.mark.parametrize(
    ("release", "expected"),
    [("6.1.0-56-amd64\n", (6, 1)), ("5.14.0-427.el9.x86_64", (5, 14)), ("4.19", (4, 19))],
)
def test_releases_of_distributions_are_read(tmp_path: Path, release: str, expected: tuple[int, int]) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/osrelease").write_text(release)
    assert files.kernel_version(root=tmp_path) == expected


def test_a_release_that_starts_with_no_number_is_told(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/osrelease").write_text("newest")
    with pytest.raises(files.BadValue, match="newest"):
        files.kernel_version(root=tmp_path)
