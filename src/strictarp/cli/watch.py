"""`strictarp watch`: keep asking who answers for addresses, and listen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from strictarp.arp import probing
from strictarp.arp.probing import Form
from strictarp.cli.options import ListenAddress
from strictarp.cli.wire_options import Where, addresses_of, facts_from, view_for, wire_options
from strictarp.errors import UserError


@click.command(name="watch")
@wire_options
@click.option(
    "--interval",
    type=click.FloatRange(min=0.5, max=3600),
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds between two questions for one IP.",
)
@click.option(
    "--form",
    type=click.Choice(["probe", "request"]),
    default="probe",
    show_default=True,
    help="An address probe touches no cache; an ordinary request meets proxy ARP too.",
)
@click.option("--for", "seconds", type=click.FloatRange(min=1.5), metavar="S", help="End after S seconds.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line for each event.")
@click.option(
    "--prometheus", type=ListenAddress(), metavar="[HOST]:PORT", help="Serve metrics there, at /metrics."
)
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw who answered when: written each minute, and at the end.",
)
def command(
    where: Where,
    *,
    interval: float,
    form: Form,
    seconds: float | None,
    as_json: bool,
    prometheus: tuple[str | None, int] | None,
    page: Path | None,
) -> int:
    """Keep asking by ARP who answers for each IP, and listen to announcements meanwhile.

    Without an IP: all external IPv4 addresses of the cluster, looked up again each minute. Each is asked for
    once in --interval; changes of the owner that are announced are seen at once. A terminal gets a live
    table, anything else a line an event. Ctrl-C ends it.

    \b
    Exit status: 0 exactly one host answered for each, each time    1 nobody did, at least once
                 2 several did, at least once                       3 it could not be asked for
    Of several, 2 counts before 1, and 1 before 3. An owner that moved is no fault: the flaps are counted.

    \b
    Examples:
      strictarp watch 192.0.2.100
      strictarp watch --kubeconfig ~/.kube/config --html arp.html
      strictarp watch 192.0.2.100 --json --for 600 > events.jsonl
      strictarp watch --kubeconfig admin.conf --prometheus 127.0.0.1:9300
    """
    from strictarp.cli.watch_session import Order, Session
    from strictarp.wire.vantage import CannotLook

    facts = facts_from(where)
    view = view_for(where, whole_cluster=not where.ips)
    ips = list(where.ips) or addresses_of(view)
    order = Order(
        where=where,
        facts=facts,
        view=view,
        ips=tuple(dict.fromkeys(ips)),
        interval=interval,
        form=form,
        seconds=seconds,
        as_json=as_json,
        prometheus=prometheus,
        page=page,
    )
    try:
        return asyncio.run(Session(order).run())
    except CannotLook as error:
        raise UserError(f"cannot look: {error}", probing.EXIT_CANNOT_LOOK) from error
