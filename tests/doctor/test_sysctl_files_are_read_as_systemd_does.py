"""Files of sysctl.d: which counts, and that systemd-sysctl itself comes to the same."""

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strictarp.doctor.node.sysctld import FOLDERS, LAST, File, in_order, lines_of, matches, number, written
from strictarp.doctor.node.view import SysctlLine
from support.segment import needs_root

ALL = "net/ipv4/conf/all/arp_ignore"
ETH0 = "net/ipv4/conf/eth0/arp_ignore"
PATHS = (ALL, ETH0, "net/ipv4/conf/eth0.100/arp_ignore", "net/ipv4/conf/all/arp_announce")
SYSTEMD_SYSCTL = Path("/usr/lib/systemd/systemd-sysctl")


def values(*files: tuple[str, str], late: bool = False) -> dict[str, str | None]:
    lines = lines_of(File(path, text) for path, text in files)
    return {path: line.value for path, line in written(lines, PATHS, late=late).items()}


def test_the_last_name_wins_whatever_its_folder() -> None:
    first = ("/etc/sysctl.d/10-a.conf", "net.ipv4.conf.all.arp_ignore=1")
    last = ("/usr/lib/sysctl.d/99-z.conf", "net.ipv4.conf.all.arp_ignore = 0")
    assert values(last, first) == {ALL: "0"}


def test_a_file_of_etc_masks_the_same_name_elsewhere() -> None:
    masked = (
        "/usr/lib/sysctl.d/50-x.conf",
        "net.ipv4.conf.all.arp_ignore=0\nnet.ipv4.conf.eth0.arp_ignore=3",
    )
    assert values(masked, ("/etc/sysctl.d/50-x.conf", "")) == {}
    assert values(masked, ("/run/sysctl.d/50-x.conf", "net.ipv4.conf.all.arp_ignore=2")) == {ALL: "2"}


def test_a_glob_leaves_alone_what_is_named_exactly_even_later() -> None:
    text = "net.ipv4.conf.*.arp_ignore = 1\nnet.ipv4.conf.eth0.arp_ignore = 0\n-net.ipv4.conf.all.arp_ignore"
    assert values(("/etc/sysctl.d/1.conf", text)) == {ETH0: "0", PATHS[2]: "1"}


def test_a_key_set_again_with_another_value_moves_to_the_end() -> None:
    glob = "net.ipv4.conf.eth*.arp_ignore"
    text = f"{glob}=1\nnet.ipv4.conf.*.arp_ignore=2\n{glob}={{}}\n"
    assert values(("/etc/sysctl.d/1.conf", text.format(3)))[ETH0] == "3"
    assert values(("/etc/sysctl.d/1.conf", text.format(1)))[ETH0] == "2"


def test_a_dash_before_an_assignment_only_forgives() -> None:
    assert values(("/etc/sysctl.d/1.conf", "-net/ipv4/conf/eth0.100/arp_ignore = 1")) == {PATHS[2]: "1"}


def test_sysctl_conf_is_read_by_procps_alone_and_last() -> None:
    files = (
        (LAST, "net.ipv4.conf.all.arp_ignore=0"),
        ("/etc/sysctl.d/99-a.conf", "net.ipv4.conf.all.arp_ignore=1"),
    )
    assert values(*files) == {ALL: "1"}
    assert values(*files, late=True) == {ALL: "0"}


def test_what_is_no_assignment_sets_nothing() -> None:
    text = "# net.ipv4.conf.all.arp_ignore=1\n;x\nnet.ipv4.conf.all.arp_ignore\n=1\n..=2\nvm.swappiness=1\n"
    assert lines_of([File("/etc/sysctl.d/1.conf", text)]) == ()


def test_other_files_and_folders_are_not_read() -> None:
    files = [
        File(path, "x") for path in ("/etc/sysctl.d/README", "/opt/sysctl.d/1.conf", "/etc/sysctl.d/2.conf")
    ]
    assert [file.path for file in in_order(files)] == ["/etc/sysctl.d/2.conf"]


