# ruff: noqa: E501, ANN401 - a grammar is read best as it is
"""Random lines of the form that `explain --cases` reads: setups as people type them, and frames."""

import random
from typing import Any

NETS = ("10.0.0", "10.0.1", "10.1.0", "192.0.2", "169.254.1")
TAILS = (1, 2, 5, 9, 50, 100, 200)
ASKERS = (3, 77, 130, 201, 253)
LEVELS = (0, 0, 1, 1, 1, 2, 2, 3, 4, 8, 9, -1)
KEYS: dict[str, tuple[int, ...]] = {
    "arp_ignore": LEVELS,
    "arp_announce": (0, 1, 2, 3),
    "arp_filter": (0, 1),
    "rp_filter": (0, 0, 1, 2),
    "accept_local": (0, 1),
    "forwarding": (0, 1, 1),
    "proxy_arp": (0, 1, 1),
    "proxy_arp_pvlan": (0, 1),
    "medium_id": (0, 1, 2, -1),
    "route_localnet": (0, 0, 1),
    "drop_gratuitous_arp": (0, 0, 1),
    "send_redirects": (0, 1),
    "shared_media": (0, 1),
    "promote_secondaries": (0, 1),
}


class Maker:
    """One random host, written down as a case. kinds: of devices that the kernel can make."""

    def __init__(self, rng: random.Random, kinds: frozenset[str]) -> None:
        self.rng = rng
        self.kinds = kinds
        self.devs: list[dict[str, Any]] = []
        self.held: list[str] = []
        self._devices()
        self.names = [dev["name"] for dev in self.devs]
        self.nics = [dev["name"] for dev in self.devs if not dev.get("kind")]

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def pick(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    def ip(self) -> str:
        return f"{self.rng.choice(NETS)}.{self.rng.choice(TAILS)}"

    def some(self) -> str:
        """An address, rather one that is held."""
        return self.rng.choice(self.held) if self.held and self.chance(0.7) else self.ip()

    def net(self) -> str:
        prefix = self.pick(32, 24, 24, 16, 25, 8)
        number = int.from_bytes(bytes(int(part) for part in self.ip().split(".")), "big")
        number = number >> (32 - prefix) << (32 - prefix)
        text = ".".join(str(byte) for byte in number.to_bytes(4, "big"))
        if prefix in (8, 16) and self.chance(0.4):
            text = ".".join(text.split(".")[: prefix // 8])
        return f"{text}/{prefix}"

    def _mac(self) -> str:
        return f"02:00:00:00:00:{16 + len(self.devs):02x}"

    def _add(self, name: str, kind: str = "", **more: Any) -> None:
        entry = {"name": name, "mac": self._mac(), **({"kind": kind} if kind else {}), **more}
        self.devs.append(entry)

    def _devices(self) -> None:
        kind = self.rng.choice(["", "", "", *sorted(self.kinds - {"dummy", "ifb", "veth"})])
        vips = self.chance(0.5)
        if vips and self.chance(0.3):
            self._add("kube-ipvs0", "dummy", up=self.chance(0.2))
        if kind in ("bridge", "vrf"):
            name = {"bridge": "br0", "vrf": "vrf1"}[kind]
            self._add(name, kind, **({"table": 10} if kind == "vrf" else {}))
        if kind == "bond":
            self._add("bond0", kind, up=False, mode=self.pick("active-backup", "active-backup", "balance-rr"))
        for i in range(self.pick(1, 1, 2, 2, 3)):
            inside = {"bridge": "br0", "vrf": "vrf1", "bond": "bond0"}.get(kind, "") if i == 0 else ""
            more: dict[str, Any] = {"master": inside} if inside else {}
            if (kind == "bond" and i == 0) or self.chance(0.06):
                more["up"] = False
            if self.chance(0.03):
                more["noarp"] = True
            self._add(self.pick(f"e{i}", f"e{i}", f"e{i}", f"cali{i}"), **more)
        parent = self.devs[-1]["name"]
        if kind == "vlan":
            self._add(f"{parent}.10", kind, link=parent, id=10)
        if kind in ("macvlan", "ipvlan"):
            mode = (
                {"mode": self.pick("bridge", "private", "vepa")}
                if kind == "macvlan" and self.chance(0.5)
                else {}
            )
            self._add("child0", kind, link=parent, **mode)
        if vips and all(dev["name"] != "kube-ipvs0" for dev in self.devs):
            self._add("kube-ipvs0", "dummy", up=self.chance(0.2))

    def addresses(self) -> list[list[Any]]:
        found: list[list[Any]] = []
        for name in [*self.names, "lo"]:
            for _ in range(self.pick(0, 1, 1, 1, 2) if name != "lo" else self.pick(0, 0, 0, 1)):
                address, prefix = self.ip(), self.pick(24, 24, 24, 32, 32, 16, 25, 31)
                if name == "kube-ipvs0":
                    prefix = 32
                self.held.append(address)
                if self.chance(0.1):
                    entry: list[Any] = [name, address, {"peer": f"{self.ip()}/{prefix}"}]
                else:
                    entry = [name, f"{address}/{prefix}"]
                if self.chance(0.15):
                    entry.append({"scope": self.pick("host", "link", "site", "global")})
                found.append(entry)
        return found

    def key(self) -> tuple[str, int]:
        key = self.rng.choice(list(KEYS))
        if self.chance(0.4):
            key = "arp_ignore"
        return key, self.rng.choice(KEYS[key])

    def sysctls(self) -> dict[str, int | str]:
        found: dict[str, int | str] = {}
        for _ in range(self.pick(0, 0, 1, 2, 3)):
            key, value = self.key()
            where = self.rng.choice(["all", "all", *self.names])
            found[f"conf.{where}.{key}"] = self.pick(value, value, str(value))
        if self.chance(0.25):
            found["ipv4.ip_forward"] = 1
            found[f"conf.{self.rng.choice(self.nics)}.proxy_arp"] = 1
        for name in [dev["name"] for dev in self.devs]:
            found[f"neigh.{name}.proxy_delay"] = 0
        return found

    def via(self) -> str:
        return self.pick("", "", "", f" via {self.ip()}", f" via {self.ip()} onlink")

    def route(self) -> str:
        device = self.rng.choice(self.names)
        shape = self.rng.random()
        tail = self.pick("", "", "", " metric 7", " table 100", " table local", " proto static", " metric 20")
        if shape < 0.2:
            return f"local {self.net()} dev {self.pick('lo', device)}{tail}"
        if shape < 0.32:
            kind = self.pick("blackhole", "unreachable", "prohibit", "throw")
            return f"{kind} {self.net()}{tail}"
        if shape < 0.36:
            return f"broadcast {self.net()} dev {device}{tail}"
        where = self.pick("default", self.net(), self.net(), "0/0")
        if shape < 0.42 and len(self.nics) > 1:
            one, two = self.nics[:2]
            return f"{where}{tail} nexthop dev {one} weight 1 nexthop dev {two} weight 2"
        if shape < 0.5:
            return f"dev {device} {where}{tail}"
        src = f" src {self.rng.choice(self.held)}" if self.held and self.chance(0.15) else ""
        return f"{where}{self.via()} dev {device}{tail}{src}"

    def rule(self) -> str:
        parts = [
            self.pick("", f"from {self.some()}", f"from {self.net()}", f"to {self.some()}", f"to {self.net()}"),
            self.pick("", "", f"iif {self.rng.choice(self.names)}", "oif lo", "fwmark 0x7", "tos 0x10"),
            self.pick("", "pref 50", "priority 100", "pref 32000", "order 9"),
            self.pick(
                "table 100", "lookup main", "prohibit", "unreachable", "blackhole", "table local", "lookup 10",
                "table main suppress_prefixlength 0", "goto 32766", "nop",
            ),
        ]  # fmt: skip
        if parts[0] and self.chance(0.1):
            parts[0] = f"not {parts[0]}"
        if self.chance(0.3):
            self.rng.shuffle(parts[1:])
        return " ".join(part for part in parts if part)

    # further commands, in the spellings of people

    def words(self, obj: str, verb: str) -> str:
        """`ip OBJECT VERB`, perhaps cut short."""
        short = {"address": ("a", "addr", "address", "ad"), "route": ("r", "ro", "route"), "rule": ("ru", "rule"),
                 "link": ("l", "li", "link"), "neighbour": ("n", "neigh", "neighbor")}[obj]  # fmt: skip
        verbs = {"add": ("a", "add"), "delete": ("d", "del", "delete"), "set": ("s", "set"),
                 "replace": ("r", "replace"), "append": ("app", "append"), "change": ("change",),
                 "prepend": ("pre", "prepend"), "flush": ("f", "flush")}[verb]  # fmt: skip
        option = self.pick("", "", "", "-4 ", "-family inet ")
        return f"{self.pick('ip', 'ip', 'ip ', '/sbin/ip')} {option}{self.rng.choice(short)} {self.rng.choice(verbs)}"

    def command(self) -> str:
        return self.rng.choice(
            (
                self._link, self._link, self._link_add, self._addr, self._addr, self._addr_del, self._route_cmd,
                self._route_cmd, self._route_del, self._rule_cmd, self._sysctl_cmd, self._sysctl_cmd,
                self._proc, self._proxy, self._nft_cmds, self._tc, self._flush,
            )
        )()  # fmt: skip

    def _link(self) -> str:
        name = self.rng.choice(self.names)
        what = self.pick("down", "up", "up", "arp off", "arp on", "mtu 1400", "promisc on", "arp off up",
                         "address 02:00:00:00:00:77", "txqueuelen 10")  # fmt: skip
        spelled = self.pick(f"{name} {what}", f"dev {name} {what}", f"{what} dev {name}")
        return f"{self.words('link', 'set')} {spelled}"

    def _link_add(self) -> str:
        name = f"x{self.rng.randrange(3)}"
        kinds = [each for each in ("bridge", "macvlan", "ifb", "dummy") if each in self.kinds]
        kind = self.rng.choice(kinds)
        lower = f"link {self.rng.choice(self.nics)} " if kind == "macvlan" else ""
        mode = self.pick("", " mode bridge", " mode private") if kind == "macvlan" else ""
        self.names.append(name)
        up = self.pick("", f" && ip link set {name} up", f"; ip l s up dev {name}")
        return f"{self.words('link', 'add')} {lower}{self.pick('', 'name ')}{name} type {kind}{mode}{up}"

    def _addr(self) -> str:
        address, prefix, name = self.ip(), self.pick(24, 24, 32, 16, 30), self.rng.choice(self.names)
        self.held.append(address)
        what = f"{address}/{prefix}"
        tail = self.pick(
            "", "", "", " scope link", " scope host", " noprefixroute", " brd +", " broadcast 10.0.0.77"
        )
        spelled = self.pick(
            f"{what} dev {name}{tail}", f"dev {name} {what}{tail}", f"local {what} dev {name}{tail}"
        )
        return f"{self.words('address', self.pick('add', 'add', 'replace'))} {spelled}"

    def _addr_del(self) -> str:
        entries = [entry for entry in self.made_addrs if len(entry) == 2]
        if not entries:
            return self._link()
        name, what = self.rng.choice(entries)
        if self.chance(0.2):
            what = what.partition("/")[0]
        return f"{self.words('address', 'delete')} {what} dev {name}"

    def _route_cmd(self) -> str:
        verb = self.pick("add", "add", "replace", "append", "change", "prepend")
        return f"{self.words('route', verb)} {self.route()}"

    def _route_del(self) -> str:
        if self.made_routes and self.chance(0.6):
            words = self.rng.choice(self.made_routes).split(" nexthop")[0]
            return f"{self.words('route', 'delete')} {words}"
        vip = self.rng.choice(self.held or ["10.0.0.1"])
        return f"{self.words('route', 'delete')} {self.pick(f'local {vip} table local', self.net())}"

    def _flush(self) -> str:
        name = self.rng.choice(self.names)
        return self.pick(
            f"ip addr flush dev {name}", f"ip a f dev {name} scope global", f"ip route flush dev {name}",
            "ip route flush table 100", "ip r f cache", "ip rule flush",
        )  # fmt: skip

    def _rule_cmd(self) -> str:
        if self.chance(0.3):
            return "ip rule add pref 300 lookup local && ip rule del pref 0"
        return f"{self.words('rule', 'add')} {self.rule()}"

    def _sysctl_cmd(self) -> str:
        pairs = []
        for _ in range(self.pick(1, 1, 2)):
            key, value = self.key()
            where = self.rng.choice(["all", *self.names]).replace(".", "/")
            if "/" in where or self.chance(0.8):
                pairs.append(f"net.ipv4.conf.{where}.{key}={value}")
            else:
                pairs.append(f"net/ipv4/conf/{where}/{key}={value}")
        return f"sysctl {self.pick('-w', '-qw', '-q -w', '')} {' '.join(pairs)}"

    def _join(self) -> str:
        masters = [name for name in self.names if name in ("br0", "vrf1")] + ["nomaster"]
        master = self.rng.choice(masters)
        name = self.rng.choice(self.nics)
        if self.chance(0.15):
            return f"ip link del {self.rng.choice(self.names)}"
        what = (
            master
            if master == "nomaster"
            else f"{self.pick('master', 'vrf') if master == 'vrf1' else 'master'} {master}"
        )
        return f"{self.words('link', 'set')} {name} {what}"

    def _vlan_add(self) -> str:
        parent = self.rng.choice(self.nics)
        self.names.append(f"{parent}.20")
        more = f" && ip a a {self.ip()}/24 dev {parent}.20" if self.chance(0.7) else ""
        return (
            f"ip link add link {parent} name {parent}.20 type vlan id 20 && ip link set {parent}.20 up{more}"
        )

    def _arptables(self) -> str:
        address = self.some()
        where = self.pick(
            f"-d {address}", f"-d {address}", f"! -d {address}", "-d 10.0.0.0/24", f"-s {self.net_full()}".split("-1")[0],
            f"--opcode 1 -d {address}", "--opcode Request", f"-i {self.rng.choice(self.names)}", "-i e+", "--source-mac 02:cc:00:00:00:01",
            f"--opcode 1 ! -i {self.rng.choice(self.names)}",
        )  # fmt: skip
        if self.chance(0.25):
            out = self.pick(f"-s {address}", "--opcode 2", f"-o {self.rng.choice(self.names)}")
            end = self.pick("DROP", "ACCEPT", "mangle --mangle-ip-s 10.9.9.9")
            return f"arptables -A OUTPUT {out} -j {end}"
        if self.chance(0.1):
            return f"arptables -P INPUT {self.pick('DROP', 'ACCEPT')}"
        return f"arptables {self.pick('-A', '-A', '-I', '--append')} INPUT {where} -j {self.pick('DROP', 'DROP', 'ACCEPT')}"

    def _proc(self) -> str:
        key, value = self.key()
        path = f"/proc/sys/net/ipv4/conf/{self.rng.choice(['all', *self.names])}/{key}"
        return self.pick(
            f"echo {value} > {path}", f"echo {value} >{path}", f"echo {value} | tee {path} >/dev/null",
            f"sh -c 'echo {value} > {path}'", f"printf '{value}\\n' > {path}",
        )  # fmt: skip

    def _proxy(self) -> str:
        address = f"{self.rng.choice(NETS)}.{self.rng.choice(ASKERS)}"
        self.proxied.append(address)
        return f"{self.words('neighbour', 'add')} proxy {address} dev {self.rng.choice(self.names)}"

    # nftables

    def match(self) -> str:
        address = self.some()
        network = self.pick("10.0.0.0/24", "192.0.2.0/25", "10.0.0.0-10.0.1.255", "10.0.0.0/8")
        device = self.rng.choice(self.names)
        return self.pick(
            f"arp daddr ip {address}", f"arp daddr ip {address}", f"arp daddr ip {network}",
            f"arp daddr ip != {address}", f"arp daddr ip != {network}", f"arp saddr ip {self.net_full()}",
            f"arp daddr ip {{ {address}, {self.ip()} }}", f"arp daddr ip {{ {address}, 192.0.2.0/25 }}",
            f"arp daddr ip != {{ {address}, {self.ip()} }}", "arp daddr ip @vips", "arp daddr ip != @vips",
            "arp operation request", "arp operation 1", "arp operation { request, reply }", "arp operation != reply",
            f'iifname "{device}"', f"iifname {device}", f'iifname {{ "{device}", "lo" }}', f'iifname != "{device}"',
            'iifname "e*"', "arp htype 1", "arp ptype ip", "arp hlen 6", "arp plen 4", "meta pkttype broadcast",
            "meta pkttype != host", "counter", "counter packets 0 bytes 0", "arp saddr ether != 02:00:00:00:00:10",
            "limit rate 100/second burst 100 packets", "limit rate over 1/hour burst 100 packets", "ether daddr ff:ff:ff:ff:ff:ff",
            "arp daddr ip & 255.255.255.0 == 10.0.0.0", "arp daddr ether 00:00:00:00:00:00", "meta mark 0",
            "arp daddr ip . arp operation { 10.0.0.200 . request, 10.0.0.1 . request }", "arp daddr ip > 10.0.0.50",
            "arp daddr ip <= 10.0.0.200", f"@nh,192,32 {int.from_bytes(bytes(map(int, address.split('.'))), 'big'):#x}",
            "meta protocol arp", "log prefix \"x \"", "ether type arp", "quota over 100 mbytes",
        )  # fmt: skip

    def net_full(self) -> str:
        return self.pick("10.0.0.0/24", "10.0.0.3", "10.0.0.77", "10.0.0.0-10.0.0.100", "192.0.2.0/24")

    def nft_rule(self, hook: str) -> str:
        matches = [self.match() for _ in range(self.pick(0, 1, 1, 1, 2))]
        if hook in ("output", "egress"):
            matches = [each.replace("iifname", "oifname") for each in matches]
        ends = ["drop", "drop", "drop", "accept", "return", "continue", "jump more", "goto more"]
        ends += ["arp daddr ip vmap { 10.0.0.200 : drop, 10.0.0.1 : accept }", "arp daddr ip vmap @fate"]
        ends += ["arp operation vmap { request : jump more, reply : accept }"]
        if hook == "output":
            ends += ["arp saddr ip set 10.9.9.9", "arp saddr ip set 10.9.9.8 accept"]
        return " ".join([*matches, self.rng.choice(ends)])

    def nft_script(self) -> str:
        """A table as `nft -f` reads it."""
        family = self.pick("arp", "arp", "arp", "netdev", "bridge") if "bridge" in self.names else "arp"
        if family == "arp" and self.chance(0.15):
            family = "netdev"
        parts = [
            " set vips { type ipv4_addr; flags interval; elements = { 10.0.0.200, 192.0.2.0/25 } }",
            " map fate { type ipv4_addr : verdict; elements = { 10.0.0.200 : drop, 10.0.0.2 : accept } }",
            f" chain more {{ {self.nft_rule('input').replace('jump more', 'drop').replace('goto more', 'drop')}; }}"
            .replace(": jump more", ": drop").replace(": drop, reply", ": drop, reply"),
        ]  # fmt: skip
        hooks = {"arp": ("input", "output"), "netdev": ("ingress",), "bridge": ("input", "prerouting")}[
            family
        ]
        for hook in self.rng.sample(hooks, self.pick(1, len(hooks))):
            device = f" device {self.pick('%s', chr(34) + '%s' + chr(34)) % self.rng.choice(self.nics)}"
            head = f"type filter hook {hook}{device if family == 'netdev' else ''} priority "
            head += self.pick("0", "filter", "-10", "10", "filter + 5") if family != "bridge" else "0"
            policy = self.pick("", " policy accept;", " policy accept;", " policy drop;")
            rules = [self.nft_rule(hook) for _ in range(self.pick(1, 2, 3))]
            join = self.pick("\n  ", "; ")
            parts.append(f" chain {hook}1 {{ {head};{policy}\n  {join.join(rules)}\n }}")
        define = "define x = 10.0.0.200\n" if self.chance(0.1) else ""
        return define + f"table {family} t {{\n" + "\n".join(parts) + "\n}\n"

    def _nft_cmds(self) -> str:
        shape = self.rng.random()
        if shape < 0.35:
            return f"nft -f - <<EOF\n{self.nft_script().replace('table arp t', 'table arp u')}EOF"
        rule = self.nft_rule("input").replace("@vips", "10.0.0.200").replace("vmap @fate", "10.0.0.2")
        rule = rule.replace("jump more", "drop").replace("goto more", "drop")
        chain = "{ type filter hook input priority 0; policy accept; }"
        if shape < 0.6:
            return f"nft add table arp w && nft 'add chain arp w c {chain}' && nft 'add rule arp w c {rule}'"
        if shape < 0.8:
            return f"nft 'add table arp w; add chain arp w c {chain}; insert rule arp w c {rule}'"
        return (
            f"nft 'table arp w {{ set s {{ type ipv4_addr; }}; chain c {chain[:-1]} arp daddr ip @s drop; }}; }}' && "
            f"nft add element arp w s '{{ {self.some()}, {self.ip()} }}'"
        )

    def _tc(self) -> str:
        name = self.rng.choice(self.nics)
        number = int.from_bytes(bytes(map(int, self.some().split("."))), "big")
        code = f"'6,40 0 0 12,21 0 3 2054,32 0 0 38,21 0 1 {number},6 0 0 2,6 0 0 0'"
        where = self.pick("ingress", "ingress", "egress")
        return f"tc qdisc add dev {name} clsact && tc filter add dev {name} {where} protocol all bpf da bytecode {code}"

    # frames

    def frame(self, number: int) -> dict[str, Any]:
        doors = [
            dev["name"] for dev in self.devs if dev.get("kind", "") in ("", "vlan") and dev.get("up", True)
        ]
        frame: dict[str, Any] = {
            "in": self.rng.choice(doors or self.nics),
            "sip": self.pick(f"{self.rng.choice(NETS)}.{self.rng.choice(ASKERS)}", "10.0.0.77"),
            "tip": self.some(),
            "sha": f"02:cc:00:00:00:{number:02x}",
        }
        if self.proxied and self.chance(0.4):
            frame["tip"] = self.rng.choice(self.proxied)
        if self.chance(0.12):
            frame["tip"] = self.pick(
                "10.0.0.255", "255.255.255.255", "224.0.0.5", "0.0.0.0", "127.0.0.1", "10.5.0.77"
            )
        if self.chance(0.2):
            frame["sip"] = self.pick(
                "0.0.0.0", "0.0.0.0", frame["tip"], self.some(), "127.0.0.9", "224.0.0.1"
            )
        if self.chance(0.1):
            frame["op"] = self.pick(2, 3, 8)
        if self.chance(0.15):
            frame["dst"] = self.pick("node", "node", "other", "mcast", "bcast")
        if self.chance(0.1):
            frame |= self.pick({"hrd": 6}, {"hrd": 2}, {"pro": 0x86DD}, {"hln": 8}, {"pln": 16}, {"cut": 27},
                               {"cut": 28}, {"vlan": 0}, {"vlan": 5}, {"src": "02:00:00:00:cc:99"})  # fmt: skip
        if "child0" in self.names and frame.get("dst") == "mcast":
            del frame["dst"]  # their filters are hashes: an unrelated group is heard by chance
        return frame

    def case(self) -> dict[str, Any]:
        self.made_addrs = self.addresses()
        self.proxied: list[str] = []
        case: dict[str, Any] = {"devs": self.devs, "addrs": self.made_addrs, "sysctl": self.sysctls()}
        self.made_routes = [self.route() for _ in range(self.pick(0, 0, 1, 2))]
        case["routes"] = list(self.made_routes)
        if self.chance(0.15):
            case["rules"] = [self.rule() for _ in range(self.pick(1, 2))]
        if self.chance(0.1):
            address = f"{self.rng.choice(NETS)}.{self.rng.choice(ASKERS)}"
            self.proxied.append(address)
            case["pneigh"] = [[address, self.rng.choice(self.names)]]
        if self.chance(0.1):
            case["sysctl_before"] = {f"conf.default.{key}": value for key, value in [self.key()]}
        if self.chance(0.2):
            case["nft"] = self.nft_script()
        if self.chance(0.6):
            case["cmds"] = [self.command() for _ in range(self.pick(1, 1, 2, 3, 4))]
        return case


def make(seed: int, kinds: frozenset[str], *, frames: int = 6) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A case without its frame, and frames for it."""
    maker = Maker(random.Random(seed), kinds)
    case = maker.case()
    return case, [maker.frame(number) for number in range(frames)]
