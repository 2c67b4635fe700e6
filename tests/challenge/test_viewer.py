"""The viewer in a real browser: what is seen, read, found and dropped, from the disk and from a server."""

import base64
import functools
import http.server
import json
import threading
import zlib

import numpy as np
import pytest
from astropy.io import fits

from astro_dist.challenge import strips, tiles
from astro_dist.challenge.matching import match
from astro_dist.challenge.names import OPEN
from astro_dist.challenge.score import Judge
from astro_dist.field.columns import read_columns_file
from tests.browser import Browser, need_browser
from tests.challenge import small
from tests.firefox import Firefox

HOSTILE = '<img src=x onerror="window.hit=1">.csv'
READY = "document.body && document.body.dataset.ready"


@pytest.fixture(scope="module")
def package(run, tmp_path_factory):
    """A package whose tiles are so small that the field has four levels of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "TILE_PIX", 64)
        return small.package(run, tmp_path_factory.mktemp("viewer") / "package", tile_pix=128)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    need_browser()
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser
        # Whatever a page could not load or run is said there.
        assert browser.said == []


@pytest.fixture
def page(browser, package):
    """The organisers' page, fresh."""
    browser.size(1600, 1000)
    browser.open("about:blank")
    browser.open(f"file://{package}/hidden/viewer/index.html")
    browser.wait(READY)
    return browser


def text(page, name):
    return page.ask(f"document.getElementById({name!r}).textContent")


def at(page, x, y):
    """Return the place on the screen of a pixel of the map."""
    box = page.ask("(({x, y}) => [x, y])(canvas.getBoundingClientRect())")
    return [a + b for a, b in zip(box, page.ask(f"[screenX({x}), screenY({y})]"), strict=True)]


def test_places_and_brightness_under_the_pointer_are_those_of_the_map(page, package, judge):
    image, sigma = fits.getdata(package / "public/map.fits"), page.ask("state.about.sigma")
    for x, y in ((5, 7), (459, 399), (200, 311), (230, 90)):
        page.ask(f"centre({x}, {y}, 4)")
        page.wait(f"tiles.number(0, {x}, {y}) !== undefined")
        page.mouse("mouseMoved", *at(page, x, y))
        said = text(page, "readout")
        ra, dec = (float(one) for one in judge.field.sky_of(y, x))
        assert page.ask(f"Sky.apart(...Object.values(sky.place({x}, {y})), {ra}, {dec})") < 1e-3
        back = page.ask(f"sky.pixel({ra}, {dec})")
        assert np.allclose(back, [x, y], atol=1e-3)
        assert [float(one) for one in said.split("(")[1].split(")")[0].split(",")] == pytest.approx(
            [ra, dec], abs=6e-6
        )
        assert f"x {x}, y {y}" in said
        value = float(said.split(")")[1].split("mJy")[0]) / 1e3
        error = sigma / 8 * np.sqrt(1 + abs(image[y, x]) / (tiles.S * sigma))
        # Four digits are shown.
        assert value == pytest.approx(image[y, x], abs=float(1.02 * error), rel=1e-3)
    assert page.ask("sky.pixel(0, 89)") is None
    assert page.ask("Sky.sexagesimal(359.9999999, -0.00001)") == "00:00:00.00 \u221200:00:00.0"


def test_the_picture_has_the_colours_of_its_numbers_north_up(page, package):
    """A pixel of the screen, over a pixel of the map, has the colour of the scale at its brightness."""
    image = fits.getdata(package / "public/map.fits")
    y, x = np.unravel_index(np.argmax(image), image.shape)
    page.ask(
        f"toggle('show-training')(); centre({x}, {y}, 8); el('high').value = {2e3 * image.max()}; restretch()"
    )
    page.wait(f"tiles.number(0, {x}, {y}) !== undefined")
    for kind in ("asinh", "linear"):
        page.ask(f"el('stretch').value = '{kind}'; restretch(); paint()")
        for dx, dy in ((0, 0), (3, 1), (-2, 4)):
            place = page.ask(f"[screenX({x + dx}), screenY({y + dy})]")
            seen = page.ask(f"Array.from(context.getImageData({place[0]}, {place[1]}, 1, 1).data)")
            word = page.ask(
                f"colour(tiles.stretch, Tiles.value(state.about, tiles.number(0, {x + dx}, {y + dy})))"
            )
            assert seen == [word & 255, word >> 8 & 255, word >> 16 & 255, 255]
    half = page.ask("share(tiles.stretch, (tiles.stretch.low + tiles.stretch.high) / 2)")
    assert half == pytest.approx(0.5)
    assert (
        page.ask("share({...tiles.stretch, kind: 'asinh'}, (tiles.stretch.low + tiles.stretch.high) / 2)")
        > 0.6
    )


