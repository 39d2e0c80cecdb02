"""Parameters through the real programs: nothing bricks a workspace, and no secret is in clear."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.site import Site

ONE = """
variable "region" {}
variable "password" {
  sensitive = true
}
resource "terraform_data" "it" {
  input = var.password
  provisioner "local-exec" {
    command = "echo in ${var.region} with ${nonsensitive(var.password)}"
  }
}
output "it" {
  value = nonsensitive("password ${var.password}")
}
"""
# Needs one more value, and breaks half-way.
TWO = """
variable "zone" {}
resource "terraform_data" "broken" {
  depends_on = [terraform_data.it]
  provisioner "local-exec" {
    command = "echo ${var.zone}; exit 3"
  }
}
"""
SECRET = "hunter2-secret"


@pytest.fixture
def template(site: Site, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "main.tf").write_text(ONE)
    (tmp_path / "terraform.tfvars").write_text('region = "the template"\n')
    site.kled("template", "push", tmp_path, "--name", "asking")
    yield tmp_path
    site.kled("delete", "asker", "--yes", check=False)


def test_a_failed_update_leaves_what_was_applied_and_no_secret_is_in_clear(
    site: Site, template: Path
) -> None:
    secret = template.parent / "secret"
    secret.write_text(f"{SECRET}\n")
    refused = site.kled("create", "asker", "-t", "asking", "-p", "regoin=x", check=False)
    assert (refused.returncode, "did you mean region?" in refused.stderr) == (2, True)
    refused = site.kled("create", "asker", "-t", "asking", check=False)
    assert (refused.returncode, "needs a value for password" in refused.stderr) == (2, True)
    given = ("-p", f"password=@{secret}", "-p", "region=eu")
    site.kled("create", "asker", "-t", "asking", *given, check=False)  # it has no agent
    assert "in eu with ***" in site.kled("logs", "asker").stdout
    assert site.ask("show", "asker")["latest_build"]["status"] == "succeeded"

    (template / "more.tf").write_text(TWO)
    site.kled("template", "push", template, "--name", "asking")
    refused = site.kled("update", "asker", check=False)
    assert (refused.returncode, "needs a value for zone" in refused.stderr) == (2, True)
    failed = site.kled("update", "asker", "-p", "zone=b", check=False)
    assert (failed.returncode, "exit 3" in failed.stderr) == (1, True), failed.stderr
    found = site.ask("show", "asker")
    assert (found["template_version"], found["status"]) == (1, "failed")
    assert found["parameters"] == {"region": "eu", "password": None}
    site.kled("stop", "asker")

    assert SECRET not in site.kled("show", "asker").stdout
    data = subprocess.run(
        ["grep", "-rlF", "hunter2", site.root], capture_output=True, text=True, check=False
    )
    assert data.stdout == ""
    site.kled("delete", "asker", "--yes")


def test_a_create_that_never_worked_is_deleted(site: Site, template: Path) -> None:
    (template / "main.tf").write_text(ONE + 'locals {\n  bad = file("${path.module}/none")\n}\n')
    (template / "more.tf").write_text('output "bad" { value = local.bad }\n')
    site.kled("template", "push", template, "--name", "asking", check=False)
    created = site.kled("create", "asker", "-t", "asking", "-p", f"password={SECRET}", check=False)
    assert "better -p password=@FILE" in created.stderr
    assert created.returncode != 0
    site.kled("delete", "asker", "--yes")
