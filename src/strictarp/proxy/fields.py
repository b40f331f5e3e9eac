"""Reading a configuration document field by field: every fault is kept, with the field's path. Pure.

`null`, `""` and a duration of `0s` count as absent, as kubeadm writes files (every field of the
Go struct with its zero value); the number 0 and `false` are values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

import yaml

Raw: TypeAlias = object
Network: TypeAlias = IPv4Network | IPv6Network
Listen: TypeAlias = tuple[str, int]

LONGEST_TIMER = 2**31 // 1000
"""Seconds that IPVS's timers take, whatever the kernel's HZ (ip_vs_ctl.c, ip_vs_set_timeout)."""
_LONGEST = 2**63 // 10**9
"""Seconds that a duration of Go can hold, which counts nanoseconds."""
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DEEPEST = 8
_NO_NAME = re.compile(r'[\s/:"*\\\x00-\x1f\x7f\ud800-\udfff]')
"""What the kernel or a quoted word of nft cannot have in the name of an interface."""
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of a Go duration (`1m30s`, `1.5h`, `0`); negative ones too. Raises ValueError."""
    sign, rest = (-1.0, text[1:]) if text[:1] == "-" else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, end = 0.0, 0
    for match in _PART.finditer(rest):
        if match.start() != end:
            break
        total += float(match[1]) * _UNITS[match[2]]
        end = match.end()
    if not rest or end != len(rest):
        raise ValueError(f"{text!r} is no duration such as 30s or 1m30s")
    if total > _LONGEST:
        raise ValueError(f"{text!r} is too long, {_LONGEST} s are the most")
    return sign * total


def parse_network(text: str) -> Network:
    """A CIDR as Go's net.ParseCIDR takes it: a prefix length is required, host bits may be set.

    Raises ValueError.
    """
    if "/" not in text or not text.rpartition("/")[2].isdigit():
        raise ValueError(f"{text!r} is no CIDR such as 192.0.2.0/24")
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is no CIDR such as 192.0.2.0/24") from None


def parse_listen(text: str, default_port: int) -> Listen:
    """`IP`, `IP:port` or `[IPv6]:port` (an IP without port gets the default). Raises ValueError."""
    try:
        return str(ip_address(text)), default_port
    except ValueError:
        pass
    host, _, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError(f"{text!r} is not of the form IP:port") from None
    if address.version == 6 and not host.startswith("["):
        raise ValueError(f"{text!r}: write an IPv6 address with port as [address]:port")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError(f"port {port!r} is not between 1 and 65535")
    return str(address), int(port)


def interface_name_fault(name: str) -> str:
    """Why a text can be no name of an interface, empty when it can (Linux dev_valid_name; quoted in nft)."""
    if len(name.encode("utf-8", "replace")) <= 15 and not _NO_NAME.search(name):
        return ""
    reason = "15 bytes at most, no blank, slash, backslash, colon, star or quote"
    return f"{name!r} is no interface name ({reason})"


