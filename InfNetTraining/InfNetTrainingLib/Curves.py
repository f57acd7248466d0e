"""The losses of a run, and its Dice on held-out slices, as Slicer plot nodes: for each of its trainings by epoch."""

import csv
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

from InfNetTrainingLib.TrainingConfig import HELD_OUT_FOLDER

_ATTRIBUTE = "InfNetTraining.Curve"  # of the chart and its tables: which run and training they show
_EPOCH = "Epoch"
_COLORS = {
    "fold-0": (0.55, 0.55, 0.55),
    "training": (0.12, 0.47, 0.71),
    "supervised": (0.55, 0.55, 0.55),
    "fine-tuning": (1.0, 0.5, 0.05),
    "pre-training": (0.17, 0.63, 0.17),
    "semi-supervised": (0.12, 0.47, 0.71),
}


def diceTitles():
    """What the columns of the backend's validation.csv are called; the first one there is, is the one that counts."""
    return {
        "dice": _("Dice"),
        "ggo_dice": _("Dice of ground-glass opacity"),
        "consolidation_dice": _("Dice of consolidation"),
    }


def readLosses(folder):
    """{training: mean loss of each epoch, in their order}, of what the run has logged so far.

    The rounds of Algorithm 1 follow each other in one curve, "fine-tuning".
    """
    curves = {}
    for name, folders in _trainings(folder).items():
        losses = [loss for path in folders for loss in _epochMeans(path / "log")]
        if losses:
            curves[name] = losses
    return curves


def readDice(folder):
    """{training: {column: [(epoch, Dice on the held-out slices)]}}, where there are some; epochs as in `readLosses`."""
    curves = {}
    for name, folders in _trainings(folder).items():
        before = 0
        for path in folders:
            for row in _rows(path / "validation.csv"):
                for column in diceTitles():
                    if row.get(column):
                        with suppress(ValueError):  # the last line may be only half written
                            point = (before + int(row["epoch"]), float(row[column]))
                            curves.setdefault(name, {}).setdefault(column, []).append(point)
            if path != folders[-1]:
                before += len(_epochMeans(path / "log"))
    return curves


def updateChart(folder):
    """Fill the run's chart, made at the first time. Returns the node, or None where nothing has been logged yet."""
    losses = readLosses(folder)
    if not losses:
        return None
    chartNode = _node("vtkMRMLPlotChartNode", str(folder), _("{} curves").format(Path(folder).name))
    noMarker, circle = slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone, slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle
    for name, values in losses.items():
        _draw(chartNode, folder, name, _("Loss"), enumerate(values, start=1), noMarker)
    for name, columns in readDice(folder).items():
        for column, points in columns.items():
            _draw(chartNode, folder, name, diceTitles()[column], points, circle)
    chartNode.SetTitle(_("Training loss and held-out Dice (circles), {}").format(Path(folder).name))
    chartNode.SetXAxisTitle(_("epoch"))
    chartNode.SetYAxisTitle(_("mean loss; Dice"))
    return chartNode


def showChart(chartNode):
    """Show the chart beside the views; Slicer changes to a layout with a plot view if there is none."""
    slicer.modules.plots.logic().ShowChartInLayout(chartNode)


def _trainings(folder):
    """{training: the backend's folders of it, in their order}."""
    folder = Path(folder)
    names = ("supervised", "pre-training", "semi-supervised")
    return {
        "fold-0": [folder / HELD_OUT_FOLDER / "fold-0/training"],
        "training": [folder],
        **{name: [folder / name / "training"] for name in names},
        "fine-tuning": sorted(folder.glob("round-*/training")),
    }


def _epochMeans(logFolder):
    """Mean loss of every epoch. A resumed run logs in a new version, which goes before the old from its first step."""
    paths = sorted(logFolder.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    return _meansOf(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=4096)
def _meansOf(logs):
    """Read once, as the hundreds of rounds of Algorithm 1 have ended but for one. ``logs``: (path, size, time), …"""
    steps = {}
    for path, _size, _time in logs:
        rows = list(_losses(path))
        if rows:
            steps = {step: row for step, row in steps.items() if step < rows[0][0]}
            steps.update({step: row for step, *row in rows})
    epochs = {}
    for step in sorted(steps):
        epoch, loss = steps[step]
        epochs.setdefault(int(epoch + 1e-6), []).append(loss)
    return [sum(losses) / len(losses) for losses in epochs.values()]


def _losses(path):
    """(step, epoch, loss) of each line; the last one may be only half written."""
    for row in _rows(path):
        try:
            yield int(row["step"]), float(row["epoch"]), float(row["loss"])
        except (ValueError, TypeError, KeyError):
            continue


def _rows(path):
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.DictReader(file))


def _draw(chartNode, folder, training, title, points, markerStyle):
    """Fill the table of one curve with (epoch, value), and put it on the chart."""
    key, name = f"{folder} {training} {title}", f"{training}: {title}"
    tableNode = _node("vtkMRMLTableNode", key, f"{Path(folder).name} {name}")
    table = vtk.vtkTable()
    columns = [vtk.vtkDoubleArray(), vtk.vtkDoubleArray()]
    for column, columnName in zip(columns, (_EPOCH, title), strict=True):
        column.SetName(columnName)
        table.AddColumn(column)
    for point in points:
        for column, value in zip(columns, point, strict=True):
            column.InsertNextValue(value)
    tableNode.SetAndObserveTable(table)
    seriesNode = _node("vtkMRMLPlotSeriesNode", key, name)
    seriesNode.SetAndObserveTableNodeID(tableNode.GetID())
    seriesNode.SetXColumnName(_EPOCH)
    seriesNode.SetYColumnName(title)
    seriesNode.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    seriesNode.SetMarkerStyle(markerStyle)
    seriesNode.SetColor(*_COLORS[training])
    if not chartNode.HasPlotSeriesNodeID(seriesNode.GetID()):
        chartNode.AddAndObservePlotSeriesNodeID(seriesNode.GetID())


def _node(className, key, name):
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(_ATTRIBUTE) == key:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    node.SetAttribute(_ATTRIBUTE, key)
    return node
