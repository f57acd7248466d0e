import json
from dataclasses import asdict, dataclass

from InfNetSegmentationLib.SegmentationResult import storedResult

_ATTRIBUTE = "InfNet.Change"
EARLIER_ROLE, MAP_ROLE = "InfNet.ChangeEarlier", "InfNet.ChangeMap"
TABLE_ROLE, CHART_ROLE = "InfNet.ChangeTable", "InfNet.ChangeChart"


@dataclass
class StudyChange:
    """What has changed between two studies of a patient, the older one first.

    titles - of the studies: their dates, or the CTs' names where the dates are not known
    tables - of the two results, as they were when they were compared (see `SegmentationResult`)
    mapMl - volumes of "new", "resolved" and "persistent" disease in mL, in the older study's lungs
    warnings - one sentence each

    It is kept with the segmentation of the later result; map, table and chart are nodes that this one refers to.
    """

    titles: list
    tables: list
    mapMl: dict
    warnings: list

    def rows(self):
        """For each region of both studies: its name, its row in the older table, and that in the newer one."""
        older, newer = ({row["region"]: row for row in table} for table in self.tables)
        return [(region, older[region], newer[region]) for region in newer if region in older]


def storeChange(segmentationNode, change):
    segmentationNode.SetAttribute(_ATTRIBUTE, json.dumps(asdict(change)))


def storedChange(segmentationNode):
    """The comparison that a segmentation keeps, or None."""
    text = segmentationNode.GetAttribute(_ATTRIBUTE)
    return StudyChange(**json.loads(text)) if text else None


def isOutdated(segmentationNode, change):
    """Whether one of the results has other segments or numbers than those that were compared, or is gone."""
    nodes = (segmentationNode, segmentationNode.GetNodeReference(EARLIER_ROLE))
    results = [storedResult(node) for node in nodes]
    return any(result is None or result.isEdited or result.table not in change.tables for result in results)
