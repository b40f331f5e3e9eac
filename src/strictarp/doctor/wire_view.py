"""What answered on the wire for each VIP. Pure values."""

from __future__ import annotations

import msgspec

from strictarp.wire.reporting import Report


class WireView(msgspec.Struct, frozen=True):
    """Who answered for which VIP, by name where that is known, and who is to blame."""

    reports: tuple[Report, ...] = ()
