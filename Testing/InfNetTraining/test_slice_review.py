"""A pseudo-labelled slice in the scene, in the CT that it was cut from."""

from dataclasses import replace

import numpy as np
import pytest

_DIRECTIONS = {
    "axial": np.eye(3),
    "feet first": np.diag([1, -1, -1]),
    "sagittal": np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
    "oblique": np.array([[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]]),
}


@pytest.fixture
def prepared(module, tmp_path):
    """``prepared(direction)``: a CT in the scene, and a slice of it as ``infnet prepare`` cuts it."""
    import slicer
    from infnet.data.orientation import AxialView
    from infnet.data.prepared import cut, write_listing
    from infnet.inference.slices import SliceLook
    from InfNetSegmentationLib.Images import imageOf, imageOnGrid

    def make(direction):
        random = np.random.default_rng(1)
        volumeNode = slicer.util.addVolumeFromArray(random.integers(-900, 200, (9, 10, 11)).astype(np.int16), name="CT")
        volumeNode.SetSpacing(0.7, 0.8, 2.5)
        volumeNode.SetOrigin(-30, 40, 50)
        volumeNode.SetIJKToRASDirections(*_DIRECTIONS[direction].ravel())
        lungs = imageOnGrid(np.ones((9, 10, 11), np.uint8), volumeNode)
        ct = imageOf(volumeNode)
        envelope = np.zeros_like(AxialView(lungs).array())
        envelope[3:6, 2:7, 1:6] = 1
        (tmp_path / "unlabelled").mkdir()
        slices = list(cut(ct, envelope, SliceLook(), "CT"))
        write_listing(tmp_path / "unlabelled", [place for place, _picture in slices])
        return volumeNode, slices[1]

    return make


@pytest.mark.parametrize("direction", _DIRECTIONS)
def test_a_mask_goes_into_its_ct_and_back(prepared, tmp_path, direction):
    import slicer
    from InfNetTrainingLib.SliceReview import SliceReview

    volumeNode, (place, picture) = prepared(direction)
    mask = np.zeros(picture.shape, bool)
    mask[1, :2] = mask[3, 1] = True
    review = SliceReview(place.file, picture, mask, tmp_path / "unlabelled")
    assert review.volumeNode is volumeNode
    assert np.array_equal(review.mask(), mask)
    segment = slicer.util.arrayFromSegmentBinaryLabelmap(review.segmentationNode, "Infection", volumeNode)
    assert segment.sum() == mask.sum()
    # What the picture shows where the mask is, the CT shows where the segment is.
    hu = np.sort(slicer.util.arrayFromVolume(volumeNode)[segment > 0])
    low, high = place.window_low, place.window_high
    shown = ((hu.clip(low, high) - low) / (high - low) * 255).round()
    assert np.abs(shown - np.sort(picture[mask])).max() <= 1
    # A voxel that is added in Segment Editor is in the mask.
    segment[segment > 0] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(segment, review.segmentationNode, "Infection", volumeNode)
    assert not review.mask().any()


def test_a_ct_is_known_by_its_name_as_that_of_a_file(prepared, tmp_path):
    """Slices that the panel made of a CT of the scene are listed under the name of the file it was written to."""
    from infnet.data.prepared import read_listing, write_listing
    from InfNetTrainingLib.SceneCases import caseName
    from InfNetTrainingLib.SliceReview import SliceReview

    volumeNode, (place, picture) = prepared("axial")
    volumeNode.SetName("2: Thorax 1.0 (lung)")
    places = [replace(p, volume=caseName(volumeNode)) for p in read_listing(tmp_path / "unlabelled")]
    write_listing(tmp_path / "unlabelled", places)
    assert SliceReview(place.file, picture, picture > 100, tmp_path / "unlabelled").volumeNode is volumeNode


def test_the_views_go_to_the_slice(prepared, tmp_path):
    import slicer
    from infnet.data.orientation import AxialView
    from InfNetSegmentationLib.Images import imageOf
    from InfNetTrainingLib.SliceReview import SliceReview

    volumeNode, (place, picture) = prepared("axial")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode", "Red")
    node.SetLayoutName("Red")
    node.SetOrientation("Axial")
    SliceReview(place.file, picture, np.ones(picture.shape, bool), tmp_path / "unlabelled").show()
    size = AxialView(imageOf(volumeNode)).image.TransformIndexToPhysicalPoint((0, 0, place.slice))
    assert node.GetSliceOffset() == pytest.approx(size[2], abs=0.01)


