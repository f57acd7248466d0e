"""A bar chart of a result: the share of each lobe (or lung) that each finding takes."""

import slicer
import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.ResultTable import partsOf, regionTitle
from InfNetSegmentationLib.Scene import FINDINGS, addNodeBeside, referencedNode
from InfNetSegmentationLib.Terminology import findingColor

_TABLE_ROLE, _LABELS = "InfNet.ChartTable", "Region"
_COLUMNS = ("ggo_percent", "consolidation_percent")


def fillChart(chartNode, rows, volumeNode):
    """Show the rows of the lobes, or of the lungs where there are no lobes; total and lungs are in the table."""
    tableNode = referencedNode(chartNode, _TABLE_ROLE, volumeNode, "vtkMRMLTableNode", _("{} infection chart values"))
    tableNode.RemoveAllColumns()
    parts = partsOf(rows)
    labels = vtk.vtkStringArray()
    labels.SetName(_LABELS)
    for row in parts:
        labels.InsertNextValue(regionTitle(row["region"]))
    tableNode.AddColumn(labels)
    for (_segmentID, name), key in zip(FINDINGS, _COLUMNS, strict=True):
        values = vtk.vtkDoubleArray()
        values.SetName(name)
        for row in parts:
            values.InsertNextValue(row[key] or 0.0)
        tableNode.AddColumn(values)
    if chartNode.GetNumberOfPlotSeriesNodes() == 0:
        _addSeries(chartNode, tableNode, volumeNode)
    chartNode.SetTitle(_("Infection of {}").format(volumeNode.GetName()))
    chartNode.SetYAxisTitle(_("% of the region"))
    chartNode.SetXAxisTitle("")
    chartNode.SetLegendVisibility(True)


def showChart(chartNode):
    """Show the chart beside the views; Slicer changes to a layout with a plot view if there is none."""
    slicer.modules.plots.logic().ShowChartInLayout(chartNode)


def _addSeries(chartNode, tableNode, volumeNode):
    for _segmentID, name in FINDINGS:
        series = addNodeBeside(volumeNode, "vtkMRMLPlotSeriesNode", "{} " + name)
        series.SetAndObserveTableNodeID(tableNode.GetID())
        series.SetLabelColumnName(_LABELS)
        series.SetYColumnName(name)
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        series.SetColor(findingColor(name))
        series.SetName(name)  # the legend shows it
        chartNode.AddAndObservePlotSeriesNodeID(series.GetID())