def test_wheel_drag_keys_and_fingers_move_and_zoom(page):
    view = lambda: page.ask("[state.x, state.y, state.scale]")  # noqa: E731
    first = view()
    page.mouse("mouseWheel", 500, 400, deltaX=0, deltaY=-240)
    page.wait(f"state.scale > {1.4 * first[2]}")
    x, y, scale = view()
    page.mouse("mousePressed", 500, 400, button="left", buttons=1, clickCount=1)
    page.mouse("mouseMoved", 560, 430, button="left", buttons=1)
    page.mouse("mouseReleased", 560, 430, button="left", clickCount=1)
    assert view() == pytest.approx([x - 60 / scale, y + 30 / scale, scale])
    for key, changed in (("ArrowRight", 0), ("ArrowUp", 1), ("+", 2)):
        before = view()
        page.key(key)
        assert view()[changed] > before[changed]
    page.key("0")
    assert view() == pytest.approx(first)
    page.size(400, 800, touch=True)
    page.ask("fit()")
    scale = view()[2]
    page.touch("touchStart", (150, 300), (250, 300))
    page.touch("touchMove", (100, 300), (300, 300))
    page.touch("touchEnd")
    assert view()[2] == pytest.approx(2 * scale, rel=0.01)
    # Nothing sticks out at the side.
    assert page.ask("document.documentElement.scrollWidth") <= 400


def test_the_list_jumps_to_a_source_whose_flux_is_read(page, judge, tmp_path):
    truth = judge.truth
    for key in ("flux_jy", "major_arcsec"):
        page.ask(f"el('order').value = '{key}'; sortList()")
        row = int(np.lexsort((truth["id"], -truth[key].astype(float).round(2 if "major" in key else 12)))[0])
        page.ask("el('list').querySelector('button').click()")
        assert page.ask("[state.x, state.y]") == pytest.approx(
            [truth["x_pix"][row], truth["y_pix"][row]], abs=0.01
        )
        facts = text(page, "facts")
        assert f"source{truth['id'][row]}" in facts
        assert f"{float(format(1e3 * truth['flux_jy'][row], '.4g')):g} mJy" in facts
        page.wait("el('placed').dataset.done")
    page.wait("el('list').querySelector('canvas').dataset.done")
    # A row below the first page is reached by the keys.
    page.ask("for (let i = 0; i < 70; i++) step(1)")
    assert page.ask("state.shown") > 70
    path = tmp_path / "page.png"
    page.picture(path)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_each_source_of_a_stamp_shows_it(page, run, judge):
    old = read_columns_file(run.root / "field/truth.parquet")
    stamp = dict(zip(old["id"].tolist(), old["stamp"].tolist(), strict=True))
    expected = [stamp[number] >= 0 for number in judge.truth["run_id"].tolist()]
    assert page.ask("state.truth.id.map((_, i) => hasStamp(i))") == expected
    # The stamp beside it is turned and mirrored as the object was placed: both have one angle.
    y, x = np.mgrid[65.5:-66.5:-1, -65.5:66.5]
    for row in np.flatnonzero((judge.truth["class"] == 3) & np.array(expected))[:4].tolist():
        page.ask(f"choose({row}, true)")
        pen = "el('stamp').getContext('2d')"
        grey = np.reshape(page.ask(f"Array.from({pen}.getImageData(0, 0, 132, 132).data)"), (132, 132, 4))
        weight = grey[..., 0] / grey[..., 0].sum()
        dy, dx = y - (weight * y).sum(), x - (weight * x).sum()
        moments = [(weight * one).sum() for one in (dy**2, dx**2, dy * dx)]
        angle = np.degrees(np.arctan2(-2 * moments[2], moments[0] - moments[1])) / 2
        assert abs((angle - judge.truth["image_pa_deg"][row] + 90) % 180 - 90) < 5


