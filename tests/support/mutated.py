"""Objects of the API that something befell: values replaced by others of any type, fields gone."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from strictarp.kube.model import Resource
from strictarp.kube.wire import Decoder, Page

Body = dict[str, Any]
Path = tuple[Any, ...]
GONE = "(gone)"

_telling = st.sampled_from(
    [
        *(GONE, "", "-", "/", "None", "Local", "LoadBalancer", "PreferDualStack", "IPv6", "Invalid", "In"),
        *(
            "198.51.100.250",
            "198.51.100.240-198.51.100.230",
            "2001:db8::/0",
            "fe80::1%eth0",
            "::ffff:1.2.3.4",
        ),
        *("1/33", "[" * 2_000, "1" * 5_000, "\ud7ff\u0000", "１"),  # noqa: RUF001 - a wide digit
    ]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _telling
)
values = st.recursive(
    _scalars | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def _places(value: object, path: Path = ()) -> list[Path]:
    found = [path] if path else []
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, entry in entries:
        found += _places(entry, (*path, step))
    return found


def mutations(bodies: Mapping[str, Body]) -> st.SearchStrategy[dict[str, Body]]:
    """The bodies with one to four values replaced; names and namespaces stay."""
    spots = [
        (which, path)
        for which, body in bodies.items()
        for path in _places(body)
        if path not in {("metadata",), ("metadata", "name"), ("metadata", "namespace"), ("kind",)}
    ]
    changes = st.lists(st.tuples(st.sampled_from(spots), values), min_size=1, max_size=4)
    return changes.map(lambda drawn: _changed(bodies, drawn))


def _changed(bodies: Mapping[str, Body], changes: list[tuple[tuple[str, Path], object]]) -> dict[str, Body]:
    made = {which: copy.deepcopy(body) for which, body in bodies.items()}
    for (which, path), value in changes:
        _put(made[which], path, value)
    return made


def _put(body: Any, path: Path, value: object) -> None:  # noqa: ANN401 - of any shape
    """Where an earlier change has left the place."""
    for step in path[:-1]:
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
        else:
            return
    last = path[-1]
    if isinstance(body, dict) and value == GONE:
        body.pop(last, None)
    elif isinstance(body, dict) or (isinstance(body, list) and isinstance(last, int) and last < len(body)):
        body[last] = value


def listed(resource: Resource[Any], *bodies: Body) -> Page[Any]:
    """A list as it comes from the API server, read by the daemons' own decoder."""
    document = {"metadata": {"resourceVersion": "1"}, "items": list(bodies)}
    return Decoder(resource).page(json.dumps(document).encode())
