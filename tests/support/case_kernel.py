"""Lines of `explain --cases` carried out on the running kernel: the setup typed in, the frames sent."""

import asyncio
import re
import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import msgspec

from strictarp.arp import cases
from strictarp.arp.facts import Host
from strictarp.arp.receiving import receive
from strictarp.cli.facts import read_node
from strictarp.lab import namespaces
from strictarp.lab.namespaces import Namespace
from strictarp.netlink import look
from strictarp.netlink.socket import NETLINK_ROUTE, Netlink
from support.arp_kernel import Wire, decode_any, node
from support.random_cases import make

_MACS = {"bcast": "ff:ff:ff:ff:ff:ff", "zero": "00:00:00:00:00:00", "client": "02:00:00:00:cc:01"}
_MACS |= {"other": "02:00:00:00:de:ad", "mcast": "01:00:5e:7f:00:63"}
_PROC = Path("/proc/sys/net/ipv4")


def _dev_lines(dev: dict[str, Any], wire: Wire, kinds: frozenset[str]) -> tuple[list[str], list[str]]:
    """Commands that make a device, and those for the wire."""
    name, kind = dev["name"], dev.get("kind", "")
    mac = f" address {dev['mac']}" if "mac" in dev else ""
    far = []
    if not kind:
        peer = f"p{wire.number}{name}"
        made = f"link add {name}{mac} type veth peer name {peer} netns {wire.space.path}"
        far.append(f"link set {peer} up")
    elif kind in ("vlan", "macvlan", "ipvlan"):
        options = {
            "vlan": f"id {dev.get('id')}",
            "macvlan": f"mode {dev.get('mode', 'bridge')}",
            "ipvlan": "mode l2",
        }
        own = "" if kind == "ipvlan" else mac
        made = f"link add link {dev['link']} name {name}{own} type {kind} {options[kind]}"
    else:
        real = kind if kind in kinds else "bridge"
        options = {
            "vrf": f" table {dev.get('table')}",
            "bond": f" mode {dev.get('mode', 'active-backup')} miimon 50",
        }
        made = f"link add {name}{mac} type {real}{options.get(kind, '')}"
    lines = [made]
    if kind == "dummy" or dev.get("noarp"):
        lines.append(f"link set {name} arp off")
    if dev.get("master"):
        lines.append(f"link set {name} master {dev['master']}")
    return lines, far


def _ip(space: Namespace, lines: list[str]) -> set[int]:
    """Run lines in one process; the numbers of those that failed."""
    if not lines:
        return set()
    with namespaces.entered(space):
        done = subprocess.run(
            ["ip", "-force", "-batch", "-"],
            input="\n".join(lines) + "\n", text=True, capture_output=True, check=False,
        )  # fmt: skip
    failed = {int(number) - 1 for number in re.findall(r"Command failed -:(\d+)", done.stderr)}
    unparsed = done.returncode != 0 and not failed
    if unparsed:
        raise AssertionError(done.stderr)
    return failed


def _shell(space: Namespace, commands: list[str]) -> list[str]:
    """Type commands into a shell; those that succeeded. One of several steps may fail only as a whole."""
    kept = []
    script = "".join(f"{command}\necho @{number} $?\n" for number, command in enumerate(commands))
    with namespaces.entered(space):
        done = subprocess.run(["bash"], input=script, text=True, capture_output=True, check=False)
    codes = dict(re.findall(r"^@(\d+) (\d+)$", done.stdout, re.MULTILINE))
    for number, command in enumerate(commands):
        if codes.get(str(number)) == "0":
            kept.append(command)
        elif re.search(r"&&|;|\n", command):
            return []
    return kept if len(codes) == len(commands) else []


def _write(key: str, value: object) -> bool:
    kind, _, rest = key.removeprefix("ipv4.").partition(".")
    device, _, leaf = rest.rpartition(".")
    path = _PROC / kind / device / leaf if rest else _PROC / kind
    try:
        path.write_text(str(value))
    except OSError:
        return False
    return True


