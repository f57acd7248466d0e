"""Checkpoints of the original code: the same numbers, from a plain functional pass on the tensors' original names."""

import functools
import hashlib
import os
import pickle

import pytest
import torch
from infnet.cli import main
from infnet.errors import InvalidModelError
from infnet.networks import InfectionGuidedUNet, InfNet, load_official_checkpoint
from infnet.weights.store import load_model
from torch.nn import functional as F


class Tensors(dict):
    """A state_dict that is filled with random values as its keys are named."""

    def __init__(self):
        super().__init__()
        self.random = torch.Generator().manual_seed(0)

    def uniform(self, key, shape, low, high):
        self[key] = torch.rand(shape, generator=self.random) * (high - low) + low

    def conv(self, name, inputs, outputs, kernel=1, bias=False):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        bound = (3 / (inputs * height * width)) ** 0.5
        self.uniform(f"{name}.weight", (outputs, inputs, height, width), -bound, bound)
        if bias:
            self.uniform(f"{name}.bias", (outputs,), -0.5, 0.5)

    def bn(self, name, channels):
        self.uniform(f"{name}.weight", (channels,), 0.5, 1.5)
        self.uniform(f"{name}.bias", (channels,), -0.2, 0.2)
        self.uniform(f"{name}.running_mean", (channels,), -0.2, 0.2)
        self.uniform(f"{name}.running_var", (channels,), 0.5, 1.5)
        self[f"{name}.num_batches_tracked"] = torch.tensor(7)

    def cb(self, name, *arguments):
        self.conv(f"{name}.conv", *arguments)
        self.bn(f"{name}.bn", arguments[1])


