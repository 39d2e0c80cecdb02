"""Variables as they stand in a template, and garbage that must not disturb the reading."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from kled_coord.store.template_records import Variable
from kled_coord.templates.declarations import list_backends, list_variables
from kled_coord.terraform.source.hcl import literal, read_attributes, read_blocks

# What begins, ends or hides other things.
_PIECES = st.sampled_from(
    [
        *'"{}[]()#/*\\\n\r=$%<-',
        "${",
        "%{",
        "$${",
        "//",
        "/*",
        "*/",
        "<<EOT\n",
        "<<-EOT\n",
        "EOT",
        "\nEOT\n",
        "  EOT\n",
        '\\"',
        "variable",
        ' "a" ',
        "default",
        "é",
        "\ufeff",
        "\0",
        " x ",
    ]
)
GARBAGE = st.one_of(st.text(max_size=80), st.lists(_PIECES, max_size=40).map("".join))
# Whole expressions: none of them may end sooner or later than it does.
EXPRESSIONS = st.sampled_from(
    [
        "string",
        '"plain"',
        '"}"',
        '"a ${ { b = "}" }["b"] } c"',
        '"$${ not code"',
        '"%%{ not code"',
        '"\\" \\\\"',
        '"%{ if true }{%{ endif }"',
        "[1, # ]\n 2, // }\n 3 /* } */]",
        '{ a = "{", b = [{}] }',
        "(\n1\n)",
        '<<EOT\nvariable "evil" {\n"\nEOT',
        '<<-EOT\n    EOT2\n  ${"}"} ${"EOT"}\n    EOT',
        '<<EOT\n${<<EOT\n}"\nEOT\n}\nEOT',
        "<<EOT\nEOT",
        "var.a == 1 ? true : false",
    ]
)
BODIES = st.dictionaries(
    st.sampled_from(["default", "type", "description", "nullable"]), EXPRESSIONS, max_size=3
)
NAMES = st.from_regex(r"[a-zé_][a-z0-9_-]{0,8}", fullmatch=True)


def read(text: str, **more: str) -> dict[str, Variable]:
    sources = {"main.tf": text, **{name.replace("__", "."): body for name, body in more.items()}}
    found = list_variables({name: body.encode() for name, body in sources.items()})
    return {variable.name: variable for variable in found}


@given(GARBAGE)
@example('"' + "${" * 30)
@example("<<EOT\n" * 30)
def test_garbage_is_read_without_a_word(text: str) -> None:
    for name in ("main.tf", "v.tf.json", "x_override.tf", "terraform.tfvars"):
        list_variables({name: text.encode("utf-8", "surrogatepass"), "a.tf": b"\xff{"})
    literal(text)
    read_attributes(text)


@given(st.sampled_from(['"${', "<<E\n", "[", "{", "/*", "a {", '"', "${", "(\n"]))
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    # With a step back for each piece this would take for ever.
    assert len(list(read_blocks(piece * 30_000))) <= 1


@given(st.dictionaries(NAMES, BODIES, max_size=4), st.booleans(), st.lists(EXPRESSIONS, max_size=2))
def test_every_variable_is_found_and_nothing_else(
    wanted: dict[str, dict[str, str]], quoted: bool, between: list[str]
) -> None:
    filler = "\n".join(f"locals {{\n  x = {each}\n}}" for each in between)
    blocks = [
        f"variable {json.dumps(name, ensure_ascii=False) if quoted else name} {{\n"
        + "".join(f"  {key} = {value}\n" for key, value in body.items())
        + '  validation {\n    condition = "}" != "{"\n    default = 1\n  }\n}\n'
        for name, body in wanted.items()
    ]
    text = f"# variable a {{}}\n/* variable b {{}} */\n{filler}\n" + filler.join(blocks)
    declared = [block for block in read_blocks(text) if block.kind == "variable"]
    assert {block.labels[0]: dict(block.attributes) for block in declared} == wanted
    found = read(text)
    assert {name: v.required for name, v in found.items()} == {
        name: "default" not in body for name, body in wanted.items()
    }


def test_a_variable_is_kept_as_it_is_declared() -> None:
    found = read(
        """
        variable "size" {
          type        = object({ cpu = number })  # a comment
          description = <<-EOT
            How "large"
              it is
          EOT
          default     = { cpu = 2 }
        }
        variable "shell" { default = "z\\"s\\u0068" }
        variable "key" {
          type      = "string"
          sensitive = true
          default   = "s3cret"
        }
        variable "once" {
          ephemeral = true
          sensitive = false
        }
        variable "perhaps" { sensitive = !false }
        """
    )
    assert found["size"] == Variable(
        name="size",
        type="object({ cpu = number })",
        default="{ cpu = 2 }",
        description='How "large"\n  it is',
        sensitive=False,
        required=False,
        ephemeral=False,
    )
    assert found["shell"].default == 'z"sh'
    key = found["key"]
    assert (key.type, key.sensitive, key.default, key.required) == ("string", True, None, False)
    assert (found["once"].ephemeral, found["once"].sensitive) == (True, False)
    # What only an evaluation could tell is not shown.
    assert found["perhaps"].sensitive


def test_json_declares_as_hcl_does() -> None:
    main = {
        "//": "a comment",
        "variable": [
            {"a": {"type": "list(string)", "default": ["${x}"], "description": "An {a}"}},
            {"b": [{"sensitive": True}]},
        ],
    }
    found = read("", main__tf__json=json.dumps(main))
    a, b = found["a"], found["b"]
    assert (a.type, a.default, a.description) == ("list(string)", '["${x}"]', "An {a}")
    assert (b.sensitive, b.required) == (True, True)
    twice = '{"variable": {"x": {}}, "variable": {"y": {"default": null}}}'
    assert {n: v.required for n, v in read("", m__tf__json=twice).items()} == {
        "x": True,
        "y": False,
    }


def test_an_override_changes_single_attributes() -> None:
    found = read(
        'variable "a" {\n  type = string\n  default = "1"\n}',
        b_override__tf='variable "a" { default = "3" }\nvariable "gone" {}',
        a_override__tf='variable "a" { default = "2" }',
        override__tf__json='{"variable": {"a": {"description": "said later"}}}',
    )
    assert list(found) == ["a"]
    a = found["a"]
    assert (a.type, a.default, a.description) == ("string", "3", "said later")


def test_what_the_template_itself_sets_need_not_be_given() -> None:
    found = read(
        "variable a {}\nvariable b {}\nvariable c {}\nvariable d {}",
        terraform__tfvars='a = "1"\nb = "1"\nunknown = 1',
        z__auto__tfvars__json='{"b": "3", "c": [1]}',
        y__auto__tfvars='b = "2"',
        other__tfvars='d = "1"',
    )
    assert {n: (v.default, v.required) for n, v in found.items()} == {
        "a": ("1", False),
        "b": ("3", False),
        "c": ("[1]", False),
        "d": (None, True),
    }


def test_override_files_with_a_backend_are_found() -> None:
    def listed(name: str, text: str) -> tuple[str, ...]:
        return list_backends({"main.tf": b"", name: text.encode()})

    backend = 'terraform {\n  backend "local" {}\n}'
    assert listed("z_override.tf", backend) == ("z_override.tf",)
    assert listed("override.tf", "terraform {\n cloud {}\n}") == ("override.tf",)
    json_backend = '{"terraform": [{"backend": {"s3": {}}}]}'
    assert listed("z_override.tf.json", json_backend) == ("z_override.tf.json",)
    # No override, or nothing of a backend.
    assert listed("z.tf", backend) == ()
    assert listed("z_override.tf", "# terraform { backend x {} }") == ()
    assert listed("z_override.tf", "terraform {\n required_version = 1\n}") == ()
