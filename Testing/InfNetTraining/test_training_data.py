"""What is trained on: the check of the slices, and slices of cases in the scene."""

import shutil

import numpy as np
import pytest
from generatorsteps import returned
from PIL import Image


@pytest.fixture
def slices(makeSlices, tmp_path):
    return makeSlices(tmp_path / "labelled", count=4)


def problemsOf(report, case):
    return [(problem.text, problem.isError) for problem in report.problems if problem.case == case]


def test_good_slices_are_counted_and_have_no_problem(module, makeSlices, slices, tmp_path):
    report = module.InfNetTrainingLogic().check(slices, makeSlices(tmp_path / "unlabelled", count=3, seed=7))
    assert (report.labelled, report.healthy, report.withConsolidation, report.unlabelled) == (4, 0, 4, 3)
    assert report.sizes == {(72, 60): 7}
    assert report.problems == []
    assert report.canTrain
    assert "60 x 72" in report.summary()


def test_each_fault_is_named_with_its_slice(module, slices, tmp_path):
    (slices / "GT/0.png").unlink()
    Image.new("L", (10, 10)).save(slices / "GT/1.png")
    (slices / "Imgs/2.png").write_bytes(b"no picture")
    Image.new("L", (60, 72), 77).save(slices / "GT/3.png")
    report = module.InfNetTrainingLogic().check(slices)
    assert not report.canTrain
    faults = {"0.png": "missing", "1.png": "(10, 10)", "2.png": "not a readable", "3.png": "values 77"}
    for case, word in faults.items():
        ((text, isError),) = problemsOf(report, case)
        assert word in text and isError, case


def test_empty_masks_and_duplicates_are_warnings(module, slices, tmp_path):
    Image.new("L", (60, 72)).save(slices / "GT/1.png")
    shutil.copy(slices / "Imgs/2.png", slices / "Imgs/9.png")
    shutil.copy(slices / "GT/2.png", slices / "GT/9.png")
    (tmp_path / "unlabelled/Imgs").mkdir(parents=True)
    shutil.copy(slices / "Imgs/3.png", tmp_path / "unlabelled/Imgs/other.png")
    report = module.InfNetTrainingLogic().check(slices, tmp_path / "unlabelled")
    assert report.canTrain
    assert report.healthy == 1
    assert problemsOf(report, "1.png") == [("its mask is empty; it counts as healthy", False)]
    assert problemsOf(report, "9.png") == [("the same picture as 2.png", False)]
    assert problemsOf(report, "other.png") == [("the same picture as labelled/3.png", False)]
    assert len(report.problems) == 3


def test_what_cannot_be_trained_on(module, slices, tmp_path):
    logic = module.InfNetTrainingLogic()
    assert not logic.check(tmp_path / "nothing").canTrain
    for path in slices.glob("GT/*.png"):
        Image.new("L", (60, 72)).save(path)
    assert "nothing to learn" in problemsOf(logic.check(slices), "labelled")[0][0]
    (slices / "Soft").mkdir()
    assert "both GT and Soft" in problemsOf(logic.check(slices), "labelled")[0][0]