def conv(s, name, x, **options):
    weight = s[f"{name}.weight"]
    padding = options.pop("padding", tuple(k // 2 for k in weight.shape[2:]))
    return F.conv2d(x, weight, s.get(f"{name}.bias"), padding=padding, **options)


def bn(s, name, x):
    values = [s[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *values, training=False, eps=1e-5)


def cb(s, name, x, **options):
    return bn(s, f"{name}.bn", conv(s, f"{name}.conv", x, **options))


def scaled(x, factor, align_corners=False):
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=align_corners)


# Encoders: what makes the tensors, and what runs them.

BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def res2net50_tensors(s):
    for i, (a, b) in enumerate(((3, 32), (32, 32), (32, 64))):
        s.conv(f"resnet.conv1.{3 * i}", a, b, 3)
        if i < 2:
            s.bn(f"resnet.conv1.{3 * i + 1}", b)
    s.bn("resnet.bn1", 64)
    inputs = 64
    for layer, (planes, blocks, _) in enumerate(BLOCKS, start=1):
        width = planes * 26 // 64
        for i in range(blocks):
            name = f"resnet.layer{layer}.{i}"
            s.conv(f"{name}.conv1", inputs, 4 * width)
            s.bn(f"{name}.bn1", 4 * width)
            for j in range(3):
                s.conv(f"{name}.convs.{j}", width, width, 3)
                s.bn(f"{name}.bns.{j}", width)
            s.conv(f"{name}.conv3", 4 * width, 4 * planes)
            s.bn(f"{name}.bn3", 4 * planes)
            if i == 0:
                s.conv(f"{name}.downsample.1", inputs, 4 * planes)
                s.bn(f"{name}.downsample.2", 4 * planes)
            inputs = 4 * planes
    s.uniform("resnet.fc.weight", (1000, 2048), -0.1, 0.1)
    s.uniform("resnet.fc.bias", (1000,), -0.1, 0.1)


def res2net50(s, x):
    x = F.relu(bn(s, "resnet.conv1.1", conv(s, "resnet.conv1.0", x, stride=2)))
    x = F.relu(bn(s, "resnet.conv1.4", conv(s, "resnet.conv1.3", x)))
    x = F.relu(bn(s, "resnet.bn1", conv(s, "resnet.conv1.6", x)))
    x = F.max_pool2d(x, 3, 2, 1)
    levels = []
    for layer, (_, blocks, stride) in enumerate(BLOCKS, start=1):
        for i in range(blocks):
            name = f"resnet.layer{layer}.{i}"
            step = stride if i == 0 else 1
            chunks = F.relu(bn(s, f"{name}.bn1", conv(s, f"{name}.conv1", x))).chunk(4, 1)
            outs = []
            for j in range(3):
                seen = chunks[j] if i == 0 or j == 0 else outs[-1] + chunks[j]
                outs.append(F.relu(bn(s, f"{name}.bns.{j}", conv(s, f"{name}.convs.{j}", seen, stride=step))))
            outs.append(F.avg_pool2d(chunks[3], 3, step, 1) if i == 0 else chunks[3])
            y = bn(s, f"{name}.bn3", conv(s, f"{name}.conv3", torch.cat(outs, 1)))
            if i == 0:
                x = F.avg_pool2d(x, step, step, ceil_mode=True, count_include_pad=False)
                x = bn(s, f"{name}.downsample.2", conv(s, f"{name}.downsample.1", x))
            x = F.relu(y + x)
        levels.append(x)
    return levels


def resnet50_tensors(s):
    s.conv("resnet.conv1", 3, 64, 7)
    s.bn("resnet.bn1", 64)
    inputs = 64
    for layer, (planes, blocks, _) in enumerate(BLOCKS, start=1):
        for i in range(blocks):
            name = f"resnet.layer{layer}.{i}"
            for j, (a, b, k) in enumerate(((inputs, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)), start=1):
                s.conv(f"{name}.conv{j}", a, b, k)
                s.bn(f"{name}.bn{j}", b)
            if i == 0:
                s.conv(f"{name}.downsample.0", inputs, 4 * planes)
                s.bn(f"{name}.downsample.1", 4 * planes)
            inputs = 4 * planes


def resnet50(s, x):
    x = F.relu(bn(s, "resnet.bn1", conv(s, "resnet.conv1", x, stride=2)))
    x = F.max_pool2d(x, 3, 2, 1)
    levels = []
    for layer, (_, blocks, stride) in enumerate(BLOCKS, start=1):
        for i in range(blocks):
            name = f"resnet.layer{layer}.{i}"
            step = stride if i == 0 else 1
            y = F.relu(bn(s, f"{name}.bn1", conv(s, f"{name}.conv1", x)))
            y = F.relu(bn(s, f"{name}.bn2", conv(s, f"{name}.conv2", y, stride=step)))
            y = bn(s, f"{name}.bn3", conv(s, f"{name}.conv3", y))
            if i == 0:
                x = bn(s, f"{name}.downsample.1", conv(s, f"{name}.downsample.0", x, stride=step))
            x = F.relu(y + x)
        levels.append(x)
    return levels


VGG = {
    "conv1": (("conv1_1", 3, 64), ("conv1_2", 64, 64)),
    "conv2": (("conv2_1", 64, 128), ("conv2_2", 128, 128)),
    "conv3": (("conv3_1", 128, 256), ("conv3_2", 256, 256), ("conv3_3", 256, 256)),
    "conv4_1": (("conv4_1_1", 256, 512), ("conv4_2_1", 512, 512), ("conv4_3_1", 512, 512)),
    "conv5_1": (("conv5_1_1", 512, 512), ("conv5_2_1", 512, 512), ("conv5_3_1", 512, 512)),
}


def vgg16_tensors(s):
    for block, layers in VGG.items():
        for layer, inputs, outputs in layers:
            s.conv(f"vgg.{block}.{layer}", inputs, outputs, 3, True)
            if block in ("conv4_1", "conv5_1"):  # the second branch, which the infection network does not use
                s.conv(f"vgg.{block[:-1]}2.{layer[:-1]}2", inputs, outputs, 3, True)


def vgg16(s, x):
    levels = []
    for block, layers in VGG.items():
        if block != "conv1":
            x = F.avg_pool2d(x, 2)
        for layer, _, _ in layers:
            x = F.relu(conv(s, f"vgg.{block}.{layer}", x))
        levels.append(x)
    return levels[1:]


# The rest of the infection network.


@functools.cache
def inf_net_tensors(encoder):
    s = Tensors()
    make, _, (c2, c3, c4, c5), _ = ENCODERS[encoder]
    make(s)
    for name, inputs in (("rfb2_1", c3), ("rfb3_1", c4), ("rfb4_1", c5)):
        s.cb(f"{name}.branch0.0", inputs, 32)
        for branch, k in ((1, 3), (2, 5), (3, 7)):
            s.cb(f"{name}.branch{branch}.0", inputs, 32)
            for i, kernel in enumerate(((1, k), (k, 1), 3), start=1):
                s.cb(f"{name}.branch{branch}.{i}", 32, 32, kernel)
        s.cb(f"{name}.conv_cat", 128, 32, 3)
        s.cb(f"{name}.conv_res", inputs, 32)
    for i in range(1, 6):
        s.cb(f"ParDec.conv_upsample{i}", *((64, 64) if i == 5 else (32, 32)), 3)
    for name, c in (("conv_concat2", 64), ("conv_concat3", 96), ("conv4", 96)):
        s.cb(f"ParDec.{name}", c, c, 3)
    s.conv("ParDec.conv5", 96, 1, 1, True)
    for level, shapes in {
        4: ((c5, 256, 1), (320, 256, 5), (256, 256, 5), (256, 256, 5), (256, 1, 1)),
        3: ((c4, 64, 1), (128, 64, 3), (64, 64, 3), (64, 1, 3)),
        2: ((c3, 64, 1), (128, 64, 3), (64, 64, 3), (64, 1, 3)),
    }.items():
        for i, shape in enumerate(shapes, start=1):
            s.cb(f"ra{level}_conv{i}", *shape)
    for i, shape in enumerate(((c2, 64, 1), (64, 64, 3), (64, 64, 3), (64, 1, 3)), start=1):
        s.cb(f"edge_conv{i}", *shape)
    return s


def receptive_field_block(s, name, x):
    seen = [cb(s, f"{name}.branch0.0", x)]
    for branch, k in ((1, 3), (2, 5), (3, 7)):
        y = x
        for i in range(3):
            y = cb(s, f"{name}.branch{branch}.{i}", y)
        seen.append(cb(s, f"{name}.branch{branch}.3", y, padding=k, dilation=k))
    return F.relu(cb(s, f"{name}.conv_cat", torch.cat(seen, 1)) + cb(s, f"{name}.conv_res", x))


def partial_decoder(s, x1, x2, x3):
    def up(x):
        return scaled(x, 2, align_corners=True)

    x2_1 = cb(s, "ParDec.conv_upsample1", up(x1)) * x2
    x3_1 = cb(s, "ParDec.conv_upsample2", up(up(x1))) * cb(s, "ParDec.conv_upsample3", up(x2)) * x3
    x2_2 = cb(s, "ParDec.conv_concat2", torch.cat([x2_1, cb(s, "ParDec.conv_upsample4", up(x1))], 1))
    x3_2 = cb(s, "ParDec.conv_concat3", torch.cat([x3_1, cb(s, "ParDec.conv_upsample5", up(x2_2))], 1))
    return conv(s, "ParDec.conv5", cb(s, "ParDec.conv4", x3_2))


def reverse_attention(s, name, f, coarser, e_att, convolutions):
    x = (1 - torch.sigmoid(coarser)).expand(-1, f.shape[1], -1, -1) * f
    x = torch.cat([cb(s, f"{name}_conv1", x), e_att], 1)
    for i in range(2, convolutions):
        x = F.relu(cb(s, f"{name}_conv{i}", x))
    return cb(s, f"{name}_conv{convolutions}", x) + coarser


def inf_net(s, x, encoder):
    """Sg, S5, S4, S3, Se."""
    _, run, _, stride = ENCODERS[encoder]
    f2, f3, f4, f5 = run(s, x)
    sg = partial_decoder(s, *(receptive_field_block(s, f"rfb{i}_1", f) for i, f in ((4, f5), (3, f4), (2, f3))))
    e_att = f2
    for i in (1, 2, 3):
        e_att = cb(s, f"edge_conv{i}", e_att)
    se = cb(s, "edge_conv4", e_att)
    s5 = reverse_attention(s, "ra4", f5, scaled(sg, 0.25), scaled(e_att, 0.125), 5)
    s4 = reverse_attention(s, "ra3", f4, scaled(s5, 2), scaled(e_att, 0.25), 4)
    s3 = reverse_attention(s, "ra2", f3, scaled(s4, 2), scaled(e_att, 0.5), 4)
    return [scaled(m, k * stride) for m, k in ((sg, 2), (s5, 8), (s4, 4), (s3, 2), (se, 1))]


ENCODERS = {  # tensors, forward pass, channels of f2 to f5, stride of f2
    "res2net50": (res2net50_tensors, res2net50, (256, 512, 1024, 2048), 4),
    "resnet50": (resnet50_tensors, resnet50, (256, 512, 1024, 2048), 4),
    "vgg16": (vgg16_tensors, vgg16, (128, 256, 512, 512), 2),
}


# The multi-class network.

DOWN = ((64, 128), (128, 256), (256, 512), (512, 512))
UP = ((1024, 256), (512, 128), (256, 64), (128, 64))


@functools.cache
def u_net_tensors():
    s = Tensors()

    def double_conv(name, inputs, outputs, middle=None):
        middle = middle or outputs
        for i, (a, b) in ((0, (inputs, middle)), (3, (middle, outputs))):
            s.conv(f"{name}.double_conv.{i}", a, b, 3, True)
            s.bn(f"{name}.double_conv.{i + 1}", b)

    double_conv("inc", 6, 64)
    for i, (a, b) in enumerate(DOWN, start=1):
        double_conv(f"down{i}.maxpool_conv.1", a, b)
    for i, (a, b) in enumerate(UP, start=1):
        double_conv(f"up{i}.conv", a, b, a // 2)
    s.conv("outc.conv", 64, 3, 1, True)
    return s


def u_net(s, x):
    """Logits of ground glass, consolidation, background."""

    def double_conv(name, x):
        for i in (0, 3):
            x = F.relu(bn(s, f"{name}.double_conv.{i + 1}", conv(s, f"{name}.double_conv.{i}", x)))
        return x

    skips = [double_conv("inc", x)]
    for i in range(1, 5):
        skips.append(double_conv(f"down{i}.maxpool_conv.1", F.max_pool2d(skips[-1], 2)))
    x = skips.pop()
    for i in range(1, 5):
        skip, x = skips.pop(), scaled(x, 2, align_corners=True)
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        x = double_conv(f"up{i}.conv", torch.cat([skip, x], 1))
    return conv(s, "outc.conv", x)


@pytest.fixture
def res2net_state():
    return inf_net_tensors("res2net50")


@pytest.fixture
def u_net_state():
    return u_net_tensors()


def saved(state, path, **options):
    torch.save(dict(state), path, **options)
    return path


def test_the_tensors_of_these_tests_are_those_of_the_original(res2net_state, u_net_state):
    def count(state, prefix=""):
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        return sum(v.numel() for k, v in state.items() if k.startswith(prefix) and not k.endswith(buffers))

    assert (len(res2net_state), count(res2net_state)) == (946, 33_121_721)
    assert [count(res2net_state, p) for p in ("resnet.", "rfb2_1.", "rfb3_1.", "rfb4_1.", "ParDec.")] == [
        25_718_352,
        178_112,
        260_032,
        423_872,
        277_473,
    ]
    assert [count(res2net_state, p) for p in ("ra4_", "ra3_", "ra2_", "edge_")] == [5_851_394, 177_090, 144_322, 91_074]
    assert count(inf_net_tensors("resnet50")) == 30_911_401
    assert count(inf_net_tensors("vgg16")) == 34_278_057
    assert (len(u_net_state), count(u_net_state)) == (128, 17_269_251)


@torch.no_grad()
@pytest.mark.parametrize(("encoder", "size"), [("res2net50", 160), ("resnet50", 96), ("vgg16", 64)])
def test_the_five_maps_are_those_of_the_original(encoder, size, tmp_path):
    state = inf_net_tensors(encoder)
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(2))
    network = load_official_checkpoint(saved(state, tmp_path / "net.pth"))
    assert isinstance(network, InfNet) and not network.training
    maps, expected = network(x), inf_net(state, x, encoder)
    for name, ours, theirs in zip(("Sg", "S5", "S4", "S3", "Se"), maps, expected, strict=False):
        assert theirs.std() > 0.05, f"{name} is flat: nothing would be compared"
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")
    assert all(s is None for s in maps[5:])
    torch.testing.assert_close(maps.infection, expected[3].sigmoid(), atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_multi_class_logits_are_those_of_the_original_in_our_order(u_net_state, tmp_path):
    image, prior = torch.randn(2, 1, 3, 128, 96, generator=torch.Generator().manual_seed(3))
    network = load_official_checkpoint(saved(u_net_state, tmp_path / "unet_model_200.pkl"))
    assert isinstance(network, InfectionGuidedUNet) and not network.training
    ggo, consolidation, background = u_net(u_net_state, torch.cat([image, prior], 1)).unbind(1)
    expected = torch.stack([background, ggo, consolidation], 1)
    assert expected.std() > 0.05
    torch.testing.assert_close(network(image, prior), expected, atol=1e-5, rtol=0)


def test_legacy_files_and_those_of_data_parallel_load(u_net_state, tmp_path):
    legacy = saved(u_net_state, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    assert legacy.read_bytes()[:2] != b"PK"
    parallel = saved({f"module.{k}": v for k, v in u_net_state.items()}, tmp_path / "parallel.pth")
    for path in (legacy, parallel):
        network = load_official_checkpoint(str(path))
        torch.testing.assert_close(network.state_dict()["first.0.weight"], u_net_state["inc.double_conv.0.weight"])


def test_every_tensor_is_accounted_for(u_net_state, tmp_path):
    renamed = dict(u_net_state)
    renamed["up1.conv.double_conv.9.weight"] = renamed.pop("up1.conv.double_conv.3.weight")
    reshaped = {**u_net_state, "outc.conv.weight": torch.zeros(2, 64, 1, 1)}
    for state, told in (
        (renamed, r"net\.pth.*missing \(our names\): up\.0\.3\.weight; unexpected: up1\.conv\.double_conv\.9\.weight"),
        ({**u_net_state, "predict.weight": torch.zeros(3, 64, 1, 1)}, r"unexpected: predict\.weight"),
        (reshaped, r"of another shape: outc\.conv\.weight \(2, 64, 1, 1\)"),
    ):
        with pytest.raises(InvalidModelError, match=told):
            load_official_checkpoint(saved(state, tmp_path / "net.pth"))


def test_a_truncated_inf_net_is_refused_with_the_number_of_what_is_missing(res2net_state, tmp_path):
    some = {k: v for k, v in res2net_state.items() if not k.startswith("ra2_")}
    with pytest.raises(InvalidModelError, match=r"reverse_attention3\.reduce\.0\.weight.* and 19 more"):
        load_official_checkpoint(saved(some, tmp_path / "net.pth"))


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("wrap", [lambda state, code: {**state, "code": code}, lambda state, code: code])
@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(u_net_state, tmp_path, monkeypatch, capsys, wrap, protocol):
    monkeypatch.chdir(tmp_path)
    content = wrap({"inc.double_conv.0.bias": torch.zeros(64)}, Malicious())
    path = tmp_path / "net.pkl"
    if protocol == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    assert main(["convert-checkpoint", str(path), "-o", str(tmp_path / "model")]) == InvalidModelError.exit_status
    told = capsys.readouterr().err
    assert "net.pkl" in told and "code, which is never run" in told
    assert not (tmp_path / "executed").exists() and not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "damaged"),
        (b"\0" * 100, "damaged"),
        ([torch.zeros(1)], "state_dict"),
        ({"epoch": 3}, "state_dict"),
        ({1: torch.zeros(1)}, "state_dict"),
        ({}, "neither Inf-Net nor"),
        ({"encoder.body.conv1.weight": torch.zeros(1)}, "neither Inf-Net nor"),
    ],
)
def test_other_files_are_refused(content, told, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(InvalidModelError, match=rf"net\.pth.*{told}"):
        load_official_checkpoint(path)


def test_half_a_file_and_none_are_refused(u_net_state, tmp_path):
    path = saved(u_net_state, tmp_path / "net.pth")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidModelError, match="damaged"):
        load_official_checkpoint(path)
    with pytest.raises(InvalidModelError, match=r"absent\.pth: No such file"):
        load_official_checkpoint(tmp_path / "absent.pth")


@torch.no_grad()
def test_convert_checkpoint_makes_a_model_with_the_same_numbers(u_net_state, tmp_path, capsys):
    path = saved(u_net_state, tmp_path / "unet_model_200.pkl")
    assert main(["convert-checkpoint", str(path), "-o", str(tmp_path / "model"), "--name", "original-mc"]) == 0
    assert str(tmp_path / "model" / "original-mc.json") in capsys.readouterr().out
    model = load_model(str(tmp_path / "model"))
    card = model.card
    assert (card.name, card.task, card.input_size) == ("original-mc", "findings", 352)
    assert "non-commercial" in card.licence and card.limits
    assert card.training["provenance"] == "converted from the original code's checkpoint"
    assert card.training["checkpoint_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    for name, tensor in load_official_checkpoint(path).state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor), name


def test_a_converted_infection_model_is_named_after_its_file_and_says_how_its_maps_differ(res2net_state, tmp_path):
    path = saved(res2net_state, tmp_path / "Semi-Inf-Net-100.pth")
    assert main(["convert-checkpoint", str(path), "-o", str(tmp_path / "model")]) == 0
    card = load_model(str(tmp_path / "model" / "Semi-Inf-Net-100.json")).card
    assert card.task == "infection" and card.network["options"] == {"encoder": "res2net50"}
    assert "0..1" in card.limits


def test_a_model_is_not_written_out_of_its_folder(u_net_state, tmp_path):
    path = saved(u_net_state, tmp_path / "net.pth")
    assert main(["convert-checkpoint", str(path), "-o", str(tmp_path / "model"), "--name", "../elsewhere"]) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["net.pth"]
