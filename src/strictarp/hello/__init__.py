"""Hellos on the announced segment: frames, authentication, replay, identities. Pure.

The speaker speaks this format; the proxy only listens to it (`frames.decode_beat`).
"""
