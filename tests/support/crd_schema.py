"""What an API server does with a CustomResourceDefinition's schema and CEL rules, as far as ours use them.

The rules are read as Python after their operators are translated; what would mean something else in CEL than
in Python (chained comparisons, `!` before a comparison) is refused, so that a rule can only mean one thing.
"""

from __future__ import annotations

import ast
import ipaddress
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "crds"
Schema = dict[str, Any]


def definitions() -> dict[str, Schema]:
    """The CustomResourceDefinitions by kind."""
    loaded = [yaml.safe_load(file.read_text()) for file in sorted(FOLDER.glob("*.yaml"))]
    return {each["spec"]["names"]["kind"]: each for each in loaded}


def schema_of(definition: Schema) -> Schema:
    (version,) = definition["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def walk(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Every schema within a schema."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, (*path, name))
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from walk(schema[name], (*path, name))


_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def faults(schema: Schema, value: Any, old: Any = None, path: str = "") -> list[str]:  # noqa: ANN401 - JSON
    """Why an object is refused; empty if it is accepted."""
    if not _TYPES[schema["type"]](value):
        return [f"{path}: not of type {schema['type']}"]
    found = [*_bounds(schema, value, path)]
    if isinstance(value, dict):
        found += [f"{path}.{name}: required" for name in schema.get("required", ()) if name not in value]
        for name, entry in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if inner is not None:
                older = old.get(name) if isinstance(old, dict) else None
                found += faults(inner, entry, older, f"{path}.{name}")
    if isinstance(value, list):
        for index, entry in enumerate(value):
            found += faults(schema["items"], entry, None, f"{path}[{index}]")
        if schema.get("x-kubernetes-list-type") == "set" and any(
            each in value[:i] for i, each in enumerate(value)
        ):
            found.append(f"{path}: duplicate")
    for rule in schema.get("x-kubernetes-validations", ()):
        if "oldSelf" in rule["rule"] and old is None:
            continue  # a transition rule: not looked at on creation
        if not found and not evaluate(rule["rule"], value, old):
            found.append(f"{path}: {rule['message']}")
    return found


def _bounds(schema: Schema, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - JSON
    checks: tuple[tuple[str, Callable[[Any], bool]], ...] = (
        ("enum", lambda limit: value in limit),
        ("minimum", lambda limit: value >= limit),
        ("maximum", lambda limit: value <= limit),
        ("minLength", lambda limit: len(value) >= limit),
        ("maxLength", lambda limit: len(value) <= limit),
        ("minItems", lambda limit: len(value) >= limit),
        ("maxItems", lambda limit: len(value) <= limit),
        ("maxProperties", lambda limit: len(value) <= limit),
        ("pattern", lambda limit: re.search(limit, value) is not None),
    )
    for name, holds in checks:
        if name in schema and not holds(schema[name]):
            yield f"{path}: {name}"


# --- CEL -------------------------------------------------------------------------------------------------


def evaluate(rule: str, value: Any, old: Any) -> bool:  # noqa: ANN401 - JSON
    """The value of a rule; raises ValueError for what this reading of CEL does not know."""
    tree = ast.parse(_as_python(rule), mode="eval").body
    return bool(_eval(tree, {"self": value, "oldSelf": old}))


def _as_python(rule: str) -> str:
    parts = re.split(r"('[^']*')", " ".join(rule.split()))
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"!(?!=)", " not ", parts[index].replace("&&", " and ").replace("||", " or "))
    return "".join(parts).strip()


_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Gt: operator.gt,
    ast.In: lambda item, within: item in within,
}
_METHODS: Mapping[str, Callable[..., Any]] = {
    "contains": lambda text, part: part in text,
    "split": str.split,
    "trim": str.strip,
    "size": len,
}


def _eval(node: ast.expr, names: dict[str, Any]) -> Any:  # noqa: ANN401, PLR0911 - JSON; one case a return
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_eval(each, names) for each in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_eval(each, names) for each in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand) if not isinstance(operand, ast.Compare):
            return not _eval(operand, names)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _COMPARE[type(op)](_eval(left, names), _eval(right, names))
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_eval(each, names) for each in items]
        case ast.Name(id=name):
            return names[name]
        case ast.Attribute(value=owner, attr=field):
            return _eval(owner, names)[field]
        case ast.Subscript(value=owner, slice=index):
            return _eval(owner, names)[_eval(index, names)]
        case ast.Call():
            return _call(node, names)
    raise ValueError(f"CEL: {ast.unparse(node)}")


def _call(node: ast.Call, names: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    match node:
        case ast.Call(func=ast.Name(id="has"), args=[ast.Attribute(value=owner, attr=field)]):
            return field in _eval(owner, names)
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return {"size": len, "isIP": is_ip, "isCIDR": is_cidr}[name](_eval(argument, names))
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=arguments):
            return _METHODS[name](_eval(owner, names), *(_eval(each, names) for each in arguments))
    raise ValueError(f"CEL: {ast.unparse(node)}")


def is_ip(text: str) -> bool:
    """Kubernetes' CEL library `ip`: no zone, no IPv4 in IPv6 clothes."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (isinstance(found, ipaddress.IPv6Address) and (found.scope_id or found.ipv4_mapped))


def is_cidr(text: str) -> bool:
    """Kubernetes' CEL library `cidr`: host bits are fine, a prefix length has no leading zero."""
    address, slash, length = text.partition("/")
    if not slash or not is_ip(address) or not re.fullmatch(r"0|[1-9][0-9]{0,2}", length, re.ASCII):
        return False
    return int(length) <= (128 if ":" in address else 32)
