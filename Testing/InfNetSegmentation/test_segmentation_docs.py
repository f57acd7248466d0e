"""The page on segmentation in Slicer says what there is: controls, error texts, tests, and examples that run."""

import ast
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import SimpleITK as sitk
import slicer

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/segmentation-in-slicer.md"
MODULE = REPOSITORY / "InfNetSegmentation"


def section(title):
    """The text below a heading of the second level."""
    return re.search(rf"^## {title}$(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.M | re.S)[1]


def test_every_control_is_explained_once_and_no_other():
    ui = ElementTree.parse(MODULE / "Resources/UI/InfNetSegmentation.ui")
    # Labels, sections and frames are not controls: the page's headings and first columns are their words.
    frames = ("QLabel", "QWidget", "ctkCollapsibleButton", "qMRMLWidget")
    controls = [widget.get("name") for widget in ui.iter("widget") if widget.get("class") not in frames]
    assert len(controls) > 30
    rows = re.findall(r"^\| .* \| `(\w+)` \|$", section("Every control"), re.M)
    assert sorted(rows) == sorted(controls)


def sentences():
    """The texts of the program, a … for each value that is put into one."""
    texts = set()
    for folder in ("InfNetSegmentationLib", "infnet"):
        for path in (MODULE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    texts.add("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.add(re.sub(r"\{\w*\}", "…", node.value))
    return texts


def test_the_headings_of_troubleshooting_are_the_programs_own_words():
    headings = re.findall(r"^### (.*)$", section("Troubleshooting"), re.M)
    assert len(headings) > 10
    known = sentences()
    assert [heading for heading in headings if not any(heading.strip("… ") in text for text in known)] == []


def test_every_test_that_the_page_names_exists():
    table = section("What usually goes wrong with such modules, and what this one does")
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 13
    existing = set()
    for path in (REPOSITORY / "Testing").rglob("test_*.py"):
        existing |= set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= existing, row


def test_every_link_and_picture_is_there():
    for page in (PAGE, REPOSITORY / "README.md"):
        targets = re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8"))
        assert len(targets) > 5
        assert [target for target in targets if not (page.parent / target).exists()] == []


def test_pictures_are_small_and_used():
    pages = [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
    pages = "".join(page.read_text(encoding="utf-8") for page in pages)
    pictures = [*(REPOSITORY / "Resources/Screenshots").iterdir()]
    assert len(pictures) >= 3
    for picture in pictures:
        assert picture.name in pages
        assert picture.stat().st_size < 150_000, "the clone is to stay small"


def examples(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.parametrize("page", [PAGE, REPOSITORY / "README.md"], ids=lambda page: page.name)
def test_the_examples_run(page, host, module, addCT, fakeBackend, monkeypatch, tmp_path, capsys):
    import InfNetSegmentationLib.BackendProcess as backend

    (tmp_path / "cts").mkdir()
    for path in (tmp_path / "ct.nrrd", tmp_path / "cts/anna.nrrd"):
        slicer.util.saveNode(addCT(), str(path))
    monkeypatch.chdir(tmp_path)
    slicer.mrmlScene.SetRootDirectory(str(tmp_path))
    batch = [sys.executable, str(REPOSITORY / "Testing/slicerhost/batchbackend.py")]
    names = {"slicer": slicer}
    for example in examples(page):
        command = batch if "processBatch" in example else fakeBackend("success")
        monkeypatch.setattr(backend, "backendCommand", lambda command=command: command)
        exec(example, names)
    printed = capsys.readouterr().out
    assert "left lower lobe 150.0 50.0" in printed
    if page == PAGE:
        assert sitk.ReadImage(tmp_path / "ct.seg.nrrd").GetSize() == (11, 9, 7)
        assert (tmp_path / "ct.csv").read_text(encoding="utf-8").count("left lower lobe") == 1
        assert re.search(r"^anna \d+\.\d+$", printed, re.M)
        assert (tmp_path / "results/summary.csv").exists()
