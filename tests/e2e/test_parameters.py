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
    created = site.kled("create", "asker", "-t", "asking", *given)
    assert "asker is running; its template makes no agent" in created.stderr
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
    (template / "more.tf").write_text(
        TWO.replace('variable "zone" {}', "").replace("var.zone", "1")
    )
    site.kled("template", "push", template, "--name", "asking")
    created = site.kled("create", "asker", "-t", "asking", "-p", f"password={SECRET}", check=False)
    assert "better -p password=@FILE" in created.stderr
    assert (created.returncode, "exit 3" in created.stderr) == (1, True), created.stderr
    site.kled("delete", "asker", "--yes")


CHOSEN = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
variable "key" {
  sensitive = true
}
data "kled_parameter" "kind" {
  name    = "kind"
  default = "small"
  mutable = true
  option {
    name  = "Small"
    value = "small"
  }
  option {
    name  = "Large"
    value = "large"
  }
}
data "kled_parameter" "cpus" {
  count = data.kled_parameter.kind.value == "large" ? 1 : 0
  name  = "cpus"
  type  = "number"
  mutable = true
  validation {
    min       = 2
    max       = 8
    monotonic = "increasing"
    error     = "Large ones have {min} to {max} CPUs."
  }
}
data "kled_parameter" "region" {
  name    = "region"
  default = "eu"
}
data "kled_parameter" "clean" {
  name      = "clean"
  type      = "bool"
  default   = "false"
  mutable   = true
  ephemeral = true
}
data "kled_preset" "big" {
  name       = "Big"
  parameters = { kind = "large", cpus = "4" }
}
output "it" {
  value = join(" ", [
    data.kled_parameter.kind.value,
    try(data.kled_parameter.cpus[0].value, "-"),
    data.kled_parameter.clean.value,
    nonsensitive(length(var.key)),
  ])
}
"""


@pytest.fixture
def chosen(site: Site, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "chosen"
    directory.mkdir()
    (directory / "main.tf").write_text(CHOSEN)
    (directory / "README.md").write_text("# Read me\n")
    yield directory
    for name in ("big", "plain"):
        site.kled("delete", name, "--yes", check=False)
    site.kled("template", "delete", "chosen", "--yes", check=False)


def test_what_does_not_fit_is_refused_before_there_is_a_build(site: Site, chosen: Path) -> None:
    checked = site.kled("template", "validate", chosen, "--var", f"key={SECRET}")
    assert "is valid" in checked.stderr
    pushed = site.kled("template", "push", chosen, "--var", f"key={SECRET}")
    assert "a start makes 0 changes" in pushed.stderr
    shown = site.kled("template", "show", "chosen").stdout
    for word in ("Read me", "kind", "(fixed)", "cpus=4, kind=large"):
        assert word in shown
    for words, message in (
        (("-p", "kind=huge"), "'huge' is not one of the options: small, large"),
        (("-p", "kind=large"), "needs a value for cpus"),
        (("-p", "kind=large", "-p", "cpus=9"), "Large ones have 2 to 8 CPUs."),
        (("-p", "cpus=4"), "has no parameter 'cpus'"),
        (("-p", "key=x"), "author has fixed"),
        (("--preset", "Small"), "no preset 'Small'"),
    ):
        refused = site.kled("create", "big", "-t", "chosen", *words, check=False)
        assert message in " ".join(refused.stderr.split()), refused.stderr
    assert "big" not in [each["name"] for each in site.ask("list")]


def output_of(site: Site, name: str) -> str:
    found: str = site.ask("show", name)["outputs"]["it"]["value"]
    return found


def test_a_workspace_has_what_was_chosen_for_it(site: Site, chosen: Path) -> None:
    site.kled("template", "push", chosen, "--var", f"key={SECRET}")
    length = str(len(SECRET))
    words = ("-t", "chosen", "--preset", "Big", "-p", "clean=true")
    site.kled("create", "big", *words)
    assert output_of(site, "big") == f"large 4 true {length}"
    found = site.ask("show", "big")
    assert found["parameters"] == {"kind": "large", "cpus": "4", "region": "eu"}
    refused = site.kled("start", "big", "-p", "region=us", check=False)
    said = " ".join(refused.stderr.split())
    assert said.endswith("Make another workspace for another value.")
    refused = site.kled("start", "big", "-p", "cpus=3", check=False)
    assert (refused.returncode, "Large ones" in refused.stderr) == (2, True), refused.stderr
    site.kled("start", "big", "-p", "kind=small")
    assert output_of(site, "big") == f"small - false {length}"
    # What it had comes back with the parameter.
    site.kled("start", "big", "-p", "kind=large")
    assert output_of(site, "big") == f"large 4 false {length}"
    site.kled("create", "plain", "-t", "chosen", "--copy-from", "big")
    assert output_of(site, "plain") == f"large 4 false {length}"
    refused = site.kled("template", "delete", "chosen", "--yes", check=False)
    assert "big, plain" in refused.stderr


def test_versions_go_back_and_come_as_files(site: Site, chosen: Path, tmp_path: Path) -> None:
    (chosen / "run").write_text("#!/bin/sh\n")
    (chosen / "run").chmod(0o755)
    for message in ("one", "two"):
        words = "-m", message, "--version-name", f"v.{message}", "--var", "key=x"
        site.kled("template", "push", chosen, *words)
        (chosen / "more.tf").write_text("# two\n")
    taken = site.kled("template", "push", chosen, *words, check=False)
    assert (taken.returncode, "v.two" in taken.stderr) == (5, True)
    listed = site.ask("template", "versions", "chosen")
    assert [version["name"] for version in listed] == ["v.two", "v.one"]
    site.kled("template", "rollback", "chosen")
    assert site.ask("template", "show", "chosen")["active_version"] == 1
    site.kled("template", "promote", "chosen", "v.two")
    site.kled("template", "archive", "chosen", "1")
    refused = site.kled("create", "big", "-t", "chosen", "--template-version", "1", check=False)
    assert "archived" in refused.stderr
    site.kled("template", "pull", "chosen", tmp_path / "pulled")
    names = sorted(path.name for path in (tmp_path / "pulled").iterdir())
    assert names == ["README.md", "main.tf", "more.tf", "run"]
    assert (tmp_path / "pulled/run").stat().st_mode & 0o100
    assert (tmp_path / "pulled/main.tf").read_text() == CHOSEN
    site.kled("template", "push", tmp_path / "pulled", "--name", "chosen", "--no-activate")
    assert site.ask("template", "show", "chosen")["active_version"] == 2


def test_a_template_says_when_its_workspaces_stop_and_who_may_make_them(
    site: Site, chosen: Path
) -> None:
    site.kled("template", "push", chosen, "--var", "key=x")
    for words, stop_after_s, usable_by, shown in (
        (("--stop-after-s", "3600"), 3600, "everybody", "3600 s without use"),
        (("--usable-by", "template-admins"), 3600, "template-admins", "template-admins"),
        (("--stop-after-s", "never", "--usable-by", "everybody"), None, "everybody", ""),
    ):
        said = site.kled("template", "edit", "chosen", *words).stdout
        assert shown in said
        found = site.ask("template", "show", "chosen")
        assert (found["stop_after_s"], found["usable_by"]) == (stop_after_s, usable_by)
    assert "3600" not in said
    for wrong in (("--stop-after-s", "59"), ("--usable-by", "nobody")):
        assert site.kled("template", "edit", "chosen", *wrong, check=False).returncode == 2
