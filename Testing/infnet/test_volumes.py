"""CTs from files and DICOM folders, and what is refused; images written whole or not at all."""

import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from infnet.data import itk_names
from infnet.data.volumes import dicom_tags, read_ct, write_image
from infnet.errors import (
    InputError,
    InputNotFoundError,
    IntensityError,
    NotAVolumeError,
    OutputError,
    UnreadableImageError,
)
from phantoms import DIRECTIONS, empty_grid, make_chest, write_dicom_series

voxels = sitk.GetArrayFromImage


@pytest.fixture(scope="module")
def ct():
    return make_chest(empty_grid((60, 50, 40), (6, 6, 5), DIRECTIONS["oblique"])).ct


def save(image, path):
    sitk.WriteImage(image, path)
    return path


def geometry(image):
    return np.concatenate([image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()])


@pytest.mark.parametrize(("ending", "tolerance"), [(".nrrd", 1e-12), (".mha", 1e-9), (".nii.gz", 1e-4), (".nii", 1e-4)])
def test_files_keep_values_and_geometry(ct, tmp_path, ending, tolerance):
    write_image(ct, tmp_path / f"patient.1{ending}")
    image, _ = read_ct(tmp_path / f"patient.1{ending}")
    assert image.GetPixelID() == sitk.sitkInt16
    assert np.array_equal(voxels(image), voxels(ct).clip(-1024))
    np.testing.assert_allclose(geometry(image), geometry(ct), atol=tolerance)
    assert [p.name for p in tmp_path.iterdir()] == [f"patient.1{ending}"]


def test_values_below_air_are_clamped_and_fractions_kept(ct, tmp_path):
    array = voxels(ct).astype(np.float32) + 0.25
    array[0, 0, :3] = -3024, -2048, 40.5
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(ct)
    read, _ = read_ct(save(image, tmp_path / "ct.nrrd"))
    assert read.GetPixelID() == sitk.sitkFloat32
    assert voxels(read)[0, 0, :3].tolist() == [-1024, -1024, 40.5]
    assert np.array_equal(voxels(read), array.clip(-1024))


@pytest.mark.parametrize("direction", ["LPS", "feet last", "oblique, transposed, flipped"])
def test_dicom_slices_are_sorted_by_position_not_by_name(tmp_path, direction):
    ct = make_chest(empty_grid((40, 36, 12), (9, 9, 15), DIRECTIONS[direction])).ct
    names = np.random.default_rng(1).permutation(12).tolist()
    write_dicom_series(ct, tmp_path / "series", names=names)
    image, _ = read_ct(tmp_path / "series")
    # The reader may go through the slices from the other end: compare in physical space.
    resampled = sitk.Resample(image, ct, sitk.Transform(), sitk.sitkNearestNeighbor, -9999)
    assert np.array_equal(voxels(resampled), voxels(ct).clip(-1024))
    assert image.GetSpacing() == pytest.approx(ct.GetSpacing(), abs=1e-5)


def test_of_several_series_the_longest_is_used_and_named(tmp_path):
    ct = make_chest(empty_grid((40, 36, 12), (9, 9, 15))).ct
    write_dicom_series(ct[:, :, :3], tmp_path, series="7", names=["scout a", "scout b", "scout c"])
    write_dicom_series(ct, tmp_path, series="8")
    image, warnings = read_ct(tmp_path)
    assert image.GetSize() == (40, 36, 12)
    assert any("1.2.3.4.8" in warning and "2 DICOM series" in warning for warning in warnings)


def test_series_of_equal_length_are_ambiguous(tmp_path):
    ct = make_chest(empty_grid((40, 36, 4), (9, 9, 15))).ct
    for series in ("7", "8"):
        write_dicom_series(ct, tmp_path, series, names=[f"{series}-{z}" for z in range(4)])
    with pytest.raises(InputError, match=r"1\.2\.3\.4\.7.*1\.2\.3\.4\.8"):
        read_ct(tmp_path)


def test_a_missing_dicom_slice_is_told(tmp_path):
    write_dicom_series(make_chest(empty_grid((40, 36, 12), (9, 9, 15))).ct, tmp_path)
    assert not any("evenly" in warning for warning in read_ct(tmp_path)[1])
    (tmp_path / "005.dcm").unlink()
    assert any("15.00 to 30.00 mm" in warning for warning in read_ct(tmp_path)[1])


