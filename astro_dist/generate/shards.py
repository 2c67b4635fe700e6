"""The tasks of `generate`: a shard of stamps with their objects, and the columns of the whole store."""

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_dist.engine.origins import FACT, as_facts, merge, of_facts
from astro_dist.engine.work import Results, Run, Task
from astro_dist.field.object_files import write_objects
from astro_dist.generate.config import GenerateConfig, source_files
from astro_dist.generate.rounds import SOURCES, plan, sum_up
from astro_dist.store.reader import StoreReader
from astro_dist.store.stamps import objects_path, publish_stamps, write_stamps

if TYPE_CHECKING:
    # For types only: the driver imports this module, and needs no torch.
    from astro_dist.generate.stamps import StampMaker


def draw_shard(maker: "StampMaker", task: Task) -> dict[str, Any]:
    """Draw the stamps of a shard, cut out their objects, and write both."""
    index, per_shard = task.args["index"], maker.settings.per_shard
    stamps, (objects, rejected) = maker.make_shard(index, partial(maker.run.progress, task.name))
    arrays = (stamps.image_jy_beam, stamps.mask, stamps.instances)
    folder = maker.run.output
    digests = write_stamps(folder, index, *arrays, per_shard)
    path = objects_path(folder, index)
    digests[str(path.relative_to(folder))] = write_objects(path, objects)
    classes = Counter(found.source_class.name.lower() for found in objects)
    return {
        "accepted": sum(classes[name] for name in SOURCES),
        # Sorted: a Counter keeps the order in which its keys came first.
        "classes": dict(sorted(classes.items())),
        "rejected": dict(sorted(rejected.items())),
        "iou_sum": sum(found.iou for found in objects),
        "choices": [[c.donor, c.background_donor, c.symmetry] for c in stamps.choices],
        "sha256": digests,
    }


def finish(run: Run, results: Results) -> dict[str, Any]:
    """Write the columns and the attributes of the store, and return the figures of all shards."""
    tasks = plan(run, results)
    settings, cutouts = run.section(GenerateConfig), StoreReader(run.product("cutouts.zarr"))
    # In the order of the shards, so that row i of every column is stamp i.
    rows = [row for task in tasks for row in results[task.name]["choices"]]
    donor, background_donor, symmetry = np.array(rows, dtype=np.int64).T
    inherited = ("rms_jy_beam", "beam_major_arcsec", "beam_minor_arcsec", "beam_pa_deg")
    columns = {"donor": donor, "background_donor": background_donor, "symmetry": symmetry}
    columns |= {name: cutouts.columns[name][donor] for name in inherited}
    attrs = {name: cutouts.attrs[name] for name in ("stretch", "survey", "maps")}
    attrs["accept"] = settings.accept.model_dump(mode="json")
    # Names only: the bytes of a store hold no path, since paths differ between machines.
    attrs["files"] = {name: path.name for name, path in source_files(settings).items()}
    attrs[FACT] = as_facts(merge(*(of_facts(run.facts(name)) for name in run.inputs)))
    publish_stamps(run.output, cutouts.attrs["size_pix"], settings.per_shard, columns, attrs)
    return sum_up(results, tasks) | {"stamps": len(rows)}
