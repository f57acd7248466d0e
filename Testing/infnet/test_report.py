"""Reports of finished studies: what they say, that they need nothing else, and that they survive odd input."""
# ruff: noqa: RUF001 (the signs × – − are what is tested)

import io
import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from infnet import cli
from infnet.anatomy.lobes import Lobes
from infnet.anatomy.regions import LOBES, ZONES
from infnet.errors import GeometryError, InputError
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, read_study, write_study
from infnet.report import content
from infnet.report.change import read_change
from infnet.report.content import NOTICE, compose
from infnet.report.html import render_html
from infnet.report.numbers import DASH, difference, hounsfield, number
from infnet.report.pdf import render_pdf
from infnet.report.pictures import Picture, choose_slices, montage, projections
from infnet.report.surfaces import SIDES, views
from infnet.weights.cards import shipped_models
from phantoms import DIRECTIONS, empty_grid, make_chest
from PIL import Image
from pypdf import PdfReader

HOSTILE = '</td><script>alert("1")</script> & \N{LATIN SMALL LETTER O WITH DIAERESIS} {{ 7 * 7 }} "\''
SMALL = ((56, 48, 24), (6, 6, 8))


def lobes_of(phantom):
    """Five made-up lobes: each lung cut by height."""
    lungs = sitk.GetArrayFromImage(phantom.lungs)
    height = np.indices(lungs.shape)[0] * 3 // len(lungs)  # 0 feet to 2 head
    labels = np.where(lungs == 1, 3 - height, 0) + np.where(lungs == 2, np.where(height == 0, 5, 4), 0)
    image = sitk.GetImageFromArray(labels.astype(np.uint8))
    image.CopyInformation(phantom.lungs)
    return image


def write(folder, phantom, lobes=None, **changes):
    """A finished study of a phantom in ``folder``, its CT beside it."""
    path = folder.parent / f"{folder.name}-ct.nrrd"
    sitk.WriteImage(phantom.ct, path)
    measured = measure(phantom.ct, phantom.findings, phantom.lungs, lobes)
    values = {
        "folder": folder,
        "case": "case 1",
        "ct": path,
        "table": measured.rows,
        "severity": measured.severity,
        "sources": {"lungs": "threshold and morphology", **measured.sources},
        "provenance": {
            "use": "research only, not for clinical decisions",
            "infection_model": "bands",
            "infection_weights_sha256": "0123abcd" * 8,
            "window_hu": [-1100.0, 250.0],
            "threshold": 0.5,
            "transposed": True,
        },
        "warnings": measured.warnings,
        "seconds": {"read": 1.0, "network": 41.4},
        "date": "2020-03-01",
    }
    study = Study(**(values | changes))
    write_study(study, phantom.findings, phantom.lungs, lobes.image if lobes else None)
    return read_study(folder)


@pytest.fixture(scope="module")
def phantom():
    return make_chest(empty_grid(*SMALL), noise_hu=20)


@pytest.fixture(scope="module")
def study(phantom, tmp_path_factory):
    lobes = Lobes(lobes_of(phantom), "atlas", True, ["The lobes are a guess."], LOBES)
    return write(tmp_path_factory.mktemp("studies") / "study", phantom, lobes)


@pytest.fixture(scope="module")
def report(study, phantom):
    return compose(study, phantom.ct, "2026-01-31")


@pytest.fixture
def without_pictures(monkeypatch):
    """Reports with a dot for each picture, for tests of what they say."""
    for name in ("montage", "projections", "chart"):
        monkeypatch.setattr(content, name, lambda *arguments: dot("A dot."))


def dot(description):
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "white").save(file, "png")
    return Picture(file.getvalue(), "image/png", description)


class Page(HTMLParser):
    """The texts, tables and attributes of a page; fails where elements are not closed in order."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.tables, self.texts, self.ids = [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page(report):
    return Page(render_html(report))


def pdf_text(file):
    """All texts of a PDF, with single spaces."""
    return " ".join(" ".join(page.extract_text() for page in PdfReader(io.BytesIO(file)).pages).split())


@pytest.fixture(scope="module")
def pdf(report):
    return render_pdf(report)


def says(cell, value):
    """Whether a table's cell is the value, to one decimal."""
    if value is None or cell == DASH:
        return value is None and cell == DASH
    return 0 < value < 0.05 if cell == "<0.1" else re.fullmatch(r"\d+\.\d", cell) and abs(float(cell) - value) <= 0.0501


