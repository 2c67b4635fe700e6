"""The JSON schema of a configuration: what editors complete and check a YAML file by."""

from typing import Any

from pydantic import BaseModel

from astro_dist.engine.config import describe_fields

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def describe_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a section, with the sentence under each field as its description.

    A schema is narrower than what `validate` reads: one text for a list of one, and ``H,W`` for two numbers,
    are not in it.
    """
    schema = model.model_json_schema()
    named = {model.__name__: schema, **schema.get("$defs", {})}
    for section in sections_of(model):
        properties = named[section.__name__].get("properties", {})
        for name, sentence in describe_fields(section).items():
            if name in properties:
                properties[name]["description"] = " ".join(sentence.split())
    return {"$schema": DIALECT, **schema}


def sections_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return a section and those inside of it, each once, outer ones first."""
    found, open_ones = dict[type[BaseModel], None](), [model]
    while open_ones:
        section = open_ones.pop(0)
        if section not in found:
            found[section] = None
            open_ones += [
                kind for field in section.model_fields.values() for kind in _models(field.annotation)
            ]
    return list(found)


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in getattr(annotation, "__args__", ()) for kind in _models(part)]
