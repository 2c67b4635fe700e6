"""Pages that follow from the code: each stage, the settings of each pipeline, a schema for editors.

`write_pages` is called by ``conf.py`` before Sphinx reads the sources; nothing it writes is kept in git.
"""

import json
from pathlib import Path

from astro_dist import pipelines
from astro_dist.cluster.sites import Site
from astro_dist.engine.config import Section, describe_fields, load_yaml
from astro_dist.engine.faults import keys_of
from astro_dist.engine.schema import describe_schema

HERE = Path(__file__).parent
STAGES = load_yaml(HERE / "stages.yaml")


def write_pages(folder: Path) -> None:
    """Write the pages into ``folder``; files that would be the same are left, so that Sphinx skips them."""
    lines = [
        "# Stages",
        "",
        "Each stage is a command of its own, and `astro-dist run` does all of them in order.",
    ]
    settings = ["# Settings", "", CONFIGURATION]
    for name in pipelines.PIPELINES:
        pipeline = pipelines.load(name)
        lines += _stage_pages(folder, pipeline)
        settings += _tree(["configuration/" + name])
        text = json.dumps(describe_schema(pipeline.config), indent=1, sort_keys=True)
        _write(folder / "schema" / f"{name}.json", text)
        _write(folder / "configuration" / f"{name}.md", _configuration(pipeline))
    _write(
        folder / "cluster.md", "\n".join(["# Cluster files", "", CLUSTER, *_rows(Site, "", top=False)]) + "\n"
    )
    _write(folder / "stages.md", "\n".join(lines) + "\n")
    _write(folder / "configuration.md", "\n".join(settings) + "\n")


CLUSTER = """\
`--cluster FILE` reads these settings; `configs/clusters` has files for a generic cluster and some sites.
`resources` hold for every stage, and `stages` replaces them for some, by name.
"""

CONFIGURATION = """\
A configuration is a YAML file with a section for each subject. Every setting has a default, unknown keys are
refused with the nearest valid one, and `--set section.key=value` replaces a setting from the command line.
`plan` checks all of them and runs nothing.

For completion and checks in an editor, write the schema to a file and name it in the first line of the YAML:

```bash
astro-dist schema radio
```

```yaml
# yaml-language-server: $schema=radio.json
pipeline: radio
```

The schema holds one form of each value; the command also reads one text for a list of one, and `H,W` for two
numbers.
"""


def _stage_pages(folder: Path, pipeline) -> list[str]:
    helps = pipelines.PIPELINES[pipeline.name].stages
    rows = ["", f"## {pipeline.name}", "", f"{pipeline.help[:1].upper()}{pipeline.help[1:]}.", ""]
    rows += ["| stage | purpose | publishes |", "|---|---|---|"]
    for stage in pipeline.stages:
        here = f"stages/{pipeline.name}/{stage.name}.md"
        rows.append(f"| [`{stage.words}`]({here}) | {helps[stage.words]} | `{stage.product}` |")
        _write(folder / here, _stage(pipeline, stage, helps[stage.words]))
    return rows + _tree([f"stages/{pipeline.name}/{stage.name}" for stage in pipeline.stages])


def _stage(pipeline, stage, purpose: str) -> str:
    products = {one.name: one.product for one in pipeline.stages}
    read = ", ".join(f"[`{products[name]}`]({name}.md)" for name in stage.inputs) or "nothing of other stages"
    users = [one.name for one in pipeline.stages if stage.name in one.inputs]
    used = ", ".join(f"[{name}]({name}.md)" for name in users) or "no other stage"
    place = f"../../configuration/{pipeline.name}.md"
    sections = ", ".join(f"[`{name}`]({place}#{pipeline.name}-{name})" for name in stage.sections)
    facts = [
        f"Command\n: `astro-dist {stage.words} CONFIG`; with what it needs, "
        f"`astro-dist run CONFIG --to {stage.name}`",
        f"Reads\n: {read}",
        f"Publishes\n: `RUN/{stage.product}`"
        + ("" if stage.stable else "; made again, it may differ in some bytes"),
        f"Read by\n: {used}",
        f"Settings that change its bytes\n: {sections or 'none'}",
    ]
    if stage.gpu:
        facts.append("GPU\n: used where there is one")
    if stage.gang:
        facts.append(f"Ranks\n: `{stage.own}.ranks` processes, over all nodes of a job")
    title = f"# {stage.words}"
    more = STAGES.get(pipeline.name, {}).get(stage.name, "")
    said = f"{purpose[:1].upper()}{purpose[1:]}. {more}".rstrip()
    return "\n\n".join([title, said, *facts]) + "\n"


def _configuration(pipeline) -> str:
    lines = [f"# Settings of `{pipeline.name}`", "", f"{pipeline.help[:1].upper()}{pipeline.help[1:]}.", ""]
    lines += [f"Schema for editors: {{download}}`{pipeline.name}.json <../schema/{pipeline.name}.json>`.", ""]
    lines += [f"({pipeline.name}-top)=", "## At the top", "", *_rows(pipeline.config, "", top=True), ""]
    for name, field in pipeline.config.model_fields.items():
        for section in _inner(field):
            optional = " Left out by default." if field.default is None else ""
            lines += [f"({pipeline.name}-{name})=", f"## `{name}`", "", _first(section) + optional, ""]
            lines += [*_rows(section, f"{name}."), ""]
    return "\n".join(lines) + "\n"


def _rows(model, prefix: str, *, top: bool = False) -> list[str]:
    """Return a definition list: each setting with its default, its limits and its sentence."""
    lines, sentences = [], describe_fields(model)
    for name, field in keys_of(model).items():
        inner = _inner(field)
        if inner and top:
            continue
        sentence = " ".join(sentences.get(name, "").split())
        if inner:
            lines += [f"`{prefix}{name}`", f": {sentence}", "", *_rows(inner[0], f"{prefix}{name}.")]
            continue
        lines += [f"`{prefix}{name}: {_default(field)}`", f": {sentence}{_limits(field)}", ""]
    return lines


def _inner(field) -> list[type[Section]]:
    """Return the section that a field is, or may be; the entries of a list are not shown one by one."""
    kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]


def _default(field) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value, default=str)


def _limits(field) -> str:
    """Return the limits of a value in words, where it has some."""
    words = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "multiple_of": "a multiple of"}
    found = [
        # A frequency of 1e13 Hz has no use for its zeros.
        f"{words[name]} {bound:g}"
        if isinstance(bound := getattr(one, name), float)
        else f"{words[name]} {bound}"
        for one in field.metadata
        for name in words
        if getattr(one, name, None) is not None
    ]
    choices = [str(one) for one in getattr(field.annotation, "__args__", ()) if isinstance(one, str)]
    if choices:
        found.append("one of " + ", ".join(f"`{one}`" for one in choices))
    return f" ({'; '.join(found)})" if found else ""


def _first(model) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _tree(names: list[str]) -> list[str]:
    return ["", "```{toctree}", ":hidden:", "", *names, "```", ""]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
