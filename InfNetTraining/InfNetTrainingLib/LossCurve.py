"""The losses of a run as Slicer plot nodes: for each of its trainings the mean of every epoch."""

import csv
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _

_ATTRIBUTE = "InfNetTraining.Curve"  # of the chart and its tables: which run and training they show
_EPOCH, _LOSS = "Epoch", "Loss"
_COLORS = {
    "fold-0": (0.55, 0.55, 0.55),
    "training": (0.12, 0.47, 0.71),
    "supervised": (0.55, 0.55, 0.55),
    "fine-tuning": (1.0, 0.5, 0.05),
    "pre-training": (0.17, 0.63, 0.17),
    "semi-supervised": (0.12, 0.47, 0.71),
}


def readLosses(folder):
    """{training: mean loss of each epoch, in their order}, of what the run has logged so far.

    The rounds of Algorithm 1 follow each other in one curve, "fine-tuning".
    """
    folder = Path(folder)
    trainings = [("fold-0", [folder / "held-out/fold-0/training"]), ("training", [folder])]
    trainings += [(name, [folder / name / "training"]) for name in ("supervised", "pre-training", "semi-supervised")]
    trainings.append(("fine-tuning", sorted(folder.glob("round-*/training"))))
    curves = {}
    for name, folders in trainings:
        losses = [loss for path in folders for loss in _epochMeans(path / "log")]
        if losses:
            curves[name] = losses
    return curves


def updateChart(folder):
    """Fill the run's chart, made at the first time. Returns the node, or None where nothing has been logged yet."""
    curves = readLosses(folder)
    if not curves:
        return None
    chartNode = _node("vtkMRMLPlotChartNode", str(folder), _("{} loss").format(Path(folder).name))
    for name, losses in curves.items():
        key = f"{folder} {name}"
        tableNode = _node("vtkMRMLTableNode", key, f"{Path(folder).name} {name}")
        _fill(tableNode, losses)
        seriesNode = _node("vtkMRMLPlotSeriesNode", key, name)
        seriesNode.SetAndObserveTableNodeID(tableNode.GetID())
        seriesNode.SetXColumnName(_EPOCH)
        seriesNode.SetYColumnName(_LOSS)
        seriesNode.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        seriesNode.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
        seriesNode.SetColor(*_COLORS[name])
        if not chartNode.HasPlotSeriesNodeID(seriesNode.GetID()):
            chartNode.AddAndObservePlotSeriesNodeID(seriesNode.GetID())
    chartNode.SetTitle(_("Training loss, {}").format(Path(folder).name))
    chartNode.SetXAxisTitle(_("epoch"))
    chartNode.SetYAxisTitle(_("mean loss"))
    return chartNode


def showChart(chartNode):
    """Show the chart beside the views; Slicer changes to a layout with a plot view if there is none."""
    slicer.modules.plots.logic().ShowChartInLayout(chartNode)


def _epochMeans(logFolder):
    """Mean loss of every epoch. A resumed run logs in a new version, which goes before the old from its first step."""
    steps = {}
    for path in sorted(logFolder.glob("version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        rows = _rows(path)
        if rows:
            steps = {step: row for step, row in steps.items() if step < rows[0][0]}
            steps.update({step: row for step, *row in rows})
    epochs = {}
    for step in sorted(steps):
        epoch, loss = steps[step]
        epochs.setdefault(int(epoch + 1e-6), []).append(loss)
    return [sum(losses) / len(losses) for losses in epochs.values()]


def _rows(path):
    """(step, epoch, loss) of each line; the last one may be only half written."""
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.DictReader(file):
            try:
                rows.append((int(row["step"]), float(row["epoch"]), float(row["loss"])))
            except (ValueError, TypeError, KeyError):
                continue
    return rows


def _fill(tableNode, losses):
    table = vtk.vtkTable()
    for name, values in ((_EPOCH, range(1, len(losses) + 1)), (_LOSS, losses)):
        column = vtk.vtkDoubleArray()
        column.SetName(name)
        for value in values:
            column.InsertNextValue(value)
        table.AddColumn(column)
    tableNode.SetAndObserveTable(table)


def _node(className, key, name):
    for node in slicer.util.getNodesByClass(className):
        if node.GetAttribute(_ATTRIBUTE) == key:
            return node
    node = slicer.mrmlScene.AddNewNodeByClass(className, name)
    node.SetAttribute(_ATTRIBUTE, key)
    return node
