"""A whole lab for tests: started, asked, and ended whatever happens."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from strictarp.lab import channel, host
from strictarp.lab.cluster import Settings, Timing
from strictarp.lab.figures import Witnessed
from strictarp.lab.measuring import PACE_IN_VM
from strictarp.lab.remote import Remote
from strictarp.lab.stream import Answer


class Lab:
    """A running lab and its control."""

    def __init__(self, remote: Remote, state: str) -> None:
        self.remote = remote
        self.state = state

    def run(self, name: str, *argv: str) -> tuple[int, bytes, bytes]:
        """Run a command on a host: exit code, standard output, standard error."""
        out, err, code = b"", b"", 1
        for reply in self.remote.call("exec", limit=120, host=name, argv=list(argv)):
            out += channel.unpack(reply.out)
            err += channel.unpack(reply.err)
            if reply.done:
                code = int(reply.result)
        return code, out, err

    def check(self, name: str, *argv: str) -> bytes:
        """What a command printed that has to succeed."""
        code, out, err = self.run(name, *argv)
        assert code == 0, f"{name}: {argv}: exit {code}: {err.decode()}"
        return out

    def processes(self) -> dict[str, dict[str, int]]:
        """The lab's processes."""
        value = self.remote.status(limit=30)["processes"]
        assert isinstance(value, dict)
        return value

    def kill(self, process: str, away: float = 0.0) -> None:
        self.remote.result("kill", process=process, away=away, limit=30)

    def power(self, node: str, *, on: bool) -> None:
        self.remote.result("power", host=node, on=on, limit=60)

    def apply(self, documents: list[dict[str, object]]) -> None:
        self.remote.result("apply", documents=documents, limit=60)

    @contextmanager
    def measuring(self, vip: str, port: int = 80) -> Iterator[Measured]:
        """A stream of requests and a witness while the block runs; what they saw is there afterwards."""
        measured = Measured()
        run, wire, client = f"{self.state}/test", "wire", "client"
        for suffix in (".answers", ".seen"):
            self.run(client, "rm", "-f", run + suffix)
        witness = f"strictarp-worker witness --vip {vip} --out {run}.seen --interval-ms 50"
        stream = (
            f"strictarp-worker stream --address {vip} --port {port} --out {run}.answers "
            f"--interval-ms 50 --limit-ms {PACE_IN_VM.limit} --count 0"
        )
        self.remote.result("start", host=wire, name="test-witness", argv=_worker(witness), limit=30)
        self.remote.result("start", host=client, name="test-stream", argv=_worker(stream), limit=30)
        try:
            time.sleep(1.5)
            yield measured
        finally:
            for name in ("test-stream", "test-witness"):
                self.remote.result("finish", name=name, limit=30)
        measured.answers = msgspec.json.Decoder(Answer).decode_lines(
            self.check(client, "cat", f"{run}.answers")
        )
        measured.witnessed = msgspec.json.decode(self.check(client, "cat", f"{run}.seen"), type=Witnessed)


class Measured:
    """What was measured around a block."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.witnessed = Witnessed(0, ())

    @property
    def lost(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.ok]


def _worker(line: str) -> list[str]:
    return line.replace("strictarp-worker", "strictarp lab").split()


def wait_until(check: Callable[[], bool], limit: float, what: str) -> float:
    """Wait until `check` holds; returns the seconds that it took."""
    began = time.monotonic()
    while not check():
        assert time.monotonic() - began < limit, f"{what}: not within {limit} s"
        time.sleep(0.2)
    return time.monotonic() - began


@contextmanager
def lab(folder: Path, *, proxy: str, nodes: int = 3) -> Iterator[Lab]:
    """Start a lab of its own; when the test fails, its folder stays as `lab-logs` beside the test's files."""
    os.environ[host.STATE_VARIABLE] = str(folder / "lab")
    isolation, _ = host.choose_isolation("auto", proxy)
    timing = host.VM_TIMING if isolation == "vm" else Timing()
    settings = Settings(nodes=nodes, proxy=proxy, isolation=isolation, timing=timing)
    launch = host.start(settings, ephemeral=True, progress=print)
    try:
        remote = host.connect(launch)
        try:
            status = host.wait_running(launch, remote, print)
            yield Lab(remote, str(status["state"]))
        except BaseException:
            remote.close()
            host.stop(launch)
            shutil.copytree(folder / "lab", folder / "lab-logs", ignore=_no_sockets)
            raise
        remote.close()
    finally:
        host.stop(launch)
        host.clean_up()
        del os.environ[host.STATE_VARIABLE]


def _no_sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]
