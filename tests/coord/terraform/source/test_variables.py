"""What a template itself gives to its sensitive variables, wherever it says so."""

from __future__ import annotations

from kled_coord.terraform.source.variables import sensitive_defaults


def secret(name: str, default: str, marked: str = "sensitive = true") -> bytes:
    return f'variable "{name}" {{\n  {marked}\n  default = {default}\n}}\n'.encode()


def test_defaults_are_found_in_each_module_and_in_each_form(make_tar) -> None:
    template = make_tar(
        {
            "main.tf": secret("plain", '"of the root"')
            + secret("short", '"only here"', "ephemeral = true")
            + secret("lines", "<<-EOT\n    first\n    second\n  EOT")
            + b'variable "none" { sensitive = true }\n'
            + b'variable "open" { default = "open to all" }\n',
            "modules/db/main.tf": secret("password", '"of a \\"module\\""'),
            "modules/db/more.tf.json": b'{"variable": {"key": {"sensitive": true,'
            b' "default": ["a", "b"]}}}',
        }
    )
    assert sensitive_defaults(template) == [
        "of the root", "only here", "first\nsecond", 'of a "module"', '["a", "b"]'
    ]  # fmt: skip


def test_what_overrides_a_default_is_found_in_its_place(make_tar) -> None:
    files = {"main.tf": secret("it", '"first"') + secret("set", '"first"')}
    files |= {"x_override.tf": b'variable "it" { default = "merged" }'}
    files |= {"terraform.tfvars": b'set = "by values"'}
    assert sensitive_defaults(make_tar(files)) == ["merged", "by values"]


def test_an_archive_of_an_older_release_that_is_none_has_none() -> None:
    assert sensitive_defaults(b"\x1f\x8bno tar at all") == []
