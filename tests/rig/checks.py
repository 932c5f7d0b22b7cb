"""What the system checks of the project find."""

from typing import Any

from django.core.checks import run_checks


def found(deploy: bool = False) -> list[Any]:
    """What our checks find, each with a hint."""
    messages = run_checks(tags=["broadcast"], include_deployment_checks=deploy)
    assert all(message.hint for message in messages)
    return list(messages)