def set_up(
    space: Namespace, case: dict[str, Any], wire: Wire, kinds: frozenset[str]
) -> tuple[dict[str, Any], int]:
    """Make the host; the case without what was refused, and how much that was. Empty: not to be compared."""
    done: dict[str, Any] = {"devs": case["devs"]}
    with namespaces.entered(space):
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
        before = {key: value for key, value in case.get("sysctl_before", {}).items() if _write(key, value)}
    done["sysctl_before"] = before
    near, far = ["link set lo up"], []
    for dev in case["devs"]:
        made, beyond = _dev_lines(dev, wire, kinds)
        near, far = near + made, far + beyond
    if _ip(space, near):
        return {}, 0
    _ip(wire.space, far)
    ups = [f"link set {dev['name']} up" for dev in case["devs"] if dev.get("up", True)]
    done["addrs"], lines = [], []
    for entry in case["addrs"]:
        options = " ".join(f"{key} {value}" for each in entry[2:] for key, value in each.items())
        lines.append(f"addr add {entry[1]} dev {entry[0]} {options}")
    failed = {number - len(ups) for number in _ip(space, ups + lines)}
    if min(failed, default=0) < 0:
        return {}, 0
    done["addrs"] = [entry for number, entry in enumerate(case["addrs"]) if number not in failed]
    with namespaces.entered(space):
        done["sysctl"] = {key: value for key, value in case["sysctl"].items() if _write(key, value)}
    refused = len(case["addrs"]) - len(done["addrs"])
    for field, head in (("routes", "route add"), ("rules", "rule add"), ("pneigh", "neigh add proxy")):
        entries = case.get(field, [])
        texts = [entry if isinstance(entry, str) else f"{entry[0]} dev {entry[1]}" for entry in entries]
        failed = _ip(space, [f"{head} {text}" for text in texts])
        done[field] = [entry for number, entry in enumerate(entries) if number not in failed]
        refused += len(failed)
    if case.get("nft"):
        with namespaces.entered(space):
            loaded = subprocess.run(
                ["nft", "-f", "-"], input=case["nft"], text=True, capture_output=True, check=False
            )
        if loaded.returncode:
            refused += 1
        else:
            done["nft"] = case["nft"]
    if case.get("cmds"):
        done["cmds"] = _shell(space, case["cmds"])
        refused += len(case["cmds"]) - len(done["cmds"])
        if not done["cmds"]:
            return {}, refused
    return done, refused


def _frame_bytes(frame: dict[str, Any], macs: dict[str, str]) -> bytes:
    def mac(field: str, usual: str) -> bytes:
        word = frame.get(field, usual)
        text = macs[frame["in"]] if word == "node" else _MACS.get(word, word)
        return bytes.fromhex(text.replace(":", ""))

    body = b"".join(
        (
            frame.get("hrd", 1).to_bytes(2, "big"), frame.get("pro", 0x0800).to_bytes(2, "big"),
            bytes((frame.get("hln", 6), frame.get("pln", 4))), frame.get("op", 1).to_bytes(2, "big"),
            mac("sha", "client"), IPv4Address(frame["sip"]).packed,
            mac("tha", "zero"), IPv4Address(frame["tip"]).packed,
        )
    )  # fmt: skip
    vlan = frame.get("vlan")
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
    cut = frame.get("cut", 46)
    return mac("dst", "bcast") + mac("src", "client") + tag + b"\x08\x06" + body.ljust(46, b"\0")[:cut]


def ask(
    space: Namespace, case: dict[str, Any], frames: list[dict[str, Any]], wire: Wire, *, settle: float
) -> list[list[tuple[frozenset[str], str]]]:
    """Send the frames; for each, who answered (names of the devices with that MAC) and for what."""
    devs = {dev["name"]: dev for dev in case["devs"]}
    with namespaces.entered(space):
        links = asyncio.run(_links())
    macs = dict(links)
    time.sleep(settle)
    wire.drain()
    for frame in frames:
        dev = devs[frame["in"]]
        raw = _frame_bytes(frame, macs)
        if dev.get("kind") == "vlan":
            raw = raw[:12] + b"\x81\x00" + dev["id"].to_bytes(2, "big") + raw[12:]
        wire.socket.sendto(raw, (f"p{wire.number}{dev.get('link') or dev['name']}", 0x0806))
    queued = any(kind in str(case) for kind in ("macvlan", "ipvlan"))
    time.sleep((0.4 if settle else 0.03) if queued else 0.003)
    found: list[list[tuple[frozenset[str], str]]] = [[] for _ in frames]
    for raw in wire.drain():
        seen = decode_any(raw)
        if seen.target_mac[:2] == b"\x02\xcc" and seen.sender_mac[:2] != b"\x02\xcc":
            names = frozenset(name for name, mac in links if mac == seen.sender_mac.hex(":"))
            found[seen.target_mac[5]].append((names, str(IPv4Address(seen.sender_ip))))
    return found