@pytest.fixture
def volumes(makeSlices, tmp_path):
    """Ten slices, two of each CT a to e; returns the folder, and a CT's slices that would be held out."""
    from infnet.training.folds import folds

    folder = makeSlices(tmp_path / "labelled", count=10)
    ofSlice = {str(i): "abcde"[i // 2] for i in range(10)}
    rows = "".join(f"{stem},{volume}\n" for stem, volume in ofSlice.items())
    (folder / "slices.csv").write_text("file,volume\n" + rows, encoding="utf-8")
    return folder, folds(list(ofSlice), 5, 0, ofSlice)[0], ofSlice


def test_whole_cts_are_held_out(module, volumes):
    folder, heldOut, ofSlice = volumes
    report = module.InfNetTrainingLogic().check(folder, holdOut=True)
    assert report.canTrain and report.problems == []
    assert (report.volumes, report.heldOut) == (5, 2)
    assert len({ofSlice[stem] for stem in heldOut}) == 1
    assert "whole CTs of 5" in report.summary()
    (folder / "slices.csv").write_text("file,volume\n" + "".join(f"{i},{i % 4}\n" for i in range(10)))
    ((text, isError),) = problemsOf(module.InfNetTrainingLogic().check(folder, holdOut=True), "labelled")
    assert text.startswith("4 CTs") and isError
    assert module.InfNetTrainingLogic().check(folder).canTrain


def test_a_held_out_slice_that_is_learnt_from_elsewhere_is_an_error(module, makeSlices, volumes, tmp_path):
    folder, heldOut, ofSlice = volumes
    kept = next(stem for stem in ofSlice if stem not in heldOut)
    unlabelled = makeSlices(tmp_path / "unlabelled", count=2, seed=9)
    shutil.copy(folder / f"Imgs/{heldOut[0]}.png", unlabelled / "Imgs/leak.png")
    shutil.copy(folder / f"Imgs/{kept}.png", unlabelled / "Imgs/known.png")
    (unlabelled / "slices.csv").write_text(f"file,volume\n0,{ofSlice[heldOut[0]]}\n1,z\n", encoding="utf-8")
    logic = module.InfNetTrainingLogic()
    report = logic.check(folder, unlabelled, holdOut=True)
    ((text, isError),) = problemsOf(report, "leak.png")
    assert isError and f"labelled/{heldOut[0]}.png" in text
    ((text, isError),) = problemsOf(report, "known.png")
    assert not isError
    ((text, isError),) = problemsOf(report, "unlabelled")
    assert not isError and f"CT {ofSlice[heldOut[0]]} is held out" in text
    assert logic.check(folder, unlabelled).canTrain
    extra = makeSlices(tmp_path / "neighbours", count=2, seed=11)
    (extra / "slices.csv").write_text(f"file,volume\n1,{ofSlice[heldOut[0]]}\n", encoding="utf-8")
    ((text, isError),) = problemsOf(logic.check(folder, holdOut=True, extraFolders=(str(extra),)), "neighbours")
    assert not isError and f"CT {ofSlice[heldOut[0]]} is held out" in text
    (extra / "slices.csv").write_bytes(b"file,volume\n\xff")
    ((text, isError),) = problemsOf(logic.check(folder, extraFolders=(str(extra),)), "neighbours")
    assert isError and "cannot be read" in text, "with which the training would fail"


def test_slices_whose_ct_is_not_named_are_not_taken_for_cts_in_silence(module, volumes):
    folder, _heldOut, ofSlice = volumes
    rows = "".join(f"{stem},{volume}\n" for stem, volume in ofSlice.items() if stem != "3")
    (folder / "slices.csv").write_text("file,volume\n" + rows, encoding="utf-8")
    ((text, isError),) = problemsOf(module.InfNetTrainingLogic().check(folder, holdOut=True), "labelled")
    assert text.startswith("slices.csv does not name 1 of the slices") and not isError
    assert module.InfNetTrainingLogic().check(folder).problems == []


def test_extra_slices_are_looked_at_too(module, makeSlices, slices, tmp_path):
    healthy = makeSlices(tmp_path / "healthy", count=2, seed=4)
    for path in healthy.glob("GT/*.png"):
        Image.new("L", (60, 72)).save(path)
    soft = makeSlices(tmp_path / "soft", count=2, seed=5)
    (soft / "GT").rename(soft / "Soft")
    logic = module.InfNetTrainingLogic()
    report = logic.check(slices, extraFolders=(str(healthy), str(soft)))
    assert report.canTrain and report.extra == 4 and report.labelled == 4 and report.problems == []
    (healthy / "GT/1.png").unlink()
    report = logic.check(slices, extraFolders=(str(healthy), str(soft)), kind="findings")
    faults = sorted(problem.text[:40] for problem in report.problems if problem.isError)
    assert len(faults) == 3 and all("does not tell" in text or "probability" in text for text in faults[1:])
    shutil.copytree(soft / "Soft", soft / "Consolidation")
    report = logic.check(slices, extraFolders=(str(soft),), kind="findings")
    assert report.canTrain and report.problems == []


_DOCTORS = "Dataset/TrainingSet/LungInfection-Train/Doctor-label"


@pytest.mark.parametrize(
    ("folders", "labelled", "unlabelled"),
    [
        (
            ["labelled/Imgs", "labelled/GT", "unlabelled/Imgs", "multiclass/Imgs", "multiclass/GT"],
            "labelled",
            "unlabelled",
        ),
        (
            [
                f"{part}/{name}"
                for part in (
                    "TestingSet/LungInfection-Test",
                    "TrainingSet/LungInfection-Train/Doctor-label",
                    "TrainingSet/LungInfection-Train/Pseudo-label",
                    "TrainingSet/MultiClassInfection-Train",
                )
                for name in ("Imgs", "GT")
            ],
            "TrainingSet/LungInfection-Train/Doctor-label",
            "TrainingSet/LungInfection-Train/Pseudo-label",
        ),
        (["Dataset/TrainingSet/LungInfection-Train/Doctor-label/" + name for name in ("Imgs", "GT")], _DOCTORS, None),
        (["Imgs", "GT"], ".", None),
        (["elsewhere"], None, None),
        (["labelled/Imgs"], None, None),
        # A folder above many others, as the root of the disk while a path is typed, stands for none of them.
        (["home/studies/labelled/Imgs", "home/studies/labelled/GT"], None, None),
    ],
)
def test_layouts_are_recognised(module, tmp_path, folders, labelled, unlabelled):
    from InfNetTrainingLib.DataCheck import recognisedFolders

    root = tmp_path / "data"
    for folder in folders:
        (root / folder).mkdir(parents=True)
    expected = tuple(None if name is None else root / name for name in (labelled, unlabelled))
    assert recognisedFolders(root) == expected


@pytest.fixture
def addCase(module):
    """Adds a CT on an oblique grid and a segmentation of it: {segment's name: mask}."""

    def add(name, segments, tag=None):
        import slicer

        ijkToRAS = np.array([[-0.7, 0.1, 0, 5], [-0.1, -0.7, 0.2, -3], [0, 0.1, 2.5, 9], [0, 0, 0, 1]])
        values = np.random.default_rng(3).integers(-1000, 200, (4, 6, 8)).astype(np.int16)
        volumeNode = slicer.util.addVolumeFromArray(values, ijkToRAS, name)
        segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segments")
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        for segmentName, mask in segments.items():
            segmentID = segmentationNode.GetSegmentation().AddEmptySegment("", segmentName)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentID, volumeNode)
            if tag:
                segment = segmentationNode.GetSegmentation().GetSegment(segmentID)
                segment.SetTag(segment.GetTerminologyEntryTagName(), tag)
        return volumeNode, segmentationNode

    return add


def mask(seed, share=0.3):
    return (np.random.default_rng(seed).random((4, 6, 8)) < share).astype(np.uint8)


def written(cases, folder):
    from InfNetTrainingLib.SceneCases import caseSteps

    return returned(caseSteps(cases, folder))


def test_a_case_is_written_as_ct_and_labels_on_one_grid(addCase, tmp_path):
    import SimpleITK as sitk
    import slicer

    ggo, consolidation, heart = mask(1), mask(2), mask(3)
    first = addCase("CT one", {"GGO right": ggo, "Consolidation": consolidation, "Heart": heart})
    second = addCase("CT one", {"Covid lesion": consolidation})
    ctFolder, labelsFolder = written([first, second], tmp_path)
    assert sorted(path.name for path in labelsFolder.iterdir()) == ["CT_one-2.nrrd", "CT_one.nrrd"]
    ct, labels = (sitk.ReadImage(str(folder / "CT_one.nrrd")) for folder in (ctFolder, labelsFolder))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ct), slicer.util.arrayFromVolume(first[0]))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), np.where(consolidation, 2, ggo))
    for corner in ((0, 0, 0), (7, 5, 3)):
        np.testing.assert_allclose(
            labels.TransformIndexToPhysicalPoint(corner), ct.TransformIndexToPhysicalPoint(corner), atol=1e-6
        )
    other = sitk.GetArrayFromImage(sitk.ReadImage(str(labelsFolder / "CT_one-2.nrrd")))
    np.testing.assert_array_equal(other, consolidation)


