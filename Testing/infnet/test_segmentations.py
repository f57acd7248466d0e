"""Segmentation files, read by Slicer's own code."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.data.findings import CATEGORY, FINDINGS, REGION, TERMINOLOGY
from infnet.data.segmentations import label_segments, read_provenance, write_segmentation
from infnet.errors import OutputError
from phantoms import DIRECTIONS, empty_grid

TERMINOLOGY_FILE = Path(__file__).parents[2] / "InfNetSegmentation/Resources/InfNetFindings.term.json"
PROVENANCE = {"model": "a|b: c~d^e", "name": "Müller “x”\n\\", "window_hu": [-1100.0, 250.0], "warnings": []}


@pytest.fixture(params=DIRECTIONS)
def labels(request):
    grid = empty_grid((9, 7, 5), (0.7, 1.3, 2.51), DIRECTIONS[request.param])
    grid.SetOrigin((-123.456789012345, 17.25, 1 / 3))
    random = np.random.default_rng(0)
    image = sitk.GetImageFromArray(random.integers(0, 3, (5, 7, 9)).astype(np.uint8))
    image.CopyInformation(grid)
    return image


def load(image, folder):
    """The segmentation, and the label image as a volume beside it, as Slicer loads them."""
    import slicer

    write_segmentation(image, folder / "out.seg.nrrd", PROVENANCE)
    sitk.WriteImage(image, folder / "volume.nrrd")
    volume = slicer.util.loadVolume(str(folder / "volume.nrrd"))
    return volume, slicer.util.loadSegmentation(str(folder / "out.seg.nrrd"))


def ras_matrix(image):
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    matrix[:2] *= -1
    return matrix


def test_slicer_loads_two_segments_on_the_exact_grid(labels, tmp_path, host):
    import slicer
    import vtk

    volume, node = load(labels, tmp_path)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    truth = slicer.util.arrayFromVolume(volume)  # Slicer turns left-handed volumes round
    for index, finding in enumerate(FINDINGS):
        segment = segmentation.GetNthSegment(index)
        segment_id = segmentation.GetNthSegmentID(index)
        assert (segment_id, segment.GetName()) == (finding.segment_id, finding.name)
        np.testing.assert_allclose(segment.GetColor(), np.array(finding.colour) / 255, atol=1e-6)
        assert segment.GetLabelValue() == finding.label
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, volume)
        assert np.array_equal(mask > 0, truth == finding.label)
        own = segment.GetRepresentation("Binary labelmap")
        to_world = vtk.vtkMatrix4x4()
        own.GetImageToWorldMatrix(to_world)
        to_world = [[to_world.GetElement(i, j) for j in range(4)] for i in range(4)]
        np.testing.assert_allclose(to_world, ras_matrix(labels), atol=1e-10)
        assert own.GetExtent() == (0, 8, 0, 6, 0, 4)


def test_the_reference_geometry_is_the_ct_s(labels, tmp_path, host):
    volume, node = load(labels, tmp_path)
    name = "Reference image geometry"
    written = node.GetSegmentation().GetConversionParameter(name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    of_the_ct = node.GetSegmentation().GetConversionParameter(name)
    np.testing.assert_allclose(corners(written), corners(of_the_ct), atol=1e-10)


def corners(geometry):
    """The eight outermost voxel centres of a grid in Slicer's notation, sorted (Slicer may count an axis backwards)."""
    numbers = [float(number) for number in geometry.split(";") if number]
    matrix, extent = np.reshape(numbers[:16], (4, 4)), np.reshape(numbers[16:], (3, 2))
    points = matrix @ np.array([*np.stack(np.meshgrid(*extent)).reshape(3, 8), np.ones(8)])
    return np.array(sorted(points.round(9).T.tolist()))


def test_terminology_and_provenance_are_those_of_the_slicer_module(tmp_path, host):
    import slicer
    import vtk
    from InfNetSegmentationLib.Scene import provenance
    from InfNetSegmentationLib.Terminology import applyFinding, loadTerminology

    labels = sitk.Image([4, 4, 4], sitk.sitkUInt8)
    _, node = load(labels, tmp_path)
    assert provenance(node) == PROVENANCE
    loadTerminology()
    for index, finding in enumerate(FINDINGS):
        expected = slicer.vtkSegment()
        applyFinding(expected, finding.name)
        read = node.GetSegmentation().GetNthSegment(index)
        tags = []
        for segment in (expected, read):
            tag = vtk.reference("")
            assert segment.GetTag(segment.GetTerminologyEntryTagName(), tag)
            tags.append(str(tag))
        assert tags[0] == tags[1]
        assert read.GetColor() == pytest.approx(expected.GetColor(), abs=1e-6)


def test_slicer_writes_it_again_unharmed(tmp_path, host):
    import slicer
    from InfNetSegmentationLib.Scene import provenance

    consolidation = np.eye(4, dtype=np.uint8)[None].repeat(3, axis=0) * 2  # and no ground glass: an empty segment
    image = sitk.GetImageFromArray(consolidation)
    volume, node = load(image, tmp_path)
    assert slicer.util.saveNode(node, str(tmp_path / "again.seg.nrrd"))
    again = slicer.util.loadSegmentation(str(tmp_path / "again.seg.nrrd"))
    assert again.GetSegmentation().GetNumberOfSegments() == 2
    assert provenance(again) == PROVENANCE
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(again, "Consolidation", volume)
    assert mask.sum() == 12


def test_what_the_provenance_says_is_taken_for_no_other_tag(tmp_path):
    """It has the names of files in it, which may be anything."""
    provenance = {"ct": "TerminologyEntry:a~b.nrrd"}
    write_segmentation(sitk.Image([4, 4, 4], sitk.sitkUInt8), tmp_path / "out.seg.nrrd", provenance)
    image = sitk.ReadImage(tmp_path / "out.seg.nrrd")
    told = []
    label_segments(image, lambda name, terminology: told.append(terminology))
    assert told == [finding.terminology for finding in FINDINGS]
    assert read_provenance(image) == provenance


def test_the_findings_are_those_of_the_slicer_terminology_file():
    context = json.loads(TERMINOLOGY_FILE.read_text("utf-8"))
    (category,) = context["SegmentationCodes"]["Category"]

    def code(entry):
        return entry["CodingSchemeDesignator"], entry["CodeValue"], entry["CodeMeaning"]

    assert context["SegmentationCategoryTypeContextName"] == TERMINOLOGY
    assert code(category) == (CATEGORY.scheme, CATEGORY.value, CATEGORY.meaning)
    assert [(code(t), t["recommendedDisplayRGBValue"], t["3dSlicerLabel"]) for t in category["Type"]] == [
        ((f.code.scheme, f.code.value, f.code.meaning), list(f.colour), f.name) for f in FINDINGS
    ]
    assert (REGION.scheme, REGION.value) == ("SCT", "39607008")


def test_no_folder_no_file(tmp_path):
    with pytest.raises(OutputError):
        write_segmentation(sitk.Image([4, 4, 4], sitk.sitkUInt8), tmp_path / "none" / "out.seg.nrrd", {})
    assert list(tmp_path.iterdir()) == []
