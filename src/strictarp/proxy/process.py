"""The daemon as a process: signals, the configuration file, and a new start where a change needs one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from strictarp import logs
from strictarp.errors import UserError
from strictarp.guard import once as guarding
from strictarp.guard.settings import Settings as GuardSettings
from strictarp.kube import config as kubeconfig
from strictarp.kube.client import Client
from strictarp.proxy import config as configuration
from strictarp.proxy import host, nftables
from strictarp.proxy import once as onces
from strictarp.proxy.config import Config
from strictarp.proxy.daemon import Options, Proxy, node_name
from strictarp.proxy.following import texts_of
from strictarp.proxy.kernel import LinuxKernel
from strictarp.proxy.migration import Migration
from strictarp.proxy.seam import Kernel, KernelRefused
from strictarp.proxy.settings import Settings
from strictarp.proxy.strictarp import StrictArp
from strictarp.stopping import cancelled, stop_at_signals
from strictarp.sysctl.files import ensure

log = logging.getLogger(__name__)

REFUSED, TAKEN = "ConfigurationRefused", "ConfigurationTaken"


def run(options: Options) -> int:
    """Run until SIGTERM or SIGINT; everything that was programmed stays in place. Raises UserError."""
    _begin(options)
    client_config = _api_of(options.config)
    try:
        return asyncio.run(_until_signal(options, client_config))
    except KernelRefused as refused:
        raise UserError(str(refused)) from None
    except BaseExceptionGroup as group:
        users = group.subgroup(UserError)
        if users is None:
            raise
        raise _first(users) from None


def _api_of(config: Config) -> kubeconfig.ClientConfig:
    """Where the API server is. Raises UserError."""
    return kubeconfig.load(config.kubeconfig or None, named_by="clientConnection.kubeconfig (--config)")


def _kernel_of(options: Options) -> LinuxKernel:
    return LinuxKernel(nftables.change_elements, device=options.settings.vip_device)


def _begin(options: Options) -> None:
    """Log as a daemon does, first what was odd in the files."""
    logs.setup("proxy")
    for warning in (*options.config.warnings, *options.settings.warnings):
        log.warning(warning)


def options(
    config: Config,
    settings: Settings,
    override: str | None,
    *,
    config_file: Path | None,
    text: str,
    guard: GuardSettings,
) -> Options:
    """What the command line says, with the node's name worked out. Raises UserError for a blank one."""
    return Options(config, settings, node_name(override, config), override, config_file, text, guard)


def init_only(options: Options) -> int:
    """Set the sysctls, so that the daemon can do without a writable /proc/sys. Raises UserError."""
    _begin(options)
    try:
        asyncio.run(_init_only(options))
    except (KernelRefused, OSError) as refused:
        raise UserError(str(refused)) from None
    return 0


async def _init_only(options: Options) -> None:
    kernel = _kernel_of(options)
    try:
        await initialise(options, kernel, ensure)
    finally:
        kernel.close()


async def initialise(options: Options, kernel: Kernel, ensure: host.Ensure) -> None:
    """Do once what needs a writable /proc/sys. Raises KernelRefused, OSError, UserError."""
    await kernel.prepare(make=False)  # on a fresh node this loads ip_vs, and with it come its sysctls
    host.prepare(options.config, ensure)
    guard = StrictArp(options.guard, lambda _, message: log.warning(message))
    try:
        await guard.want(strict=options.config.strict_arp)
    finally:
        await guard.close()


def once(options: Options, *, cleanup: bool, dry_run: bool) -> list[str]:
    """Clean up, or only tell what would be done; in words, a line each. Raises UserError."""
    _begin(options)
    try:
        return asyncio.run(_once(options, cleanup=cleanup, dry_run=dry_run))
    except (KernelRefused, OSError) as refused:
        raise UserError(str(refused)) from None