@pytest.mark.parametrize(
    ("text", "meant"), [("1", 1), ("0x2", 2), ("010", 8), ("-1", -1), ("09", None), ("", None), ("one", None)]
)
def test_numbers_are_read_as_the_kernel_does(text: str, meant: int | None) -> None:
    assert number(SysctlLine("f", 1, ALL, text)) == meant


def test_globs_do_not_cross_slashes() -> None:
    assert matches("net/ipv4/conf/*/arp_ignore", ETH0)
    assert matches("net/ipv4/conf/eth[0-9]/arp_i?nore", ETH0)
    assert not matches("net/ipv4/conf/[!e]*/arp_ignore", ETH0)
    assert not matches("net/*/arp_ignore", ETH0)


@given(st.text(alphabet="net.ipv4/confalrp_gor*?[]!-=# \n01\0é", max_size=120))
def test_any_text_is_read(text: str) -> None:
    lines = lines_of([File("/etc/sysctl.d/1.conf", text)])
    for line in written(lines, PATHS, late=False).values():
        number(line)


# --- against systemd-sysctl itself ------------------------------------------------------------------------

DEVICES = ("a0", "b1", "c.2")
KEYS = ("arp_ignore", "arp_announce", "rp_filter")


def random_files(chance: random.Random) -> list[tuple[str, str]]:
    names = (*DEVICES, "all", "*", "?1", "[ab]*", "[!a]*")
    files = []
    for folder in FOLDERS[:4]:
        for name in chance.sample(["10-a", "20-b", "90-z"], chance.randint(0, 2)):
            text = "".join(line(chance, names) for _ in range(chance.randint(0, 4)))
            files.append((f"{folder}/{name}.conf", text))
    return files


def line(chance: random.Random, names: Sequence[str]) -> str:
    name, key = chance.choice(names), chance.choice((*KEYS, "arp_*"))
    path = (
        f"net/ipv4/conf/{name}/{key}"
        if "." in name or chance.random() < 0.5
        else f"net.ipv4.conf.{name}.{key}"
    )
    if chance.random() < 0.15:
        return f"-{path}\n"
    return f"{'-' if chance.random() < 0.2 else ''}{path} = {chance.randint(0, 2)}\n"


@pytest.mark.netns
@needs_root
@pytest.mark.skipif(not SYSTEMD_SYSCTL.exists(), reason="systemd-sysctl is not installed")
@pytest.mark.parametrize("seed", range(8))
def test_systemd_sysctl_comes_to_the_same(seed: int, tmp_path: Path) -> None:
    files = random_files(random.Random(seed))
    paths = [f"net/ipv4/conf/{name}/{key}" for name in (*DEVICES, "all") for key in KEYS]
    for folder in FOLDERS[:4]:
        (tmp_path / folder.lstrip("/")).mkdir(parents=True)
    for path, text in files:
        (tmp_path / path.lstrip("/")).write_text(text)
    script = "set -e\n"
    for folder in FOLDERS[:4]:
        script += f"mkdir -p {folder}; mount --bind {tmp_path}{folder} {folder}\n"
    for at, name in enumerate(DEVICES):
        script += f"ip link add {name} type bridge; ip addr add 192.0.2.{at + 1}/32 dev {name}\n"
    script += f"cd /proc/sys; for f in {' '.join(paths)}; do echo 7 > $f || echo 0 > $f; done 2>/dev/null\n"
    script += f"{SYSTEMD_SYSCTL} 2>/dev/null || true\ncat {' '.join(paths)}\n"
    done = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", script], capture_output=True, text=True, check=True
    )
    real = dict(zip(paths, done.stdout.split(), strict=True))
    winners = written(lines_of(File(path, text) for path, text in files), paths, late=False)
    assert real == {path: str(number(winners[path])) if path in winners else "7" for path in paths}
