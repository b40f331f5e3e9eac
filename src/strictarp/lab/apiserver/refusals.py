"""Refusals, with the bodies that kube-apiserver sends (meta/v1 Status)."""

from __future__ import annotations

import msgspec

# apimachinery pkg/apis/meta/v1 StatusReason
REASONS = {
    400: "BadRequest",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """The server says no. `retry_after` in seconds goes into header and body."""

    def __init__(self, code: int, message: str, *, reason: str = "", retry_after: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or REASONS.get(code, "")
        self.retry_after = retry_after

    def body(self) -> bytes:
        """The Status document."""
        details = {"retryAfterSeconds": self.retry_after} if self.retry_after else {}
        return msgspec.json.encode(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": self.message,
                "reason": self.reason,
                "details": details,
                "code": self.code,
            }
        )


def not_found(plural: str, name: str) -> Refusal:
    """No such object."""
    return Refusal(404, f'{plural} "{name}" not found')


def no_such_path() -> Refusal:
    """No such kind, or no API path at all."""
    return Refusal(404, "the server could not find the requested resource")


def stale(plural: str, name: str) -> Refusal:
    """A write with an old resourceVersion."""
    return Refusal(
        409,
        f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again",
    )


def exists(plural: str, name: str) -> Refusal:
    """A create of a name that is taken."""
    return Refusal(409, f'{plural} "{name}" already exists', reason="AlreadyExists")


def invalid(kind: str, name: str, *faults: str) -> Refusal:
    """An object that breaks the rules; each fault begins with the field."""
    listed = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
    return Refusal(422, f'{kind} "{name}" is invalid: {listed}')


def compacted(version: int, floor: int) -> Refusal:
    """A watch or a page from a state that is no longer kept."""
    return Refusal(410, f"too old resource version: {version} ({floor})")