def migrate(options: Options, *, back: bool, dry_run: bool, wait: float, tell: Callable[[str], None]) -> None:
    """Take this node over from kube-proxy, or give it back; `tell` gets a line a step. Raises UserError."""
    _begin(options)
    try:
        asyncio.run(_migrate(options, back=back, dry_run=dry_run, wait=wait, tell=tell))
    except (KernelRefused, OSError) as refused:
        raise UserError(str(refused)) from None
    except BaseExceptionGroup as group:
        users = group.subgroup(UserError)
        if users is None:
            raise
        raise _first(users) from None


async def _migrate(
    options: Options, *, back: bool, dry_run: bool, wait: float, tell: Callable[[str], None]
) -> None:
    kernel = _kernel_of(options)
    try:
        async with Client(_api_of(options.config)) as client:
            migration = Migration(
                kernel,
                options.config,
                options.node,
                lambda: Proxy(options, kernel, client),
                wait,
                guard=options.guard,
            )
            await migration.run(back=back, dry_run=dry_run, tell=tell)
    finally:
        kernel.close()


async def _once(options: Options, *, cleanup: bool, dry_run: bool) -> list[str]:
    kernel = _kernel_of(options)
    try:
        if cleanup:
            told = await onces.clean_up(kernel, options.config, options.node, dry_run=dry_run)
            return told + await _clean_up_strictarp(options, dry_run=dry_run)
        async with Client(_api_of(options.config)) as client:
            proxy = Proxy(options, kernel, client)
            return await onces.dry_run(proxy, kernel, options.config, options.node)
    finally:
        kernel.close()


async def _clean_up_strictarp(options: Options, *, dry_run: bool) -> list[str]:
    if dry_run:
        found = await guarding.status(options.guard)
        return [f"put back {name} = {value}" for name, value in found.journalled.items()] if found else []
    released = await guarding.put_back(options.guard)
    return [*(f"put back {line}" for line in released.done), *(f"left {line}" for line in released.left)]


def _first(group: BaseExceptionGroup[UserError]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _until_signal(options: Options, client_config: kubeconfig.ClientConfig) -> int:
    stopping = asyncio.create_task(stop_at_signals().wait())
    kernel = _kernel_of(options)
    try:
        while True:
            async with Client(client_config) as client:
                proxy = Proxy(options, kernel, client)
                following = asyncio.create_task(follow_configuration(options, proxy))
                work = asyncio.create_task(proxy.run())
                await asyncio.wait({work, stopping, following}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work
                await cancelled(work)
            if stopping.done():
                following.cancel()
                break
            options = await following
            client_config = _api_of(options.config)
    finally:
        kernel.close()
    log.info("stopped; what is programmed stays")
    return 0


async def follow_configuration(options: Options, proxy: Proxy) -> Options:
    """Take over what is written to the configuration file while the proxy runs; refuse what is wrong.

    Returns the options to start anew with when a field has changed that a running proxy cannot take: name
    of the node, API server, addresses of its own servers.
    """
    if options.config_file is None:
        await asyncio.Event().wait()
    else:
        async for text in texts_of(options.config_file, options.config_text):
            try:
                config = configuration.load(text, str(options.config_file))
                again = _again(options, config, text)
                if again is not None:
                    proxy.say(TAKEN, "the configuration file changed; starting anew in this process")
                    return again
                await proxy.reconfigure(config, text)
            except (UserError, KernelRefused, OSError) as error:
                reason = "; ".join(str(error).splitlines())
                proxy.say(REFUSED, f"the last good configuration stays: {reason}", warning=True)
                continue
            for warning in config.warnings:
                log.warning(warning)
            proxy.say(TAKEN, "the configuration file changed and is in force")
            options = msgspec.structs.replace(options, config=config, config_text=text)
    return options


def _again(options: Options, config: Config, text: str) -> Options | None:
    """Options for a new start, None when none is needed. Raises UserError for a kubeconfig that is wrong."""
    name = node_name(options.override, config)
    if name == options.node and all(
        getattr(config, field) == getattr(options.config, field)
        for field in ("kubeconfig", "health", "metrics", "bind_address_hard_fail")
    ):
        return None
    if config.kubeconfig != options.config.kubeconfig:
        _api_of(config)
    return msgspec.structs.replace(options, config=config, config_text=text, node=name)
