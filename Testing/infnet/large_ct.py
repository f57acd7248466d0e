"""A CT of many thin slices, to measure memory on: ``python Testing/infnet/large_ct.py CT SLICES OUT.nrrd``."""

import sys

import SimpleITK as sitk


def main(source, slices, path):
    ct = sitk.ReadImage(source)
    width, height, depth = ct.GetSize()
    spacing = (*ct.GetSpacing()[:2], ct.GetSpacing()[2] * (depth - 1) / (int(slices) - 1))
    thin = sitk.Resample(
        ct, (width, height, int(slices)), sitk.Transform(), sitk.sitkLinear, ct.GetOrigin(), spacing, ct.GetDirection()
    )
    sitk.WriteImage(thin, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
