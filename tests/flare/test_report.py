"""The report of pictures and classifiers: its chapters, its marks, the paper's figures beside ours."""

import copy
import json
import re

import numpy as np
import pytest

from astro_dist import pipelines
from astro_dist.engine.work import for_stage
from astro_dist.flare.compare import read_paper
from astro_dist.report import flare, gain_figures, gain_tables
from astro_dist.report.gain_tables import LEAK_MARK
from astro_dist.report.page import render
from astro_dist.report.style import to_svg, to_webp
from tests.flare.comparisons import SETS
from tests.report.test_page import Outline


@pytest.fixture(scope="module")
def metrics(compared):
    return json.loads((compared / "flare" / "metrics.json").read_text())


def test_the_page_is_that_of_the_pipeline_and_shows_every_figure_of_the_paper(compared):
    html = (compared / "report.html").read_text()
    text = " ".join(Outline(html).text.split())
    titles = re.findall(r"<h2>(.*)</h2>", html)
    assert titles[0] == "Does synthetic data help?"
    assert titles[-2:] == ["The run", "What to do next"]
    assert not {"The field", "Rejected objects"} & set(titles)
    for figure in (
        "Figures 1 and 6",
        "Figure 3",
        "Figure 4",
        "Figure 5",
        "Figure 7",
        "Figure 9",
        "Figure 10",
    ):
        assert f"{figure}:" in text or f"{figure}," in text, figure
    for table in ("Table 2, fine", "Table 3, fine", "Table 4, tiny", "Table 5, fine", "Table 3 of the paper"):
        assert table in text
    assert "Mix, tiny, fine classes" in text
    assert "Copies: " in text
    assert "likeness of the upscaled picture to its input" in text
    assert "Synthetic pictures: one painted from the prompt" in text
    assert "synthetic; the truth catalogue" not in text
    assert "12,928" in text


def test_a_set_with_the_leak_is_marked_wherever_it_is_named(compared):
    html = (compared / "report.html").read_text()
    # Where tables of sets end, those of stages begin, whose notes say the same in words.
    cells = re.findall(r"<td[^>]*>(Leak[^<:]*)</td>", html)
    assert len(cells) >= 8
    assert set(cells) == {f"Leak {LEAK_MARK}"}
    # Once below the title, and once in each chapter that names sets.
    assert html.count(gain_tables.LEAK_NOTE) == 5


