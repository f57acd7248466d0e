"""Reading 2-D slices and their truth."""

import io
import struct
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import PurePath

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from infnet.data.labelled_slices import (
    LabelledSlice,
    digest,
    eight_bit,
    find_images,
    read_grey,
    read_labelled_slices,
    read_labels,
    unit_range,
    with_soft_truth,
)
from infnet.data.slice_dataset import SliceDataset
from infnet.errors import InputError, InputNotFoundError, UnreadableImageError
from PIL import Image
from toyslices import make_slices


def test_binary_masks_and_label_images_give_the_same_kind_of_labels(tmp_path):
    labels = np.array([[0, 1], [2, 0]], np.uint8)
    Image.fromarray(labels).save(tmp_path / "indices.png")
    palette = Image.fromarray(labels, mode="P")
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.array([[0, 255], [250, 3]], np.uint8)).save(tmp_path / "mask.png")
    assert np.array_equal(read_labels(tmp_path / "indices.png"), labels)
    assert np.array_equal(read_labels(tmp_path / "palette.png"), labels)
    assert np.array_equal(read_labels(tmp_path / "mask.png"), [[0, 1], [1, 0]])


def test_unknown_label_values_are_refused(tmp_path):
    palette = Image.fromarray(np.array([[7]], np.uint8), mode="P")
    palette.putpalette([0] * 768)
    palette.save(tmp_path / "seven.png")
    with pytest.raises(InputError, match=r"seven\.png: values 7"):
        read_labels(tmp_path / "seven.png")


