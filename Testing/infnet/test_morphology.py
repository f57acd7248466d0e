"""Binary morphology is SimpleITK's, voxel by voxel."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from infnet.anatomy import morphology

SIMPLEITK = {
    morphology.dilate: sitk.BinaryDilate,
    morphology.erode: sitk.BinaryErode,
    morphology.opening: sitk.BinaryMorphologicalOpening,
    morphology.closing: sitk.BinaryMorphologicalClosing,
}


@pytest.mark.parametrize("operation", SIMPLEITK, ids=lambda operation: operation.__name__)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 99),
    density=st.sampled_from([0.0, 0.02, 0.5, 0.95, 1.0]),
    radius=st.tuples(*[st.integers(0, 5)] * 3),
    shape=st.tuples(*[st.integers(1, 12)] * 3),
)
def test_as_simpleitk_does_it(operation, seed, density, radius, shape):
    mask = np.random.default_rng(seed).random(shape) < density
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    expected = sitk.GetArrayFromImage(SIMPLEITK[operation](image, radius[::-1], sitk.sitkBall))
    assert np.array_equal(operation(mask, radius), expected)
