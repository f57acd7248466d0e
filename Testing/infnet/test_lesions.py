"""Small lesions are dropped, and nothing else is."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from infnet.quantification.lesions import without_small_lesions

VOXEL_ML = 0.00125


def findings():
    """Lesions of 1, 2 (over a corner) and 12 voxels, the last a consolidation with a rim of ground glass."""
    labels = np.zeros((6, 8, 9), np.uint8)
    labels[0, 0, 0] = 1
    labels[2, 0, 0], labels[3, 1, 1] = 2, 1
    labels[1:4, 4:6, 5:7], labels[2, 4:6, 5:7] = 1, 2
    return labels


@pytest.mark.parametrize(("minimum", "kept"), [(0, [1, 2, 12]), (1, [1, 2, 12]), (2, [2, 12]), (3, [12]), (13, [])])
def test_lesions_below_the_minimum_are_dropped_whole(minimum, kept):
    before = findings()
    labels = without_small_lesions(before, minimum * VOXEL_ML, VOXEL_ML)
    assert np.count_nonzero(labels) == sum(kept) and labels.dtype == np.uint8
    assert np.array_equal(labels[labels > 0], before[labels > 0]), "what is kept keeps its finding"
    assert np.array_equal(before, findings()), "the findings that were given are as they were"


@settings(deadline=None, max_examples=50)
@given(arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 2])), st.integers(1, 9))
def test_it_does_what_simpleitk_s_filter_does(labels, minimum):
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray((labels > 0).astype(np.uint8)), True)
    expected = sitk.GetArrayFromImage(sitk.RelabelComponent(pieces, minimum)) > 0
    assert np.array_equal(without_small_lesions(labels, minimum * 0.7, 0.7), np.where(expected, labels, 0))


def test_no_finding_is_none():
    assert not without_small_lesions(np.zeros((3, 3, 3), np.uint8), 1.0, VOXEL_ML).any()