def test_two_phases_in_one_series_are_refused(tmp_path):
    ct = make_chest(empty_grid((40, 36, 4), (9, 9, 15))).ct
    write_dicom_series(ct, tmp_path, names=list("abcd"))
    write_dicom_series(ct, tmp_path, names=list("efgh"))
    with pytest.raises(InputError, match="at one position"):
        read_ct(tmp_path)


def test_dicom_slices_of_a_tilted_gantry_are_where_they_were_taken(tmp_path):
    ct = make_chest(empty_grid((40, 36, 12), (9, 9, 15), DIRECTIONS["gantry tilt"])).ct
    write_dicom_series(ct, tmp_path)
    image, warnings = read_ct(tmp_path)
    np.testing.assert_allclose(geometry(image), geometry(ct), atol=1e-5)
    assert np.array_equal(voxels(image), voxels(ct).clip(-1024))
    assert any("right angles" in warning for warning in warnings)
    assert not any("shifted" in warning for warning in warnings)


def test_a_dicom_slice_shifted_in_its_plane_is_told(tmp_path):
    ct = make_chest(empty_grid((40, 36, 12), (9, 9, 15))).ct
    write_dicom_series(ct, tmp_path)
    moved = ct[:, :, 5:6]
    moved.SetOrigin(np.add(moved.GetOrigin(), (3, -4, 0)).tolist())
    write_dicom_series(moved, tmp_path, names=["005"])
    assert any("up to 5.0 mm in their plane" in warning for warning in read_ct(tmp_path)[1])


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_sheared_volume_is_not_written_as_nifti_which_would_straighten_it(tmp_path, ending):
    ct = make_chest(empty_grid((40, 36, 12), (9, 9, 15), DIRECTIONS["gantry tilt"])).ct
    with pytest.raises(OutputError, match=r"use \.nrrd"):
        write_image(ct, tmp_path / f"out{ending}")
    assert list(tmp_path.iterdir()) == []
    for other in (".nrrd", ".mha"):
        write_image(ct, tmp_path / f"out{other}")
        np.testing.assert_allclose(geometry(sitk.ReadImage(tmp_path / f"out{other}")), geometry(ct), atol=1e-9)


@pytest.mark.parametrize(
    ("make", "remedy"), [("bad_colour", "give the CT"), ("bad_mr", "rescale slope"), ("bad_empty_folder", "subfolders")]
)
def test_a_refusal_says_what_to_do(ct, tmp_path, make, remedy):
    with pytest.raises(InputError, match=remedy):
        read_ct(globals()[make](tmp_path, ct))


@pytest.mark.parametrize(
    ("spacing", "direction", "expected"),
    [
        ((1.0, 1.0, 7.5), "LPS", ["7.5 mm apart"]),
        ((3.0, 1.0, 5.0), "LPS", ["3.0 mm wide"]),
        ((1.0, 7.5, 1.0), "sagittal", ["7.5 mm apart"]),
        ((1.0, 1.0, 2.0), "LPS", ["80 mm from foot to head"]),
        ((1.0, 1.0, 5.0), "oblique, transposed, flipped", ["tilted by 18 degrees"]),
        ((1.0, 1.0, 5.0), "gantry tilt", ["right angles"]),
    ],
)
def test_unusual_geometry_is_told(tmp_path, spacing, direction, expected):
    array = np.full((40, 40, 40), -1000, np.int16)
    array[20] = 40
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetDirection(np.ravel(DIRECTIONS[direction]).tolist())
    _, warnings = read_ct(save(image, tmp_path / "ct.nrrd"))
    assert len(warnings) == len(expected), warnings
    for warning, part in zip(warnings, expected, strict=True):
        assert part in warning


def bad_missing(folder, ct):
    return folder / "no such.nrrd"


def bad_text(folder, ct):
    (folder / "notes.nrrd").write_text("not an image")
    return folder / "notes.nrrd"


def bad_empty_folder(folder, ct):
    return folder


def bad_2d(folder, ct):
    return save(ct[:, :, 3], folder / "2d.nrrd")