def test_a_slice_whose_ct_is_not_there_is_shown_alone(prepared, tmp_path):
    import slicer
    from InfNetTrainingLib.SliceReview import SliceReview

    volumeNode, (place, picture) = prepared("axial")
    volumeNode.SetName("another")
    mask = picture > 100
    review = SliceReview(place.file, picture, mask, tmp_path / "unlabelled")
    assert review.volumeNode is not volumeNode and np.array_equal(review.mask(), mask)
    # Its columns run to the patient's back, its rows to the left: as an axial CT it stands upright.
    toRAS = slicer.util.arrayFromVTKMatrix(_matrixOf(review.volumeNode))
    assert np.array_equal(toRAS[:3, 0], [0, -1, 0]) and np.array_equal(toRAS[:3, 1], [-1, 0, 0])
    count = slicer.mrmlScene.GetNumberOfNodes()
    again = SliceReview("other", picture[:5], mask[:5], None)
    assert slicer.mrmlScene.GetNumberOfNodes() == count, "a run has a thousand slices to look at"
    assert again.volumeNode is review.volumeNode and again.segmentationNode is review.segmentationNode
    assert np.array_equal(again.mask(), mask[:5])


@pytest.mark.parametrize("shape", [(3, 10, 11), (9, 6, 11)])
def test_another_ct_of_the_name_is_not_taken_for_its_own(prepared, tmp_path, shape):
    import slicer
    from InfNetTrainingLib.SliceReview import SliceReview

    volumeNode, (place, picture) = prepared("axial")
    slicer.util.updateVolumeFromArray(volumeNode, np.zeros(shape, np.int16))
    review = SliceReview(place.file, picture, picture > 100, tmp_path / "unlabelled")
    assert review.volumeNode is not volumeNode and np.array_equal(review.mask(), picture > 100)


def test_of_two_cts_of_the_name_neither_is_taken(prepared, tmp_path):
    """Names in other letters are all the same as those of files."""
    import slicer
    from infnet.data.prepared import read_listing, write_listing
    from InfNetTrainingLib.SceneCases import caseName
    from InfNetTrainingLib.SliceReview import SliceReview

    volumeNode, (place, picture) = prepared("axial")
    slicer.modules.volumes.logic().CloneVolume(slicer.mrmlScene, volumeNode, "王")
    volumeNode.SetName("李")
    places = [replace(p, volume=caseName(volumeNode)) for p in read_listing(tmp_path / "unlabelled")]
    write_listing(tmp_path / "unlabelled", places)
    review = SliceReview(place.file, picture, picture > 100, tmp_path / "unlabelled")
    assert review.volumeNode.GetName() == f"{place.file} (slice)"


def _matrixOf(volumeNode):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return matrix


def test_lists_that_a_spreadsheet_or_an_editor_has_saved_are_read(module, tmp_path):
    """With a byte order mark, as on Windows; what is no list any more tells nothing, and hides no slice."""
    from InfNetTrainingLib.PseudoLabels import PseudoLabel, PseudoLabels

    for name in ("Imgs", "Soft"):
        (tmp_path / "round-001" / name).mkdir(parents=True)
        for stem in "ab":
            (tmp_path / "round-001" / name / f"{stem}.png").touch()
    listing, labels = tmp_path / "round-001/slices.csv", PseudoLabels(tmp_path)
    rows = "file,infected,stability,use\na,0.25,0.5,unstable\nb,0.5,1.0,used\n"
    listing.write_text(rows, encoding="utf-8-sig")
    (tmp_path / "rejected.txt").write_text("b\n", encoding="utf-8-sig")
    assert labels.of("round-001") == [PseudoLabel("a", 0.25, 0.5, "unstable"), PseudoLabel("b", 0.5, 1.0, "rejected")]
    labels.reject("b", isRejected=False)
    assert (tmp_path / "rejected.txt").read_bytes() == b""
    listing.write_text(rows.replace(",", ";"), encoding="utf-8")
    assert labels.of("round-001") == [PseudoLabel("a"), PseudoLabel("b")]