def test_layers_show_classes_and_instances(page, package, judge):
    row = int(np.argmax(judge.truth["flux_jy"]))
    x, y = (round(float(judge.truth[f"{axis}_peak_pix"][row])) for axis in "xy")
    before = page.ask(f"centre({x}, {y}, 6); paint(); canvas.toDataURL()")
    for key in "ci":
        page.key(key)
        page.wait(f"labels.at(0, {x}, {y})")
        page.wait("paint(), true")
        after = page.ask("canvas.toDataURL()")
        assert after != before
        before = after
    mask = fits.getdata(package / "hidden/mask.fits")
    assert page.ask(f"labels.at(0, {x}, {y})") == [int(judge.truth["id"][row]), int(mask[y, x])]
    for key in "tap":
        page.key(key)


def pixels(page, x, y):
    """Return the colours of the screen round the place of a pixel of the map."""
    return page.ask(
        f"paint(), Array.from(context.getImageData(screenX({x}) - 2, screenY({y}) - 2, 5, 5).data)"
    )


def test_layers_of_truth_and_area_are_drawn_where_these_are(page, judge):
    row, box = int(np.argmax(judge.truth["major_arcsec"])), judge.about.areas.training
    names = ("x_pix", "y_pix", "major_arcsec", "image_pa_deg")
    x, y, major, angle = (float(judge.truth[name][row]) for name in names)
    half = major / judge.about.pixel.dy_arcsec / 2
    # The end of a source's longest axis, and the upper edge of the open area.
    end = x - half * np.sin(np.radians(angle)), y + half * np.cos(np.radians(angle))
    for key, place in (("t", end), ("a", (box.x0 + 5, box.y1 - 0.5))):
        page.ask(f"centre({place[0]}, {place[1]}, 8)")
        page.wait(f"tiles.number(0, {round(place[0])}, {round(place[1])}) !== undefined")
        shown = []
        for _ in range(3):
            shown.append(pixels(page, *place))
            page.key(key)
        assert shown[0] != shown[1], key
        assert shown[0] == shown[2], key


def test_the_beam_has_its_size_and_the_scale_its_numbers(page, judge):
    scale, beam = 8, judge.about.beam
    half = beam.major_arcsec / judge.about.pixel.dy_arcsec / 2 * scale
    page.ask(f"centre(200, 200, {scale}); paint()")
    room = half + 6
    bright = [
        page.ask(f"context.getImageData({12 + room + step}, canvas.clientHeight - 60 - {room}, 1, 1).data[0]")
        for step in (half, half + 4, -half, -half - 4)
    ]
    assert bright[0] > bright[1] + 100
    assert bright[2] > bright[3] + 100
    page.ask("el('low').value = -1; el('high').value = 20; restretch()")
    said = page.ask(
        "((to, said) => {to.fillText = (text) => said.push(text); paintBar(); delete to.fillText; "
        "return said})(el('bar').getContext('2d'), [])"
    )
    assert said[0] == "mJy/beam"
    assert (float(said[1]), float(said[-1])) == (-1, 20)
    assert np.all(np.diff([float(one) for one in said[1:]]) > 0)
    dark, light = (
        page.ask(f"el('bar').getContext('2d').getImageData(15, {y}, 1, 1).data[0]")
        for y in ("el('bar').height - 16", "31")
    )
    assert light > dark + 200


def write_csv(path, columns):
    rows = zip(*(columns[name].tolist() for name in ("ra_deg", "dec_deg", "flux_jy")), strict=True)
    path.write_text("ra_deg,dec_deg,flux_jy\n" + "".join(f"{ra},{dec},{flux}\n" for ra, dec, flux in rows))
    return path


