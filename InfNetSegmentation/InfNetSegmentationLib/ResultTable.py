import math

import vtk
from slicer.i18n import tr as _

_DECIMALS = 3


def columns():
    """Key and title of each column, in order. The keys are the backend's, but for the case."""
    return (
        ("case", _("Case")),
        ("region", _("Region")),
        ("volume_ml", _("Volume (mL)")),
        ("ggo_ml", _("Ground-glass opacity (mL)")),
        ("consolidation_ml", _("Consolidation (mL)")),
        ("infection_ml", _("Infection (mL)")),
        ("ggo_percent", _("Ground-glass opacity (%)")),
        ("consolidation_percent", _("Consolidation (%)")),
        ("infection_percent", _("Infection (%)")),
    )


def fillTableNode(tableNode, rows, case):
    """Replace the content of a table node by the backend's rows (dicts: lungs and total) of the named case."""
    tableNode.RemoveAllColumns()
    for key, title in columns():
        isText = key in ("case", "region")
        array = vtk.vtkStringArray() if isText else vtk.vtkDoubleArray()
        array.SetName(title)
        for row in rows:
            value = {"case": case, **row}[key]
            if not isText:  # a lung that was not found has no percentages
                value = math.nan if value is None else round(value, _DECIMALS)
            array.InsertNextValue(value)
        tableNode.AddColumn(array)


def fillTableWidget(tableWidget, rows):
    """Show the rows in a QTableWidget: regions across, findings down, as fits a narrow panel."""
    import qt

    findings = (
        ("ggo", _("Ground-glass opacity")),
        ("consolidation", _("Consolidation")),
        ("infection", _("Infection")),
    )
    tableWidget.setRowCount(1 + len(findings))
    tableWidget.setColumnCount(len(rows))
    tableWidget.setHorizontalHeaderLabels([row["region"].capitalize() for row in rows])
    tableWidget.setVerticalHeaderLabels([_("Lung volume"), *(title for _key, title in findings)])
    tableWidget.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    tableWidget.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    for column, row in enumerate(rows):
        texts = [f"{row['volume_ml']:.0f} mL"]
        texts += [f"{row[key + '_ml']:.1f} mL\n{_percent(row[key + '_percent'])}" for key, _title in findings]
        for line, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            tableWidget.setItem(line, column, item)


def _percent(value):
    return "–" if value is None else f"{value:.1f} %"  # noqa: RUF001