class Fields:
    """One mapping of a document. Each field is asked for once; `unknown()` lists those nobody asked for.

    Faults go to the list that all sections of a document share, one line each.
    """

    def __init__(self, raw: Mapping[str, Raw], path: str, faults: list[str]) -> None:
        self._raw = raw
        self._path = path
        self._faults = faults
        self._asked: set[str] = set()
        self._sections: list[Fields] = []

    def fault(self, name: str, reason: str) -> None:
        """Note that the field `name` (a name, or a path below this section) is wrong."""
        self._faults.append(f"{self._path}{name}: {reason}")

    def _take(self, name: str) -> Raw:
        self._asked.add(name)
        value = self._raw.get(name)
        return None if value == "" else value

    def given(self, name: str) -> bool:
        """The field is there, and not null or empty."""
        return self._raw.get(name) not in (None, "")

    def ignore(self, *names: str) -> None:
        """Fields that are known and have no effect here."""
        self._asked.update(names)

    def section(self, name: str) -> Fields:
        """A mapping inside; an absent one is empty."""
        value = self._take(name)
        if value is not None and not isinstance(value, dict):
            self.fault(name, f"a mapping is expected, not {_show(value)}")
            value = None
        made = Fields(value or {}, f"{self._path}{name}.", self._faults)
        self._sections.append(made)
        return made

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, str):
            self.fault(name, f"text is expected, not {_show(value)}")
            return default
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        """One of some words."""
        value = self.text(name, default)
        if value not in choices:
            self.fault(name, f"{value!r} is none of {', '.join(word for word in choices if word)}")
            return default
        return value

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """true or false."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(name, f"true or false is expected, not {_show(value)}")
            return default
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._take(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fault(name, f"a whole number from {low} to {high} is expected, not {_show(value)}")
            return default
        return value

    def real(self, name: str) -> None:
        """A number, of which only that matters."""
        value = self._take(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            self.fault(name, f"a number is expected, not {_show(value)}")

    def seconds(self, name: str, default: float, most: int = _LONGEST) -> float:
        """A duration of at least 0 in seconds; 0 is absent."""
        value = self._take(name)
        if value is None:
            return default
        try:
            if not isinstance(value, str):
                raise ValueError(f"a duration such as 30s is expected, not {_show(value)}")
            length = parse_duration(value)
        except ValueError as error:
            self.fault(name, str(error))
            return default
        if length < 0:
            self.fault(name, f"{value!r} is negative")
        elif length > most:
            self.fault(name, f"{value!r} is too long, {most} s are the most")
        return length if length > 0 else default

    def switches(self, name: str) -> Mapping[str, bool]:
        """A mapping of words to true or false."""
        section = self.section(name)
        return {word: section.boolean(word) for word in section._raw}

    def listen(self, name: str, host: str, port: int) -> Listen:
        """An address and port to listen on."""
        value = self.text(name)
        if not value:
            return host, port
        try:
            return parse_listen(value, port)
        except ValueError as error:
            self.fault(name, str(error))
            return host, port

    def texts(self, name: str) -> Iterator[tuple[str, str]]:
        """The entries of a list of strings, each with its name in messages (`excludeCIDRs[1]`)."""
        value = self._take(name)
        if value is None:
            return
        if not isinstance(value, list):
            self.fault(name, f"a list is expected, not {_show(value)}")
            return
        for index, entry in enumerate(value):
            if isinstance(entry, str):
                yield f"{name}[{index}]", entry.strip()
            else:
                self.fault(f"{name}[{index}]", f"text is expected, not {_show(entry)}")

    def network(self, name: str, text: str) -> Network | None:
        """`text`, found at `name`, as a network; None after noting the fault."""
        try:
            return parse_network(text)
        except ValueError as error:
            self.fault(name, str(error))
            return None

    def networks(self, name: str) -> tuple[Network, ...]:
        """A list of CIDRs."""
        found = [self.network(where, text) for where, text in self.texts(name)]
        return tuple(network for network in found if network is not None)

    def unknown(self) -> list[str]:
        """Paths of the fields that nobody asked for, here and in the sections."""
        found = [f"{self._path}{name}" for name in self._raw if name not in self._asked]
        for section in self._sections:
            found += section.unknown()
        return found


def read_mapping(text: str, faults: list[str], warnings: list[str]) -> Mapping[str, Raw]:
    """The one mapping that a YAML or JSON text holds; empty after noting why not.

    Of a name that is there twice the last one counts, with a warning.
    """
    try:
        loaded = _read(text, warnings)
        if isinstance(loaded, dict):
            return {str(name): value for name, value in loaded.items()}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        faults.append(f"(document): {' '.join(str(error).split())}")
        return {}
    except (LookupError, AttributeError) as error:  # PyYAML, of a value that is not what its tag says
        faults.append(f"(document): a value is not what its tag says: {error}")
        return {}
    faults.append(f"(document): a mapping is expected, not {_show(loaded)}")
    return {}


def _read(text: str, warnings: list[str]) -> Raw:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = _only_node(loader)
        if node is None:
            return None
        warnings += [f"{path}: given more than once, the last one counts" for path in _repeated(node, "", 0)]
        made: Raw = loader.construct_document(node)
        return made
    finally:
        loader.dispose()


def _only_node(loader: yaml.SafeLoader) -> yaml.Node | None:
    """The document of a text; empty ones beside it, as behind a last `---`, are none."""
    found: yaml.Node | None = None
    while loader.check_node():
        node = loader.get_node()
        if node is None or node.tag == "tag:yaml.org,2002:null":
            continue
        if found is not None:
            raise ValueError("one document is expected, not several")
        found = node
    return found


def _repeated(node: yaml.Node, path: str, depth: int) -> Iterator[str]:
    """Paths of the names that a mapping inside has more than once."""
    if not isinstance(node, yaml.MappingNode) or depth > _DEEPEST:
        return
    seen: set[str] = set()
    for name, value in node.value:
        where = f"{path}{name.value}"
        if where in seen:
            yield where
        seen.add(where)
        yield from _repeated(value, f"{where}.", depth + 1)


def check_kind(fields: Fields, api_version: str, kind: str) -> None:
    """Note faults unless the document is of this kind."""
    for name, wanted in (("apiVersion", api_version), ("kind", kind)):
        found = fields.text(name)
        if found != wanted:
            fields.fault(name, f"{wanted} is expected, not {found!r}")


def _show(value: Raw) -> str:
    try:
        text = repr(value)
    except ValueError:  # sys.get_int_max_str_digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
