"""What hospitals' CDs and archives have: which images are the CT, and where its slices or frames lie."""

import zipfile
from functools import cache

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from infnet.data.volumes import read_ct
from infnet.errors import GeometryError, InputError, UnreadableImageError
from phantoms import DIRECTIONS, empty_grid, make_chest, write_dicom_series
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MediaStorageDirectoryStorage,
    PositronEmissionTomographyImageStorage,
)

SIZE = 12


@cache
def chest(direction="LPS"):
    return make_chest(empty_grid((40, 36, SIZE), (9, 9, 15), DIRECTIONS[direction])).ct


@pytest.fixture
def ct():
    return chest()


@pytest.fixture
def series(ct, tmp_path):
    write_dicom_series(ct, tmp_path / "series")
    return tmp_path / "series"


def change(paths, changed):
    for path in paths:
        image = pydicom.dcmread(path)
        changed(image)
        image.save_as(path)


def assert_shows(image, ct):
    """Each voxel of ``ct`` is where it was, in the order of the slices or the other way round."""
    there = sitk.Resample(image, ct, sitk.Transform(), sitk.sitkNearestNeighbor, -9999)
    assert np.array_equal(sitk.GetArrayFromImage(there), sitk.GetArrayFromImage(ct).clip(-1024))
    assert image.GetSize() == ct.GetSize()
    assert image.GetSpacing() == pytest.approx(ct.GetSpacing(), abs=1e-4)


# What lies beside the slices -----------------------------------------------------------------------------------------


def test_a_ct_is_used_although_a_series_of_another_kind_is_longer(ct, series):
    """As the PET of a PET/CT, or the pictures of a rendering that turns; each told with its number."""

    def become_pet(image):
        image.SOPClassUID = PositronEmissionTomographyImageStorage
        image.SeriesNumber = 7

    change(series.iterdir(), lambda image: setattr(image, "SeriesNumber", 3))
    longer = sitk.ConstantPad(ct, padUpperBound=(0, 0, 8), constant=-1000)
    write_dicom_series(longer, series.parent / "pet", series="2")
    change((series.parent / "pet").iterdir(), become_pet)
    for path in (series.parent / "pet").iterdir():
        path.rename(series / f"pet {path.name}")
    image, warnings = read_ct(series)
    assert_shows(image, ct)
    told = "used is the longest CT, number 3, 1.2.3.4.1 (12 images), not number 7 (20). To use another, put it into a"
    assert any(told in warning for warning in warnings)


@pytest.mark.parametrize("kind", [GrayscaleSoftcopyPresentationStateStorage, MediaStorageDirectoryStorage])
def test_what_refers_to_slices_is_no_damaged_slice(ct, series, kind):
    other, reference = pydicom.dcmread(series / "000.dcm"), Dataset()
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(other, keyword)
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = kind
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, other.SOPInstanceUID
    other.ReferencedImageSequence = [reference]
    other.save_as(series / "DICOMDIR")
    assert_shows(read_ct(series)[0], ct)


def test_hidden_files_of_the_slices_names_do_not_matter(ct, series):
    """A Mac lays them beside each file of a disk of another kind."""
    (series / "._005.dcm").write_bytes(b"\0\5\x16\7" + bytes(500))
    assert_shows(read_ct(series)[0], ct)


def test_a_zip_file_and_the_index_of_a_cd_are_called_that(series, tmp_path):
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        archive.write(series / "000.dcm")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    for name in ("ct.zip", "DICOMDIR"):
        with pytest.raises(UnreadableImageError, match=f"{name}: no image but .* name the folder"):
            read_ct(tmp_path / name)


# Where slices lie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "PixelSpacing"])
@pytest.mark.parametrize("count", [1, SIZE])
def test_slices_that_do_not_tell_where_they_lie_are_refused(series, keyword, count):
    """ITK alone takes 1 mm for what it is not told."""
    change(sorted(series.iterdir())[:count], lambda image: delattr(image, keyword))
    with pytest.raises(GeometryError, match=r"do not tell where they lie .*; export"):
        read_ct(series)


def test_slices_of_several_pixel_sizes_are_refused(series):
    change([series / "005.dcm"], lambda image: setattr(image, "PixelSpacing", [9, 8]))
    with pytest.raises(UnreadableImageError, match="several sizes"):
        read_ct(series)


def test_slices_that_do_not_tell_how_they_lie_are_looked_at_all_the_same(ct, series):
    change(series.iterdir(), lambda image: delattr(image, "ImageOrientationPatient"))
    image, warnings = read_ct(series)
    assert_shows(image, ct)
    assert any("taken as those of a supine patient" in warning for warning in warnings)
    (series / "005.dcm").unlink()
    assert any("not evenly spaced" in warning for warning in read_ct(series)[1])