@pytest.mark.parametrize(
    "values",
    [
        (0, 1, 2, 3),  # a third finding
        (0, 5, 10),
        (0, 100, 200),
        (0, 38, 75, 113),
        (0, 31, 255),
        (0, 224, 255),
        (0, 1, 65_535),
    ],
)
def test_unknown_greys_do_not_become_empty_masks(tmp_path, values):
    Image.fromarray(np.array([values], np.uint16 if max(values) > 255 else np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match=rf"grey\.png: values {', '.join(map(str, values))};"):
        read_labels(tmp_path / "grey.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_paper_s_colours_and_their_greys_are_labels(tmp_path, mode):
    colours = np.array([[(0, 0, 0), (128, 0, 0), (0, 128, 0)]], np.uint8)
    Image.fromarray(colours).convert(mode).save(tmp_path / "colours.png")
    assert read_labels(tmp_path / "colours.png").tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB"])
def test_masks_of_any_mode(tmp_path, mode):
    Image.fromarray(np.array([[0, 255, 0]], np.uint8)).convert(mode).save(tmp_path / "mask.png")
    assert read_labels(tmp_path / "mask.png").tolist() == [[0, 1, 0]]


def test_missing_and_misfitting_masks_are_named(toy_slices):
    (toy_slices / "GT" / "3.png").unlink()
    with pytest.raises(InputNotFoundError, match=r"3\.png"):
        read_labelled_slices(toy_slices)
    Image.new("L", (60, 72)).save(toy_slices / "GT" / "3.TIF", "TIFF")
    with pytest.raises(InputNotFoundError, match=r"every slice in Imgs needs one\. Save 3\.TIF as 3\.png\."):
        read_labelled_slices(toy_slices)
    Image.new("L", (5, 5)).save(toy_slices / "GT" / "3.png")
    with pytest.raises(InputError, match=r"3\.png.*\(5, 5\)"):
        read_labelled_slices(toy_slices)


def test_damaged_images_and_empty_folders_are_named(toy_slices, tmp_path):
    path = toy_slices / "Imgs" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UnreadableImageError, match=r"2\.png"):
        read_labelled_slices(toy_slices)
    with pytest.raises(InputNotFoundError, match="no such folder"):
        read_labelled_slices(tmp_path / "nowhere")
    (tmp_path / "empty" / "Imgs").mkdir(parents=True)
    with pytest.raises(InputNotFoundError, match="holds no image"):
        read_labelled_slices(tmp_path / "empty")


def test_images_of_more_than_8_bits_and_of_one_stem_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(UnreadableImageError, match="more than 8 bits"):
        read_grey(tmp_path / "a.png")
    Image.new("L", (4, 4)).save(tmp_path / "a.jpg")
    Image.new("L", (4, 4)).save(tmp_path / "a.one.jpg")  # sorts between them
    with pytest.raises(InputError, match=r"a\.jpg and a\.png"):
        find_images(tmp_path)


def test_the_mask_is_the_soft_truth_and_goes_where_the_image_goes():
    random = np.random.default_rng(0)
    image = np.kron(random.integers(40, 220, (8, 8)), np.ones((8, 8))).astype(np.uint8)
    # The map is the image, so the two have to stay equal, but for window, blur and noise, which the mask has not.
    pseudo_labelled = with_soft_truth(LabelledSlice("a", image, image), image)
    plain = SliceDataset([pseudo_labelled], 64, augment=False)[0, 0]
    assert torch.equal(plain.mask, plain.image) and torch.equal(plain.mask[0], torch.tensor(image) / 255)
    for seed in range(10):
        sample = SliceDataset([pseudo_labelled], 64)[0, seed]
        assert np.corrcoef(sample.mask.flatten(), sample.image.flatten())[0, 1] > 0.9
        inside = sample.mask[0] > 0.2  # not beside the turned image
        assert ((sample.mask[0] >= 0.5) == (sample.labels == 1))[inside].float().mean() > 0.95


def test_the_mask_of_labels_is_where_they_are_not_background(toy_slices):
    dataset = SliceDataset(read_labelled_slices(toy_slices), 64)
    for draw in ((0, 1), (1, 2), (2, 3)):
        sample = dataset[draw]
        assert sample.mask.dtype == torch.float32 and torch.equal(sample.mask[0], (sample.labels > 0).float())
        assert torch.equal(sample.consolidation[0], (sample.labels == 2).float()) and sample.consolidation.any()


def test_soft_truths_tell_the_findings_apart_where_they_have_a_map_of_consolidation(toy_slices):
    (toy_slices / "GT").rename(toy_slices / "given")
    for name, grey in (("Soft", 200), ("Consolidation", 150)):
        (toy_slices / name).mkdir()
        for path in (toy_slices / "given").iterdir():
            labels = read_labels(path)
            is_it = labels > 0 if name == "Soft" else labels == 2
            Image.fromarray(is_it.astype(np.uint8) * grey).save(toy_slices / name / path.name)
    slices = read_labelled_slices(toy_slices)
    for s in slices:
        labels = read_labels(toy_slices / "given" / f"{s.stem}.png")
        assert np.array_equal(s.labels, labels) and not s.is_healthy
        fields = ("image", "labels", "soft", "soft_consolidation")
        square = replace(s, **{name: getattr(s, name)[:60, :60] for name in fields})
        sample = SliceDataset([square], 60, augment=False)[0, 0]
        assert torch.allclose(sample.mask[0], (sample.labels > 0) * 200 / 255, atol=1e-6)
        assert torch.allclose(sample.consolidation, sample.mask * (sample.labels == 2) * 150 / 255, atol=1e-6)
    next((toy_slices / "Consolidation").iterdir()).unlink()
    with pytest.raises(InputNotFoundError, match="missing"):
        read_labelled_slices(toy_slices)


def test_the_digest_sees_everything_that_training_sees(toy_slices):
    labelled = read_labelled_slices(toy_slices)
    one = labelled[0]
    image, labels = one.image.copy(), one.labels.copy()
    image[0, 0] ^= 1
    labels[0, 0] ^= 1
    others = [
        LabelledSlice("other", one.image, one.labels),
        LabelledSlice(one.stem, image, one.labels),
        LabelledSlice(one.stem, one.image, labels),
        LabelledSlice(one.stem, one.image, one.labels, prior=labels),
        LabelledSlice(one.stem, one.image, one.labels, soft=labels),
        LabelledSlice(one.stem, one.image, one.labels, soft=labels, soft_consolidation=labels),
    ]
    digests = {digest([s]) for s in [one, *others]}
    assert len(digests) == 7 and digest([one]) == digest(labelled[:1]) != digest(labelled[:2])


@given(st.integers(0, 255))
def test_eight_bits_and_back(value):
    grey = np.array([[value]], np.uint8)
    assert np.array_equal(eight_bit(unit_range(grey)), grey)


def test_files_half_written_are_no_slices(toy_slices):
    (toy_slices / "Imgs" / ".123-0.png").write_bytes(b"half")
    assert len(read_labelled_slices(toy_slices)) == 6


def test_covid_semiseg_reads_whole(covid_semiseg):
    slices = read_labelled_slices(covid_semiseg / "multiclass")
    assert len(slices) == 50
    assert sum((s.labels == 1).any() for s in slices) == 48
    assert sum((s.labels == 2).any() for s in slices) == 39


def test_the_order_of_slices_is_the_same_on_windows(tmp_path, monkeypatch):
    """There paths are compared without regard to case; the draws of a training follow the slices' order."""
    make_slices(tmp_path, 2)
    for old, new in (("0", "b"), ("1", "C")):
        (tmp_path / f"Imgs/{old}.png").rename(tmp_path / f"Imgs/{new}.png")
    monkeypatch.setattr(PurePath, "__lt__", lambda one, other: str(one).lower() < str(other).lower())
    assert [path.stem for path in find_images(tmp_path / "Imgs")] == ["C", "b"]


@pytest.mark.parametrize("augment", [True, False])
def test_a_data_set_goes_to_processes_that_are_started_anew(toy_slices, augment):
    """As PyTorch's are on Windows and macOS: it is pickled, and makes the same slices there."""
    dataset = SliceDataset(read_labelled_slices(toy_slices), 32, augment, synthetic_lesions=0.5)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        sent = process.submit(SliceDataset.__getitem__, dataset, (1, 7)).result()
    for one, other in zip(sent, dataset[1, 7], strict=True):
        assert torch.equal(one, other)


def png_of(side):
    """A PNG of a few bytes whose header tells of side² pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def picture(mode, kind, **options):
    file = io.BytesIO()
    Image.new(mode, (6, 5)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (png_of(60_000), "3600000000 pixels"),
        (png_of(11_000), "121000000 pixels"),  # Pillow alone warns, and reads on
        (picture("LAB", "TIFF"), "save it as 8-bit grey"),
        (picture("L", "GIF"), "not a readable image"),
        (picture("RGBA", "PNG"), "is transparent in part"),  # a mask drawn on a layer of its own
        (picture("L", "TIFF", save_all=True, append_images=[Image.new("L", (6, 5))]), "holds several pictures"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 5\n%%EndComments\nshowpage\n", "not a readable image"),
    ],
    ids=["too large", "large", "colours", "another kind", "transparent", "stack", "a program"],
)
def test_pictures_that_are_no_slices_are_refused(tmp_path, data, told):
    """Of no size that memory cannot hold, and of none of the kinds for which Pillow starts another program."""
    (tmp_path / "3.png").write_bytes(data)
    for read in (read_grey, read_labels):
        with pytest.raises(UnreadableImageError, match=f"3.png: .*{told}"):
            read(tmp_path / "3.png")