def test_the_tables_numbers_are_those_of_result_json(study, page):
    rows = json.loads((study.folder / "result.json").read_text(encoding="utf-8"))["table"]
    findings, density = page.tables
    rows = [row for row in rows if row["region"] != "outside every lobe"]  # there is nothing
    assert len(rows) == 8 and len(findings) == len(density) == 2 + len(rows)
    for row, cells in zip(rows, findings[2:], strict=True):
        keys = ["volume_ml"] + [
            f"{x}_{unit}" for x in ("ggo", "consolidation", "infection") for unit in ("ml", "percent")
        ]
        assert cells[0].lower() == row["region"]
        for key, cell in zip(keys, cells[1:-1], strict=True):
            assert says(cell, row[key])
        if row["region"] != "total":
            assert cells[-1] == (DASH if row["severity"] is None else str(row["severity"]))
    assert findings[-1][-1] == f"{study.severity}/25" and study.severity > 0
    for row, cells in zip(rows, density[2:], strict=True):
        keys = [f"{x}_percent" for x in ("hyperinflated", "well_aerated", "poorly_aerated", "non_aerated")]
        for key, cell in zip(keys, cells[4:], strict=True):
            assert says(cell, row[key])
        assert cells[1] == hounsfield(row["volume_mean_hu"], row["volume_sd_hu"])


def test_every_table_has_headings_for_its_columns_and_rows(page):
    for table in page.all("th"):
        assert table["scope"] in ("col", "row", "colgroup")
    headings = [attributes for attributes in page.all("th") if attributes["scope"] == "row"]
    assert len(headings) == sum(len(table) - 2 for table in page.tables)
    assert len(page.all("caption")) == len(page.tables)


def test_page_and_pdf_say_the_same(study, page, pdf):
    texts = page.text, pdf_text(pdf)
    total = study.table[-1]
    expected = [
        NOTICE, "case 1", "2020-03-01", "study-ct.nrrd", "56 × 48 × 24 voxels of 6.00 × 6.00 × 8.00 mm, axes LPS",
        f"{total['infection_ml']:.1f} mL ({total['infection_percent']:.1f} %)",
        f"{study.severity} of 25", "The lobes are a guess.", "atlas (approximate)", "threshold and morphology",
        "−1100 to 250", "Right middle lobe", "Left lower lobe", "What was not validated", "approximate, and so is",
        "The model bands is not one that InfNet ships", "42 s", "Report made 2026-01-31",
    ]  # fmt: skip
    for text in texts:
        assert [wanted for wanted in expected if wanted not in text] == []
    assert all("0123abcd" * 8 in text.replace(" ", "") for text in texts)
    for row in page.tables[0][2:] + page.tables[1][2:]:
        assert " ".join(row) in texts[1]


def test_warnings_come_before_the_numbers_and_none_is_no_section(study, report):
    html, text = render_html(report), pdf_text(render_pdf(report))
    for whole in (html, text):
        assert whole.index("The lobes are a guess.") < whole.index("Consolidation")
    calm = replace(report, warnings=[])
    assert 'class="warnings"' not in render_html(calm) and "Warnings" not in pdf_text(render_pdf(calm))


def test_the_page_needs_nothing_else(page, report):
    html = render_html(report)
    assert not re.search(r"https?:|@import|url\(|//", re.sub(r'src="data:[^"]+"', "", html))
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    images = page.all("img")
    assert len(images) == 3
    for image in images:
        assert re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*$", image["src"]) and len(image["alt"]) > 40


def test_the_pdf_has_described_pictures_bookmarks_and_a_title(pdf, report):
    reader = PdfReader(io.BytesIO(pdf))
    assert reader.metadata.title == "case 1: lung infection on chest CT"
    assert [bookmark["/Title"] for bookmark in reader.outline] == [
        "Findings", "Share of each region", "Axial slices", "In three dimensions", "Density and aeration",
        "What was not validated", "How it was made",
    ]  # fmt: skip
    assert sum(len(page.images) for page in reader.pages) == 3
    described = {o.get_object().get("/Alt") for o in reader.trailer["/Root"]["/StructTreeRoot"]["/K"][0]["/K"]}
    assert {report.slices.picture.description, report.solid.picture.description} <= described
    assert all(NOTICE in page.extract_text() for page in reader.pages)


