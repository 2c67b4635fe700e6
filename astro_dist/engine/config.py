"""Configuration: YAML is read into frozen, checked sections; fingerprints are made from their values.

A section derives from `Section` and is defined beside the code that reads it. Unknown keys are refused
with the nearest valid one. Every field has a default and a description of one sentence.
"""

import ast
import inspect
import itertools
import json
import os
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from astro_dist.engine.errors import ConfigError
from astro_dist.engine.faults import describe_fault, keys_of
from astro_dist.engine.files import digest_text
from astro_dist.engine.foreign import check_regular
from astro_dist.engine.hints import nearest as nearest


class Section(BaseModel):
    """A frozen group of settings; unknown keys, infinities and NaN are refused."""

    # A field `with_` has the alias `with`, which is a word of Python: files and fingerprints hold the key.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True)
    unmarked: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that change no byte of a product and are therefore left out of fingerprints."""
    later: ClassVar[frozenset[str]] = frozenset()
    """Names of fields that runs of earlier versions do not have: fingerprints leave them out while they have
    their defaults, so that such a run is not taken for a changed one."""

    @model_validator(mode="before")
    @classmethod
    def _read_plainly(cls, values: Any) -> Any:
        """Take one text for a list of one, ``H,W`` or ``HxW`` for several numbers, and no bool for one."""
        if not isinstance(values, Mapping):
            return values
        kinds = {name: f.annotation for name, f in keys_of(cls).items()}
        # Not by a validator of all fields, which pydantic would inspect at every start, once for each field.
        return {name: _as_list(_no_number(v, kinds.get(name)), kinds.get(name)) for name, v in values.items()}

    def marks(self) -> dict[str, Any]:
        """Return the values that enter fingerprints."""
        return self._marked(self.unmarked)

    def _marked(self, left_out: Iterable[str] = ()) -> dict[str, Any]:
        fields = type(self).model_fields
        same = {name for name in self.later if getattr(self, name) == fields[name].default}
        values = self.model_dump(mode="json", exclude={*left_out, *same})
        for name, field in fields.items():
            value, key = getattr(self, name), field.alias or name
            if key not in values:
                continue
            # Sections may stand in a section, and in a list of a section.
            if isinstance(value, Section):
                values[key] = value._marked()
            elif isinstance(value, tuple) and any(isinstance(one, Section) for one in value):
                values[key] = [one._marked() for one in value]
        return values


AnySection = TypeVar("AnySection", bound=Section)


class _Switch:
    """What true or false becomes where neither has a meaning, so that pydantic does not read a 1 or a 0."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return str(self.value).lower()


def _no_number(value: Any, annotation: Any) -> Any:
    """Return a value whose true and false fit no field but one that has them among its types."""
    if not any(isinstance(part, bool) for part in _parts(value)) or bool in _plain_types(annotation):
        return value
    parts = [_Switch(part) if isinstance(part, bool) else part for part in _parts(value)]
    return parts if isinstance(value, list | tuple) else parts[0]


def _as_list(value: Any, annotation: Any) -> Any:
    if not isinstance(value, str) or get_origin(annotation) is not tuple:
        return value
    # Limits of a number stand beside its type: `Annotated[int, ...]`.
    kinds = {get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in get_args(annotation)}
    if kinds & {int, float}:
        parts = [part for part in re.split(r"[\s,;xX*()\[\]]+", value.strip()) if part]
        # Left as it is where it holds no numbers, so that pydantic's message shows what was given.
        return parts if parts and all(_PLAIN.fullmatch(part) for part in parts) else value
    return [value] if Ellipsis in kinds else value


_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def _plain_types(annotation: Any) -> set[Any]:
    """Return the types that an annotation is made of: bool and None for ``bool | None``."""
    inner = get_args(annotation)
    return {kind for part in inner for kind in _plain_types(part)} if inner else {annotation}


def _parts(value: Any) -> Sequence[Any]:
    """Return the entries of a list, anything else as the only one."""
    return value if isinstance(value, list | tuple) else (value,)