@pytest.fixture(scope="module")
def found(judge):
    """A catalogue with noise in its places, some sources missing and some false."""
    rng, truth = np.random.default_rng(2), judge.truth
    kept = rng.permutation(len(truth["id"]))[: 2 * len(truth["id"]) // 3]
    step = 0.3 * judge.about.beam.major_arcsec / 3600 * rng.normal(size=len(kept))
    places = {"ra_deg": truth["ra_deg"][kept], "dec_deg": truth["dec_deg"][kept] + step}
    false = {name: values[:9] + 0.01 for name, values in places.items()}
    return {name: np.concatenate([places[name], false[name]]) for name in places} | {
        "flux_jy": np.concatenate([truth["flux_jy"][kept], truth["flux_jy"][kept][:9]])
    }


def test_a_dropped_catalogue_is_matched_as_the_score_does(page, judge, found, tmp_path):
    pairs = match(found, judge.truth, judge.about.beam.major_arcsec)
    content = write_csv(tmp_path / "found.csv", found).read_text()
    page.ask(
        "{const data = new DataTransfer();"
        f"data.items.add(new File([{json.dumps(content)}], {json.dumps(HOSTILE)}));"
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true}))}"
    )
    page.wait("state.match")
    expected = np.full(len(judge.truth["id"]), -1)
    expected[pairs.true_row] = pairs.row
    assert page.ask("Array.from(state.match.ofTrue)") == expected.tolist()
    missed = int((expected < 0).sum())
    assert text(page, "counts").startswith(f"{len(pairs)} matched, ")
    assert f" {missed} missed" in text(page, "counts")
    # The file's name is a text, whatever is in it.
    assert text(page, "given").startswith(HOSTILE)
    assert page.ask("window.hit ?? 0") == 0
    assert page.ask("document.images.length") == 0
    page.ask("choose(state.match.missed.indexOf(true), true)")
    assert "missed" in text(page, "facts")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_in_firefox_too_the_list_jumps_and_a_catalogue_is_matched(package, judge, found, tmp_path):
    (tmp_path / "profile").mkdir()
    truth, pairs = judge.truth, match(found, judge.truth, judge.about.beam.major_arcsec)
    brightest = int(np.lexsort((truth["id"], -truth["flux_jy"]))[0])
    with Firefox(tmp_path / "profile") as browser:
        browser.size(1600, 1000)
        browser.open(f"file://{package}/hidden/viewer/index.html")
        browser.wait("document.body.dataset.ready")
        browser.click("#list button")
        facts = browser.wait("document.getElementById('facts').textContent")
        assert f"source{truth['id'][brightest]}" in facts
        assert f"{float(format(1e3 * truth['flux_jy'][brightest], '.4g')):g} mJy" in facts
        browser.wait("document.getElementById('placed').dataset.done")
        middle = browser.ask(
            "((box) => [box.x + box.width / 2, box.y + box.height / 2])"
            "(document.getElementById('map').getBoundingClientRect())"
        )
        browser.point(*(round(one) for one in middle))
        said = browser.wait(
            "((text) => text.includes('mJy/beam') && text)(document.getElementById('readout').textContent)"
        )
        x, y = (int(said.split(f"{axis} ")[1].split()[0].strip(",")) for axis in "xy")
        assert abs(x - truth["x_pix"][brightest]) <= 1
        assert abs(y - truth["y_pix"][brightest]) <= 1
        content = write_csv(tmp_path / "found.csv", found).read_text()
        browser.ask(
            "(() => {const data = new DataTransfer();"
            f"data.items.add(new File([{json.dumps(content)}], {json.dumps(HOSTILE)}));"
            "document.dispatchEvent(new DragEvent('drop', {dataTransfer: data, cancelable: true}))})()"
        )
        counts = browser.wait("document.getElementById('counts').textContent")
        assert counts.startswith(f"{len(pairs)} matched, ")
        assert f" {len(truth['id']) - len(pairs)} missed" in counts
        assert browser.ask("document.getElementById('given').textContent").startswith(HOSTILE)
        assert browser.ask("document.images.length") == 0