@pytest.mark.usefixtures("without_pictures")
def test_hostile_names_are_text(study, phantom):
    hostile = replace(
        study,
        case=HOSTILE,
        patient=HOSTILE,
        warnings=[HOSTILE],
        sources={**study.sources, "lobes": HOSTILE},
        provenance={"<b>": [HOSTILE], "nested": {"<i>": HOSTILE}},
    )
    report = compose(hostile, phantom.ct, "2026-01-31")
    page = Page(render_html(report))
    assert page.all("script") == page.all("b") == page.all("i") == []
    assert page.text.count(HOSTILE) == 7  # title, case, patient, warning, lobes, and twice in the provenance
    assert HOSTILE in pdf_text(render_pdf(report))


@settings(max_examples=10, deadline=None)
@given(name=st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_no_name_breaks_a_page(report, name):
    pictures = {key: replace(getattr(report, key), picture=dot(name)) for key in ("slices", "solid", "chart")}
    report = replace(report, case=name, warnings=[name], limits=[name], **pictures)
    page = Page(render_html(report))
    assert len(page.all("img")) == 3 and page.all("script") == []
    assert render_pdf(report).startswith(b"%PDF")


@pytest.mark.usefixtures("without_pictures")
def test_without_lobes_there_is_no_score(phantom, tmp_path):
    report = compose(write(tmp_path / "study", phantom), phantom.ct, "2026-01-31")
    page = Page(render_html(report))
    assert [row[0] for row in page.tables[0][2:]] == ["Right lung", "Left lung", "Total"]
    assert {row[-1] for row in page.tables[0][2:]} == {DASH}
    text = pdf_text(render_pdf(report))
    for whole in (page.text, text):
        assert f"CT severity score {DASH}" in whole and "The lobes were not told apart" in whole
        assert "approximate" not in whole


@pytest.mark.usefixtures("without_pictures")
def test_zones_have_no_score_either(phantom, tmp_path):
    from infnet.anatomy.zones import lung_zones

    zones = Lobes(lung_zones(phantom.lungs), "zones", True, [], ZONES)
    page = Page(render_html(compose(write(tmp_path / "study", phantom, zones), phantom.ct, "2026-01-31")))
    assert "The parts are not lobes" in page.text and "Left middle zone" in page.text


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_outside_every_lobe_is_shown_where_it_is_something(phantom, tmp_path, whole):
    image = lobes_of(phantom) if whole else lobes_of(phantom) * (phantom.lungs == 2)
    made = write(tmp_path / "s", phantom, Lobes(image, "existing", False, []))
    report = compose(made, phantom.ct, "2026-01-01")
    for table in (report.findings, report.density):
        assert ("Outside every lobe" not in [row[0] for row in table.rows]) == whole


@pytest.mark.usefixtures("without_pictures")
def test_a_lung_that_is_not_there_has_dashes(tmp_path):
    alone = make_chest(empty_grid(*SMALL), left_lung=False)
    study = write(tmp_path / "study", alone, provenance={})
    page = Page(render_html(compose(study, alone.ct, "2026-01-31")))
    (left,) = [row for row in page.tables[0] if row[0] == "Left lung"]
    assert left == ["Left lung", "0.0", "0.0", DASH, "0.0", DASH, "0.0", DASH, DASH]


def test_no_lung_at_all_still_makes_a_report(phantom, tmp_path):
    nothing = phantom.lungs * 0
    empty = replace(phantom, lungs=nothing, findings=nothing)
    study = write(tmp_path / "study", empty)
    report = compose(study, empty.ct, "2026-01-31")
    assert "There is no lung" in Page(render_html(report)).text
    assert "There is no lung" in pdf_text(render_pdf(report))


@pytest.mark.usefixtures("without_pictures")
def test_the_shipped_models_limits_are_told(study, phantom):
    cards = [card for card in shipped_models() if card.task == "infection"]
    told = replace(study, provenance={"infection_model": cards[0].name, "infection_weights_sha256": cards[0].sha256})
    assert cards[0].limits and cards[0].limits in compose(told, phantom.ct, "2026-01-31").limits


def test_many_warnings_and_a_long_name_go_over_pages(report):
    long = replace(
        report,
        header=[replace(report.header[0], value="x" * 4000), *report.header[1:]],
        warnings=[
            f"Warning number {i} is of some length, so that it needs more than one line of the page." for i in range(60)
        ],
        provenance=[replace(fact, value=fact.value + " prolonged" * 200) for fact in report.provenance],
    )
    reader = PdfReader(io.BytesIO(render_pdf(long)))
    text = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    assert text.count("x") >= 4000 and text.count("Warning number") == 60
    assert text.count("prolonged") == 200 * len(report.provenance)
    for page in reader.pages:  # nothing is set into the margins
        heights = []
        page.extract_text(
            visitor_text=lambda text, cm, tm, *_, heights=heights: heights.append(tm[5]) if text.strip() else None
        )
        assert min(heights) > 20 and max(heights) < 842 - 30


@pytest.mark.parametrize("name", ["LPS", "feet last", "sagittal", "oblique, transposed, flipped", "gantry tilt"])
def test_pictures_show_the_patient_upright_whatever_the_direction(name):
    """Ground glass is on the patient's right, consolidation at the back of the left lung, lower than it."""
    chest = make_chest(empty_grid((50, 50, 50), (7, 7, 7), DIRECTIONS[name]), noise_hu=0)
    front, right, back, left = (centres(picture) for picture in views(chest.findings, chest.lungs))
    (red_row, red_column), (green_row, green_column) = front[:2]
    assert red_column < front[2] / 2 < green_column and red_row < green_row  # red: on the viewer's left, and higher
    assert back[1][1] < back[2] / 2 < back[0][1]
    assert right[1][1] < right[0][1]  # seen from the right, the back is on the left
    assert left[0][1] < left[1][1]

    slices = pixels(montage(chest.ct, chest.findings, chest.lungs))[:-80]  # without the legend
    tile = slices.shape[1] / 4
    red, green = (columns.nonzero()[1] % tile for columns in (reddish(slices), greenish(slices)))
    assert len(red) > 100 and len(green) > 100
    assert np.quantile(red, 0.99) < tile / 2 < np.quantile(green, 0.01)


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.data)).convert("RGB")).astype(int)