def test_terminology_goes_before_the_name(addCase):
    from infnet.data.findings import CONSOLIDATION
    from InfNetTrainingLib.SceneCases import caseLabels

    case = addCase("CT", {"Infection": mask(1)}, tag=CONSOLIDATION.terminology)
    np.testing.assert_array_equal(caseLabels(*case), 2 * mask(1))


def test_words_of_a_name_may_be_joined_by_underscores_and_what_is_used_is_told(addCase):
    """No finding is left out of the truth unseen."""
    from InfNetTrainingLib.SceneCases import caseLabels, usesText

    ggo, consolidation = mask(1), mask(2)
    names = "GGO_left", "ground_glass_right", "lung_consolidation", "Pleural effusion"
    _volumeNode, segmentationNode = case = addCase(
        "CT", dict(zip(names, (ggo, ggo, consolidation, mask(3)), strict=True))
    )
    np.testing.assert_array_equal(caseLabels(*case), np.where(consolidation, 2, ggo))
    assert usesText(segmentationNode) == (
        "GGO_left, ground_glass_right as infection or ground glass (label 1); lung_consolidation as consolidation "
        "(label 2); not used: Pleural effusion"
    )


def test_cases_that_cannot_be_used_are_refused_with_the_remedy(addCase, tmp_path):
    import slicer

    volumeNode, segmentationNode = addCase("CT", {"Heart": mask(1), "Aorta": mask(2)})
    with pytest.raises(ValueError, match="segments: Heart, Aorta"):
        written([(volumeNode, segmentationNode)], tmp_path)
    case = addCase("Moved", {"Infection": mask(1)})
    transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    case[0].SetAndObserveTransformNodeID(transformNode.GetID())
    with pytest.raises(ValueError, match="same transform"):
        written([case], tmp_path)
    assert not any(tmp_path.glob("ct/*"))


def test_what_was_drawn_on_another_ct_is_not_taken_for_a_healthy_one(addCase, tmp_path):
    """But what has been drawn nowhere is."""
    from InfNetTrainingLib.SceneCases import caseLabels

    volumeNode, _segmentationNode = addCase("CT", {})
    otherNode, segmentationNode = addCase("other", {"lung": mask(1), "infection": mask(2)})
    matrix = np.eye(4)
    matrix[:3, 3] = 500
    import slicer

    volumeNode.ApplyTransformMatrix(slicer.util.vtkMatrixFromArray(matrix))
    with pytest.raises(ValueError, match="“other segments” does not lie on “CT”"):
        caseLabels(volumeNode, segmentationNode)
    assert caseLabels(otherNode, segmentationNode).any()
    _volumeNode, healthyNode = addCase("healthy", {"lung": mask(1), "infection": np.zeros_like(mask(1))})
    assert not caseLabels(volumeNode, healthyNode).any()
