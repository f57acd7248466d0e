"""The host is as strict as PythonQt and keeps what goes wrong in slots and observers."""

import gc
import weakref

import numpy as np
import pytest
import slicer


@pytest.fixture
def qt(host):
    import qt

    return qt


def test_properties_are_attributes_and_their_getters_are_gone(qt):
    button = qt.QPushButton("Apply")
    assert button.text == "Apply"
    button.enabled = False
    assert button.enabled is False
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(TypeError):
        button.enabled()
    with pytest.raises(TypeError):
        button.enabled = np.bool_(True)


def test_names_that_pythonqt_lacks_are_missing(qt):
    for name in ("Signal", "Slot", "Property"):
        with pytest.raises(AttributeError):
            getattr(qt, name)


def test_connections_by_signature(qt):
    button = qt.QPushButton()
    calls = []
    button.connect("clicked(bool)", lambda checked: calls.append(("bool", checked)))
    button.connect("clicked()", lambda: calls.append("none"))
    button.clicked.connect(lambda: calls.append("attribute"))
    button.click()
    assert calls == [("bool", False), "none", "attribute"]


def test_a_signature_that_no_signal_has_is_refused(qt):
    """PythonQt connects nothing then, and goes on."""
    button = qt.QPushButton()
    for signature in ("clicked(int)", "pressed(bool)"):
        with pytest.raises(ValueError, match="has no signal"):
            button.connect(signature, print)
    with pytest.raises(TypeError):
        button.clicked["bool"]


def test_a_connected_slot_lives_as_long_as_the_sender(qt):
    class Owner:
        def slot(self):
            pass

    def isAlive():
        gc.collect()
        return reference() is not None

    timer, owner = qt.QTimer(), Owner()
    reference = weakref.ref(owner)
    timer.timeout.connect(owner.slot)
    del owner
    assert isAlive()
    timer.disconnect("timeout()", reference().slot)
    assert not isAlive()


def test_exceptions_in_slots_are_kept(qt, host):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in host.errors.pop()


def test_exceptions_in_observers_are_kept(host):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    node.AddObserver("ModifiedEvent", lambda caller, event: 1 / 0)
    node.Modified()
    assert "ZeroDivisionError" in host.errors.pop()


def test_data_nodes_get_an_item_in_the_subject_hierarchy(host):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    item = hierarchy.GetItemByDataNode(volumeNode)
    assert hierarchy.GetItemParent(item) == hierarchy.GetSceneItemID()
    slicer.mrmlScene.RemoveNode(volumeNode)
    assert hierarchy.GetItemByDataNode(volumeNode) == 0


def test_node_box_follows_the_scene(host):
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled = True
    box.setMRMLScene(slicer.mrmlScene)
    seen = []
    box.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    volumeNode = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    assert box.currentNode() is None
    box.setCurrentNode(volumeNode)
    slicer.mrmlScene.RemoveNode(volumeNode)
    assert seen == [volumeNode, None]


def test_node_box_goes_on_to_the_next_node_and_forgets_it_at_an_import(host, tmp_path):
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "imported")
    scene = tmp_path / "scene.mrml"
    assert slicer.util.saveScene(str(scene), {})
    host.clearScene()
    nodes = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode") for _ in range(3)]
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLTextNode"]
    box.noneEnabled = True
    box.setMRMLScene(slicer.mrmlScene)
    box.setCurrentNode(nodes[1])
    seen = []
    box.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    slicer.mrmlScene.RemoveNode(nodes[1])
    slicer.mrmlScene.RemoveNode(nodes[2])
    assert seen == [nodes[2], nodes[0]]
    slicer.util.loadScene(str(scene), {"clear": False})
    assert seen == [nodes[2], nodes[0], None]


def test_an_emptied_path_line_tells_no_path(host):
    import ctk

    line = ctk.ctkPathLineEdit()
    told = []
    line.connect("currentPathChanged(QString)", told.append)
    line.connect("validInputChanged(bool)", told.append)
    line.currentPath = "folder"
    line.currentPath = ""
    assert told == ["folder", True, False]


