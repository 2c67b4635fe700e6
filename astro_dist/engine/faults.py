"""The first fault of a configuration as one line: what is wrong, and what may stand there instead."""

import reprlib
import types
from collections import abc
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from astro_dist.engine.hints import nearest

LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}
WHOLE, NUMBER, TEXT, SWITCH = "a whole number", "a number", "text", "true or false"
_PLAIN: dict[Any, str] = {
    int: WHOLE,
    float: NUMBER,
    str: TEXT,
    bool: SWITCH,
    type(None): "null",
    Any: "anything",
}


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a section by their keys in YAML, which are their names or aliases."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def describe_fault(model: type[BaseModel], error: ValidationError) -> str:
    """Return one line about the first fault that pydantic found, and the number of further ones."""
    faults = error.errors(include_url=False)
    first = faults[0]
    path, owner, annotation = _place(model, _inside(first))
    # One value that fits none of several types has a fault for each of them.
    places = {_place(model, _inside(one))[0] for one in faults}
    more = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
    if first["type"] in ("extra_forbidden", "invalid_key"):
        last = str(first["loc"][-1])
        valid = keys_of(owner) if owner is not None else {}
        name = f"{path}.{last}" if path else last
        return f"unknown key {name!r}: {nearest(last, valid)}{more}"
    return f"{path or 'configuration'}: {_say(first, annotation)}{more}"


def _inside(fault: Any) -> tuple[int | str, ...]:
    """Return the keys that lead to what a fault is about."""
    *outer, last = fault["loc"] or ("",)
    # Keys that no section has, and entries that a list is too short for: what they are looked for in.
    absent = fault["type"] == "missing" and isinstance(last, int)
    return tuple(outer) if absent or fault["type"] == "invalid_key" else tuple(fault["loc"])


def _say(fault: Mapping[str, Any], annotation: Any) -> str:
    """Return what is wrong with a value of a field, in words of a configuration and not of Python."""
    kind, about, value = fault["type"], fault.get("ctx", {}), fault["input"]
    if kind == "value_error":
        return str(fault["msg"]).removeprefix("Value error, ")
    if kind in LIMITS:
        (limit,) = (bound for name, bound in about.items() if name in ("gt", "ge", "lt", "le"))
        return f"must be {LIMITS[kind]} {limit:g}, not {show_kind(value)}"
    if kind == "finite_number":
        return f"must be a finite number, not {show_kind(value)}"
    words = _words(annotation)
    if words and isinstance(value, str):
        return f"{show_kind(value)} is none of its words; {nearest(value, words)}"
    if kind == "string_pattern_mismatch":
        return f"{show_kind(value)} is no such name; it must match {about['pattern']}"
    if kind == "missing" and isinstance(fault["loc"][-1], str):
        return f"write {_name(annotation)}: it has no default"
    if kind == "missing" or (kind in ("too_short", "too_long") and _pair(annotation)):
        return f"write {_name(annotation)}, not {show_kind(value)}"
    if kind == "too_short":
        return f"name at least {about['min_length']}, not {about['actual_length']}"
    if kind == "multiple_of":
        return f"must be a multiple of {about['multiple_of']:g}, not {show_kind(value)}"
    # Other kinds are about a value of the right type, which the type's name would not explain.
    if annotation is not None and kind.endswith(
        ("_type", "_parsing", "_size", "_from_float", "literal_error")
    ):
        return f"write {_name(annotation)}, not {show_kind(value)}"
    return f"{fault['msg']} (got {show_kind(value)})"


def _name(annotation: Any) -> str:
    """Return what a field takes, with an example where its form is not plain."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _name(parts[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(part) for part in parts if part is not type(None)))
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin is tuple and Ellipsis in parts:
        return (
            "a list of sections"
            if _is_section(parts[0])
            else f"a list of {_many(parts[0])} in brackets, as [a, b]"
        )
    if _pair(annotation):
        example = ", ".join("1000" if _name(part) == WHOLE else "1.5" for part in parts)
        return f"{len(parts)} {_many(parts[0])}, as [{example}]"
    if _values_of(annotation) is not None or _is_section(annotation):
        return "`key: value` lines"
    return _PLAIN.get(annotation, "another value")


def _many(annotation: Any) -> str:
    name = _name(annotation)
    return {WHOLE: "whole numbers", NUMBER: "numbers", TEXT: "words"}.get(name, name)


def _pair(annotation: Any) -> bool:
    """Return whether a field takes a fixed number of values, as a shape does."""
    return get_origin(annotation) is tuple and Ellipsis not in get_args(annotation)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _words(annotation: Any) -> list[str]:
    """Return the words that a field knows: those of its literals, at any depth of its annotation."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in _words(part)]


def _place(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel] | None, Any]:
    """Return the path of a fault without pydantic's own words, the section there, the field's annotation."""
    names: list[str] = []
    section: type[BaseModel] | None = model
    annotation: Any = None
    for part in loc:
        field = keys_of(section).get(str(part)) if section is not None else None
        if field is not None:
            names.append(str(part))
            annotation = field.annotation
        # Before the places of a list: keys of a mapping may be numbers.
        elif (values := _values_of(annotation)) is not None:
            names.append(str(part))
            annotation = values
        elif isinstance(part, int) and names:
            names.append(str(part))
            annotation = _entry(annotation, part)
        else:
            # The name of one of several types, or a key that no section has.
            continue
        section = _section_of(annotation)
    return ".".join(names), section, annotation


def _entry(annotation: Any, index: int) -> Any:
    """Return the annotation of an entry of a list, or of a pair."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if get_origin(kind) is tuple]
    inner = get_args(kinds[0]) if kinds else ()
    return (inner[0] if Ellipsis in inner else inner[min(index, len(inner) - 1)]) if inner else None


def _values_of(annotation: Any) -> Any:
    """Return the annotation of the values of a mapping; None where a field is no mapping."""
    kinds = (annotation, *get_args(annotation))
    return next((get_args(kind)[1] for kind in kinds if get_origin(kind) in (dict, abc.Mapping)), None)


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, which may stand inside its annotation: ``Kind | None``."""
    kinds = [annotation, *get_args(annotation)]
    return next((kind for kind in kinds if _is_section(kind)), None)


def show_kind(value: Any) -> str:
    """Return a wrong value in a few words; the text of a large or nested one would cost time without end."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        short = len(value) <= 4 and not any(isinstance(part, Mapping | list | tuple) for part in value)
        return reprlib.repr(list(value)) if short else f"a list of {len(value)}"
    return "nothing" if value is None else reprlib.repr(value)
