import math

import vtk
from slicer.i18n import tr as _

_DECIMALS = 3
LUNGS_AND_TOTAL = ("right lung", "left lung", "total")
OUTSIDE = "outside every lobe"


def columns():
    """Key and title of each column, in order. The keys are the backend's, but for the case."""
    titles = [("case", _("Case")), ("region", _("Region")), ("volume_ml", _("Volume (mL)"))]
    findings = (
        ("ggo", _("Ground-glass opacity")),
        ("consolidation", _("Consolidation")),
        ("infection", _("Infection")),
    )
    titles += [(f"{key}_ml", f"{title} (mL)") for key, title in findings]
    titles += [(f"{key}_percent", f"{title} (%)") for key, title in findings]
    titles.append(("severity", _("CT severity score")))
    titles.append(("volume_mean_hu", _("Mean (HU)")))
    titles += [(f"{key}_mean_hu", _("{} mean (HU)").format(title)) for key, title in findings]
    compartments = (
        ("hyperinflated", _("Hyperinflated")),
        ("well_aerated", _("Well aerated")),
        ("poorly_aerated", _("Poorly aerated")),
        ("non_aerated", _("Non-aerated")),
    )
    for key, title in compartments:
        titles += [(f"{key}_ml", f"{title} (mL)"), (f"{key}_percent", f"{title} (%)")]
    return titles


def partsOf(rows):
    """The rows of lobes or zones; of the lungs, where there are none."""
    parts = [row for row in rows if row["region"] not in (*LUNGS_AND_TOTAL, OUTSIDE)]
    return parts or [row for row in rows if row["region"] in LUNGS_AND_TOTAL[:2]]


def regionTitle(region):
    """A region's name in the user's language."""
    titles = {
        "right upper lobe": _("Right upper lobe"),
        "right middle lobe": _("Right middle lobe"),
        "right lower lobe": _("Right lower lobe"),
        "left upper lobe": _("Left upper lobe"),
        "left lower lobe": _("Left lower lobe"),
        "right upper zone": _("Right upper zone"),
        "right middle zone": _("Right middle zone"),
        "right lower zone": _("Right lower zone"),
        "left upper zone": _("Left upper zone"),
        "left middle zone": _("Left middle zone"),
        "left lower zone": _("Left lower zone"),
        OUTSIDE: _("Outside every lobe"),
        "right lung": _("Right lung"),
        "left lung": _("Left lung"),
        "total": _("Total"),
    }
    return titles[region]


def fillTableNode(tableNode, rows, case):
    """Replace the content of a table node by the rows (dicts: regions) of the named case."""
    tableNode.RemoveAllColumns()
    for key, title in columns():
        isText = key in ("case", "region")
        array = vtk.vtkStringArray() if isText else vtk.vtkDoubleArray()
        array.SetName(title)
        for row in rows:
            value = {"case": case, **row}.get(key)
            if not isText:  # a lung that was not found has no percentages
                value = math.nan if value is None else round(value, _DECIMALS)
            array.InsertNextValue(value)
        tableNode.AddColumn(array)


def fillTableWidget(tableWidget, rows):
    """Show the rows in a QTableWidget: regions down, findings across, each in mL and in % of the region."""
    import qt

    titles = (_("Volume\nmL"), _("GGO\nmL, %"), _("Consol.\nmL, %"), _("Infection\nmL, %"), _("Score"))
    tableWidget.setRowCount(len(rows))
    tableWidget.setColumnCount(len(titles))
    tableWidget.setHorizontalHeaderLabels(titles)
    tableWidget.setVerticalHeaderLabels([regionTitle(row["region"]) for row in rows])
    header = tableWidget.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.Stretch)
    header.setSectionResizeMode(len(titles) - 1, qt.QHeaderView.ResizeToContents)
    tableWidget.verticalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    for line, row in enumerate(rows):
        for column, text in enumerate(_cells(row)):
            item = qt.QTableWidgetItem(text)
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            tableWidget.setItem(line, column, item)


def asText(rows, case):
    """The rows as tab-separated text, which spreadsheets take from the clipboard."""
    lines = ["\t".join(title for _key, title in columns())]
    for row in rows:
        values = ({"case": case, **row}.get(key) for key, _title in columns())
        lines.append("\t".join("" if value is None else _plain(value) for value in values))
    return "\n".join(lines)


def _cells(row):
    score = row.get("severity")
    cells = [f"{row['volume_ml']:.0f}"]
    cells += [
        f"{row[key + '_ml']:.1f}\n{_percent(row[key + '_percent'])}" for key in ("ggo", "consolidation", "infection")
    ]
    return [*cells, "" if score is None else str(score)]


def _plain(value):
    return value if isinstance(value, str) else f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def _percent(value):
    return "–" if value is None else f"{value:.1f} %"  # noqa: RUF001
