"""Losses, held-out Dice, and the way of a model to the other module."""

import hashlib
import json
import zipfile

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def model(tmp_path):
    """A model's card, with weights beside it."""
    folder = tmp_path / "run/model"
    folder.mkdir(parents=True)
    (folder / "mine.safetensors").write_bytes(b"weights")
    card = {"name": "mine", "task": "infection", "summary": "Mine.", "network": {}, "input_size": 64, "licence": ""}
    card["sha256"] = hashlib.sha256(b"weights").hexdigest()
    (folder / "mine.json").write_text(json.dumps(card), encoding="utf-8")
    return folder / "mine.json"


def writeLog(folder, version, rows):
    path = folder / "log" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    text = "".join(f"{epoch},{loss},{step}\n" for epoch, loss, step in rows)
    path.write_text("epoch,loss,step\n" + text, encoding="utf-8")


def test_losses_are_means_of_epochs_and_a_resumed_run_goes_before_the_old(module, tmp_path):
    from InfNetTrainingLib.LossCurve import readLosses

    assert readLosses(tmp_path) == {}
    writeLog(tmp_path, 9, [(0, 4, 0), (0.5, 2, 1), (1, 1, 2), (1.5, 9, 3), (2, 9, 4)])
    writeLog(tmp_path, 10, [(1.5, 3, 3)])  # after 9, not between 1 and 2
    (tmp_path / "log/version_10/metrics.csv").open("a").write("2.0,0.")  # half a line
    assert readLosses(tmp_path) == {"training": [3.0, 2.0]}


def test_rounds_follow_each_other_in_one_curve(module, tmp_path):
    from InfNetTrainingLib.LossCurve import readLosses

    for name, loss in (("supervised", 5), ("round-002", 3), ("round-001", 4)):
        writeLog(tmp_path / name / "training", 0, [(0, loss, 0), (1, loss / 2, 1)])
    assert readLosses(tmp_path) == {"supervised": [5, 2.5], "fine-tuning": [4, 2, 3, 1.5]}


def test_the_chart_is_filled_again_and_not_made_again(module, tmp_path):
    import slicer
    from InfNetTrainingLib.LossCurve import updateChart

    assert updateChart(tmp_path) is None
    writeLog(tmp_path, 0, [(0, 4, 0)])
    chartNode = updateChart(tmp_path)
    writeLog(tmp_path, 1, [(1, 2, 1)])
    assert updateChart(tmp_path) is chartNode
    assert chartNode.GetNumberOfPlotSeriesNodes() == 1
    seriesNode = chartNode.GetNthPlotSeriesNode(0)
    table = seriesNode.GetTableNode().GetTable()
    columns = [seriesNode.GetXColumnName(), seriesNode.GetYColumnName()]
    values = [[table.GetColumnByName(name).GetValue(i) for i in range(table.GetNumberOfRows())] for name in columns]
    assert values == [[1, 2], [4, 2]]
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 1


def test_held_out_dice_is_exact(module, makeSlices, tmp_path):
    from InfNetTrainingLib.Outcome import readOutcome

    labelled = makeSlices(tmp_path / "labelled", count=3)
    config = module.TrainingConfig(str(labelled), str(tmp_path / "run"))
    assert "not known" in readOutcome(tmp_path / "run", config).lines()[0]
    shares = {"supervised": [1, 0], "semi-supervised": [1, 0.5]}
    for name, values in shares.items():
        folder = tmp_path / "run/predictions" / name
        folder.mkdir(parents=True)
        for stem, share in zip("02", values, strict=True):
            truth = np.asarray(Image.open(labelled / f"GT/{stem}.png")) > 0
            rows, columns = np.nonzero(truth)
            map_ = np.zeros(truth.shape, np.uint8)
            kept = round(share * len(rows))
            map_[rows[:kept], columns[:kept]] = 128
            Image.fromarray(map_).save(folder / f"{stem}.png")
    outcome = readOutcome(tmp_path / "run", config)
    half = outcome.dice["semi-supervised"]["2"]
    assert outcome.dice["labels alone"] == {"0": 1.0, "2": 0.0}
    assert outcome.dice["semi-supervised"]["0"] == 1.0 and half == pytest.approx(2 / 3, abs=0.01)
    lines = outcome.lines()
    assert lines[0].startswith("Held-out Dice, labels alone: 0.500")
    assert lines[2].startswith(f"Difference: {half / 2:+.3f}") and lines[2].endswith("better in 1, worse in 0")