class _PlainLoader(yaml.SafeLoader):
    """YAML loader that reads what people see, and refuses a key given twice.

    `yaml.SafeLoader` would keep the last value of such a key. It also follows YAML 1.1, in which ``yes`` is
    true, ``0777`` is 511, ``1:20:30`` is 4830 and ``2001-01-01`` a date; here all of these are text, as in
    YAML 1.2, and the field that they are given to accepts or refuses that text.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set[Any]()
        for key, _ in node.value:
            name, line = self.construct_object(key, deep=True), key.start_mark.line + 1
            # A list as a key cannot be hashed; `in seen` would raise a TypeError.
            if not isinstance(name, str | int | float | None):
                raise ConfigError(f"the key in line {line} is not a plain word")
            if name in seen:
                raise ConfigError(f"the key {str(name)!r} is given twice in line {line}")
            seen.add(name)
        return super().construct_mapping(node, deep)


# Its own table: that of the parent class would be copied, and added to.
_PlainLoader.yaml_implicit_resolvers = {}
# Narrower than the forms of `yaml.SafeDumper`, so that the text it writes without quotes stays text.
for _tag, _first, _form in (
    ("bool", "tTfF", r"true|True|TRUE|false|False|FALSE"),
    ("int", "-+0123456789", r"[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)"),
    ("float", "-+.0123456789", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)"),
    ("float", ".", r"\.(?:nan|NaN|NAN)"),
    ("null", ["~", "n", "N", ""], r"~|null|Null|NULL|"),
):
    _PlainLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_form})$"), list(_first))

# Far above any real configuration; aliases of aliases can grow a few hundred bytes to gigabytes.
MAX_YAML_BYTES, MAX_YAML_PARTS, MAX_YAML_DEPTH, MAX_DIGITS = 1_000_000, 20_000, 20, 40


def _bound_yaml(text: str) -> None:
    """Refuse YAML that is too large, too deep, or grows by its aliases, before anything is built from it."""
    if len(text) > MAX_YAML_BYTES:
        raise ConfigError(f"it has {len(text)} characters, and at most {MAX_YAML_BYTES} are read")
    # For each open collection its anchor and its number of parts, those of aliases included.
    open_parts: list[tuple[str | None, int]] = [(None, 0)]
    sizes: dict[str | None, int] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        grown = 0
        if (tag := getattr(event, "tag", None)) is not None:
            raise ConfigError(f"the tag {tag[:60]!r} in line {line} is not read; leave it out")
        if isinstance(event, yaml.CollectionStartEvent):
            open_parts.append((event.anchor, 1))
            if len(open_parts) > MAX_YAML_DEPTH:
                raise ConfigError(f"line {line} is nested more than {MAX_YAML_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, grown = open_parts.pop()
            if anchor is not None:
                sizes[anchor] = grown
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ConfigError(f"the alias in line {line} stands for nothing, or for what it is in")
            grown = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            grown = 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            # Only unquoted text: quoted digits stay text and are never turned into a number.
            if event.implicit[0] and len(event.value) > MAX_DIGITS and _NUMBER.fullmatch(event.value):
                raise ConfigError(f"the number in line {line} has more than {MAX_DIGITS} digits")
            if wrong := _UNFIT.search(event.value):
                raise ConfigError(f"the text in line {line} holds the character {wrong[0]!a}; leave it out")
        anchor, parts = open_parts[-1]
        open_parts[-1] = anchor, parts + grown
        if parts + grown > MAX_YAML_PARTS:
            raise ConfigError(f"it has more than {MAX_YAML_PARTS} values by line {line}")


# Control characters, and halves of characters, which no path and no file can hold.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# All forms of YAML 1.1: hexadecimal, octal and binary, underscores, and sexagesimal numbers with colons.
_NUMBER = re.compile(r"[-+]?[0-9a-fA-FxXoObB_:.]+")


def parse_yaml(text: str, origin: str) -> Any:
    """Parse YAML text; ``origin`` names the text in errors."""
    try:
        _bound_yaml(text)
        return yaml.load(text, Loader=_PlainLoader)
    except (ConfigError, ValueError, OverflowError) as error:
        raise ConfigError(f"{origin}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not valid"
        raise ConfigError(f"{origin}: this is not valid YAML{where}: {problem}") from None


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file as a plain mapping."""
    try:
        if os.path.lexists(path):
            check_regular(path)
        if path.stat().st_size > MAX_YAML_BYTES:
            raise ConfigError(f"larger than {MAX_YAML_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}; `astro-dist init` writes one") from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path} is no text, and a configuration is a file of `key: value` lines; "
            f"`astro-dist init --from {path.name}` writes one for a map, and pictures are named in one, as "
            "pictures.path"
        ) from None
    # ValueError comes from a path with a null character.
    except (ConfigError, OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from None
    value = parse_yaml(text, str(path))
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, found a {type(value).__name__}")
    return value


def apply_set(tree: dict[str, Any], assignment: str) -> dict[str, Any]:
    """Return a copy of ``tree`` with one ``a.b=value`` applied; the value is read as YAML."""
    name, equals, text = assignment.partition("=")
    parts = name.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {assignment!r}: write it as section.key=value")
    value = parse_yaml(text, f"--set {name}")
    # Only the sections on the path are copied; the caller's tree is never changed.
    result = dict(tree)
    node = result
    for part in parts[:-1]:
        child = node.get(part)
        if child is not None and not isinstance(child, dict):
            raise ConfigError(f"--set {name}: {part!r} is a value, not a section")
        node[part] = dict(child or {})
        node = node[part]
    node[parts[-1]] = value
    return result


def validate(model: type[AnySection], tree: Mapping[str, Any]) -> AnySection:
    """Return a mapping as a frozen section; raise a `ConfigError` of one line where the two do not fit."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(describe_fault(model, error)) from None


def fingerprint(value: Any) -> str:
    """Return the sha256 of a JSON-able value in canonical form."""
    # Sorted keys and fixed separators: the order of a YAML file changes no digest. Paths enter as text.
    return digest_text(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str))


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Describe where two nested mappings differ, as ``a.b: 1 -> 2``."""
    lines = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {_plain(a)} -> {_plain(b)}")
    return lines


def _plain(value: Any) -> str:
    """Return a value as YAML would have it on one line; text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def describe_fields(model: type[BaseModel]) -> dict[str, str]:
    """Return the sentences under the fields of a section by key, from the source of its class."""
    found: dict[str, str] = {}
    keys = {name: field.alias or name for name, field in model.model_fields.items()}
    # pydantic would do this for every class at its import, in half of the time that a short command takes.
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in itertools.pairwise(tree.body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                name = ast.unparse(field.target)
                found[keys.get(name, name)] = inspect.cleandoc(ast.literal_eval(text.value))
    return found


def describe(section: Section, indent: str = "") -> str:
    """Return a section as commented YAML: every field with its value, below the field's description."""
    lines, sentences = [], describe_fields(type(section))
    for attribute, field in type(section).model_fields.items():
        value, name = getattr(section, attribute), field.alias or attribute
        lines += [f"{indent}# {line}" for line in sentences.get(name, "").split("\n") if line]
        if isinstance(value, Section):
            lines += [f"{indent}{name}:", describe(value, indent + "  ").rstrip("\n")]
        else:
            # Through JSON, because YAML has no paths, tuples or enums and would write Python tags for them.
            plain = json.loads(section.model_dump_json(include={attribute}))[name]
            # The width keeps a list on one line. PyYAML ends a bare scalar with the document mark "...".
            text = yaml.safe_dump(plain, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
            lines.append(f"{indent}{name}: {text}")
            if value is None and (kind := _section_of(field.annotation)):
                lines.append(f"{indent}# To have this section, put these lines in the place of the null:")
                inside = (f"{name}:", *describe(kind(), "  ").splitlines())
                lines += [f"{indent}# {line}".rstrip() for line in inside] + [""]
    return "\n".join(lines) + "\n"


def _section_of(annotation: Any) -> type[Section] | None:
    """Return the section that an optional field may hold, None where it holds something else."""
    kinds = [kind for kind in get_args(annotation) if isinstance(kind, type) and issubclass(kind, Section)]
    return kinds[0] if kinds else None
