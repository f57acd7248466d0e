"""What of a panel's texts can be read where Slicer shows it: in a scroll area, as narrow as the user makes it."""

import slicer

_areas = []  # kept, since an area that goes takes its panel along


class ScrolledPanel:
    """A module's panel in a scroll area."""

    def __init__(self, panel):
        import qt

        self._panel = panel
        self._area = qt.QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setWidget(panel.parent)
        self._area.show()
        _areas.append(self._area)

    def unreadableLabels(self, width):
        """Names of the labels that are seen, but not with their whole text, in an area ``width`` pixels wide."""
        import qt

        self._area.resize(width, 4000)  # no scroll bar, whose coming would have all laid out anew
        for _turn in range(5):  # of the layouts, which go from the labels to the panel
            slicer.app.processEvents()
        labels = [w for w in vars(self._panel.ui).values() if isinstance(w, qt.QLabel) and w.wordWrap and w.visible]
        return [w.name for w in labels if w.height < w.heightForWidth(w.width) or w.width > width]