def reddish(picture):
    return (picture[..., 0] > 1.2 * picture[..., 1]) & (picture[..., 0] > 1.2 * picture[..., 2])


def greenish(picture):
    return (picture[..., 1] > 1.1 * picture[..., 0]) & (picture[..., 1] > 1.1 * picture[..., 2])


def centres(picture):
    """Mean row and column of red and of green, and the width of a view."""
    red, green = np.argwhere(reddish(picture)), np.argwhere(greenish(picture))
    assert len(red) > 5 and len(green) > 5
    return red.mean(axis=0), green.mean(axis=0), picture.shape[1]


def test_the_sides_are_of_one_scale_and_as_high_as_the_patient(phantom):
    pictures = list(views(phantom.findings, phantom.lungs))
    assert len(pictures) == len(SIDES) and len({len(picture) for picture in pictures}) == 1
    front, right, back, left = pictures
    assert front.shape == back.shape and right.shape == left.shape
    outline = np.argwhere(front.min(axis=-1) < 0.97)
    height, width = np.ptp(outline, axis=0) * 1.5
    assert height == pytest.approx(170, abs=20) and width == pytest.approx(240, abs=16)  # mm, the phantom's lungs
    for picture in pictures:
        assert picture.min() >= 0 and picture.max() <= 1


def test_a_single_slice_has_pictures(phantom):
    ct, findings, lungs = (image[:, :, 12:13] for image in (phantom.ct, phantom.findings, phantom.lungs))
    for picture in (montage(ct, findings, lungs), projections(findings, lungs)):
        assert np.ptp(pixels(picture)) > 100


