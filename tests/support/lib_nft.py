"""nft without its process, which costs a quarter of a second in the guest: the library that it is made of."""

from __future__ import annotations

import ctypes

from strictarp.proxy.seam import KernelRefused, TableVanished

_JSON = 1 << 4
_MISSING = "No such file or directory"


class LibNft:
    """`support.machine.Nft` by libnftables, in the network namespace that it is made in."""

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL("libnftables.so.1")
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)

    async def run(self, text: str) -> None:
        _, complaint = self._run(text, 0)
        if complaint:
            raise (TableVanished if _MISSING in complaint else KernelRefused)(complaint)

    async def list(self, family: str, table: str) -> bytes:
        printed, complaint = self._run(f"list table {family} {table}", _JSON)
        if complaint and _MISSING not in complaint:
            raise KernelRefused(complaint)
        return b"" if complaint else printed

    def _run(self, text: str, flags: int) -> tuple[bytes, str]:
        library, context = self._library, self._context
        library.nft_ctx_output_set_flags(context, ctypes.c_uint(flags))
        failed = library.nft_run_cmd_from_buffer(context, text.encode())
        printed = library.nft_ctx_get_output_buffer(context) or b""
        complaint = (library.nft_ctx_get_error_buffer(context) or b"").decode(errors="replace")
        return printed, (complaint or "no reason given") if failed else ""