class TestParameterNodeWrapper:
    def declare(self):
        from typing import Annotated

        from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper

        @parameterNodeWrapper
        class Parameters:
            volume: slicer.vtkMRMLScalarVolumeNode
            fraction: Annotated[float, WithinRange(0, 1)] = 0.5
            mode: Annotated[str, Choice(["a", "b"])] = "a"

        return Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))

    def test_defaults(self, host):
        parameters = self.declare()
        assert (parameters.volume, parameters.fraction, parameters.mode) == (None, 0.5, "a")

    def test_a_default_that_is_made_is_made_each_time(self, host):
        """Also at the end of a scene, where a wrapper that still exists writes the defaults into the emptied node."""
        from typing import Annotated

        from slicer.parameterNodeWrapper import Default, parameterNodeWrapper

        numbers = iter(range(9))

        @parameterNodeWrapper
        class Parameters:
            number: Annotated[int, Default(generator=lambda: next(numbers))]

        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        parameters = Parameters(node)
        assert Parameters(node).number == 0
        node.UnsetAllParameters()
        assert (parameters.number, node.GetParameter("number")) == (1, "1")

    def test_a_change_is_seen_when_the_node_tells_it(self, host):
        parameters = self.declare()
        with slicer.util.NodeModify(parameters.parameterNode):
            parameters.parameterNode.SetParameter("mode", "b")
            assert parameters.mode == "a"
        assert parameters.mode == "b"

    def test_only_what_was_connected_with_a_tag_can_be_disconnected(self, host):
        """As in Slicer, where connectGui returns nothing and an unknown tag is passed over."""
        from types import SimpleNamespace

        import qt

        parameters = self.declare()
        box = qt.QComboBox()
        box.setProperty("SlicerParameterName", "mode")
        tag = parameters.connectParametersToGui({"mode": box})
        box.currentIndex = 1
        parameters.disconnectGui(tag)
        box.currentIndex = 0
        assert parameters.mode == "b"
        parameters.disconnectGui(parameters.connectGui(SimpleNamespace(box=box)))
        box.currentIndex = 0
        assert parameters.mode == "a"
        slicer.mrmlScene.RemoveNode(parameters.parameterNode)  # its observer must not outlive the wrapper

    def test_values_are_checked(self, host):
        parameters = self.declare()
        with pytest.raises(ValueError, match="not within"):
            parameters.fraction = 1.5
        with pytest.raises(ValueError, match="not one of"):
            parameters.mode = "c"
        with pytest.raises(TypeError):
            parameters.fraction = "0.7"
        with pytest.raises(TypeError):
            parameters.volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")

    def test_types_that_slicer_refuses_are_refused(self, host):
        from slicer.parameterNodeWrapper import parameterNodeWrapper

        with pytest.raises(TypeError):

            @parameterNodeWrapper
            class Parameters:
                anything: object


def test_a_ct_is_seen_through_a_translucent_segment(host):
    """Also where the segment was there before the view: what is blended has to be drawn last."""
    from slicerhost.views import SliceView, renderingProblem

    problem = renderingProblem()
    if problem:
        pytest.skip(problem)
    values = np.zeros((4, 40, 40), np.int16)
    values[:, :, 20:] = 1000
    volumeNode = slicer.util.addVolumeFromArray(values)
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.CreateDefaultDisplayNodes()
    segmentationNode.GetDisplayNode().SetOpacity2DFill(0.3)
    segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    segmentationNode.GetSegmentation().AddEmptySegment("all", "all", (1.0, 0.0, 0.0))
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.ones_like(values, np.uint8), segmentationNode, "all", volumeNode
    )
    view = SliceView(size=(120, 120))
    view.show(volumeNode)
    image = view.image().astype(int)
    one, other = image[60, 40], image[60, 80]
    assert abs(one[1] - other[1]) > 150, "the CT's contrast"
    assert all(pixel[0] > pixel[1] for pixel in (one, other)), "the segment's red"