def test_held_out_findings_are_told_apart_and_not_compared(module, tmp_path):
    from InfNetTrainingLib.Outcome import readOutcome

    labels = np.zeros((10, 10), np.uint8)
    labels[:4], labels[4:6] = 1, 2
    found = np.zeros((10, 10), np.uint8)
    found[2:6] = 255  # consolidation, half of it too much; outside the infection nothing counts
    found[9] = 255
    for folder, picture in (("labelled/GT", labels), ("run/held-out/predictions", found)):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / folder / "0.png")
    Image.fromarray(np.where(labels == 2, 1, labels)).save(tmp_path / "labelled/GT/1.png")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "run/held-out/predictions/1.png")
    config = module.TrainingConfig(str(tmp_path / "labelled"), str(tmp_path / "run"), kind="findings", holdOut=True)
    outcome = readOutcome(tmp_path / "run", config)
    ggo, consolidation = outcome.dice.values()
    assert ggo == {"0": pytest.approx(2 * 20 / (20 + 40)), "1": 1.0}
    assert consolidation == {"0": pytest.approx(2 * 20 / (40 + 20))}, "slice 1 has none"
    assert len(outcome.lines()) == 2


def test_a_model_goes_by_zip_to_the_list_of_the_other_module(module, model, tmp_path):
    from InfNetSegmentationLib.ModelFile import exportModel, installModel
    from InfNetSegmentationLib.Models import modelChoices

    zipPath = exportModel(model, tmp_path / "mine.zip")
    installed = installModel(zipPath)
    assert installed.with_suffix(".safetensors").read_bytes() == b"weights"
    assert str(installed) in [choice.value for choice in modelChoices("infection")]
    assert installModel(model) == installed, "the same model again"


def test_another_model_of_that_name_is_replaced_only_if_asked(module, model):
    from InfNetSegmentationLib.ModelFile import installModel

    installed = installModel(model)
    card = json.loads(model.read_text(encoding="utf-8"))
    model.write_text(json.dumps({**card, "summary": "Newer."}), encoding="utf-8")
    with pytest.raises(FileExistsError, match="mine"):
        installModel(model)
    assert "Newer" not in installed.read_text(encoding="utf-8")
    installModel(model, replace=True)
    assert "Newer" in installed.read_text(encoding="utf-8")


def test_damaged_and_foreign_files_are_refused(module, model, tmp_path):
    from InfNetSegmentationLib.ModelFile import exportModel, installModel
    from InfNetSegmentationLib.Models import modelsFolder

    model.with_suffix(".safetensors").write_bytes(b"others")
    with pytest.raises(ValueError, match="SHA-256"):
        installModel(exportModel(model, tmp_path / "damaged.zip"))
    (tmp_path / "text.zip").write_text("no zip", encoding="utf-8")
    with pytest.raises(ValueError, match="not a readable zip"):
        installModel(tmp_path / "text.zip")
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("../../evil.json", "{}")
    with pytest.raises(ValueError, match="does not hold one model"):
        installModel(tmp_path / "foreign.zip")
    assert not modelsFolder().exists()


def test_a_zip_file_writes_nothing_elsewhere_and_no_more_than_it_may(module, model, tmp_path, monkeypatch):
    from InfNetSegmentationLib import ModelFile, Models

    def packed(card, weights, content=b"weights"):
        with zipfile.ZipFile(tmp_path / "sent.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(card, model.read_bytes())
            archive.writestr(weights, content)
        return tmp_path / "sent.zip"

    def files():
        return {path for path in tmp_path.parent.rglob("*") if path.is_file()}

    for start in ("../../", "/tmp/../../", "..\\..\\", "C:\\"):
        path = packed(f"{start}sent.json", f"{start}sent.safetensors")
        before = files()
        installed = ModelFile.installModel(path)
        new = files() - before
        assert installed in new and {file.parent for file in new} == {Models.modelsFolder()}
        for file in new:
            file.unlink()

    monkeypatch.setattr(ModelFile, "_LARGEST_BYTES", 1 << 20)
    bomb = packed("sent.json", "sent.safetensors", bytes(2 << 20))
    assert bomb.stat().st_size < 1 << 14
    with pytest.raises(ValueError, match="does not hold one model"):
        ModelFile.installModel(bomb)
    lying = bytearray(bomb.read_bytes())  # says that it unpacks to 7 bytes
    size = (2 << 20).to_bytes(4, "little")
    assert lying.count(size) == 2
    bomb.write_bytes(lying.replace(size, (7).to_bytes(4, "little")))
    with pytest.raises(ValueError, match="not a readable zip"):
        ModelFile.installModel(bomb)
