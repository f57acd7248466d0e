"""Slice and 3D views, rendered offscreen by Slicer's own displayable managers."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

_SLICE_VIEW_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
_THREE_D_VIEW_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)


class _View:
    """An offscreen render window with a group of displayable managers."""

    def __init__(self, size, factory, managers):
        self.window = vtk.vtkRenderWindow()
        self.window.ShowWindowOff()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(8)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)

    def image(self):
        """The rendered view as an array (height, width, 3) of uint8, first row at the top."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
        return pixels.reshape(height, width, -1)[::-1, :, :3].copy()


class SliceView(_View):
    """A slice view. ``orientation`` is "Axial", "Coronal" or "Sagittal", ``size`` in pixels."""

    def __init__(self, name="Red", orientation="Axial", size=(600, 600)):
        super().__init__(size, slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), _SLICE_VIEW_MANAGERS)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._addOverlayRenderer()
        self._imageActor = self._makeImageActor()
        applicationLogic = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        # Closing the scene leaves the slice nodes in it, and a second one of a name would not get in.
        self.node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") or self.logic.AddSliceNode(name)
        self.logic.SetSliceNode(self.node)
        self.node.SetOrientation(orientation)
        self.managers.SetMRMLDisplayableNode(self.node)

    def _addOverlayRenderer(self):
        overlay = vtk.vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        self.window.SetNumberOfLayers(2)
        self.window.AddRenderer(overlay)
        self.window.SetAlphaBitPlanes(1)

    def _makeImageActor(self):
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        return actor

    def show(self, volumeNode, center=None, fieldOfView=None):
        """Show the volume: wholly, or ``fieldOfView`` mm wide around the RAS point ``center``."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        # An oblique CT is shown along its own axes, so that its voxels are seen as they are.
        self.logic.RotateSliceToLowestVolumeAxes(False)
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        if center is not None:
            self.node.JumpSliceByCentering(*center)
        if fieldOfView is not None:
            width, height, depth = self.node.GetFieldOfView()
            self.node.SetFieldOfView(fieldOfView, fieldOfView * height / width, depth)
        self.logic.SnapSliceOffsetToIJK()

    def image(self):
        connection = self.logic.GetImageDataConnection()
        if connection:
            self._imageActor.GetMapper().SetInputConnection(connection)
            self._drawImageFirst()
        return super().image()

    def _drawImageFirst(self):
        """What is translucent is blended with what was drawn before it."""
        props = self.renderer.GetViewProps()
        if props.GetNumberOfItems() == 0 or props.GetItemAsObject(0) is not self._imageActor:
            others = [props.GetItemAsObject(i) for i in range(props.GetNumberOfItems())]
            self.renderer.RemoveAllViewProps()
            for prop in (self._imageActor, *(prop for prop in others if prop is not self._imageActor)):
                self.renderer.AddViewProp(prop)


class ThreeDView(_View):
    """A 3D view, looking at what the scene shows from the front."""

    def __init__(self, name="1", size=(600, 600)):
        super().__init__(size, slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), _THREE_D_VIEW_MANAGERS)
        self.renderer.SetUseDepthPeeling(True)
        # Depth peeling gives a black picture with multisampling.
        self.window.SetMultiSamples(0)
        self.window.SetAlphaBitPlanes(1)
        self.renderer.UseFXAAOn()
        applicationLogic = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(applicationLogic)
        applicationLogic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddViewNode(name)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)

    def fit(self):
        """Turn the camera to the anterior side and fill the view."""
        manager = self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        manager.GetCameraNode().RotateTo(slicer.vtkMRMLCameraNode.Anterior)
        self.renderer.ResetCameraScreenSpace()


@cache
def renderingProblem():
    """Why this machine cannot render offscreen, with the remedy, or None if it can.

    Tried in a process of its own, since VTK may end the process when it finds no OpenGL.
    """
    check = Path(__file__).with_name("rendercheck.py")
    if subprocess.run([sys.executable, check], capture_output=True).returncode == 0:
        return None
    return (
        "No picture: this machine has no OpenGL that renders without a screen. "
        "On Debian or Ubuntu: apt-get install libegl1 libgl1 libgl1-mesa-dri"
    )
