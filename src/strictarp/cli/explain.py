"""`strictarp explain`: why this host's kernel answers an ARP request, or not."""

from __future__ import annotations

import sys
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

import click
import msgspec

from strictarp.cli.facts import host_from
from strictarp.cli.options import facts_option
from strictarp.cli.output import json_option, read_text, write_json


class _Address(click.ParamType[int]):
    name = "ip"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(IPv4Address(value))
        except AddressValueError:
            self.fail(f"{value!r} is no IPv4 address such as 192.0.2.100", param, ctx)


@click.command(name="explain")
@facts_option
@click.option("--in", "interface", metavar="IFACE", help="The interface that the request arrives on.")
@click.option("--ip", type=_Address(), metavar="IP", help="The address that is asked for.")
@click.option(
    "--from",
    "asker",
    type=_Address(),
    metavar="IP",
    help="The address of who asks; 0.0.0.0 for an address probe. Without it: a neighbour on that link.",
)
@click.option(
    "--cases",
    "cases_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Judge the cases in FILE instead, one JSON object a line, and print one a line.",
)
@json_option
def command(
    facts_file: Path | None,
    interface: str | None,
    ip: int | None,
    asker: int | None,
    cases_file: Path | None,
    json_target: str | None,
) -> int:
    """Tell in words why a host's kernel answers an ARP request or not, and what would change that.

    The answer is computed by a model of Linux 6.x, not asked on the wire (`strictarp probe` does that).

    \b
    Exit status: 0 explained, answered or not
                 1 the facts cannot be read, or a line of the cases is no JSON object with an `id`

    \b
    Examples:
      strictarp explain --in eth0 --ip 192.0.2.100
      strictarp facts --json node1.json
      strictarp explain --host node1.json --in eth0 --ip 192.0.2.100 --from 192.0.2.1
      strictarp explain --cases cases.jsonl
    """
    if cases_file is not None:
        if any(each is not None for each in (facts_file, interface, ip, asker, json_target)):
            raise click.UsageError("--cases stands alone: its lines have hosts and requests of their own")
        return _judge_cases(cases_file)
    if interface is None or ip is None:
        raise click.UsageError("--in IFACE and --ip IP are needed: which request is to be explained?")
    from strictarp.arp.explaining import explain, text

    host, unread = host_from(facts_file)
    told = explain(host, interface, ip, asker=asker, unread=unread)
    if json_target is not None:
        write_json(json_target, told)
    else:
        click.echo(text(told))
    return 0


def _judge_cases(path: Path) -> int:
    from strictarp.arp.cases import judge

    code = 0
    # Not splitlines: strings in JSON may hold U+2028 and the like as they are.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        result = judge(line)
        if result.id is None:
            told = f"{result.unsupported}; a JSON object with an `id` is expected"
            click.echo(f"error: {path} line {number}: {told}", err=True)
            code = 1
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    return code