def test_pixels_that_are_not_square_keep_the_patients_shape():
    flat = make_chest(empty_grid((112, 24, 20), (3.0, 12.0, 10.0)), noise_hu=0)
    even = make_chest(empty_grid((112, 96, 20), (3.0, 3.0, 10.0)), noise_hu=0)
    shapes = [pixels(montage(chest.ct, chest.findings, chest.lungs, count=1)).shape for chest in (flat, even)]
    assert shapes[0][0] == pytest.approx(shapes[1][0], rel=0.12)


areas = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=80)


@given(areas, st.integers(1, 14))
def test_chosen_slices_have_lung_and_are_as_many_as_can_be(areas, count):
    lung = [a for a, _ in areas]
    diseased = [min(a, b) for a, b in areas]
    chosen = choose_slices(lung, diseased, count)
    assert chosen == sorted(set(chosen)) and all(lung[z] for z in chosen)
    assert len(chosen) == min(count, np.count_nonzero(lung))


@given(st.integers(30, 200), st.data())
def test_the_most_diseased_slice_is_shown_or_a_close_neighbour(slices, data):
    diseased = data.draw(st.lists(st.integers(0, 90), min_size=slices, max_size=slices))
    worst = data.draw(st.integers(0, slices - 1))
    diseased[worst] = 100
    chosen = choose_slices([1000] * slices, diseased, 12)
    assert min(abs(z - worst) for z in chosen) < slices / 24 + 1
    assert max(np.diff([-1, *chosen, slices])) < slices / 3


def test_more_slices_are_shown_where_disease_is():
    diseased = [0] * 60 + [100] * 60
    chosen = choose_slices([1000] * 120, diseased, 12)
    assert sum(z >= 60 for z in chosen) == 9 and sum(z < 60 for z in chosen) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, DASH), (0, "0.0"), (0.049, "<0.1"), (0.05, "0.1"), (1234.56, "1234.6"), (-3.21, "−3.2"), (100, "100.0")],
)
def test_numbers_have_one_decimal(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, DASH), (18.66, "+18.7"), (-3.04, "−3.0"), (0.04, "0.0"), (-0.04, "0.0"), (0.05, "+0.1")]
)
def test_a_change_has_its_sign(value, text):
    assert difference(value) == text


def test_a_single_voxel_has_no_deviation():
    assert hounsfield(-512.4, None) == "−512" and hounsfield(None, None) == DASH
    assert hounsfield(-512.4, 20.6) == "−512 ± 21"
    assert hounsfield(-0.4, 20.6) == "0 ± 21"


def test_findings_on_another_grid_are_refused(study, phantom):
    moved = sitk.Image(phantom.ct)
    moved.SetOrigin([x + 5 for x in moved.GetOrigin()])
    for other in (moved, phantom.ct[:, :, 1:]):
        with pytest.raises(GeometryError, match="--ct"):
            compose(study, other, "2026-01-31")


