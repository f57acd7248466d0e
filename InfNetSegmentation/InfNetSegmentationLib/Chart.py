"""Charts in the scene: how much of each region is infected, at one time and from one study to the next."""

import math

import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.ResultTable import partsOf, regionTitle
from InfNetSegmentationLib.Scene import FINDINGS, addNodeBeside, referencedNode
from InfNetSegmentationLib.Terminology import findingColor

_TABLE_ROLE, _LABELS = "InfNet.ChartTable", "Label"
_COLUMNS = ("ggo_percent", "consolidation_percent")
_TOTAL_COLOR = (0.0, 0.0, 0.0)


def fillChart(chartNode, rows, volumeNode):
    """Bars for the lobes, or for the lungs where there are no lobes; total and lungs are in the table."""
    parts = partsOf(rows)
    series = [
        (name, findingColor(name), [row[key] or 0.0 for row in parts])
        for (_segmentID, name), key in zip(FINDINGS, _COLUMNS, strict=True)
    ]
    labels = [regionTitle(row["region"]) for row in parts]
    _draw(chartNode, volumeNode, slicer.vtkMRMLPlotSeriesNode.PlotTypeBar, labels, series)
    chartNode.SetTitle(_("Infection of {}").format(volumeNode.GetName()))


def fillChangeChart(chartNode, change, volumeNode):
    """A line for each lobe, or for each lung where there are no lobes, and one for both lungs, over the studies."""
    from infnet.anatomy.regions import LOBES, LUNGS, ZONES

    colors = {region.name: [value / 255 for value in region.colour] for region in (*LOBES, *ZONES, *LUNGS)}
    key = "infection_percent"
    values = {region: [older[key], newer[key]] for region, older, newer in change.rows()}
    regions = [row["region"] for row in partsOf(change.tables[-1])]
    series = [
        (regionTitle(name), colors.get(name, _TOTAL_COLOR), [math.nan if v is None else v for v in values[name]])
        for name in (*regions, "total")
        if name in values
    ]
    _draw(chartNode, volumeNode, slicer.vtkMRMLPlotSeriesNode.PlotTypeLine, change.titles, series)
    chartNode.SetTitle(_("Infection over time"))


def showChart(chartNode):
    """Show the chart beside the views; Slicer changes to a layout with a plot view if there is none."""
    slicer.modules.plots.logic().ShowChartInLayout(chartNode)


def _draw(chartNode, volumeNode, plotType, labels, series):
    """Replace what a chart shows. ``series``: [(name, colour, one value for each label), …]"""
    tableNode = referencedNode(chartNode, _TABLE_ROLE, volumeNode, "vtkMRMLTableNode", _("{} infection chart values"))
    tableNode.RemoveAllColumns()
    tableNode.AddColumn(_column(vtk.vtkStringArray(), _LABELS, labels))
    for name, _color, values in series:
        tableNode.AddColumn(_column(vtk.vtkDoubleArray(), name, values))
    shown = [chartNode.GetNthPlotSeriesNode(i) for i in range(chartNode.GetNumberOfPlotSeriesNodes())]
    if [node.GetName() for node in shown] != [name for name, _color, _values in series]:
        for node in shown:
            slicer.mrmlScene.RemoveNode(node)
        chartNode.RemoveAllPlotSeriesNodeIDs()
        for name, color, _values in series:
            node = addNodeBeside(volumeNode, "vtkMRMLPlotSeriesNode", "{} " + name)
            node.SetLabelColumnName(_LABELS)
            node.SetYColumnName(name)
            node.SetPlotType(plotType)
            node.SetColor(color)
            node.SetName(name)  # the legend shows it
            chartNode.AddAndObservePlotSeriesNodeID(node.GetID())
    for number in range(len(series)):  # somebody may have deleted the table that they had
        chartNode.GetNthPlotSeriesNode(number).SetAndObserveTableNodeID(tableNode.GetID())
    chartNode.SetYAxisTitle(_("% of the region"))
    chartNode.SetXAxisTitle("")
    chartNode.SetLegendVisibility(True)


def _column(array, name, values):
    array.SetName(name)
    for value in values:
        array.InsertNextValue(value)
    return array