def bad_slice(folder, ct):
    return save(ct[:, :, 3:4], folder / "slice.nrrd")


def bad_picture(folder, ct):
    return save(sitk.Image([8, 8], sitk.sitkVectorUInt8, 3), folder / "picture.png")


def bad_colour(folder, ct):
    return save(sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3), folder / "colour.nrrd")


def bad_4d(folder, ct):
    return save(sitk.JoinSeries([ct, ct]), folder / "4d.nrrd")


def bad_nan(folder, ct):
    return save(with_value(ct, np.nan), folder / "nan.nrrd")


def bad_infinite(folder, ct):
    return save(with_value(ct, np.inf), folder / "inf.mha")


def bad_8_bit(folder, ct):
    grey = sitk.IntensityWindowing(ct, -1000, 400, 0, 255)
    return save(sitk.Cast(grey, sitk.sitkUInt8), folder / "8bit.nrrd")


def bad_stored_values(folder, ct):
    return save(sitk.Cast(sitk.Clamp(ct, lowerBound=-1024) + 1024, sitk.sitkUInt16), folder / "stored.nrrd")


def bad_mr(folder, ct):
    return save(sitk.Cast(ct, sitk.sitkFloat32) / 10 + 90, folder / "mr.nrrd")


def bad_only_air(folder, ct):
    return save(sitk.Clamp(ct, upperBound=-600), folder / "air.nrrd")


