"""Whether a document may be stored: shape, names, and for Services the rules that others rely on. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from strictarp.lab.apiserver.documents import Document, items, sub, text
from strictarp.lab.apiserver.kinds import Kind
from strictarp.lab.apiserver.refusals import Refusal, invalid

# RFC 1123 as apimachinery pkg/util/validation has it: labels up to 63 characters, subdomains up to 253.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
# These are DNS labels; other kinds may have dots in their names.
_LABEL_KINDS = frozenset({"Service", "Namespace"})
_QUALIFIED = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_PORTS = range(1, 65536)


def check_shape(kind: Kind, document: Document) -> None:
    """Refuse what is not of this kind at all (400), or has fields of a wrong type (400; 422 for CRDs)."""
    for field, expected in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        given = document.get(field, expected)
        if given != expected:
            raise Refusal(400, f"{field}: {given!r} cannot be handled as {expected!r}")
    name = text(document, "metadata", "name")
    try:
        msgspec.convert(document, kind.shape)
    except msgspec.ValidationError as error:
        if kind.custom:
            raise invalid(kind.kind, name, str(error)) from error
        message = f'{kind.kind} "{name}" in version "{kind.api_version}" cannot be handled: {error}'
        raise Refusal(400, message) from error


def check(kind: Kind, document: Document) -> None:
    """Refuse an object that breaks the rules (422), naming each field."""
    faults = [*_metadata_faults(kind, document)]
    if kind.kind == "Service":
        faults += _service_faults(document)
    if kind.kind == "EndpointSlice":
        faults += _slice_faults(document)
    if faults:
        raise invalid(kind.kind, text(document, "metadata", "name"), *faults)


def _metadata_faults(kind: Kind, document: Document) -> Iterator[str]:
    metadata = sub(document, "metadata")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        yield "metadata.name: Required value: name or generateName is required"
    else:
        pattern, longest = (_LABEL, 63) if kind.kind in _LABEL_KINDS else (_SUBDOMAIN, 253)
        if len(name) > longest or not pattern.fullmatch(name):
            yield (
                f'metadata.name: Invalid value: "{name}": must consist of lower case alphanumeric characters '
                f"or '-'{'' if pattern is _LABEL else ' or .'}, and start and end with an alphanumeric "
                f"character (RFC 1123), at most {longest} characters"
            )
    for field in ("labels", "annotations"):
        for label, value in sub(metadata, field).items():
            if not _QUALIFIED.fullmatch(label if field == "labels" else label.lower()):
                yield f'metadata.{field}: Invalid value: "{label}": not a qualified name'
            elif field == "labels" and not (isinstance(value, str) and _LABEL_VALUE.fullmatch(value)):
                yield f'metadata.labels: Invalid value: "{value}": not a label value'


def _service_faults(document: Document) -> Iterator[str]:
    spec = sub(document, "spec")
    kind = spec.get("type")
    if kind not in _SERVICE_TYPES:
        yield f'spec.type: Unsupported value: "{kind}": supported values: {", ".join(_SERVICE_TYPES)}'
    ports = items(document, "spec", "ports")
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield "spec.ports: Required value"
    names, seen = set(), set()
    for index, port in enumerate(ports):
        where = f"spec.ports[{index}]"
        if port.get("port") not in _PORTS:
            yield f"{where}.port: Invalid value: {port.get('port')}: must be between 1 and 65535, inclusive"
        if len(ports) > 1 and not port.get("name"):
            yield f"{where}.name: Required value"
        if port.get("name") and port["name"] in names:
            yield f'{where}.name: Duplicate value: "{port["name"]}"'
        if (port.get("protocol"), port.get("port")) in seen:
            yield f"{where}: Duplicate value: {port.get('protocol')} {port.get('port')}"
        names.add(port.get("name"))
        seen.add((port.get("protocol"), port.get("port")))
    if text(document, "spec", "loadBalancerIP") and not _is_ip(text(document, "spec", "loadBalancerIP")):
        yield f'spec.loadBalancerIP: Invalid value: "{spec["loadBalancerIP"]}": must be a valid IP address'


def _slice_faults(document: Document) -> Iterator[str]:
    family = document.get("addressType")
    if family not in {"IPv4", "IPv6", "FQDN"}:
        yield f'addressType: Unsupported value: "{family}": supported values: "IPv4", "IPv6", "FQDN"'
        return
    for index, endpoint in enumerate(items(document, "endpoints")):
        addresses = endpoint.get("addresses")
        where = f"endpoints[{index}].addresses"
        if not isinstance(addresses, list) or not 1 <= len(addresses) <= 100:
            yield f"{where}: Required value: must contain 1 to 100 addresses"
            continue
        for number, address in enumerate(addresses):
            if family != "FQDN" and not _is_ip(address, 4 if family == "IPv4" else 6):
                yield f'{where}[{number}]: Invalid value: "{address}": must be a valid {family} address'


def _is_ip(value: object, version: int | None = None) -> bool:
    try:
        address = ipaddress.ip_address(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return version is None or address.version == version
