"""What this machine has for a Terraform provider, as the provider itself says."""

from __future__ import annotations

from collections.abc import Mapping

from kled_coord.terraform.providers import load_providers
from kled_wire.errors import ConfigError, InputError
from kled_wire.text import printable


async def examine_provider(name: str) -> list[Mapping[str, str]]:
    """Let the provider of that name look. Raises InputError, ConfigError."""
    providers = {provider.name: provider for provider in load_providers()}
    if name not in providers:
        raise InputError(
            "terraform_provider_unknown",
            f"there is no provider {name!r} here",
            hint=f"there are {', '.join(sorted(providers))}",
        )
    try:
        lines = await providers[name].examine()
    except Exception as error:
        # A class of a room that this one cannot import, known by its shape (docs/adr/0003).
        message = getattr(error, "message", None)
        if not isinstance(message, str):
            raise
        hint = getattr(error, "hint", None)
        raise ConfigError("terraform_provider_failed", message, hint=hint) from error
    return [{key: printable(value) for key, value in line.items()} for line in lines]