VOTABLE = (
    '<?xml version="1.0"?><VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
    '<FIELD name="RAJ2000"/><FIELD name="DEJ2000"/><FIELD name="Total_flux" unit="mJy"/>'
    "<DATA><TABLEDATA><TR><TD>180.0</TD><TD>-30</TD><TD>2.5</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (VOTABLE, "1 rows"),
        ("ra,dec,flux_mjy\n12:00:00.0,-30:00:00,2.5\n", None),
        ("RA;DEC;int_flux\n180;-30;0.0025\n181;;1\n", "1 rows without a position"),
        ("# a comment\n1 180 -30 180 -30 0.0025 0 1 1 0 2 1\n", "1 rows"),
        ('name,ra_deg,dec_deg,flux_jy\n"a, b",180,-30,0.0025\n', "1 rows"),
        ("ra,dec\n1,2\n", "no column for flux_jy: the file has ra, dec"),
        ("", "the file has no rows"),
        ("1,2,3\n", "not the names of columns"),
        ("<VOTABLE><broken", "no valid XML"),
        (VOTABLE.replace("TABLEDATA", "BINARY2"), "the VOTable is binary; save it with TABLEDATA"),
        ("ra,dec,flux_jy\nx,y,z\n", "no row has a position"),
        (VOTABLE.replace('"mJy"', '"W"'), "which is no unit of flux"),
        (
            VOTABLE.replace("Total_flux", "&lt;script&gt;"),
            "no column for flux_jy: the file has RAJ2000, DEJ2000, <script>",
        ),
    ],
)
def test_catalogues_are_read_or_refused_in_one_line(browser, package, tmp_path, content, said):
    if browser.ask(READY + " || ''") != "1":
        browser.open(f"file://{package}/hidden/viewer/index.html")
        browser.wait(READY)
    path = tmp_path / "given.txt"
    path.write_text(content)
    browser.ask("el('given').textContent = ''")
    browser.upload("#file", path)
    browser.wait("el('given').textContent")
    if said is None or said.startswith("1 rows"):
        place = browser.ask("[state.given.ra[0], state.given.dec[0], state.given.flux[0]]")
        assert place == pytest.approx([180, -30, 0.0025])
    if "broken" in content:
        # Chromium's own account of broken XML has a style, which the policy of the page refuses.
        assert all("inline style" in one for one in browser.said)
        browser.said.clear()
    assert (said or "1 rows") in browser.ask("el('given').textContent")


def test_the_public_page_has_the_open_area_and_works_from_a_server(browser, package, judge, found, tmp_path):
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=package / "public")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            browser.open(f"http://127.0.0.1:{server.server_port}/viewer/index.html")
            browser.wait(READY)
            ids = browser.ask("state.truth.id")
            assert ids == judge.truth["id"][judge.truth["area"] == OPEN].tolist()
            browser.upload("#file", write_csv(tmp_path / "mine.csv", found))
            browser.wait("state.match")
            assert "in the training area" in text(browser, "counts")
            box = judge.about.areas.training
            browser.ask(f"centre({box.x0 + 5}, {box.y0 + 5}, 2); toggle('show-instances')(); paint(), 0")
            browser.wait("Array.from(labels.kept.values()).some((one) => one.runs)")
        finally:
            server.shutdown()
            thread.join()


def test_the_public_viewer_holds_nothing_of_the_hidden_part(package, run):
    """No label lies outside of the open area, no other source has a number, and there are no stamps."""
    judge, folder = Judge.open(package), package / "public/viewer"
    opened = set(judge.truth["id"][judge.truth["area"] == OPEN].tolist())
    box, seen = judge.about.areas.training, set()
    for path in sorted((folder / "labels").rglob("*.js")):
        level, side = int(path.parent.name), 64 << int(path.parent.name)
        _, _, width, data = json.loads("[" + path.read_text()[5:-2] + "]")
        row, column = (int(part) for part in path.stem.split("-"))
        runs = np.frombuffer(zlib.decompress(base64.b64decode(data)), "<i4").reshape(4, -1)
        for first, number in ((runs[0], runs[2]), (runs[0] + runs[1] - 1, runs[2])):
            y, x = row * side + (first // width << level), column * side + (first % width << level)
            reach = 1 << level
            assert ((y > box.y0 - reach) & (y < box.y1) & (x > box.x0 - reach) & (x < box.x1)).all()
            seen |= set(number.tolist())
    assert len(seen - {0}) > 0
    assert seen - {0} <= opened
    shown = json.loads((folder / "truth.js").read_text()[6:-2])
    assert set(shown["id"]) == opened
    assert not set(shown) & {"run_id", "stamp", "turn_deg", "catalogue_row"}
    assert not (folder / "stamps.js").exists()
    about = (folder / "about.js").read_text()
    assert str(run.seed) not in about
