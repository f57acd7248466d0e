"""Inf-Net: segmentation of COVID-19 lung infection on chest CT (Fan et al., IEEE TMI 2020). Research use only."""

__version__ = "0.1.0"
