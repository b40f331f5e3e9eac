"""Random hosts and frames for the differential test: everything that decides about ARP, sane and absurd."""

import random

import msgspec

from strictarp.arp.frames import BROADCAST_MAC

NETS = ("10.0.0", "10.0.1", "10.1.0", "192.0.2")
TAILS = (1, 2, 5, 9, 50, 100, 127, 200, 254)
ASKERS = (3, 77, 130, 201, 253)
"""Last numbers of hosts that are nobody's address here."""
ODD_ADDRESSES = ("169.254.1.1", "127.0.0.9", "198.51.100.7", "203.0.113.9", "10.5.0.77")
LEVELS = (0, 0, 0, 0, 1, 1, 2, 3, 4, 8, 9, -1, 7, 12345)
KEYS = {
    "arp_ignore": LEVELS,
    "arp_announce": (0, 0, 1, 2, 2, 3, -1),
    "arp_filter": (0, 0, 0, 1, 5),
    "rp_filter": (0, 0, 0, 1, 2, 3, -1),
    "accept_local": (0, 0, 0, 1),
    "forwarding": (0, 0, 1),
    "proxy_arp": (0, 0, 1),
    "proxy_arp_pvlan": (0, 0, 0, 1),
    "medium_id": (0, 0, 0, 1, 2, -1),
    "route_localnet": (0, 0, 0, 0, 1),
    "drop_gratuitous_arp": (0, 0, 0, 0, 1),
    "arp_accept": (0, 0, 1, 2, 3),
    "send_redirects": (0, 1, 1),
    "shared_media": (0, 1),
}


class Dev(msgspec.Struct, frozen=True):
    name: str
    kind: str
    mac: str
    lower: str = ""
    master: str = ""
    vlan: int = 0
    table: int = 0
    up: bool = True
    arp: bool = True


class Frame(msgspec.Struct, frozen=True):
    """device: where it arrives. Addresses as text; `kind` names the Ethernet destination."""

    device: str
    sip: str
    tip: str
    op: int = 1
    kind: str = "bcast"
    garp_reply: bool = False


class RandomHost(msgspec.Struct, frozen=True):
    devices: tuple[Dev, ...]
    commands: tuple[str, ...]
    sysctls: tuple[tuple[str, int], ...]
    nft: str
    frames: tuple[Frame, ...]

    @property
    def nics(self) -> list[Dev]:
        return [device for device in self.devices if device.kind == "nic"]


def text(rng: random.Random) -> str:
    return f"{rng.choice(NETS)}.{rng.choice(TAILS)}"


def asker(rng: random.Random) -> str:
    return f"{rng.choice(NETS)}.{rng.choice(ASKERS)}"


def make(rng: random.Random, kinds: frozenset[str], *, frames: int = 24) -> RandomHost:
    """A host of devices of `kinds` ("dummy", "bridge", "macvlan", "vlan", "bond", "vrf") besides its NICs."""
    devices = _devices(rng, kinds)
    named = [device.name for device in devices] + ["lo"]
    commands, held = _addresses(rng, named)
    proxied = [asker(rng) for _ in range(3)] if rng.random() < 0.4 else []
    commands += _routes(rng, devices) + _proxies(rng, named, proxied) + _rules(rng, devices, held)
    return RandomHost(
        devices=tuple(devices),
        commands=tuple(commands),
        sysctls=tuple(_sysctls(rng, named, forwarding=bool(proxied))),
        nft=_nft(rng, devices, held) if rng.random() < 0.15 else "",
        frames=tuple(_frame(rng, devices, held, proxied) for _ in range(frames)),
    )


