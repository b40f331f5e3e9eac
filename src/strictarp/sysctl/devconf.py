"""How `net.ipv4.conf` values come to a device: defaults, what marks a key as set, forwarding. Pure.

After Linux net/ipv4/devinet.c: devinet_conf_proc, devinet_copy_dflt_conf, ipv4_devconf_setall, inetdev_init
and inet_forward_change.
"""

from __future__ import annotations

from collections.abc import Mapping

FORWARDING = "forwarding"
COMPILED: Mapping[str, int] = {
    "accept_redirects": 1,
    "arp_evict_nocarrier": 1,
    "secure_redirects": 1,
    "send_redirects": 1,
    "shared_media": 1,
}
"""Compiled-in values that are not 0 (ipv4_devconf, ipv4_devconf_dflt)."""


class _Conf:
    """One directory: values, and which of them a later write of `default` leaves alone."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {}
        self.marked: set[str] = set()
        self.all_marked = False

    def is_marked(self, key: str) -> bool:
        return self.all_marked or key in self.marked

    def set(self, key: str, value: int) -> None:
        self.values[key] = value
        self.marked.add(key)


class DeviceConf:
    """`net.ipv4.conf` of one namespace, from its creation on."""

    def __init__(self) -> None:
        self._all = _Conf()
        self._default = _Conf()
        self._devices: dict[str, _Conf] = {}

    def add_device(self, name: str) -> None:
        """A device got IPv4: it is new, or its MTU rose to 68 again. The default's marks are inherited."""
        conf = _Conf()
        conf.values = dict(self._default.values)
        conf.marked = set(self._default.marked)
        self._devices[name] = conf

    def remove_device(self, name: str) -> None:
        """A device lost IPv4."""
        self._devices.pop(name, None)

    def address_added(self, name: str) -> None:
        """The first address marks all keys of its device (ipv4_devconf_setall)."""
        self._devices[name].all_marked = True

    def read(self, name: str, key: str) -> int:
        """The value in a directory ("all", "default" or a device). Raises KeyError without the device."""
        return self._conf(name).values.get(key, COMPILED.get(key, 0))

    def write(self, name: str, key: str, value: int) -> None:
        """Write a value. Raises KeyError without the device."""
        self._conf(name).set(key, value)
        if name == "default" and key != FORWARDING:
            for conf in self._devices.values():
                if not conf.is_marked(key):
                    conf.values[key] = value
        if name == "all" and key == FORWARDING:
            for conf in (self._default, *self._devices.values()):
                conf.set(key, value)

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Directory → key → value, of what was ever written or inherited."""
        found = {"all": dict(self._all.values), "default": dict(self._default.values)}
        found.update((name, dict(conf.values)) for name, conf in self._devices.items())
        return found

    def _conf(self, name: str) -> _Conf:
        if name == "all":
            return self._all
        return self._default if name == "default" else self._devices[name]
