import math

import vtk
from slicer.i18n import tr as _

from InfNetSegmentationLib.ResultTable import regionTitle

_MISSING = "–"  # noqa: RUF001


def fillChangeTableNode(tableNode, change):
    """Replace the content of a table node by a comparison: a row a region."""
    tableNode.RemoveAllColumns()
    regions = vtk.vtkStringArray()
    regions.SetName(_("Region"))
    for region, _older, _newer in change.rows():
        regions.InsertNextValue(region)
    tableNode.AddColumn(regions)
    for title, values in _columns(change):
        array = vtk.vtkDoubleArray()
        array.SetName(title)
        for value in values:
            array.InsertNextValue(math.nan if value is None else round(value, 3))
        tableNode.AddColumn(array)


def fillChangeTableWidget(tableWidget, change):
    """Show a comparison in a QTableWidget: regions down, findings across; then and now, and the change below."""
    import qt

    rows, findings = change.rows(), _findings()
    tableWidget.setRowCount(len(rows))
    tableWidget.setColumnCount(len(findings))
    tableWidget.setHorizontalHeaderLabels([_("GGO\nmL"), _("Consol.\nmL"), _("Infection\nmL")])
    tableWidget.setVerticalHeaderLabels([regionTitle(region) for region, _older, _newer in rows])
    tableWidget.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
    tableWidget.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    for line, (_region, older, newer) in enumerate(rows):
        for column, (key, _title) in enumerate(findings):
            item = qt.QTableWidgetItem(_cell(older, newer, key))
            item.setToolTip(item.text())
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            tableWidget.setItem(line, column, item)


def changeAsText(change):
    """The comparison as tab-separated text, which spreadsheets take from the clipboard."""
    columns = _columns(change)
    lines = [[_("Region"), *(title for title, _values in columns)]]
    for number, (region, _older, _newer) in enumerate(change.rows()):
        lines.append([region, *("" if v[number] is None else f"{v[number]:.3f}" for _title, v in columns)])
    return "\n".join("\t".join(line) for line in lines)


def changeSummary(change, colors):
    """Volumes of new, resolved and persistent disease in a line (HTML), each after a square of its color in the map."""
    texts = {
        "new": _("new disease {ml:.1f} mL"),
        "resolved": _("resolved {ml:.1f} mL"),
        "persistent": _("persistent {ml:.1f} mL"),
    }
    squares = {
        key: '<span style="color:#{:02x}{:02x}{:02x}">■</span>'.format(*(round(255 * value) for value in color))
        for key, color in colors.items()
    }
    return ", ".join(f"{squares[key]} {text.format(ml=change.mapMl[key])}" for key, text in texts.items())


def _findings():
    return (("ggo", _("GGO")), ("consolidation", _("Consolidation")), ("infection", _("Infection")))


def _columns(change):
    """Title and values of each column: what each study has, and the difference."""
    figures = [("volume_ml", _("Volume"), _("mL"), _("mL"))]
    for key, title in _findings():
        figures += [(f"{key}_ml", title, _("mL"), _("mL")), (f"{key}_percent", title, "%", _("percentage points"))]
    columns = []
    for key, title, unit, differenceUnit in figures:
        pairs = [(older[key], newer[key]) for _region, older, newer in change.rows()]
        columns += [
            (f"{title}, {name} ({unit})", values)
            for name, values in zip(change.titles, zip(*pairs, strict=True), strict=True)
        ]
        columns.append((_("{}, change ({})").format(title, differenceUnit), [_difference(*pair) for pair in pairs]))
    return columns


def _cell(older, newer, key):
    """Then and now in mL, and the change in mL and in percentage points, in three lines."""
    ml, points = (_difference(older[f"{key}_{unit}"], newer[f"{key}_{unit}"]) for unit in ("ml", "percent"))
    return _("{older:.1f}→{newer:.1f}\n{ml} mL\n{points} pp").format(
        older=older[f"{key}_ml"], newer=newer[f"{key}_ml"], ml=_signed(ml), points=_signed(points)
    )


def _signed(value):
    return _MISSING if value is None else f"{round(value, 1) + 0.0:+.1f}"  # +0.0, not -0.0


def _difference(older, newer):
    return None if older is None or newer is None else newer - older