def _mac(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


def _devices(rng: random.Random, kinds: frozenset[str]) -> list[Dev]:
    nics = [Dev(f"e{i}", "nic", _mac(16 + i), arp=rng.random() > 0.03) for i in range(rng.randint(1, 4))]
    before: list[Dev] = []
    after: list[Dev] = []
    for i in range(rng.choice((0, 1, 1, 2))):
        standin = Dev(f"d{i}", "dummy", _mac(32 + i), up=rng.random() < 0.4, arp=False)
        (before if rng.random() < 0.5 else after).append(standin)
    extra = rng.choice(["", "", *sorted(kinds)])
    chosen = rng.randrange(len(nics))
    if extra in ("bridge", "bond", "vrf"):
        master = Dev("m0", extra, _mac(64), table=10 if extra == "vrf" else 0)
        before.append(master)
        inside = range(len(nics)) if extra == "bond" and rng.random() < 0.5 else [chosen]
        for i in inside:
            nics[i] = msgspec.structs.replace(nics[i], master="m0")
    elif extra == "macvlan":
        after.append(Dev("m0", extra, _mac(64), lower=nics[chosen].name, up=rng.random() < 0.9))
    elif extra == "ipvlan":
        after.append(Dev("m0", extra, nics[chosen].mac, lower=nics[chosen].name, up=rng.random() < 0.9))
    elif extra == "vlan":
        # Up in any case: a VLAN follows its parent, which comes up behind it.
        after.append(Dev("v0", extra, _mac(64), lower=nics[chosen].name, vlan=10))
    return before + nics + after


def _addresses(rng: random.Random, named: list[str]) -> tuple[list[str], list[str]]:
    commands: list[str] = []
    held: list[str] = []
    for name in named:
        for _ in range(rng.choice((0, 1, 1, 2, 3))):
            address = text(rng) if rng.random() < 0.95 else rng.choice(ODD_ADDRESSES)
            prefix = rng.choice((32, 24, 24, 16, 25, 31, 8))
            held.append(address)
            end = f" scope {rng.choice(('global', 'host', 'link', 'site'))}" if rng.random() < 0.3 else ""
            end += " noprefixroute" if rng.random() < 0.05 else ""
            if rng.random() < 0.15:
                commands.append(f"ip addr add {address} peer {text(rng)}/{prefix} dev {name}{end}")
            else:
                commands.append(f"ip addr add {address}/{prefix} dev {name}{end}")
    return commands, held or ["10.0.0.1"]


def _some_net(rng: random.Random) -> str:
    prefix = rng.choice((32, 24, 24, 16, 25))
    number = int.from_bytes(bytes(int(part) for part in text(rng).split(".")), "big")
    number = number >> (32 - prefix) << (32 - prefix)
    return ".".join(str(byte) for byte in number.to_bytes(4, "big")) + f"/{prefix}"


def _routes(rng: random.Random, devices: list[Dev]) -> list[str]:
    commands: list[str] = []
    up = [device.name for device in devices if device.up and not (device.master and device.kind != "vrf")]
    for _ in range(rng.choice((0, 0, 1, 2, 3))):
        shape = rng.random()
        table = rng.choice(("", "", "", " table 100", " table local"))
        metric = rng.choice(("", "", " metric 7"))
        if shape < 0.2:
            commands.append(f"ip route add local {_some_net(rng)} dev {rng.choice(['lo', *up])}{metric}")
        elif shape < 0.35:
            kind = rng.choice(("blackhole", "unreachable", "prohibit", "throw"))
            commands.append(f"ip route add {kind} {_some_net(rng)}{table}{metric}")
        elif up:
            via = f" via {text(rng)} onlink" if rng.random() < 0.2 else ""
            where = rng.choice(("default", _some_net(rng), _some_net(rng)))
            commands.append(f"ip route add {where}{via} dev {rng.choice(up)}{table}{metric}")
    return commands


def _proxies(rng: random.Random, named: list[str], proxied: list[str]) -> list[str]:
    return [
        f"ip neigh add proxy {address} dev {rng.choice(named)}" for address in proxied if rng.random() < 0.7
    ]


def _rules(rng: random.Random, devices: list[Dev], held: list[str]) -> list[str]:
    if rng.random() > 0.25:
        return []
    commands = []
    for _ in range(rng.randint(1, 3)):
        where = rng.choice(("", f" from {rng.choice(held)}", f" to {text(rng)}", " from 10.0.0.0/16"))
        where += rng.choice(("", "", f" iif {rng.choice(devices).name}", f" oif {rng.choice(devices).name}"))
        where += rng.choice(("", "", "", " fwmark 7"))
        what = rng.choice(
            (
                "table 100",
                "table main",
                "prohibit",
                "unreachable",
                "blackhole",
                "nop",
                "goto 32766",
                "table main suppress_prefixlength 0",
                "table local",
            )
        )
        negated = "not" if rng.random() < 0.1 else ""
        priority = rng.choice(("", " pref 10", " pref 50", " pref 32000"))
        commands.append(f"ip rule add {negated}{where}{priority} {what}".replace("  ", " "))
    if rng.random() < 0.2:
        commands += ["ip rule add pref 100 table local", "ip rule del pref 0"]
    return commands


def _sysctls(rng: random.Random, named: list[str], *, forwarding: bool) -> list[tuple[str, int]]:
    values = [("conf.all.forwarding", 1)] if forwarding else []
    if forwarding and rng.random() < 0.5:
        values.append((f"conf.{rng.choice(['all', *named])}.proxy_arp", 1))
    for key, choices in KEYS.items():
        if rng.random() < 0.35:
            values.append((f"conf.all.{key}", rng.choice(choices)))
        for name in named:
            if rng.random() < 0.25:
                values.append((f"conf.{name}.{key}", rng.choice(choices)))
    values += [(f"neigh.{name}.proxy_delay", 0) for name in named if name != "lo"]
    return values


def _nft(rng: random.Random, devices: list[Dev], held: list[str]) -> str:
    matches = (
        lambda: f"arp daddr ip {rng.choice(held)}",
        lambda: f"arp saddr ip {text(rng)}",
        lambda: f"arp daddr ip != {rng.choice(NETS)}.0/24",
        lambda: "arp operation request",
        lambda: "arp operation { request, reply }",
        lambda: f'iifname "{rng.choice(devices).name}"',
        lambda: 'oifname != "e0"',
        lambda: f"arp daddr ip {{ {rng.choice(held)}, 10.7.0.0-10.7.0.100 }}",
        lambda: "meta pkttype broadcast",
        lambda: "arp daddr ip @vips",
        lambda: "counter",
        lambda: "limit rate over 1/hour burst 100 packets",
    )

    def rule(*ends: str) -> str:
        return " ".join([*(m() for m in rng.sample(matches, rng.randint(1, 2))), rng.choice(ends)])

    inputs = "\n".join(rule("drop", "drop", "accept", "return", "jump more") for _ in range(2))
    outputs = "\n".join(rule("drop", "accept", "arp saddr ip set 10.9.9.9") for _ in range(rng.randint(0, 1)))
    policy = rng.choice(("accept", "accept", "accept", "drop"))
    return f"""table arp t {{
 set vips {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.200, 192.0.2.0/24 }} }}
 chain more {{ {rule("drop", "return")}; }}
 chain i {{ type filter hook input priority 0; policy {policy};
{inputs}
}}
 chain o {{ type filter hook output priority 0; policy accept;
{outputs}
}}
}}
"""


def _frame(rng: random.Random, devices: list[Dev], held: list[str], proxied: list[str]) -> Frame:
    doors = [device.name for device in devices if device.kind in ("nic", "vlan")]
    tip = rng.choice(held) if rng.random() < 0.6 else text(rng)
    if rng.random() < 0.08:
        tip = rng.choice(
            (*ODD_ADDRESSES, "10.0.0.255", "10.0.0.0", "255.255.255.255", "224.0.0.5", "0.0.0.0")
        )
    if proxied and rng.random() < 0.3:
        tip = rng.choice(proxied)
    sip = asker(rng) if rng.random() < 0.8 else text(rng)
    if rng.random() < 0.25:
        sip = rng.choice(("0.0.0.0", "0.0.0.0", tip, rng.choice(held), "255.255.255.255", "10.0.0.255"))
    if rng.random() < 0.06:
        sip = rng.choice((*ODD_ADDRESSES, "224.0.0.1", "0.0.0.7"))
    kind = rng.choice(("bcast",) * 8 + ("node", "node", "other", "mcast"))
    if kind == "mcast" and any(device.kind in ("macvlan", "ipvlan") for device in devices):
        kind = "bcast"  # their filters are hashes: an unrelated group is heard by chance
    return Frame(
        rng.choice(doors),
        sip,
        tip,
        op=2 if rng.random() < 0.06 else 1,
        kind=kind,
        garp_reply=rng.random() < 0.3,
    )


_DESTINATIONS = {
    "bcast": BROADCAST_MAC,
    "other": bytes.fromhex("02000000dead"),
    "mcast": bytes.fromhex("01005e7f0063"),
}


def destination(host: RandomHost, frame: Frame) -> bytes:
    """The Ethernet destination in bytes."""
    if frame.kind != "node":
        return _DESTINATIONS[frame.kind]
    mac = next(device.mac for device in host.devices if device.name == frame.device)
    return bytes.fromhex(mac.replace(":", ""))
