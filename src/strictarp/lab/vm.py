"""A virtual machine with a stock Debian kernel on this machine's file system (QEMU by way of virtme-ng).

For machines whose running kernel has no `ip_vs` or `dummy`, or that do not let us use it. Works without root
and without KVM. The guest sees the host's files read-only; one folder is shared for writing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import strictarp
from strictarp.errors import UserError
from strictarp.lab.bundle import pack

KERNEL_PACKAGE = "linux-image-amd64"
MODULES = (
    *("ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_sh", "dummy", "veth", "bridge", "sch_netem"),
    *("nf_tables", "nf_conntrack", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct"),
    *("nft_fib_inet", "nft_fib_ipv4", "nft_fib_ipv6"),
    *("nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6"),
)
GUEST_CODE = "/run/strictarp-code"
QUICKER = ("mitigations=off", "init_on_alloc=0", "clocksource=tsc", "tsc=reliable", "clearcpuid=rep_good")
"""What an emulated kernel need not do: guard a processor that is not real, wipe memory that nobody else has
had, read the clock from a device, which takes twice as long, and copy by repeated string instructions.
"""
PROCESSOR = "max,-erms,-smap"
"""Emulation takes a string instruction step by step, a byte each: a kernel that believes that these are fast
copies in twice the time. Nor need it guard the memory of processes from itself.
"""
CPUS = 2
MEMORY = "2G"
# virtme-ng mounts fresh file systems over these, so what we need from below them is shared by name.
SHADOWED = ("/tmp", "/var/tmp", "/run", "/dev")  # noqa: S108 - names of folders, nothing is put there

Progress = Callable[[str], None]


def cache_folder() -> Path:
    """Where unpacked kernels are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "strictarp" / "kernels"


