"""DICOM segmentations and reports: what they say, read without the library that wrote them, and what is refused."""

import errno
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.anatomy.lobes import Lobes
from infnet.anatomy.regions import LOBES
from infnet.cli import main
from infnet.data.findings import FINDINGS
from infnet.data.segmentations import write_segmentation
from infnet.errors import GeometryError, InputError, UnreadableImageError
from infnet.quantification.label_images import read_findings
from infnet.quantification.measurements import measure
from infnet.quantification.study import Study, write_study
from phantoms import DIRECTIONS, empty_grid, make_chest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (infnet[dicom])")
pytest.importorskip("highdicom", reason="highdicom is not installed (infnet[dicom])")

from infnet.dicom.concepts import Algorithm  # noqa: E402
from infnet.dicom.segmentations import Segment, make_segmentation, read_segmentation  # noqa: E402
from infnet.dicom.series import read_series  # noqa: E402
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian  # noqa: E402

voxels = sitk.GetArrayFromImage
SIZE, SPACING = (20, 16, 12), (17.0, 17.0, 14.0)
SERIES_UID = "1.2.826.0.1.3680043.8.498.3"
PATIENT = {
    "PatientName": "Łukasiewicz^Zoë",
    "PatientID": "Ä-17",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "PatientAge": "070Y",
    "StudyID": "S1",
    "StudyDate": "20200301",
    "StudyTime": "101112",
    "AccessionNumber": "A9",
    "ReferringPhysicianName": "",
    "StudyDescription": "Thorax nüchtern",
}
PROVENANCE = {
    "infnet": "9.8.7",
    "infection_model": "one-net",
    "infection_weights_sha256": "ab" * 32,
    "findings_model": "other-net",
    "findings_weights_sha256": "cd" * 32,
    "threshold": 0.5,
}


def write_series(ct, folder, signed=True, backwards=False, left_out=(), **tags):
    """The slices of an int16 image as CT files, as a scanner writes them; ``backwards`` counts and names them so."""
    folder.mkdir(parents=True, exist_ok=True)
    direction = np.reshape(ct.GetDirection(), (3, 3))
    count = ct.GetSize()[2]
    for z in range(count):
        image = Dataset()
        number = count - z if backwards else z + 1
        image.SOPClassUID = CTImageStorage
        image.SOPInstanceUID = f"{SERIES_UID}.{z + 1}"
        image.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
        image.SeriesInstanceUID = SERIES_UID
        image.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.4"
        image.SpecificCharacterSet = "ISO_IR 192"
        image.Modality, image.Manufacturer = "CT", "Scanner"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.SeriesNumber, image.InstanceNumber = "3", str(number)
        image.ImagePositionPatient = [f"{v:.6f}" for v in ct.TransformIndexToPhysicalPoint((0, 0, z))]
        image.ImageOrientationPatient = [f"{v:.10f}" for v in direction[:, :2].T.ravel()]
        image.PixelSpacing = [str(ct.GetSpacing()[1]), str(ct.GetSpacing()[0])]
        image.SliceThickness, image.KVP, image.PositionReferenceIndicator = "5", "120", ""
        image.SpacingBetweenSlices = "-5"  # as one maker writes it
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = ct.GetSize()[1], ct.GetSize()[0]
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = int(signed)
        image.RescaleIntercept, image.RescaleSlope = ("0" if signed else "-4096"), "1"
        stored = voxels(ct)[z].astype(np.int32) + (0 if signed else 4096)
        image.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
        for keyword, value in (PATIENT | tags).items():
            setattr(image, keyword, value)
        for keyword in left_out:
            delattr(image, keyword)
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    return folder


def image_like(array, grid):
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(grid)
    return image


def random_labels(grid, highest, seed=0, dtype=np.uint8):
    random = np.random.default_rng(seed)
    array = random.integers(0, highest + 1, grid.GetSize()[::-1]).astype(dtype)
    array[:2] = array[:, :, -1] = 0  # slices and columns without any label
    return image_like(array, grid)


def chest(direction="oblique"):
    return make_chest(empty_grid(SIZE, SPACING, DIRECTIONS[direction]), noise_hu=5)


def command(*arguments):
    return main(["dicom", *map(str, arguments), "--progress", "json"])


