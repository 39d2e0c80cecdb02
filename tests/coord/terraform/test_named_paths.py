"""What of the owner's files a confined Terraform is shown, because its settings name it."""

from __future__ import annotations

from pathlib import Path

from kled_coord.sandbox.bubblewrap import View
from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform.confined import confined
from kled_coord.terraform.process.command import TerraformCommand


def test_what_the_cli_configuration_names_is_shown(tmp_path: Path) -> None:
    for name in ("run", "mirror", "provider", "old"):
        (tmp_path / name).mkdir()
    config = tmp_path / "terraformrc"
    config.write_text(
        "provider_installation {\n"
        f'  filesystem_mirror {{\n    path = "{tmp_path}/mirror"\n  }}\n'
        f'  dev_overrides {{ "a/b" = "{tmp_path}/provider" }}\n'
        f'  # path = "{tmp_path}/old"\n'
        f'  filesystem_mirror {{ path = "{tmp_path}/none" }}\n'
        '  network_mirror { url = "https://example.com/" }\n}\n'
    )
    command = TerraformCommand(
        argv=("terraform",),
        environment={"HOME": str(tmp_path / "run"), "TF_CLI_CONFIG_FILE": str(config)},
        directory=tmp_path / "run",
    )
    view = View(links={}, shown=(), hidden_directories=(), hidden_files=())
    argv = confined(command, Sandbox(program="bwrap"), view).argv
    named = {argv[i + 1] for i, word in enumerate(argv) if word == "--ro-bind"}
    assert {path for path in named if path.startswith(str(tmp_path))} == {
        str(config),
        f"{tmp_path}/mirror",
        f"{tmp_path}/provider",
    }
