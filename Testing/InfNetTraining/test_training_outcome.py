"""Losses, held-out Dice, and the way of a model to the other module."""

import hashlib
import json
import os
import zipfile
from dataclasses import replace

import pytest


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
    from InfNetTrainingLib.Curves import readLosses

    assert readLosses(tmp_path) == {}
    writeLog(tmp_path, 9, [(0, 4, 0), (0.5, 2, 1), (1, 1, 2), (1.5, 9, 3), (2, 9, 4)])
    writeLog(tmp_path, 10, [(1.5, 3, 3)])  # after 9, not between 1 and 2
    (tmp_path / "log/version_10/metrics.csv").open("a").write("2.0,0.")  # half a line
    assert readLosses(tmp_path) == {"training": [3.0, 2.0]}


def test_rounds_follow_each_other_in_one_curve(module, tmp_path):
    from InfNetTrainingLib.Curves import readLosses

    for name, loss in (("supervised", 5), ("round-002", 3), ("round-001", 4)):
        writeLog(tmp_path / name / "training", 0, [(0, loss, 0), (1, loss / 2, 1)])
    assert readLosses(tmp_path) == {"supervised": [5, 2.5], "fine-tuning": [4, 2, 3, 1.5]}


def test_the_log_of_a_round_that_has_ended_is_not_read_again(module, tmp_path):
    """There can be hundreds of rounds, and every few seconds the curves are drawn anew."""
    from InfNetTrainingLib.Curves import readLosses

    writeLog(tmp_path / "round-001/training", 0, [(0, 4, 0), (1, 2, 1)])
    assert readLosses(tmp_path) == {"fine-tuning": [4, 2]}
    path = tmp_path / "round-001/training/log/version_0/metrics.csv"
    text, time = path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
    path.write_text(text.replace("4", "9"), encoding="utf-8")
    os.utime(path, ns=(time, time))  # as if nobody had written
    assert readLosses(tmp_path) == {"fine-tuning": [4, 2]}
    path.write_text(text + "2,1,2\n", encoding="utf-8")
    assert readLosses(tmp_path) == {"fine-tuning": [4, 2, 1]}


def test_the_chart_is_filled_again_and_not_made_again(module, tmp_path):
    import slicer
    from InfNetTrainingLib.Curves import updateChart

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


def test_dice_of_rounds_follow_each_other_and_findings_have_two(module, tmp_path):
    from InfNetTrainingLib.Curves import readDice

    assert readDice(tmp_path) == {}
    for name, rows in (("round-001", ["2,1,0.5", "4,2,0.6"]), ("round-002", ["2,1,"]), ("round-003", ["2,1,0.8"])):
        writeLog(tmp_path / name / "training", 0, [(0, 1, 0), (1, 1, 1)])
        (tmp_path / name / "training/validation.csv").write_text(
            "\n".join(["step,epoch,dice", *rows]), encoding="utf-8"
        )
    assert readDice(tmp_path) == {"fine-tuning": {"dice": [(1, 0.5), (2, 0.6), (5, 0.8)]}}
    (tmp_path / "run/held-out/fold-0/training").mkdir(parents=True)
    (tmp_path / "run/held-out/fold-0/training/validation.csv").write_text(
        "step,epoch,ggo_dice,consolidation_dice\n2,1,0.5,\n4,2,0.6,0.3\n", encoding="utf-8"
    )
    assert readDice(tmp_path / "run") == {
        "fold-0": {"ggo_dice": [(1, 0.5), (2, 0.6)], "consolidation_dice": [(2, 0.3)]}
    }


def test_the_outcome_is_that_of_the_backends_metrics(module, tmp_path):
    """From a supervised training by a shipped model, and by Algorithm 1; the numbers are looked at in test_infnet."""
    from InfNetTrainingLib.Outcome import readOutcome

    def measured(values, **more):
        means = {"mean": sum(values) / len(values), "confidence": [min(values), max(values)], "images": len(values)}
        images = {str(i): {"dice": value, "ggo_dice": None} for i, value in enumerate(values)}
        nothing = {"mean": None, "confidence": None, "images": 0}
        return {"metrics": {"dice": means, "ggo_dice": nothing}, "images": images, **more}

    difference = {"mean": 0.25, "confidence": [0.0, 0.5], "better": 1, "worse": 0}
    told = measured([0.5, 1.0], before=measured([0.5, 0.5], name="a-model", dice_difference=difference))
    labelled = tmp_path / "labelled"
    config = module.TrainingConfig(str(labelled), str(tmp_path), holdOut=True)
    outcome = readOutcome(tmp_path, replace(config, holdOut=False))
    assert outcome.lines() == ["No slices were held out, so the Dice on unseen slices is not known."]
    assert outcome.table() == ([], [])
    (told_,) = readOutcome(tmp_path, config).lines()
    assert told_.startswith("What was measured on the held-out slices cannot be read") and "metrics.json" in told_
    (tmp_path / "held-out/fold-0").mkdir(parents=True)
    (tmp_path / "held-out/fold-0/metrics.json").write_text(json.dumps(told), encoding="utf-8")
    outcome = readOutcome(tmp_path, config)
    mean, start, change, caution, split = outcome.lines()
    assert split.startswith("Which CTs the slices are of is not known. If other slices of these CTs were learnt from")
    assert mean == ("Held-out Dice, this recipe without the held-out slices: 0.750 (95 % 0.500 to 1.000), 2 slices")
    assert start.startswith("Held-out Dice, a-model, from which it started: 0.500")
    assert change == "Difference: +0.250 (95 % 0.000 to 0.500); better in 1, worse in 0"
    assert "not known" in caution and "both are flattered" in caution, "the shipped model may have seen them"
    headings, rows = outcome.table()
    assert headings == ["Slice", "Dice", "Dice of ground-glass opacity", "Dice before"]
    assert rows == [["0", "0.500", "", "0.500"], ["1", "1.000", "", "0.500"]]
    (tmp_path / "metrics.json").write_text(json.dumps(told), encoding="utf-8")
    mean, start, _change, _split = readOutcome(tmp_path, replace(config, kind="semi-supervised")).lines()
    assert mean.startswith("Held-out Dice, semi-supervised: 0.750") and "labels alone: 0.500" in start
    labelled.mkdir()
    for listing, words in (
        ("0,a\n1,a\n2,b\n", "The slices are of 1 CTs or patients, whose labels were all held out"),
        ("0,a\n2,b\n", "is not known"),
    ):
        (labelled / "slices.csv").write_text("file,volume\n" + listing, encoding="utf-8")
        assert words in readOutcome(tmp_path, config).lines()[-1]
    lines = readOutcome(tmp_path, replace(config, kind="findings")).lines()
    assert any(line.startswith("Measured within the infection as it is labelled") for line in lines)


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