def run(*arguments):
    return cli.main(["report", *map(str, arguments)])


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_command_writes_both_kinds(study, tmp_path, capsys):
    assert run(study.folder, "-o", tmp_path / "r.html", "--progress", "json") == 0
    *progress, result = events(capsys)
    assert list(dict.fromkeys(event["stage"] for event in progress)) == ["read", "pictures", "write"]
    assert result["event"] == "result" and result["warnings"] == study.warnings
    assert Page((tmp_path / "r.html").read_text(encoding="utf-8")).text.count("case 1") >= 2
    assert run(study.folder, "-o", tmp_path / "r.PDF") == 0
    assert NOTICE in capsys.readouterr().out
    assert "Density and aeration" in pdf_text((tmp_path / "r.PDF").read_bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.PDF", "r.html"]


@pytest.mark.usefixtures("without_pictures")
def test_a_ct_that_was_taken_as_it_is_has_a_report(phantom, tmp_path):
    """What ``--trust-hu`` had let in: water is missing from it."""
    trusted = write(tmp_path / "study", phantom)
    sitk.WriteImage(sitk.Clamp(phantom.ct, upperBound=-20), trusted.ct)
    assert run(trusted.folder, "-o", tmp_path / "report.html") == 0


@pytest.mark.usefixtures("without_pictures")
def test_a_ct_that_has_moved_is_named_by_the_user(study, tmp_path, capsys):
    moved = tmp_path / "elsewhere.nrrd"
    study.ct.rename(moved)
    try:
        assert run(study.folder, "-o", tmp_path / "r.html", "--progress", "json") == 3
        error = events(capsys)[-1]
        assert error["code"] == "input-not-found" and "--ct" in error["message"] and str(study.ct) in error["message"]
        assert not (tmp_path / "r.html").exists()
        assert run(study.folder, "-o", tmp_path / "r.html", "--ct", moved) == 0
    finally:
        moved.rename(study.ct)


@pytest.mark.parametrize(("output", "status"), [("r.txt", 7), ("none/r.pdf", 7), ("r.htm", 7)])
def test_a_bad_output_is_refused_before_the_work(study, tmp_path, capsys, output, status):
    assert run(study.folder, "-o", tmp_path / output, "--progress", "json") == status
    (error,) = events(capsys)
    assert error["code"] == "output"


def test_no_study_and_a_damaged_one(study, tmp_path, capsys):
    assert run(tmp_path, "-o", tmp_path / "r.pdf", "--progress", "json") == 3
    assert events(capsys)[-1]["code"] == "invalid-study"
    (tmp_path / "result.json").write_text("{", encoding="utf-8")
    assert run(tmp_path, "-o", tmp_path / "r.pdf", "--progress", "json") == 3
    (tmp_path / "result.json").write_bytes((study.folder / "result.json").read_bytes())
    assert run(tmp_path, "-o", tmp_path / "r.pdf", "--progress", "json") == 3
    assert "segmentation.seg.nrrd" in events(capsys)[-1]["message"]


@pytest.mark.parametrize(("package", "output"), [("jinja2", "r.html"), ("fpdf", "r.pdf"), ("matplotlib", "r.pdf")])
def test_a_missing_package_is_named(study, tmp_path, capsys, monkeypatch, package, output):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] == package or name.startswith("infnet.report.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert run(study.folder, "-o", tmp_path / output, "--progress", "json") == 8
    error = events(capsys)[-1]
    assert error["code"] == "missing-package" and package in error["message"] and "pip install" in error["message"]


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("stage", ["read", "pictures", "write"])
def test_a_stop_is_heeded_and_leaves_nothing(study, tmp_path, capsys, monkeypatch, stage):
    from infnet.reporting import JsonReporter

    stop = tmp_path / "stop"
    tell = JsonReporter.progress

    def progress(self, name, done, total):
        if name == stage:
            stop.touch()
        tell(self, name, done, total)

    monkeypatch.setattr(JsonReporter, "progress", progress)
    assert run(study.folder, "-o", tmp_path / "r.html", "--progress", "json", "--stop-file", stop) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["stop"]


@pytest.fixture(scope="module")
def compared(study, phantom, tmp_path_factory):
    """What infnet compare says of the study and a later one whose consolidation has gone."""
    folder = tmp_path_factory.mktemp("compared")
    findings = sitk.Mask(phantom.findings, phantom.findings != 2)
    measured = measure(phantom.ct, findings, phantom.lungs, None)
    later = replace(study, case="case 2", date="2020-04-01", table=measured.rows, severity=None)
    figures = [f"{x}_{unit}" for x in ("ggo", "consolidation", "infection") for unit in ("ml", "percent")]
    rows = []
    for each, before in ((study, None), (later, study)):
        total = each.table[-1]
        for figure in figures:
            value = total[figure]
            change = None if before is None else value - before.table[-1][figure]
            share = None if before is None else 100 * change / before.table[-1][figure]
            row = {"case": each.case, "date": each.date, "region": "total", "figure": figure, "value": value}
            rows.append(row | {"change_since_previous": change, "change_since_previous_percent": share})
    values = {
        "schema": "infnet-change/1",
        "studies": [{"case": s.case, "date": s.date, "ct": str(s.ct), "severity": s.severity} for s in (study, later)],
        "changes": rows,
        "maps": [{"earlier": "case 1", "later": "case 2", "ml": {"persistent": 12.04, "new": 0.0, "resolved": 33.33}}],
        "warnings": ["The sources of the lobes differ."],
    }
    (folder / "change.json").write_text(json.dumps(values), encoding="utf-8")
    Image.new("RGB", (160, 90), "white").save(folder / "change.png")
    return folder, study.table[-1], measured.rows[-1]


@pytest.mark.usefixtures("without_pictures")
def test_change_over_time_is_told(study, compared, tmp_path):
    folder, first, second = compared
    assert run(study.folder, "-o", tmp_path / "r.html", "--change", folder) == 0
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    earlier, later = page.tables[2][2:]
    assert earlier[:2] == ["case 1", "2020-03-01"] and earlier[-3:] == [DASH, DASH, f"{study.severity}/25"]
    assert later[:2] == ["case 2", "2020-04-01"] and later[-1] == DASH
    assert later[6] == number(second["infection_ml"]) and later[4] == "0.0"
    assert later[8] == difference(second["infection_ml"] - first["infection_ml"]) and later[8].startswith("−")
    assert "12.0 mL, new 0.0 mL, resolved 33.3 mL" in page.text and "The sources of the lobes differ." in page.text
    assert len(page.all("img")) == 4
    assert run(study.folder, "-o", tmp_path / "r.pdf", "--change", folder) == 0
    assert " ".join(later) in pdf_text((tmp_path / "r.pdf").read_bytes())


def test_a_comparison_of_others_or_a_damaged_one_is_refused(study, compared, tmp_path, capsys):
    values = json.loads((compared[0] / "change.json").read_text(encoding="utf-8"))
    Image.new("RGB", (16, 9)).save(tmp_path / "change.png")
    for change in ({"studies": []}, {"schema": "other/1"}, {"changes": []}, {"maps": None}):
        (tmp_path / "change.json").write_text(json.dumps(values | change), encoding="utf-8")
        assert run(study.folder, "-o", tmp_path / "r.html", "--change", tmp_path, "--progress", "json") == 3
        assert str(tmp_path) in events(capsys)[-1]["message"]
    (tmp_path / "change.json").unlink()
    assert run(study.folder, "-o", tmp_path / "r.html", "--change", tmp_path, "--progress", "json") == 3
    assert "infnet compare" in events(capsys)[-1]["message"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with a name")
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"png"), Path.mkdir])
def test_a_course_that_is_no_picture_is_refused(study, compared, tmp_path, capsys, make):
    """For a pipe one would wait; in PDF, a library would not name the file."""
    shutil.copy(compared[0] / "change.json", tmp_path)
    make(tmp_path / "change.png")
    for report in ("r.html", "r.pdf"):
        assert run(study.folder, "-o", tmp_path / report, "--change", tmp_path, "--progress", "json") == 3
        assert str(tmp_path / "change.png") in events(capsys)[-1]["message"] and not (tmp_path / report).exists()


