"""Binary morphology is SimpleITK's, voxel by voxel."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from infnet.anatomy import morphology
from infnet.anatomy.parting import means_of, sizes_of

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
    slab=st.sampled_from([1, 500, 1 << 17]),  # a slice at a time, a few, all
)
def test_as_simpleitk_does_it(operation, seed, density, radius, shape, slab):
    mask = np.random.default_rng(seed).random(shape) < density
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    expected = sitk.GetArrayFromImage(SIMPLEITK[operation](image, radius[::-1], sitk.sitkBall))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(morphology, "_SLAB", slab)
        assert np.array_equal(operation(mask, radius), expected)


@given(seed=st.integers(0, 99), kinds=st.integers(1, 4), shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_sizes_and_means_of_components(seed, kinds, shape):
    random = np.random.default_rng(seed)
    components, values = random.integers(0, kinds, shape, np.int32), random.random(shape, np.float32)
    sizes = sizes_of(components)
    assert sizes.tolist() == [0, *(np.sum(components == label) for label in range(1, components.max() + 1))]
    there = components * (values < 0.7)  # what is left out of them counts as 0
    means = means_of(values, there, sizes)
    for label in range(1, len(sizes)):
        if sizes[label]:
            assert means[label] == pytest.approx(values[there == label].sum(dtype=float) / sizes[label])
