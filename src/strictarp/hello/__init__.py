"""Hellos on the announced segment: frames, authentication, who is silent."""