@pytest.mark.parametrize(
    ("name", "index", "change"),
    [
        ("studies", 1, {"case": 3}),
        ("studies", 1, {"date": 20200401}),
        ("changes", 0, {"value": 10**400}),
    ],
)
def test_values_that_no_comparison_has_are_refused(compared, tmp_path, name, index, change):
    values = json.loads((compared[0] / "change.json").read_text(encoding="utf-8"))
    values[name][index].update(change)
    (tmp_path / "change.json").write_text(json.dumps(values), encoding="utf-8")
    shutil.copy(compared[0] / "change.png", tmp_path)
    with pytest.raises(InputError, match=r"change\.json: damaged"):
        read_change(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda labels: sitk.Compose(labels, labels), "one value a voxel"),  # segments that overlap, as 3D Slicer saves
        (lambda labels: sitk.Cast(labels, sitk.sitkFloat32) * 0.5, "whole numbers 0 to 2"),
        (lambda labels: labels + 7, "whole numbers 0 to 2"),
    ],
)
@pytest.mark.parametrize("name", ["segmentation.seg.nrrd", "lungs.nrrd"])
def test_images_of_a_study_that_are_no_labels_are_refused(phantom, tmp_path, name, change, told):
    study = write(tmp_path / "study", phantom)
    sitk.WriteImage(change(phantom.lungs), study.folder / name)
    with pytest.raises(InputError, match=rf"{name}: .*{told}"):
        compose(study, phantom.ct, "2026-01-01")