def last_event(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def frames(segmentation):
    """Of each frame: segment number, position, source image's UID, and pixels; by pydicom alone."""
    pixels = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    for item, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        segment = item if "SegmentIdentificationSequence" in item else shared
        (source,) = item.DerivationImageSequence[0].SourceImageSequence
        yield (
            segment.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            np.array(item.PlanePositionSequence[0].ImagePositionPatient, float),
            source.ReferencedSOPInstanceUID,
            frame,
        )


def assert_shows(segmentation, labels, series):
    """Every voxel of every frame is where the label image has that label, and no labelled voxel is missing."""
    positions = {image.SOPInstanceUID: np.array(image.ImagePositionPatient, float) for image in series}
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_spacing, column_spacing = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    shown = np.zeros_like(voxels(labels))
    for number, position, source, frame in frames(segmentation):
        np.testing.assert_allclose(position, positions[source], atol=1e-6)
        for row, column in np.argwhere(frame):
            point = position + orientation[:3] * column * column_spacing + orientation[3:] * row * row_spacing
            index = labels.TransformPhysicalPointToIndex(point.tolist())
            assert shown[index[::-1]] == 0
            shown[index[::-1]] = number
    assert np.array_equal(shown, voxels(labels))


def dicom_images(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_each_voxel_is_where_the_label_image_has_it(tmp_path, direction, backwards):
    ct = chest(direction).ct
    series = write_series(ct, tmp_path / "series", signed=backwards, backwards=backwards)
    labels = random_labels(ct, 2)
    sitk.WriteImage(labels, tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["findings.dcm"]
    written = pydicom.dcmread(tmp_path / "out/findings.dcm")
    assert_shows(written, labels, dicom_images(series))
    assert {frame[0] for frame in frames(written)} == {1, 2}
    assert all(frame[3].any() for frame in frames(written)), "an empty frame"
    measures = written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    row, column, between = np.reshape(ct.GetDirection(), (3, 3)).T
    assert float(measures.SpacingBetweenSlices) == pytest.approx(SPACING[2] * abs(np.cross(row, column) @ between))


def test_after_a_gap_the_slices_keep_their_own_positions(tmp_path):
    """The volume of such a series is approximate; the frames lie where their images do."""
    ct = chest("LPS").ct
    series = write_series(ct, tmp_path / "series")
    (series / "007.dcm").unlink()
    labels = random_labels(ct, 2)
    read = read_series(series)
    assert any("evenly" in warning for warning in read.warnings)
    shown = image_like(np.delete(voxels(labels), 6, axis=0), read.ct)
    sitk.WriteImage(shown, tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 0
    expected = voxels(labels)
    expected[6] = 0
    written = pydicom.dcmread(tmp_path / "out/findings.dcm")
    assert_shows(written, image_like(expected, ct), dicom_images(series))


def test_a_study_of_a_ct_that_was_taken_as_it_is_is_written_too(tmp_path, capsys):
    """What ``--trust-hu`` had let in: water is missing from it. For a segmentation alone, it is refused as anywhere."""
    phantom = chest("LPS")
    series = write_series(sitk.Clamp(phantom.ct, upperBound=-20), tmp_path / "series")
    measured = measure(phantom.ct, phantom.findings, phantom.lungs, None)
    folder = tmp_path / "study"
    study = Study("one", series, measured.rows, None, measured.sources, PROVENANCE, [], {}, folder=folder)
    write_study(study, phantom.findings, phantom.lungs)
    assert command(folder, "--series", series, "-o", tmp_path / "out") == 0
    assert command(folder / "segmentation.seg.nrrd", "--series", series, "-o", tmp_path / "alone") == 3
    assert "not Hounsfield units" in last_event(capsys)["message"]


def test_a_slice_that_is_turned_is_refused(tmp_path):
    ct = chest("LPS").ct
    series = write_series(ct, tmp_path / "series")
    turned_slice = pydicom.dcmread(series / "005.dcm")
    turned_slice.ImageOrientationPatient = ["1", "0", "0", "0", "0.9950", "0.0998"]
    turned_slice.save_as(series / "005.dcm")
    with pytest.raises(GeometryError, match=r"005\.dcm"):
        read_series(series)


@pytest.mark.parametrize("direction", [name for name in DIRECTIONS if name != "gantry tilt"])
def test_a_segmentation_reads_back_equal(tmp_path, direction):
    ct = chest(direction).ct
    series = read_series(write_series(ct, tmp_path / "series", backwards=True))
    labels = random_labels(ct, 2, dtype=np.uint8)
    on_series = series.on_slices(labels, tmp_path)
    segments = [Segment.of(finding) for finding in FINDINGS]
    make_segmentation("findings", voxels(on_series), segments, series, Algorithm("a")).save_as(tmp_path / "seg.dcm")
    read = read_segmentation(tmp_path / "seg.dcm")
    assert np.array_equal(voxels(series.on_slices(read, tmp_path)), voxels(on_series))
    # Against the labels themselves too, wherever the reader of the series put its first slice.
    on_labels = sitk.Resample(read, labels, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    assert np.array_equal(voxels(on_labels), voxels(labels))


def test_findings_of_another_tool_are_known_by_their_codes(tmp_path):
    ct = chest().ct
    series = read_series(write_series(ct, tmp_path / "series"))
    labels = voxels(series.on_slices(random_labels(ct, 3), tmp_path))
    ggo, consolidation = (Segment.of(finding) for finding in FINDINGS)
    lobe = Segment.of(LOBES[0])

    def written(*segments):
        made = make_segmentation("findings", labels, segments, series, Algorithm("a"))
        made.save_as(tmp_path / "seg.dcm")
        return voxels(read_findings(tmp_path / "seg.dcm", series.ct))

    assert np.array_equal(written(consolidation, lobe, ggo), np.choose(labels, (0, 2, 0, 1)))
    assert np.array_equal(written(lobe, lobe, consolidation), (labels == 3) * 2)
    with pytest.raises(InputError, match=r"seg\.dcm.*right upper lobe"):
        written(lobe, lobe, lobe)
    by_number = read_segmentation(tmp_path / "seg.dcm")
    assert np.array_equal(voxels(series.on_slices(by_number, tmp_path)), labels)


@pytest.mark.parametrize("make", ["text", "ct", "fractional"])
def test_what_is_no_segmentation_of_voxels_is_refused(tmp_path, make):
    ct = chest().ct
    folder = write_series(ct, tmp_path / "series")
    path = tmp_path / "seg.dcm"
    if make == "text":
        path.write_text("not DICOM")
    elif make == "ct":
        path = folder / "001.dcm"
    else:
        series = read_series(folder)
        probability = np.full(SIZE[::-1], 0.25, np.float32)
        segment = Segment.of(FINDINGS[0])
        make_segmentation("infection", probability, [segment], series, Algorithm("a")).save_as(path)
    with pytest.raises(UnreadableImageError, match=path.name):
        read_segmentation(path)


@pytest.mark.parametrize(("spacing", "last"), [("0.00014", None), ("14", 14 * 900.0)], ids=["near", "far"])
def test_a_segmentation_whose_slices_no_ct_can_have_is_refused(tmp_path, spacing, last):
    """Its volume would be of gigabytes."""
    ct = chest("LPS").ct
    series = read_series(write_series(ct, tmp_path / "series"))
    segments = [Segment.of(finding) for finding in FINDINGS]
    made = make_segmentation("findings", voxels(random_labels(ct, 2)), segments, series, Algorithm("a"))
    made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = spacing
    position = made.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    if last is not None:
        position.ImagePositionPatient[2] = float(position.ImagePositionPatient[2]) + last
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(GeometryError, match=r"seg\.dcm: .* x 16 x 20 voxels of .* mm are no CT of a body"):
        read_segmentation(tmp_path / "seg.dcm")


def permuted(image):
    return sitk.Flip(sitk.PermuteAxes(image, (2, 0, 1)), (True, False, True))


def cropped(image):
    return image[:-1, :, 2:]  # where `random_labels` has nothing


@pytest.mark.parametrize("change", [permuted, cropped, lambda image: sitk.Cast(image, sitk.sitkInt16)])
def test_the_same_labels_on_other_axes_make_the_same_segmentation(tmp_path, change):
    ct = chest().ct
    series = read_series(write_series(ct, tmp_path / "series"))
    labels = random_labels(ct, 2)
    changed = series.on_slices(change(labels), tmp_path)
    assert np.array_equal(voxels(changed), voxels(series.on_slices(labels, tmp_path)))


def shifted(image, by=0.5):
    image.SetOrigin(image.TransformContinuousIndexToPhysicalPoint((by, 0, 0)))
    return image


def coarser(image):
    return sitk.Shrink(image, (2, 1, 1))


def turned(image):
    image.SetDirection(np.ravel(DIRECTIONS["LPS"]).tolist())
    return image


def stretched(image):
    image.SetSpacing((SPACING[0], SPACING[1], SPACING[2] * 1.05))
    return image


def larger(image):
    return sitk.ConstantPad(image, (0, 0, 1), (0, 0, 0), 1)


@pytest.mark.parametrize("change", [shifted, coarser, turned, stretched, larger])
def test_labels_of_another_geometry_are_refused(tmp_path, capsys, change):
    ct = chest().ct
    series = write_series(ct, tmp_path / "series")
    path = tmp_path / "labels.nrrd"
    sitk.WriteImage(change(random_labels(ct, 2)), path)
    assert command(path, "--series", series, "-o", tmp_path / "out") == GeometryError.exit_status
    error = last_event(capsys)
    assert error["code"] == "geometry" and str(path) in error["message"] and SERIES_UID in error["message"]
    assert not (tmp_path / "out").exists()


def test_rounding_of_a_file_format_is_no_other_geometry(tmp_path):
    ct = chest().ct
    series = read_series(write_series(ct, tmp_path / "series"))
    labels = random_labels(ct, 2)
    sitk.WriteImage(labels, tmp_path / "labels.nii.gz")
    for changed in (sitk.ReadImage(tmp_path / "labels.nii.gz"), shifted(sitk.Image(labels), 0.02)):
        placed = series.on_slices(changed, tmp_path)
        assert np.array_equal(voxels(placed), voxels(series.on_slices(labels, tmp_path)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_part_that_would_be_lost_is_refused(tmp_path, axis):
    ct = chest().ct
    series = read_series(write_series(ct, tmp_path / "series"))
    labels = random_labels(ct, 2)
    shift = [0, 0, 0]
    shift[axis] = 3
    labels.SetOrigin(labels.TransformIndexToPhysicalPoint(shift))
    with pytest.raises(GeometryError, match="outside the DICOM series"):
        series.on_slices(labels, tmp_path)


def make_study(folder, ct_folder, phantom, **changes):
    """A study of the phantom, its lobes made of halves of the lungs, on the grid that the phantom has."""
    heights = np.indices(SIZE[::-1])[0]
    lungs = voxels(phantom.lungs)
    lobes = np.select([lungs == 1, lungs == 2], [1 + heights // 5, 4 + heights // 7], 0).astype(np.uint8)
    lobe_image = Lobes(image_like(lobes, phantom.ct), "atlas", True, ["The lobes are those of an atlas."])
    measured = measure(phantom.ct, phantom.findings, phantom.lungs, lobe_image)
    values = {
        "folder": folder,
        "case": "case",
        "ct": ct_folder,
        "table": measured.rows,
        "severity": measured.severity,
        "sources": {"lungs": "threshold and morphology", **measured.sources},
        "provenance": PROVENANCE,
        "warnings": measured.warnings,
        "seconds": {},
    }
    study = Study(**values | changes)
    infection = image_like((voxels(phantom.findings) > 0).astype(np.float32) * 0.6, phantom.ct)
    write_study(study, phantom.findings, phantom.lungs, lobe_image.image, infection)
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A phantom's study and its DICOM objects, read by pydicom: (phantom, study, folder, objects by name)."""
    folder = tmp_path_factory.mktemp("study")
    phantom = chest()
    # Compute on what the DICOM series holds: −1024 is the lowest of a CT that was read.
    phantom = type(phantom)(**vars(phantom) | {"ct": sitk.Clamp(phantom.ct, sitk.sitkInt16, -1024, 3000)})
    series = write_series(phantom.ct, folder / "series", backwards=True, signed=False)
    made = make_study(folder / "case", series, phantom)
    assert command(folder / "case", "--series", series, "-o", folder / "dicom") == 0
    objects = {path.stem: pydicom.dcmread(path) for path in (folder / "dicom").iterdir()}
    return phantom, made, folder, objects


def test_a_study_becomes_four_segmentations_and_a_report(study):
    phantom, _, folder, objects = study
    assert set(objects) == {"findings", "lungs", "lobes", "infection", "measurements"}
    series = dicom_images(folder / "series")
    assert_shows(objects["findings"], phantom.findings, series)
    assert_shows(objects["lungs"], phantom.lungs, series)
    assert_shows(objects["lobes"], sitk.ReadImage(folder / "case/lobes.nrrd"), series)
    probability = objects["infection"]
    assert (probability.SegmentationType, probability.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    values = np.concatenate([frame[3].ravel() for frame in frames(probability)])
    assert set(values) == {0, round(0.6 * 255)} and probability.MaximumFractionalValue == 255
    assert np.count_nonzero(values) == np.count_nonzero(voxels(phantom.findings))


def test_patient_and_study_are_those_of_the_series(study):
    *_, folder, objects = study
    source = dicom_images(folder / "series")[0]
    instances, series = set(), set()
    for name, written in objects.items():
        for keyword in (*PATIENT, "StudyInstanceUID"):
            assert written.get(keyword) == source.get(keyword), (name, keyword)
        assert str(written.PatientName) == PATIENT["PatientName"]
        assert "not for clinical use" in written.SeriesDescription
        instances.add(written.SOPInstanceUID)
        series.add(written.SeriesInstanceUID)
        if name != "measurements":
            assert written.FrameOfReferenceUID == source.FrameOfReferenceUID
            (referenced,) = written.ReferencedSeriesSequence
            assert referenced.SeriesInstanceUID == SERIES_UID
            uids = {item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence}
            assert uids == {image.SOPInstanceUID for image in dicom_images(folder / "series")}
    assert len(instances) == len(series) == 5 and SERIES_UID not in series


def code(item):
    return item.CodingSchemeDesignator, item.CodeValue


def test_segments_have_the_codes_of_slicer_and_of_dicom(study):
    *_, objects = study

    def told(name):
        for segment in objects[name].SegmentSequence:
            (kind,) = segment.SegmentedPropertyTypeCodeSequence
            modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence", [])
            assert segment.SegmentAlgorithmType == "AUTOMATIC"
            yield (
                segment.SegmentNumber,
                segment.SegmentLabel,
                code(segment.SegmentedPropertyCategoryCodeSequence[0])[1],
                code(kind),
                [code(modifier)[1] for modifier in modifiers],
                [code(region)[1] for region in segment.get("AnatomicRegionSequence", [])],
            )

    right, left, structure = ["24028007"], ["7771000"], "123037004"
    upper, middle, lower = ("SCT", "45653009"), ("SCT", "72481006"), ("SCT", "90572001")
    assert list(told("findings")) == [
        (f.label, f.name, "49755003", (f.code.scheme, f.code.value), [], ["39607008"]) for f in FINDINGS
    ]
    assert list(told("lungs")) == [
        (1, "right lung", structure, ("SCT", "39607008"), right, []),
        (2, "left lung", structure, ("SCT", "39607008"), left, []),
    ]
    assert list(told("lobes")) == [
        (1, "right upper lobe", structure, upper, right, []),
        (2, "right middle lobe", structure, middle, right, []),
        (3, "right lower lobe", structure, lower, right, []),
        (4, "left upper lobe", structure, upper, left, []),
        (5, "left lower lobe", structure, lower, left, []),
    ]


def test_the_algorithm_is_named_with_its_weights(study):
    *_, objects = study
    for segment in objects["findings"].SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmName == "InfNet one-net other-net"
        assert algorithm.AlgorithmVersion == "9.8.7"
        assert code(algorithm.AlgorithmFamilyCodeSequence[0]) == ("DCM", "123110")
        for weights in ("ab" * 32, "cd" * 32):
            assert weights in algorithm.AlgorithmParameters
    assert Algorithm.of_findings({"infection_model": "one-net", "findings_model": "one-net"}).name == "InfNet one-net"
    for name, method in (("lungs", "threshold and morphology"), ("lobes", "atlas")):
        (algorithm,) = objects[name].SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
        assert method in algorithm.AlgorithmName
        assert "ab" * 32 not in str(algorithm) and code(algorithm.AlgorithmFamilyCodeSequence[0])[1] != "123110"


@pytest.mark.parametrize("value", [None, [1], 3, {"a": 1}, "two\\values"])
def test_a_provenance_that_others_wrote_is_named_as_far_as_it_goes(value):
    """The header of a segmentation is any program's."""
    algorithm = Algorithm.of_findings({"infection_model": value, "infnet": value, "threshold": value})
    assert algorithm.name.startswith("InfNet") and algorithm.version and "\\" not in algorithm.name
    assert algorithm.for_segmentation() and algorithm.for_report()


def groups(report):
    """The measurement groups by their tracking identifiers, each as what it says by concept name."""
    (measurements,) = (i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    found = {}
    for group in measurements.ContentSequence:
        told = {"numbers": {}}
        for item in group.ContentSequence:
            name = item.ConceptNameCodeSequence[0].CodeMeaning
            if item.ValueType == "NUM":
                (value,) = item.MeasuredValueSequence
                derivation = [m.ConceptCodeSequence[0].CodeMeaning for m in item.get("ContentSequence", [])]
                unit = value.MeasurementUnitsCodeSequence[0]
                assert unit.CodingSchemeDesignator == "UCUM"
                told["numbers"][" ".join([*derivation, name])] = (float(value.NumericValue), unit.CodeValue)
            elif item.ValueType == "CODE":
                told[name] = code(item.ConceptCodeSequence[0])
                told[f"{name} modifiers"] = [code(m.ConceptCodeSequence[0])[1] for m in item.get("ContentSequence", [])]
            elif item.ValueType == "IMAGE":
                (reference,) = item.ReferencedSOPSequence
                told[name] = reference.ReferencedSOPInstanceUID, reference.ReferencedSegmentNumber
            else:
                told.setdefault(name, item.get("TextValue") or item.get("UID"))
        assert told["Tracking Identifier"] not in found
        found[told["Tracking Identifier"]] = told
    return found


def test_the_report_has_every_number_of_the_table(study):
    _, made, _, objects = study
    found = groups(objects["measurements"])
    names = {"ggo": "Ground glass opacity", "consolidation": "Consolidation", "infection": "Opacity"}
    assert len(found) == 4 * len(made.table)
    assert made.severity is not None and any(row["ggo_ml"] > 0 for row in made.table)
    for row in made.table:
        score = made.severity if row["region"] == "total" else row["severity"]
        own = found[row["region"]]["numbers"]
        assert own.pop("CT severity score", (None, "1")) == (score, "1")
        for key, numbers in [("volume", own)] + [
            (key, found[f"{name}, {row['region']}"]["numbers"]) for key, name in names.items()
        ]:
            expected = {
                "Volume": (row[f"{key}_ml"], "mL"),
                "Percent of the region's volume": (row.get(f"{key}_percent"), "%"),
                "Mean Attenuation Coefficient": (row[f"{key}_mean_hu"], "[hnsf'U]"),
                "Standard Deviation Attenuation Coefficient": (row[f"{key}_sd_hu"], "[hnsf'U]"),
            }
            expected = {name: value for name, value in expected.items() if value[0] is not None}
            assert set(numbers) == set(expected)
            for name, (value, unit) in expected.items():
                assert numbers[name] == (pytest.approx(value, rel=1e-9), unit), (row["region"], key, name)


def test_groups_say_what_was_found_and_where(study):
    *_, objects = study
    found = groups(objects["measurements"])
    ggo = found["Ground glass opacity, right middle lobe"]
    assert ggo["Finding"] == ("DCM", "112120")
    assert (ggo["Finding Site"], ggo["Finding Site modifiers"]) == (("SCT", "72481006"), ["24028007"])
    assert ggo["Algorithm Name"] == "InfNet one-net other-net" and "ab" * 32 in ggo["Algorithm Parameters"]
    total = found["Consolidation, total"]
    assert (total["Finding Site"], total["Finding Site modifiers"]) == (("SCT", "39607008"), ["51440002"])
    outside = found["outside every lobe"]
    assert outside["Finding Site modifiers"] == ["51440002", "outside-lobes"]
    assert found["left upper lobe"]["Algorithm Name"] == "InfNet lobes: atlas"
    assert found["left lung"]["Algorithm Name"] == "InfNet lungs: threshold and morphology"


def test_groups_of_a_whole_segment_refer_to_it(study):
    *_, objects = study
    found = groups(objects["measurements"])
    expected = {
        "Ground glass opacity, total": ("findings", 1),
        "Consolidation, total": ("findings", 2),
        "right lung": ("lungs", 1),
        "left lung": ("lungs", 2),
        **{lobe.name: ("lobes", lobe.label) for lobe in LOBES},
    }
    referring = {label: told["Referenced Segment"] for label, told in found.items() if "Referenced Segment" in told}
    assert referring == {label: (objects[name].SOPInstanceUID, n) for label, (name, n) in expected.items()}
    for label, (name, number) in expected.items():
        assert found[label]["Tracking Unique Identifier"] == objects[name].SegmentSequence[number - 1].TrackingUID
        assert found[label]["Source Series for Segmentation"] == SERIES_UID


def test_the_report_is_unverified_and_lists_its_evidence(study):
    _, made, folder, objects = study
    report = objects["measurements"]
    assert (report.VerificationFlag, report.PreliminaryFlag, report.Modality) == ("UNVERIFIED", "PRELIMINARY", "SR")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    texts = [item for item in report.ContentSequence if item.ValueType == "TEXT"]
    comments = [item.TextValue for item in texts if item.ConceptNameCodeSequence[0].CodeMeaning == "Comment"]
    assert comments[0] == "For research, not for clinical use."
    assert comments[1:] == [f"Warning: {warning}" for warning in made.warnings] and made.warnings
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == objects["findings"].StudyInstanceUID
    uids = [i.ReferencedSOPInstanceUID for s in evidence.ReferencedSeriesSequence for i in s.ReferencedSOPSequence]
    images = {image.SOPInstanceUID for image in dicom_images(folder / "series")}
    assert sorted(uids) == sorted(images | {objects[name].SOPInstanceUID for name in ("findings", "lungs", "lobes")})


def test_findings_beyond_the_lungs_are_not_said_to_be_the_segment(tmp_path):
    phantom = chest()
    series = write_series(phantom.ct, tmp_path / "series")
    findings = voxels(phantom.findings)
    findings[0, 0, 0] = 1  # outside the body
    write_segmentation(image_like(findings, phantom.ct), tmp_path / "f.seg.nrrd", PROVENANCE)
    sitk.WriteImage(phantom.lungs, tmp_path / "lungs.nrrd")
    arguments = ("--series", series, "-o", tmp_path / "out")
    assert command(tmp_path / "f.seg.nrrd", "--lungs", tmp_path / "lungs.nrrd", *arguments) == 0
    found = groups(pydicom.dcmread(tmp_path / "out/measurements.dcm"))
    assert "Referenced Segment" not in found["Ground glass opacity, total"]
    assert "Referenced Segment" in found["Consolidation, total"]
    # And the provenance came from the segmentation's header.
    assert "ab" * 32 in found["Consolidation, total"]["Algorithm Parameters"]


def test_files_without_a_study_make_the_same_objects(study, tmp_path):
    phantom, _, folder, objects = study
    findings, lungs, lobes = (tmp_path / f"{name}.seg.nrrd" for name in ("findings", "lungs", "lobes"))
    write_segmentation(phantom.findings, findings, PROVENANCE)
    sitk.WriteImage(permuted(phantom.lungs), lungs)
    write_segmentation(sitk.ReadImage(folder / "case/lobes.nrrd"), lobes, {}, LOBES)
    arguments = (findings, "--lungs", lungs, "--lobes", lobes, "--series", folder / "series", "-o", tmp_path / "out")
    assert command(*arguments) == 0
    again = {path.stem: pydicom.dcmread(path) for path in (tmp_path / "out").iterdir()}
    assert set(again) == set(objects) - {"infection"}
    for name in ("findings", "lungs", "lobes"):
        assert again[name].PixelData == objects[name].PixelData
    before, after = groups(objects["measurements"]), groups(again["measurements"])
    assert {k: v["numbers"] for k, v in after.items()} == {
        k: {name: (pytest.approx(value), unit) for name, (value, unit) in v["numbers"].items()}
        for k, v in before.items()
    }
    assert after["left lung"]["Algorithm Name"] == "Existing lungs: lungs.seg.nrrd (as given)"


def test_lungs_that_slicer_numbered_otherwise_stay_on_their_sides(study, tmp_path):
    """3D Slicer numbers segments in the order in which they were made: the left lung can be 1."""
    phantom, _, folder, objects = study
    swapped = sitk.ChangeLabel(phantom.lungs, {1: 2, 2: 1})
    for number, name in enumerate(("left lung", "right lung")):
        swapped.SetMetaData(f"Segment{number}_Name", name)
        swapped.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
    sitk.WriteImage(swapped, tmp_path / "lungs.seg.nrrd")
    given = (folder / "case/segmentation.seg.nrrd", "--lungs", tmp_path / "lungs.seg.nrrd")
    assert command(*given, "--series", folder / "series", "-o", tmp_path / "out") == 0
    assert pydicom.dcmread(tmp_path / "out/lungs.dcm").PixelData == objects["lungs"].PixelData


def test_lobes_of_another_geometry_are_refused(study, tmp_path, capsys):
    phantom, _, folder, _ = study
    sitk.WriteImage(shifted(sitk.Image(phantom.lungs)), tmp_path / "lobes.nrrd")
    given = (folder / "case/segmentation.seg.nrrd", "--lungs", folder / "case/lungs.nrrd")
    arguments = ("--series", folder / "series", "-o", tmp_path / "out")
    assert command(*given, "--lobes", tmp_path / "lobes.nrrd", *arguments) == GeometryError.exit_status
    assert "lobes.nrrd" in last_event(capsys)["message"]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of what is written here
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSex", "male"),
        ("PatientBirthDate", "unknown"),
        ("StudyDate", "20201399"),
        ("StudyTime", "10:11:12"),
        ("PatientName", ["two", "values"]),  # as of a name in an encoding that is not told
    ],
)
def test_attributes_of_no_form_are_left_out_with_a_warning(tmp_path, capsys, keyword, value):
    ct = chest().ct
    series = write_series(ct, tmp_path / "series", **{keyword: value})
    sitk.WriteImage(random_labels(ct, 2), tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(event.get("text", "").endswith(f"form that DICOM has for it: {keyword}.") for event in events)
    written = pydicom.dcmread(tmp_path / "out/findings.dcm")
    assert not written[keyword].value and written.PatientID == PATIENT["PatientID"]


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_attributes_that_cannot_be_taken_over_are_told(tmp_path, capsys):
    ct = chest().ct
    series = write_series(ct, tmp_path / "series", SpecificCharacterSet="LATIN")
    sitk.WriteImage(random_labels(ct, 2), tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 3
    told = last_event(capsys)["message"]
    assert f"{SERIES_UID}: its attributes cannot be taken over ('LATIN'" in told and not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize(
    ("whole", "damaged"),
    [(b"ISO_IR 192", b"\0\0O_IR 192"), (b"\\1.0000000000\\0.0000000000", b"\\1.0000000000\\0.0000\0" + b"00000")],
    ids=["set", "cosine"],
)
def test_a_header_that_pydicom_cannot_read_is_told(tmp_path, capsys, whole, damaged):
    """Found by fuzzing: a ValueError, and a TypeError of NumPy."""
    ct = chest("LPS").ct
    series = write_series(ct, tmp_path / "series")
    path = series / "005.dcm"
    path.write_bytes(path.read_bytes().replace(whole, damaged, 1))
    sitk.WriteImage(random_labels(ct, 2), tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 3
    assert f"{path}: its header is damaged (" in last_event(capsys)["message"] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "charsets"),
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        ("Łukasiewicz^Zoë", "ISO 2022 IR 101"),
    ],
)
def test_names_in_character_sets_of_east_asia_are_written_in_unicode(tmp_path, name, charsets):
    ct = chest().ct
    series = write_series(ct, tmp_path / "series", SpecificCharacterSet=charsets, PatientName=name, PatientID="17")
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        del image.StudyDescription
        image.save_as(path)
    sitk.WriteImage(random_labels(ct, 2), tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 0
    written = pydicom.dcmread(tmp_path / "out/findings.dcm")
    assert (written.PatientName, written.SpecificCharacterSet) == (name, "ISO_IR 192")


def test_slices_without_a_preamble_are_those_of_the_segmentation(tmp_path):
    """As older archives keep them; GDCM reads them."""
    ct = chest("LPS").ct
    series = write_series(ct, tmp_path / "series")
    images = dicom_images(series)
    for path in series.iterdir():
        image = pydicom.dcmread(path)
        del image.file_meta, image.preamble
        image.save_as(path, implicit_vr=True, little_endian=True)
    labels = random_labels(ct, 2)
    sitk.WriteImage(labels, tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == 0
    assert_shows(pydicom.dcmread(tmp_path / "out/findings.dcm"), labels, images)


def test_images_of_one_uid_are_refused(tmp_path, capsys):
    ct = chest().ct
    series = write_series(ct, tmp_path / "series", SOPInstanceUID="1.2.3")
    sitk.WriteImage(random_labels(ct, 2), tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == InputError.exit_status
    assert "the same SOP Instance UID" in last_event(capsys)["message"]


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_images_that_nothing_can_refer_to_are_refused(tmp_path, capsys, keyword):
    ct = chest().ct
    series = write_series(ct, tmp_path / "series", left_out=[keyword])
    sitk.WriteImage(random_labels(ct, 2), tmp_path / "labels.nrrd")
    assert command(tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out") == InputError.exit_status
    assert keyword in last_event(capsys)["message"]


def test_the_result_of_another_series_is_refused(tmp_path, capsys):
    """A second phase has the same geometry: only the UID tells them apart."""
    phantom = chest()
    series = write_series(phantom.ct, tmp_path / "series")
    make_study(tmp_path / "case", series, phantom, provenance=PROVENANCE | {"series_instance_uid": "1.2.3"})
    assert command(tmp_path / "case", "--series", series, "-o", tmp_path / "out") == InputError.exit_status
    message = last_event(capsys)["message"]
    assert "1.2.3;" not in message and "the series 1.2.3" in message and SERIES_UID in message
    segmentation = tmp_path / "case/segmentation.seg.nrrd"
    assert command(segmentation, "--series", series, "-o", tmp_path / "out") == InputError.exit_status
    write_segmentation(phantom.findings, segmentation, PROVENANCE | {"series_instance_uid": SERIES_UID})
    assert command(segmentation, "--series", series, "-o", tmp_path / "out") == 0


def test_two_results_never_lie_in_one_folder(study, tmp_path):
    _, _, folder, _ = study
    out = tmp_path / "out"
    assert command(folder / "case", "--series", folder / "series", "-o", out) == 0
    (out / "notes.txt").write_text("mine")
    arguments = ("--series", folder / "series", "-o", out)
    assert command(folder / "case/segmentation.seg.nrrd", *arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["findings.dcm", "notes.txt"]


@pytest.mark.parametrize("name", ["findings", "lobes", "measurements"])
def test_a_folder_in_the_place_of_an_object_is_told_before_the_work(study, tmp_path, capsys, name):
    _, _, folder, _ = study
    out = tmp_path / "out"
    (out / f"{name}.dcm").mkdir(parents=True)
    (out / "lungs.dcm").write_bytes(b"an earlier object")
    assert command(tmp_path / "no study", "--series", folder / "series", "-o", out) == 7
    assert f"{out / name}.dcm is a folder; move it away" in last_event(capsys)["message"]
    assert command(folder / "case", "--series", folder / "series", "-o", out) == 7
    assert {path.name for path in out.iterdir()} == {f"{name}.dcm", "lungs.dcm"}
    assert (out / "lungs.dcm").read_bytes() == b"an earlier object"


def test_objects_that_cannot_be_written_leave_those_before(study, tmp_path, capsys, monkeypatch):
    _, _, folder, _ = study
    out = tmp_path / "out"
    arguments = (folder / "case", "--series", folder / "series", "-o", out)
    assert command(*arguments) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    save, saved = Dataset.save_as, []

    def fill_disk(dataset, path):
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(path)
        save(dataset, path)

    monkeypatch.setattr(Dataset, "save_as", fill_disk)
    assert command(*arguments) == 7
    assert "No space left on device" in last_event(capsys)["message"]
    assert len(before) == 5 and {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_stop_leaves_the_folder_as_it_was(study, tmp_path, capsys):
    _, _, folder, _ = study
    (tmp_path / "stop").touch()
    arguments = (folder / "case", "--series", folder / "series", "-o", tmp_path / "out")
    assert command(*arguments, "--stop-file", tmp_path / "stop") == 130
    assert not (tmp_path / "out").exists()


def test_without_the_package_the_remedy_is_told(study, tmp_path, capsys, monkeypatch):
    _, _, folder, _ = study
    monkeypatch.setitem(sys.modules, "highdicom", None)
    assert command(folder / "case", "--series", folder / "series", "-o", tmp_path) == 8
    error = last_event(capsys)
    assert error["code"] == "missing-package" and "pip install highdicom pydicom" in error["message"]


def test_it_is_quiet_about_what_other_people_s_files_have(tmp_path):
    """A name of one part, no findings at all: neither makes a library print warnings."""
    ct = chest().ct
    series = write_series(ct, tmp_path / "series", PatientName="Anonymous")
    sitk.WriteImage(ct * 0, tmp_path / "labels.nrrd")
    done = subprocess.run(
        [sys.executable, "-m", "infnet", "dicom", tmp_path / "labels.nrrd", "--series", series, "-o", tmp_path / "out"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    written = pydicom.dcmread(tmp_path / "out/findings.dcm")
    assert [s.SegmentLabel for s in written.SegmentSequence] == [f.name for f in FINDINGS]
    assert not written.pixel_array.any()
    assert all(line.startswith("Warning: The ") for line in done.stderr.splitlines() if line.startswith("Warning"))
    assert "highdicom" not in done.stderr and "Error" not in done.stderr


OPTIONAL = [keyword for keyword in PATIENT if keyword != "PatientAge"] + [
    "SliceThickness",
    "SpacingBetweenSlices",
    "PositionReferenceIndicator",
    "Manufacturer",
    "KVP",
    "SpecificCharacterSet",
]


def validate(path):
    """The errors that dciodvfy finds, one a line."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, encoding="utf-8", errors="replace", check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


needs_validator = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (Debian package dicom3tools)"
)


@needs_validator
def test_the_validator_finds_no_error(study):
    *_, folder, objects = study
    for name in objects:
        assert validate(folder / f"dicom/{name}.dcm") == [], name


@needs_validator
@pytest.mark.parametrize(
    ("direction", "options", "highest"),
    [
        ("gantry tilt", {}, 2),
        ("sagittal", {"signed": False}, 2),
        ("oblique, transposed, flipped", {"backwards": True}, 0),
        ("LPS", {"left_out": OPTIONAL}, 2),
    ],
)
def test_the_validator_finds_no_error_in_less_usual_cases(tmp_path, direction, options, highest):
    phantom = chest(direction)
    series = write_series(phantom.ct, tmp_path / "series", **options)
    sitk.WriteImage(random_labels(phantom.ct, highest), tmp_path / "labels.nrrd")
    sitk.WriteImage(phantom.lungs, tmp_path / "lungs.nrrd")
    arguments = ("--lungs", tmp_path / "lungs.nrrd", "--series", series, "-o", tmp_path / "out")
    assert command(tmp_path / "labels.nrrd", *arguments) == 0
    for path in (tmp_path / "out").iterdir():
        assert validate(path) == [], path.name
    assert len(list((tmp_path / "out").iterdir())) == 3


@needs_validator
def test_the_validator_would_find_an_error(study, tmp_path):
    *_, objects = study
    broken = pydicom.dcmread(objects["findings"].filename)
    del broken.SegmentSequence[0].SegmentLabel
    broken.save_as(tmp_path / "broken.dcm")
    assert any("SegmentLabel" in line for line in validate(tmp_path / "broken.dcm"))


@pytest.mark.parametrize(
    ("folder", "report"), [("popi-chest-ct/dicom_20_slices", True), ("cip-lowres/ct-64Dicom", False)]
)
def test_real_series(shared_data, tmp_path, folder, report):
    """A series with a sign on its slice distance and a damaged private tag, and one of another tool's making."""
    source = shared_data / "ct" / folder
    series = read_series(source)
    hu = voxels(series.ct)
    labels = ((hu > -700) + (hu > -200).astype(np.uint8)).astype(np.uint8)
    sitk.WriteImage(image_like(labels, series.ct), tmp_path / "labels.nrrd")
    sitk.WriteImage(image_like((1 + (np.indices(hu.shape)[2] > 30)).astype(np.uint8), series.ct), tmp_path / "l.nrrd")
    arguments = [tmp_path / "labels.nrrd", "--series", source, "-o", tmp_path / "out"]
    assert command(*arguments, *(["--lungs", tmp_path / "l.nrrd"] if report else [])) == 0
    assert (tmp_path / "out/measurements.dcm").exists() == report
    read = read_segmentation(tmp_path / "out/findings.dcm")
    assert np.array_equal(voxels(series.on_slices(read, tmp_path)), labels)
    if shutil.which("dciodvfy"):
        for path in (tmp_path / "out").iterdir():
            assert validate(path) == [], path.name
