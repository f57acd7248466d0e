"""Graphs that are kept between runs: of whom, for how long, and never a wrong one."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from infnet.errors import InvalidModelError
from infnet.inference.runtimes import graph_cache, make_runtime
from infnet.inference.runtimes.graph_cache import graph_file, keep_graph, read_graph
from infnet.networks import InfectionGuidedUNet
from infnet.weights import store
from infnet.weights.cards import ModelCard
from infnet.weights.store import save_model
from infnet.weights.stored import read_model

GRAPH = (b"<net/>", bytes(range(200)))
ONLY_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/infnet/graphs"


@pytest.fixture
def stored(tmp_path):
    """A stored model, as a function of the seed of its weights."""

    def save(seed=0):
        torch.manual_seed(seed)
        network = {"name": "infection-guided-unet", "options": {"base_channels": 4}}
        save_model(tmp_path / str(seed), ModelCard("small", "findings", "", network, 32, ""), InfectionGuidedUNet(4))
        return read_model(str(tmp_path / str(seed)))

    return save


def ask(model, runtime="openvino"):
    size = model.card.input_size
    images = np.random.default_rng(1).random((2, 3, 1, size, size), np.float32)
    return make_runtime(runtime, model, "cpu")(*images).consolidation.copy()


@pytest.fixture
def conversions(monkeypatch):
    """The models that were converted."""
    pytest.importorskip("openvino")
    from infnet.inference.runtimes import openvino_conversion

    converted, convert = [], openvino_conversion.converted
    monkeypatch.setattr(openvino_conversion, "converted", lambda model: converted.append(model) or convert(model))
    return converted


def test_the_second_run_builds_no_network_and_answers_the_same(stored, conversions, monkeypatch):
    model = stored()
    first = ask(model)
    np.testing.assert_allclose(first, ask(model, "eager"), rtol=0, atol=2e-5)
    monkeypatch.setattr(store, "build", lambda _: pytest.fail("the network was built"))
    assert np.array_equal(ask(model), first) and len(conversions) == 1


def test_the_second_run_does_without_pytorch(stored, conversions):
    """To import it takes a second, and a hundred megabytes; in a process of its own, since this one has it."""
    model = stored()
    ask(model)
    code = """if True:
        import sys
        import numpy as np
        import infnet.inference.case
        from infnet.anatomy.lungmask_lobes import lungmask_ready
        from infnet.inference.runtimes import make_runtime
        from infnet.weights.stored import read_model
        images = np.full((2, 1, 1, 32, 32), 0.5, np.float32)
        answer = make_runtime("openvino", read_model(sys.argv[1]), "cpu")(*images)
        lungmask_ready()
        print(answer.consolidation.shape, "torch" in sys.modules)
    """
    command = [sys.executable, "-c", code, str(model.path.parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "(1, 1, 32, 32) False\n"


def test_a_graph_is_that_of_the_weights_the_card_and_the_code(stored, conversions, monkeypatch):
    one, other = stored(0), stored(1)
    assert not np.array_equal(ask(one), ask(other))
    ask(replace(one, card=replace(one.card, input_size=64)))
    monkeypatch.setattr(graph_cache, "_code", lambda: "changed")
    ask(one)
    assert len(conversions) == 4


def test_a_model_in_memory_is_never_taken_for_a_stored_one(stored, conversions, cache):
    model = store.build(stored())
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    assert len(np.unique(ask(model))) == 1
    assert len(np.unique(ask(stored()))) > 1
    assert len(list(cache.glob("*"))) == 1


def test_weights_that_do_not_fit_are_refused_and_nothing_is_kept(stored, conversions, cache):
    model = stored()
    network = {"name": "infection-guided-unet", "options": {"base_channels": 5}}
    with pytest.raises(InvalidModelError, match="does not fit"):
        ask(replace(model, card=replace(model.card, network=network)))
    assert not list(cache.glob("*"))


def test_a_damaged_graph_is_made_anew(stored, conversions, cache):
    first = ask(stored())
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert np.array_equal(ask(stored()), first) and len(conversions) == 2
    assert read_graph(file) is not None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\0", lambda _: b"", bytes.upper])
def test_every_damage_is_seen(damage):
    file = graph_file({})
    keep_graph(GRAPH, file)
    assert read_graph(file) == GRAPH
    file.write_bytes(damage(file.read_bytes()))
    assert read_graph(file) is None


@ONLY_POSIX
def test_the_folder_is_the_users_alone_or_is_not_used(cache):
    keep_graph(GRAPH, graph_file({"of": "me"}))
    assert cache.stat().st_mode & 0o777 == 0o700
    assert read_graph(graph_file({"of": "me"})) == GRAPH
    cache.chmod(0o770)  # whoever is in the group could exchange a graph
    assert graph_file({"of": "me"}) is None


def test_what_cannot_be_kept_is_no_error(stored, conversions, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert graph_file({}) is None
    ask(stored())
    keep_graph(GRAPH, tmp_path / "none/x.graph")
    assert read_graph(tmp_path / "none/x.graph") is None


def test_the_graphs_that_were_used_last_are_kept(cache):
    files = [graph_file({"n": n}) for n in range(8)]
    for n, file in enumerate(files):
        keep_graph(GRAPH, file)
        os.utime(file, (n, n))
        if n == 5:
            assert read_graph(files[0]) == GRAPH  # now the one that was used last
    assert [read_graph(file) is not None for file in files] == [True, False, False, True, True, True, True, True]