def _apt(argv: Sequence[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=cwd)
    except FileNotFoundError:
        raise UserError(f"{argv[0]} is missing; the lab's virtual machine needs a Debian system") from None
    except subprocess.CalledProcessError as error:
        raise UserError(
            f"{shlex.join(argv)} failed: {error.stderr.strip()}; "
            "run `apt-get update` as root once, then try again"
        ) from error
    return done.stdout


def _versioned_package() -> str:
    def look() -> str | None:
        text = _apt(["apt-cache", "depends", KERNEL_PACKAGE])
        found = re.search(r"Depends: (linux-image-\S+-amd64)\s*$", text, re.MULTILINE)
        return found.group(1) if found else None

    try:
        name = look()
    except UserError:
        name = None
    if name is None and os.geteuid() == 0:
        _apt(["apt-get", "update", "-qq"])
        name = look()
    if name is None:
        raise UserError(f"no package {KERNEL_PACKAGE} is known; run `apt-get update` as root once")
    return name


def ensure_kernel(progress: Progress) -> Path:
    """The newest cached kernel image, or, if there is none, Debian's, fetched and unpacked.

    Raises UserError when the package cannot be had.
    """
    cache = cache_folder()
    cached = sorted(cache.glob("*/boot/vmlinuz-*"))
    if cached:
        return cached[-1]
    package = _versioned_package()
    cache.mkdir(parents=True, exist_ok=True)
    progress(f"fetching {package}")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as name:
        folder = Path(name)
        _apt(["apt-get", "download", "-qq", package], cwd=folder)
        archive = next(folder.glob("*.deb"))
        progress(f"unpacking {archive.name}")
        _apt(["dpkg", "-x", str(archive), str(folder / "root")])
        target = cache / package
        if not target.exists():
            (folder / "root").rename(target)
    return next(target.glob("boot/vmlinuz-*"))


def _shadowed(path: Path) -> bool:
    return any(path.is_relative_to(top) for top in SHADOWED)


def command(kernel: Path, script: Path, *, share: Path, control: Path | None = None) -> list[str]:
    """The command line that boots `kernel` and runs `script` in it.

    `share` is writable in the guest under its own name. `control` becomes a Unix socket on the host that is
    the virtio port named `strictarp` in the guest.
    """
    vng = shutil.which("vng") or str(Path(sys.prefix, "bin", "vng"))
    argv = [vng, "--verbose", "--run", str(kernel), "--disable-kvm", "--force-9p"]
    argv += ["--cpus", str(CPUS), "--memory", MEMORY, "--cwd", "/", f"--rwdir={share}"]
    needed = {Path(strictarp.__file__).parent.parent.resolve(), Path(sys.prefix).resolve()}
    needed.add(Path(sys.base_prefix).resolve())
    argv += [f"--append={option}" for option in QUICKER]
    argv.append(f"--qemu-opts=-cpu {PROCESSOR}")
    argv += [f"--rodir={path}" for path in sorted(needed) if _shadowed(path)]
    if control is not None:
        argv.append(
            "--qemu-opts=-device virtio-serial "
            f"-chardev socket,id=strictarp,path={control},server=on,wait=off "
            "-device virtserialport,chardev=strictarp,name=strictarp"
        )
    return [*argv, "--", str(script)]


def environment() -> dict[str, str]:
    """Environment for `command`: vng finds its helpers by PATH, and Debian's tools may be in sbin."""
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": f"{Path(sys.prefix, 'bin')}:{path}:/usr/sbin:/sbin"}


def write_script(
    path: Path, argv: Sequence[str], *, log: Path, code: Path, modules_first: bool = True
) -> None:
    """The guest's script: load modules, run `argv` with its output in `log`, leave its exit code in `code`.

    A module that a kernel lacks or has built in is no fault here; who needs it will say so. modules_first:
    only then run `argv`; else at the same time, for those who let the kernel load what it misses.

    The bundle of our code is put beside the script. Nothing in the guest speaks TLS, so that reading the
    system's authorities, which takes seconds there, is spared.
    """
    bundle = path.with_name("bundle.tar")
    pack(bundle)
    load = f"modprobe -a {' '.join(MODULES)}" + ("" if modules_first else " &")
    path.write_text(
        "#!/bin/sh\n"
        f"exec >>{shlex.quote(str(log))} 2>&1\n"
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
        "export PYTHONDONTWRITEBYTECODE=1 SSL_CERT_FILE=/dev/null SSL_CERT_DIR=/nonexistent\n"
        f"mkdir -p {GUEST_CODE} && tar -xf {shlex.quote(str(bundle))} -C {GUEST_CODE}\n"
        f"export PYTHONPATH={GUEST_CODE}\n"
        f"{load}\n"
        f"{shlex.join(argv)}\n"
        f"echo $? >{shlex.quote(str(code))}\n",
        encoding="utf-8",
    )
    path.chmod(0o755)


def compile_sources() -> None:
    """Byte-compile our sources on the host: the guest cannot store the result and is nine times slower."""
    package = Path(strictarp.__file__).parent
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(package)], check=False)


def run(argv: Sequence[str], *, share: Path, limit: float, progress: Progress) -> int:
    """Boot, run one command as the guest's root, power off; returns its exit code.

    Its output is in `share`/guest.log. Raises UserError when the machine does not come to an end in time.
    """
    kernel = ensure_kernel(progress)
    compile_sources()
    script, code, console = share / "guest.sh", share / "exit-code", share / "console.log"
    code.unlink(missing_ok=True)
    write_script(script, argv, log=share / "guest.log", code=code)
    progress("booting the virtual machine")
    with console.open("wb") as out:
        process = subprocess.Popen(
            command(kernel, script, share=share),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=environment(),
        )
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            raise UserError(f"the virtual machine did not end within {limit:.0f} s; see {console}") from None
        finally:
            end_group(process.pid)
    if not code.exists():
        raise UserError(f"the virtual machine ended without a result; see {console} and {share}/guest.log")
    return int(code.read_text(encoding="ascii"))


def end_group(pid: int) -> None:
    """Kill what is left of a process group that we started, by its leader's id."""
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        return
