"""Where a template asks, as `init` has left it."""

from __future__ import annotations

import json
from pathlib import Path

from kled_coord.terraform.source.targets import list_targets

MODULES = ".terraform/modules/modules.json"


def write(work: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)


def listed(*modules: tuple[str, str]) -> str:
    return json.dumps({"Modules": [{"Key": key, "Source": "", "Dir": d} for key, d in modules]})


def test_parameters_and_presets_of_every_module_in_both_syntaxes(tmp_path: Path) -> None:
    asks = 'data "kled_parameter" "%s" {}\ndata "external" "no" {}\n# data "kled_parameter" "x" {}'
    write(
        tmp_path,
        {
            "main.tf": asks % "one" + '\nresource "kled_parameter" "not_data" {}',
            "more.tf.json": json.dumps(
                {"data": {"coder_parameter": {"two": {"name": "two"}}, "external": {"no": {}}}}
            ),
            "draft.txt": asks % "draft",
            "m/main.tf": 'data "kled_preset" "p" {}',
            ".terraform/modules/far/x.tf": 'data "coder_workspace_preset" "q" {}',
            MODULES: listed(("", "."), ("m", "m"), ("m.far", ".terraform/modules/far")),
        },
    )
    assert list_targets(tmp_path) == (
        "data.coder_parameter.two",
        "data.kled_parameter.one",
        "module.m.data.kled_preset.p",
        "module.m.module.far.data.coder_workspace_preset.q",
    )


def test_what_is_in_a_repeated_module_is_reached_by_the_module(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.tf": 'module "a" {\n  count = 1\n}\nmodule "b" {}',
            "b/main.tf": 'module "c" {\n  for_each = {}\n}\nmodule "d" {}',
            "m/main.tf": 'data "coder_parameter" "p" {}\ndata "coder_parameter" "q" {}',
            MODULES: listed(("a", "m"), ("a.x", "m"), ("b", "b"), ("b.c", "m"), ("b.d", "m")),
        },
    )
    assert list_targets(tmp_path) == (
        "module.a",
        "module.b.module.c",
        "module.b.module.d.data.coder_parameter.p",
        "module.b.module.d.data.coder_parameter.q",
    )


def test_nothing_outside_of_the_template_is_read(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    write(outside, {"main.tf": 'data "kled_parameter" "secret" {}'})
    write(
        work,
        {
            "main.tf": "",
            MODULES: listed(("a", "../outside"), ("b", str(outside)), ("c", "link"), ("d", "gone")),
        },
    )
    (work / "link").symlink_to(outside)
    (work / "linked.tf").symlink_to(outside / "main.tf")
    assert list_targets(work) == ()


def test_a_list_of_modules_that_is_none_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", "{", '{"Modules": [1]}', '{"Modules": {"Key": 1}}'):
        write(tmp_path, {"main.tf": 'data "kled_parameter" "one" {}', MODULES: text})
        assert list_targets(tmp_path) == ("data.kled_parameter.one",)