def with_value(ct, value):
    array = voxels(ct).astype(np.float32)
    array[3, 4, 5] = value
    return sitk.GetImageFromArray(array)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (bad_missing, InputNotFoundError),
        (bad_text, UnreadableImageError),
        (bad_empty_folder, UnreadableImageError),
        (bad_2d, NotAVolumeError),
        (bad_slice, NotAVolumeError),
        (bad_picture, NotAVolumeError),
        (bad_colour, NotAVolumeError),
        (bad_4d, NotAVolumeError),
        (bad_nan, IntensityError),
        (bad_infinite, IntensityError),
        (bad_8_bit, IntensityError),
        (bad_stored_values, IntensityError),
        (bad_mr, IntensityError),
        (bad_only_air, IntensityError),
    ],
)
def test_bad_input_gets_one_line_that_names_it(ct, tmp_path, make, error):
    path = make(tmp_path, ct)
    with pytest.raises(error) as raised:
        read_ct(path)
    assert type(raised.value) is error
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_file_is_refused(ct, tmp_path, ending, compressed, kept):
    path = tmp_path / f"ct{ending}"
    sitk.WriteImage(ct, path, useCompression=compressed)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UnreadableImageError):
        read_ct(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("start", [0.0, -1.0, float("nan"), float("inf")])
def test_a_nifti_file_that_does_not_tell_where_its_voxels_start_is_refused(ct, tmp_path, ending, start):
    """ITK reads on, from four bytes before them."""
    sitk.WriteImage(ct, tmp_path / "whole.nii")
    raw = (tmp_path / "whole.nii").read_bytes()
    data = raw[:108] + struct.pack("<f", start) + raw[112:]
    path = tmp_path / f"ct{ending}"
    path.write_bytes(gzip.compress(data) if ending.endswith(".gz") else data)
    assert not np.array_equal(voxels(sitk.ReadImage(path)), voxels(ct))
    with pytest.raises(UnreadableImageError, match="where its voxels start"):
        read_ct(path)
    without_extension = data[:348] + raw[352:]
    path.write_bytes(gzip.compress(without_extension) if ending.endswith(".gz") else without_extension)
    assert np.array_equal(voxels(read_ct(path)[0]), voxels(ct).clip(-1024))


def test_no_folder_no_file(ct, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(ct, tmp_path / "no folder" / "ct.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    """A file size limit stands for the full disk: both end in a write that comes back short."""
    pytest.importorskip("resource", reason="Windows has no limit of a file's size to fill a disk with")
    program = """
import resource, signal, sys
from pathlib import Path
import numpy as np, SimpleITK as sitk
from infnet.data.volumes import write_image
from infnet.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 255, (30, 80, 80)).astype(np.uint8))
for name in ("a.nrrd", "b.nii.gz", "c.nii", "d.mha", "e.seg.nrrd"):
    try:
        write_image(image, Path(sys.argv[1]) / name)
    except OutputError as error:
        print(name, "refused")
"""
    (tmp_path / "b.nii.gz").write_text("the old file")
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split("\n")[:-1] == [
        f"{n} refused" for n in ("a.nrrd", "b.nii.gz", "c.nii", "d.mha", "e.seg.nrrd")
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["b.nii.gz"]
    assert (tmp_path / "b.nii.gz").read_text() == "the old file"


def test_a_real_dicom_series_is_where_its_volume_is(shared_data):
    folder = shared_data / "ct/popi-chest-ct"
    part, _ = read_ct(folder / "dicom_20_slices")
    whole, warnings = read_ct(folder / "popi_phase00_512x512x141.nrrd")
    assert warnings == []
    there = sitk.Resample(whole, part, sitk.Transform(), sitk.sitkNearestNeighbor, -9999)
    assert np.array_equal(voxels(part), voxels(there))


def test_values_outside_a_real_scan_circle(shared_data):
    image, _ = read_ct(shared_data / "ct/lungmask-test-dicom")
    assert voxels(image).min() == -1024


@pytest.fixture
def itk_of_windows(tmp_path, monkeypatch):
    """ITK as it is on Windows, made up: what has other letters than ASCII's in its path, it does not find.

    The folder Größe has a short name, which is a link to it here; Länge has none.
    """

    def finding(work):
        def find(*arguments, **options):
            for name in arguments:
                if isinstance(name, str) and not name.isascii():
                    raise RuntimeError(f'The file "{name}" does not exist.')
            return work(*arguments, **options)

        return find

    for owner, name in (
        (sitk, "ReadImage"), (sitk, "WriteImage"),
        (sitk.ImageFileReader, "SetFileName"), (sitk.ImageSeriesReader, "GetGDCMSeriesIDs"),
    ):  # fmt: skip
        kind = staticmethod if name == "GetGDCMSeriesIDs" else lambda function: function
        monkeypatch.setattr(owner, name, kind(finding(getattr(owner, name))))
    long, short = tmp_path / "Größe", tmp_path / "GRSSE~1"
    for folder in (long, tmp_path / "Länge"):
        folder.mkdir()
    short.symlink_to(long)
    monkeypatch.setattr(itk_names, "_takes_any_letter", lambda: False)
    monkeypatch.setattr(itk_names, "_short_name", lambda folder: str(folder).replace(str(long), str(short)))
    return tmp_path


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_in_folders_of_other_letters_itk_gets_their_short_names(ct, itk_of_windows, ending):
    path = itk_of_windows / f"Größe/肺{ending}"
    write_image(ct, path)
    plain = path.rename(path.with_name(f"ct{ending}"))
    assert np.array_equal(voxels(read_ct(plain)[0]), voxels(ct).clip(-1024))
    plain.rename(path)
    with pytest.raises(InputError, match="on Windows ITK finds only names and folders of ASCII letters; rename"):
        read_ct(path)


def test_a_dicom_folder_of_other_letters_is_read_by_its_short_name(itk_of_windows):
    ct = make_chest(empty_grid((40, 36, 12), (9, 9, 15))).ct
    write_dicom_series(ct, itk_of_windows / "Größe/série")
    (itk_of_windows / "Größe/série").rename(itk_of_windows / "Größe/serie")
    assert np.array_equal(voxels(read_ct(itk_of_windows / "Größe/serie")[0]), voxels(ct).clip(-1024))
    assert dicom_tags(itk_of_windows / "Größe/serie", "0008|0060") == ["CT"]
    (itk_of_windows / "Größe/serie").rename(itk_of_windows / "Länge/serie")
    with pytest.raises(InputError, match="ASCII letters; rename or move it"):
        read_ct(itk_of_windows / "Länge/serie")


def test_where_itk_cannot_write_it_is_told(ct, itk_of_windows):
    with pytest.raises(OutputError, match="ASCII letters; rename or move it"):
        write_image(ct, itk_of_windows / "Länge/ct.nrrd")
    assert list((itk_of_windows / "Länge").iterdir()) == []
