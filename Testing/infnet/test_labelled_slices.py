"""Reading 2-D slices and their truth."""

import numpy as np
import pytest
from infnet.data.labelled_slices import find_images, read_grey, read_labelled_slices, read_labels
from infnet.errors import InputError, InputNotFoundError, UnreadableImageError
from PIL import Image


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


def test_covid_semiseg_reads_whole(covid_semiseg):
    slices = read_labelled_slices(covid_semiseg / "multiclass")
    assert len(slices) == 50
    assert sum((s.labels == 1).any() for s in slices) == 48
    assert sum((s.labels == 2).any() for s in slices) == 39
