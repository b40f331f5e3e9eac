"""Netlink: the codec (pure) and one asyncio socket."""