@pytest.mark.parametrize(("acquisitions", "told"), [("111111222222", False), ("112112211221", True), ("1" * 12, False)])
def test_acquisitions_that_lie_between_each_other_are_told(series, acquisitions, told):
    for path, number in zip(sorted(series.iterdir()), acquisitions, strict=True):
        change([path], lambda image, number=number: setattr(image, "AcquisitionNumber", number))
    assert any("Slices of several acquisitions" in warning for warning in read_ct(series)[1]) == told


def test_a_slice_without_the_rescale_of_the_others_is_named(series):
    """Its values would be 1024 off, and nothing else would tell."""

    def take_out_the_rescale(image):
        del image.RescaleIntercept, image.RescaleSlope

    change([series / "005.dcm"], take_out_the_rescale)
    with pytest.raises(InputError, match=r"005.dcm: no Rescale Intercept, which other slices have"):
        read_ct(series)


def test_images_at_one_position_are_named(series):
    (series / "copy of 005.dcm").write_bytes((series / "005.dcm").read_bytes())
    with pytest.raises(InputError, match=r"at one position \((copy of )?005.dcm and (copy of )?005.dcm\); take out"):
        read_ct(series)


# Enhanced CT: many frames in one file --------------------------------------------------------------------------------


def item(**attributes):
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def write_frames(ct, folder, order=range(SIZE), changed=lambda frames: None):
    """A CT as one file of many frames, in this order; ``changed`` is done with what the header tells of each."""
    write_dicom_series(ct, folder)
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    frames = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=slices[z].ImagePositionPatient)],
            PixelValueTransformationSequence=[item(RescaleSlope="1", RescaleIntercept="-1024")],
        )
        for z in order
    ]
    changed(frames)
    image = slices[0]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=image.ImageOrientationPatient)],
        PixelMeasuresSequence=[item(PixelSpacing=image.PixelSpacing, SliceThickness="15")],
    )
    image.PixelData = b"".join(slices[z].PixelData for z in order)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(image, keyword)
    del image.RescaleIntercept
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    image.NumberOfFrames = len(order)
    image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [shared], frames
    for path in folder.iterdir():
        path.unlink()
    image.save_as(folder / "frames.dcm")
    return folder


@pytest.mark.parametrize("direction", ["LPS", "oblique", "gantry tilt"])
@pytest.mark.parametrize("order", [range(SIZE), range(SIZE)[::-1], np.random.default_rng(1).permutation(SIZE)])
def test_frames_are_where_their_own_positions_tell(tmp_path, direction, order):
    ct = chest(direction)
    folder = write_frames(ct, tmp_path / "series", order)
    for path in (folder, folder / "frames.dcm"):
        image, warnings = read_ct(path)
        assert_shows(image, ct)
        assert not any("evenly" in warning or "shifted" in warning for warning in warnings)


def test_missing_frames_are_told(ct, tmp_path):
    folder = write_frames(ct, tmp_path / "series", [z for z in range(SIZE) if z != 5])
    image, warnings = read_ct(folder)
    assert image.GetSpacing()[2] == pytest.approx(15 * 11 / 10)
    assert any("15.00 to 30.00 mm" in warning for warning in warnings)


def test_an_enhanced_ct_counts_as_many_images_as_it_has_frames(ct, tmp_path):
    folder = write_frames(ct, tmp_path / "series")
    write_dicom_series(ct[:, :, :3], folder, series="2")
    assert_shows(read_ct(folder)[0], ct)


def other_rescale(frames):
    frames[5].PixelValueTransformationSequence[0].RescaleIntercept = "-1000"


def no_position(frames):
    del frames[5].PlanePositionSequence


@pytest.mark.parametrize(
    ("order", "changed", "told"),
    [
        ([*range(SIZE), *range(SIZE)], lambda frames: None, r"at one position \(frame 1 and frame 13\)"),
        (range(SIZE), other_rescale, "several pixel sizes or rescales"),
        (range(SIZE), no_position, "does not tell position, pixel size and rescale of each frame"),
        (range(SIZE), lambda frames: frames.pop(), "does not tell position"),
    ],
    ids=["two stacks", "rescale", "position", "count"],
)
def test_frames_that_make_no_volume_are_refused(ct, tmp_path, order, changed, told):
    folder = write_frames(ct, tmp_path / "series", order, changed)
    for path in (folder, folder / "frames.dcm"):
        with pytest.raises(InputError, match=told):
            read_ct(path)


def test_several_volumes_in_one_series_are_told(ct, tmp_path):
    folder = write_frames(ct, tmp_path / "series")
    (folder / "other.dcm").write_bytes((folder / "frames.dcm").read_bytes())
    with pytest.raises(InputError, match="several images of many frames in one series; put the one"):
        read_ct(folder)
