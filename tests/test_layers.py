"""The layering rule: imports point down only, and each heavy library has its homes."""

import ast
import re
from pathlib import Path

import pytest

from astro_dist.engine.later import Later

PACKAGE = Path(__file__).parent.parent / "astro_dist"
LAYERS = [
    {"engine"},
    {"workers"},
    {"runner"},
    {"sky", "pictures"},
    {"models"},
    {"store", "metrics"},
    {"field", "train"},
    {"generate", "challenge"},
    {"evaluate"},
    {"report", "exports"},
    {"radio", "flare", "enhance"},
    {"pipelines"},
    {"cluster", "doctor"},
    {"commands", "api"},
    {"cli"},
    {"__main__"},
]
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
ROOT_FILES = {"__init__", "__main__", "cli", "pipelines", "runner", "doctor"}
PIPELINES = {"radio", "flare", "enhance"}
HOMES = {
    "zarr": {"store"},
    "tensorstore": {"store"},
    "astropy": {"sky"},
    "reproject": {"sky"},
    "astropy_healpix": {"sky"},
    "mocpy": {"sky"},
    "dask": {"sky", "store", "field", "api"},
    "ray": {"workers"},
    "submitit": {"cluster"},
    "accelerate": {"train"},
    "deepspeed": {"train"},
    "matplotlib": {"report"},
    "PIL": {"pictures", "field", "report", "flare", "enhance"},
    "h5py": {"pictures"},
    "sklearn": {"metrics", "flare"},
    "transformers": {"models"},
    "xarray": {"api"},
    "torch": {"api", "models", "train", "radio", "flare", "enhance", "generate", "evaluate", "metrics"},
    "diffusers": {"api", "models", "train", "generate", "radio", "flare", "enhance"},
}
FORBIDDEN = {"pickle", "torchvision", "marshal", "shelve"}
# Programs that the tests start; PyBDSF is under the GPL, so nothing here may be built on it.
FORBIDDEN |= {"bdsf", "AegeanTools", "casacore", "regions", "sep", "pycocotools", "ska_sdc"}
# These modules send orders to their own children through anonymous pipes, as multiprocessing does.
EXEMPT = {("train/ranks.py", "pickle"), ("train/ahead.py", "pickle")}
JOBS = sorted((PACKAGE.parent / "jobs").glob("*.py"))
REMOVING = {
    "engine/custody.py": "the functions that decide what may be removed or replaced below a run directory",
    "engine/files.py": "a hidden file of the writer's own, the lock file, folders made for the lock",
    "sky/hips.py": "a hidden folder of the writer's own",
    "cluster/share.py": "claims, which carry the name of their worker",
    "workers/scratch.py": "private folders in the temporary folder",
    "train/extensions.py": "what a killed compiler left, in a folder of our own in torch's cache",
    "workers/ray_leftovers.py": "the private folder of a Ray cluster, in the temporary folder",
}
"""The modules that may remove or rename something, and what."""
CALLS = {
    *("shutil.rmtree", "shutil.move", "os.remove", "os.unlink", "os.rmdir", "os.removedirs"),
    *("os.rename", "os.renames", "os.replace", "os.truncate"),
}
METHODS = {"unlink", "rmdir", "rename", "replace", "rmtree"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            if node.module == "astro_dist":
                yield from (f"astro_dist.{alias.name}" for alias in node.names)
    yield from (place.partition(":")[0] for place in later(path))


def later(path):
    """The places of functions that are imported when they are used: these are imports too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Later":
            # Literal, so that a reader, and this test, sees what is imported.
            yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = room(path)
    if here == "__init__":
        # The public names are imported when they are used.
        assert set(imports(path)) == {"importlib", "typing"}
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "astro_dist" and len(parts) > 1 and parts[1] in LAYER and parts[1] != here:
            assert LAYER[parts[1]] < LAYER[here], f"{here} imports {name}"
        assert here in HOMES.get(parts[0], {here}), f"{parts[0]} has no home in {here}"
        exempt = (path.relative_to(PACKAGE).as_posix(), parts[0]) in EXEMPT
        assert parts[0] not in FORBIDDEN or exempt


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_stay_small_and_safe(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 75, f"{node.name} is too long"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "yaml.load_all", "os.system")
            if called == "torch.load":
                assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            assert not any(k.arg == "shell" for k in node.keywords)


@pytest.mark.parametrize("path", [*MODULES, *JOBS], ids=lambda p: p.name)
def test_no_started_module_is_looked_for_in_the_current_folder(path):
    """A clone, or a `random.py`, below the folder that a run is started from must not be imported."""
    for node in ast.walk(ast.parse(path.read_text())):
        words = [ast.unparse(part) for part in node.elts] if isinstance(node, ast.List) else []
        assert "'-m'" not in words or words[words.index("'-m'") - 1] == "'-P'", ast.unparse(node)


def test_what_is_imported_later_is_there():
    for place in {place for path in MODULES for place in later(path)}:
        assert callable(Later(place).load()), place


def removals(path):
    """The calls of a module that remove or rename something on the disk."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            # `Path.replace` and `Path.rename` take one argument, methods of that name of other classes two.
            method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
            path_method = method and not (node.func.attr in ("replace", "rename") and len(node.args) != 1)
            if called in CALLS | {"discard"} or path_method:
                yield called


def test_nothing_is_removed_outside_the_modules_that_may():
    found = {path.relative_to(PACKAGE).as_posix() for path in MODULES if list(removals(path))}
    assert found == REMOVING.keys()


def test_every_module_has_a_layer():
    assert {room(path) for path in MODULES} - {"__init__"} <= set(LAYER)


def test_the_root_holds_six_files_and_every_pipeline_has_a_folder():
    assert {path.stem for path in PACKAGE.glob("*.py")} == ROOT_FILES
    assert all((PACKAGE / name / "pipeline.py").is_file() for name in PIPELINES)


def test_no_module_takes_part_in_a_circle_of_imports():
    """Imports inside functions count as well: a circle that works by luck is one."""
    names = {
        path: ".".join(("astro_dist", *path.relative_to(PACKAGE).with_suffix("").parts)) for path in MODULES
    }
    names = {path: name.removesuffix(".__init__") for path, name in names.items()}
    graph = {}
    for path, name in names.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        found |= {place.partition(":")[0] for place in later(path)}
        graph[name] = found & set(names.values()) - {name}
    done = set()
    while ready := [name for name, found in graph.items() if name not in done and found <= done]:
        done |= set(ready)
    assert sorted(graph.keys() - done) == []


def test_the_training_loop_names_no_network_and_no_store():
    for path in (PACKAGE / "train").glob("*.py"):
        used = {name for name in imports(path) if name.startswith("astro_dist.")}
        below = {name for name in used if name.split(".")[1] in ("models", "sky", "store", "metrics")}
        assert {".".join(name.split(".")[:3]) for name in below} <= {"astro_dist.models.device"}, path.name


PRIVATE = {"zarr.core", "dask.base", "pyarrow.lib", "ray.core", "torch.utils._pytree"}
"""Modules of libraries that their documentation does not name, though their names have no underscore."""
TAKEN = {
    ("train/ranks.py", "os._exit"): "documented: a process ends without cleaning up",
    ("workers/ray_foreman.py", "os._exit"): "documented: a process ends without cleaning up",
    ("models/device.py", "torch.cpu._is_avx512_bf16_supported"): "torch has no public question for it",
    ("models/device.py", "torch.cpu._is_amx_tile_supported"): "torch has no public question for it",
    ("train/average.py", "torch._foreach_sub"): "torch's own averages of weights call it",
    ("train/average.py", "torch._foreach_sub_"): "torch's own averages of weights call it",
    ("train/average.py", "torch._foreach_copy_"): "torch's own averages of weights call it",
    ("train/strategy.py", "AcceleratorState._reset_state"): "Accelerate's own tests reset it so",
    ("train/strategy.py", "GradientState._reset_state"): "Accelerate's own tests reset it so",
}
"""Attributes with an underscore that are used all the same, and why."""


def is_private(name):
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def foreign_names(tree):
    """Yield what a module imports from libraries: the name here and the whole name there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((one.asname or one.name.partition(".")[0], one.name) for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((one.asname or one.name, f"{node.module}.{one.name}") for one in node.names)


def test_no_private_namespace_of_a_library_is_used():
    used = set()
    for path in MODULES:
        tree, place = ast.parse(path.read_text()), path.relative_to(PACKAGE).as_posix()
        names = dict(pair for pair in foreign_names(tree) if pair[1].partition(".")[0] != "astro_dist")
        # The standard library may be imported under a private name of ours, which is none of its own.
        for full in names.values():
            assert not is_private(full), (place, full)
            assert not any(f"{full}.".startswith(f"{one}.") for one in PRIVATE), (place, full)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and is_private(node.attr):
                text = ast.unparse(node)
                if text.partition(".")[0] in names and re.fullmatch(r"[\w.]+", text):
                    assert (place, text) in TAKEN, (place, text)
                    used.add((place, text))
    assert used == TAKEN.keys()
