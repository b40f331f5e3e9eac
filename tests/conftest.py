"""What holds for all tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis's limits by the wall clock tell how busy the machine is, and nothing about the code."""
    if config.option.markexpr == "vm":
        return  # nobody there uses it, and its import alone takes seconds
    from hypothesis import HealthCheck, settings

    settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any-machine")
