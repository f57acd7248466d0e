import vtk
from slicer.i18n import tr as _

_DECIMALS = 3


def columns():
    """Key in the backend's table and title of each column, in order."""
    return (
        ("region", _("Region")),
        ("volume_ml", _("Volume (mL)")),
        ("ggo_ml", _("Ground-glass opacity (mL)")),
        ("consolidation_ml", _("Consolidation (mL)")),
        ("infection_ml", _("Infection (mL)")),
        ("ggo_percent", _("Ground-glass opacity (%)")),
        ("consolidation_percent", _("Consolidation (%)")),
        ("infection_percent", _("Infection (%)")),
    )


def fillTableNode(tableNode, rows):
    """Replace the content of a table node by the backend's rows (dicts: lungs and total)."""
    tableNode.RemoveAllColumns()
    for key, title in columns():
        array = vtk.vtkStringArray() if key == "region" else vtk.vtkDoubleArray()
        array.SetName(title)
        for row in rows:
            array.InsertNextValue(row[key] if key == "region" else round(row[key], _DECIMALS))
        tableNode.AddColumn(array)


def fillTableWidget(tableWidget, rows):
    """Show the rows in a QTableWidget: regions across, one line per quantity, as fits a narrow panel."""
    import qt

    quantities = [column for column in columns() if column[0] != "region"]
    tableWidget.setRowCount(len(quantities))
    tableWidget.setColumnCount(len(rows))
    tableWidget.setHorizontalHeaderLabels([row["region"] for row in rows])
    tableWidget.setVerticalHeaderLabels([title for _key, title in quantities])
    for line, (key, _title) in enumerate(quantities):
        for column, row in enumerate(rows):
            item = qt.QTableWidgetItem(f"{row[key]:.1f}")
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            tableWidget.setItem(line, column, item)