def test_every_gain_stands_with_interval_family_headroom_and_rate(metrics):
    table = gain_tables.tabulate_gains(metrics)
    rows = {(row[0], row[1]): row for row in table.rows}
    leak = rows[f"Leak {LEAK_MARK}", "Aug"]
    assert re.fullmatch(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", leak[3])
    assert re.fullmatch(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", leak[6])
    assert "beyond" in leak[7] or "none" in leak[7]
    assert rows["Aug", "Raw"][6] == "not measured"
    assert leak[8] == "8 of 8"
    assert leak[9] == "2"


def invent(metrics):
    """Metrics of a run with the paper's sets and ResNet-50, from those of the small run."""
    made = copy.deepcopy(metrics)
    names = {"Raw": "Raw_LR", "Aug": "Raw_Aug_HR", "Mix": "FLARE"}
    made["sets"] = {new: made["sets"][old] for old, new in names.items()}
    plain = {"fraction": 1.0, "synthetic": "synthetic"}
    made["sets"]["Raw_Aug_HR"] |= plain | {"alpha": 1.0, "beta": 0.0}
    made["sets"]["FLARE"] |= plain | {"alpha": 0.5, "beta": 1.0, "painted": True}
    for part in ("scores", "gains", "headroom", "exchange"):
        made[part] = [row for row in made[part] if row.get("arm", "Raw") in names]
        for row in made[part]:
            row |= {"arm": names.get(row.get("arm")), "network": "resnet50"}
            row["reference"] = names.get(row.get("reference"), "Raw_LR")
    made["shown"] |= {"networks": ["resnet50"], "network": "resnet50", "mixed": "FLARE"}
    return made


def test_gains_on_other_pictures_say_on_which(metrics):
    tests = ("test", "zoo", "mean outside", "mean everywhere")
    own = {key: [row for row in metrics[key] if row["test"] == "test"] for key in ("scores", "gains")}
    made = {key: [{**row, "test": test} for row in rows for test in tests] for key, rows in own.items()}
    made["scores"] = [row for row in made["scores"] if not row["test"].startswith("mean")]
    tables = gain_tables.tabulate_outside({**metrics, **made}, "fine")[1:4]
    assert [table.caption.split(".")[0] for table in tables] == [
        "Gain in accuracy, mean over other pictures",
        "Gain in accuracy, mean with our own",
        "Gain in accuracy on zoo",
    ]
    assert all(len(table.rows) == len(gain_tables.tabulate_gains(metrics).rows) for table in tables)


def test_figures_of_the_paper_stand_beside_ours_for_the_same_mixture_and_network(metrics):
    made = invent(metrics)
    table = gain_tables.tabulate_mixtures(made, "fine")
    printed = {row[1]: (row[0], *row[-4:]) for row in table.rows}
    assert printed["FLARE"] == ("0.5, 1", "83.94", "83.58", "83.94", "83.94")
    assert printed["Raw_Aug_HR"] == ("1, 0", "70.38", "70.53", "71.03", "70.38")
    assert printed["Raw_LR"][:2] == ("0, 0", "60.68")
    table = gain_tables.tabulate_networks(made, "fine", "accuracy", 2)
    assert list(table.head) == ["set", "ResNet-50", "paper, ResNet-50", "paper, mean of 4"]
    assert [row[2:] for row in table.rows] == [["60.68", "60.61"], ["70.38", "71.36"], ["83.94", "82.93"]]
    table = gain_tables.tabulate_networks(made, "fine", "f1_macro", 5)
    assert [row[2] for row in table.rows] == ["55.80", "70.53", "83.58"]
    # A set of half of the pictures is no row of the paper, whatever its alpha and beta.
    made["sets"]["Raw_Aug_HR"]["fraction"] = 0.5
    row = gain_tables.tabulate_mixtures(made, "fine").rows[1]
    assert row[-4:] == ["-"] * 4


def test_a_set_with_the_leak_has_no_figure_of_the_paper_beside_it(metrics):
    made = invent(metrics)
    made["sets"]["FLARE"]["leak"] = True
    row = gain_tables.tabulate_mixtures(made, "fine").rows[2]
    assert row[1] == f"FLARE {LEAK_MARK}"
    assert row[-4:] == ["-"] * 4


def test_table_1_stands_twice_and_says_which_one_has_a_true_reference():
    one = {"psnr": 30.82, "ms_ssim": 0.977}
    better = {"pictures": 19, "upscaler": one, "bicubic": {"psnr": 30.57, "ms_ssim": None}, "better": 18}
    likeness = {"pictures": 60, "upscaled": {"psnr": 40.0, "ms_ssim": 0.99}}
    upscale = {"reference": {"all": better}, "likeness": {"comets": likeness, "others": likeness}}
    found = {"upscale": upscale, "paper": read_paper()}
    true, alike = gain_tables.tabulate_restoration(found)
    assert true.rows == [["all", "30.82 / 0.977", "30.57 / -", "18 of 19"]]
    assert "true reference" in true.caption
    assert alike.rows[0] == ["comets", "40.00 / 0.990", "29.23 / 0.76"]
    assert alike.rows[1][2] == "-"
    assert "likeness" in alike.caption
    (note,) = gain_tables.tabulate_restoration({"upscale": {}, "paper": read_paper()})
    assert "nothing was upscaled" in note.text


def test_a_share_with_its_interval_stays_between_nothing_and_all():
    row = {"accuracy": 0.95, "intervals": {"accuracy": [-0.1, 1.2]}}
    assert gain_tables.with_interval(row, "accuracy") == "95.0 [0.0, 100.0]"
    row["intervals"]["accuracy"] = [None, None]
    assert gain_tables.with_interval(row, "accuracy") == "95.0"


def test_what_is_missing_is_named(compared, tmp_path):
    runner = pipelines.reopen(compared)
    stage = pipelines.load("flare").stage("report")
    published = runner.run.ledger.published("pictures")
    part = for_stage(runner.run, stage, "0" * 64)
    part = part.__class__(tmp_path, part.settings, part.stage, part.fingerprint, part.target, part.inputs)
    part.ledger.publish("pictures", published)
    page = flare.build_page(part)
    text = " ".join(Outline(render(page)).text.split())
    assert page.summary == flare.UNKNOWN
    assert "compare did not run in this directory" in text
    assert ("Real pictures", "80") in page.headline


def test_every_graph_draws_one_set_of_one_class():
    gains = [
        {"mean": 0.1, "low": None, "high": None, "verdict": "undecided", "headroom": None},
        {"mean": 0.1, "low": 0.05, "high": 0.15, "verdict": "helps", "headroom": 0.03},
    ]
    points = {"x": np.zeros(1), "y": np.zeros(1), "label": np.zeros(1, int)}
    grey = np.zeros((2, 1, 8, 8), np.uint8)
    shares = np.zeros((1, 8, 8), np.float32)
    drawn = (
        gain_figures.plot_gains(gains, ["a", "b"]),
        gain_figures.plot_counts({"a": [3]}, ["a class with a name that is far too long for a bar"]),
        gain_figures.plot_spread({"a": [0.1], "b": [float("nan")]}, ["c"]),
        gain_figures.plot_normals({"a": (0.2, 0.1), "b": (0.2, float("nan"))}),
        gain_figures.plot_normals({}),
        gain_figures.plot_clusters({"a": points}, ["c"]),
        gain_figures.plot_confusions({"a": [[0]], "b": [[1]], "c": [[2]]}, ["c"]),
    )
    for figure in drawn:
        assert to_svg(figure).startswith("data:image/svg+xml;base64,")
    figure = gain_figures.plot_pictures({"grey": grey, "shares": shares}, ["c", "d"])
    assert to_webp(figure).startswith("data:image/webp;base64,")


def test_sets_of_the_run_are_those_of_the_settings(metrics):
    assert list(metrics["sets"]) == list(SETS)
    real = {name: one["parents"] for name, one in metrics["sets"].items()}
    assert real["Half"] * 2 == pytest.approx(real["Aug"], abs=8)
    assert real["More"] == real["Aug"]
