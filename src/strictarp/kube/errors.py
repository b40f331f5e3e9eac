"""What the Kubernetes API can answer instead of what was asked for."""

from __future__ import annotations

import msgspec


class KubeError(Exception):
    """Base of everything the client raises. The message is for people."""


class Unreachable(KubeError):
    """No usable answer: refused or broken connection, TLS failure, time limit passed."""


class Stalled(Unreachable):
    """A watch that sent nothing for longer than a live server would be silent."""


class ApiError(KubeError):
    """The server answered with an error.

    `status` is the HTTP status (or the code inside an ERROR event of a watch), `reason` the server's one-word
    reason (`AlreadyExists`), `retry_after` seconds if the server named them.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{message} ({status} {reason})" if reason else f"{message} ({status})")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class BadRequest(ApiError):
    """400: the server cannot read the request."""


class Unauthorized(ApiError):
    """401: the credentials are missing, wrong or expired."""


class Forbidden(ApiError):
    """403: RBAC does not allow it; the message names verb and resource."""


class NotFound(ApiError):
    """404: no such object, or the server does not serve this kind (a CRD that is not installed)."""


class Conflict(ApiError):
    """409: written by somebody else since it was read, or (AlreadyExists) the name is taken."""


class AlreadyExists(Conflict):
    """409 with reason AlreadyExists: a create found the name taken."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token has been compacted away."""


class Invalid(ApiError):
    """422: the object breaks a rule of its kind; the message names the field."""


class TooManyRequests(ApiError):
    """429: the server asks for patience; `retry_after` says how much."""


class ServerError(ApiError):
    """5xx."""


class Malformed(ApiError):
    """The answer is not what the API promises: no JSON, or not the shape of the kind."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
MAX_TEXT = 300


class _Details(msgspec.Struct, rename="camel"):
    retry_after_seconds: int = 0


class Status(msgspec.Struct, rename="camel"):
    """The API's Status object, as far as it is read (meta/v1)."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None


_status = msgspec.json.Decoder(Status)


def api_error(status: int, reason: str, message: str, retry_after: float | None = None) -> ApiError:
    """The error class that belongs to an HTTP status."""
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExists(status, reason, message, retry_after)
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
    return kind(status, reason, message, retry_after)


def error_from_body(status: int, body: bytes, what: str, retry_after: str | None = None) -> ApiError:
    """The error in an HTTP answer; the body may be a Status object, or anything a proxy in between wrote.

    `retry_after` is the header of that name; only its form in seconds is used (RFC 9110 10.2.3), as
    kube-apiserver sends it.
    """
    wait = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    try:
        said = _status.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[:MAX_TEXT].decode("utf-8", "replace").strip()
        return api_error(status, "", f"{what}: {text or 'no explanation'}", wait)
    if wait is None and said.details is not None and said.details.retry_after_seconds > 0:
        wait = float(said.details.retry_after_seconds)
    return api_error(status, said.reason or "", f"{what}: {said.message or 'no explanation'}", wait)