async def _links() -> list[tuple[str, str]]:
    async with Netlink(NETLINK_ROUTE) as route:
        return [(link.name, link.mac.hex(":")) for link in await look.links(route)]


def agree(kernel: list[tuple[frozenset[str], str]], answered: list[tuple[str, str]] | None) -> bool:
    """The model names one of the devices with the MAC that answered, as often as the kernel answered."""
    rest = list(kernel)
    for name, address in answered or []:
        match = next((each for each in rest if each[1] == address and name in each[0]), None)
        if match is None:
            return False
        rest.remove(match)
    return not rest


def judged(host: Host, frame: dict[str, Any]) -> list[tuple[str, str]]:
    """The answers to a frame by the facts that were read from the node."""
    packet = cases.packet_of(host, frame["in"], msgspec.convert(frame, cases.Pkt))
    decisions = receive(host, frame["in"], packet)
    return [cases.named(host, each) for each in decisions if each.answered]


class Tally(msgspec.Struct):
    hosts: int = 0
    lines: int = 0
    answered: int = 0
    refused: int = 0
    skipped: int = 0
    unread: int = 0
    """Tables of nftables that netlink did not tell whole."""
    unsupported: dict[str, int] = msgspec.field(default_factory=dict)
    disagreements: list[str] = msgspec.field(default_factory=list)


def run_one(seed: int, wire: Wire, tally: Tally, kinds: frozenset[str]) -> None:
    """A random host and its frames: as the kernel has it, and as `explain --cases` judges the lines."""
    case, frames = make(seed, kinds)
    wire.number += 1
    with node() as space:
        done, refused = set_up(space, case, wire, kinds)
        tally.refused += refused
        if not done:
            tally.skipped += 1
            return
        lines = [
            msgspec.json.encode({"id": f"{seed}-{i}", "case": {**done, "pkt": f}})
            for i, f in enumerate(frames)
        ]
        results = [cases.judge(line) for line in lines]
        with namespaces.entered(space):
            seen, unread = read_node()
        # What tc filters is not read from a live node.
        found = (
            []
            if "tc filter" in str(done) or "nexthop" in str(done)
            else [judged(seen, each) for each in frames]
        )
        tally.unread += sum(not each.startswith("tc ") for each in unread)
        slow = any(word in str(case) for word in ("bridge", "bond", "ipvlan"))
        for settle in (0.1 if slow else 0.0, 1.6):
            kernel = ask(space, case, frames, wire, settle=settle)
            wrong = [
                i
                for i, each in enumerate(results)
                if not (each.unsupported or agree(kernel[i], each.answered))
                or (found and not agree(kernel[i], found[i]))
            ]
            if not wrong:
                break
    tally.hosts += 1
    for i, each in enumerate(results):
        tally.lines += 1
        tally.answered += bool(kernel[i])
        if each.unsupported:
            tally.unsupported[each.unsupported] = tally.unsupported.get(each.unsupported, 0) + 1
        if i in wrong:
            told = [(sorted(names), address) for names, address in kernel[i]]
            by_facts = found[i] if found else "-"
            tally.disagreements.append(
                f"kernel {told} facts {by_facts} model {each.answered} {lines[i].decode()}"
            )


def run_many(first: int, count: int, kinds: frozenset[str]) -> Tally:
    """Hosts of consecutive seeds."""
    tally = Tally()
    wire = Wire()
    for number in range(count):
        if number % 200 == 199:
            wire.close()
            wire = Wire()
        run_one(first + number, wire, tally, kinds)
    wire.close()
    return tally
