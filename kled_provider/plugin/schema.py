"""The schema of a resource's block: its attributes and nested blocks.

Types are written as in cty's JSON (https://github.com/zclconf/go-cty/blob/main/docs/json.md):
`"string"`, `"number"`, `"bool"`, `["list", T]`, `["set", T]`, `["map", T]`,
`["object", {name: T}]`, `"dynamic"`. schema_message.py has the message that Terraform gets of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

Type = str | tuple[str, "Type"] | tuple[str, Mapping[str, "Type"]]

STRING: Type = "string"
NUMBER: Type = "number"
BOOL: Type = "bool"
# A value whose type comes with it; kept as it is.
DYNAMIC: Type = "dynamic"

# Says in a sentence what is wrong with a known value that is not null; None: nothing.
Check = Callable[[Any], str | None]


def list_of(element: Type) -> Type:
    """Return the type of a list."""
    return ("list", element)


def set_of(element: Type) -> Type:
    """Return the type of a set."""
    return ("set", element)


def map_of(element: Type) -> Type:
    """Return the type of a map."""
    return ("map", element)


def object_of(attributes: Mapping[str, Type]) -> Type:
    """Return the type of an object."""
    return ("object", attributes)


class Nesting(enum.Enum):
    """How often a nested block or object may be there, and in what.

    Prefer LIST to SET: a diagnostic cannot point at one element of a set among several.
    """

    SINGLE = "single"
    LIST = "list"
    SET = "set"
    MAP = "map"  # of nested objects only


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute. Set by the person (required, optional), by us (computed), or either.

    With `nested` it holds objects whose own attributes are described; `type` is then not looked at.
    """

    name: str
    type: Type = STRING
    nested: NestedObject | None = None
    description: str = ""
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    write_only: bool = False  # never in a plan or state: only Context.config has it
    default: object = None  # for optional + computed: what an unset one is planned as
    forces_replacement: bool = False  # a change means a new object
    follows: tuple[str, ...] = ()  # computed: may change whenever one of these attributes does
    check: Check | None = None
    ignored: str = ""  # why it is accepted and does nothing; told once in a build
    unsupported: str = ""  # why it must not be set

    def __post_init__(self) -> None:
        if self.required == (self.optional or self.computed):
            raise ValueError(f"{self.name}: either required, or optional and/or computed")
        if self.default is not None and not (self.optional and self.computed):
            raise ValueError(f"{self.name}: only an optional and computed attribute has a default")
        if self.write_only and self.computed:
            raise ValueError(f"{self.name}: what is never kept cannot be computed")

    @property
    def is_settable(self) -> bool:
        """Whether a person may write it."""
        return self.required or self.optional


class _More(TypedDict, total=False):
    """What else may be said of an attribute; see there."""

    nested: NestedObject
    sensitive: bool
    write_only: bool
    forces_replacement: bool
    follows: tuple[str, ...]
    check: Check | None
    ignored: str
    unsupported: str


def required(name: str, description: str, of: Type = STRING, **more: Unpack[_More]) -> Attribute:
    """Make an attribute that a person must set."""
    return Attribute(name=name, type=of, required=True, description=description, **more)


def optional(name: str, description: str, of: Type = STRING, **more: Unpack[_More]) -> Attribute:
    """Make an attribute that a person may set; null otherwise."""
    return Attribute(name=name, type=of, optional=True, description=description, **more)


def defaulted(
    name: str, default: object, description: str, of: Type = STRING, **more: Unpack[_More]
) -> Attribute:
    """Make an attribute that a person may set, and what it is otherwise."""
    return Attribute(
        name=name,
        type=of,
        optional=True,
        computed=True,
        default=default,
        description=description,
        **more,
    )


def computed(name: str, description: str, of: Type = STRING, **more: Unpack[_More]) -> Attribute:
    """Make an attribute that the provider alone sets."""
    return Attribute(name=name, type=of, computed=True, description=description, **more)


def flag(name: str, description: str, *, default: bool = False, **more: Unpack[_More]) -> Attribute:
    """Make a bool that a person may set, and what it is otherwise."""
    return defaulted(name, default, description, of=BOOL, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What stands between the braces of a block, or in a nested object, which has no blocks."""

    attributes: tuple[Attribute, ...] = ()
    blocks: tuple[Block, ...] = ()

    def items(self) -> tuple[Attribute | Block, ...]:
        """Return all attributes and blocks."""
        return (*self.attributes, *self.blocks)

    def names(self) -> list[str]:
        """Return the names of all attributes and blocks."""
        return [item.name for item in self.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedObject(Body):
    """The objects that a nested attribute holds."""

    nesting: Nesting


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Body):
    """A nested block. `max_items` 0 is without limit; both limits are for LIST and SET."""

    name: str
    nesting: Nesting = Nesting.LIST
    description: str = ""
    min_items: int = 0
    max_items: int = 0
    forces_replacement: bool = False  # any change within it means a new object
    ignored: str = ""
    unsupported: str = ""

    def __post_init__(self) -> None:
        if self.nesting is Nesting.MAP:
            raise ValueError(f"{self.name}: Terraform's blocks cannot be a map without labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema(Body):
    """What a resource, a data source or the provider block consists of."""

    description: str = ""
    version: int = 0
