"""Exit status 0 if this machine can render offscreen with VTK. Run as a script."""

import sys

import vtk
from vtk.util.numpy_support import vtk_to_numpy

source = vtk.vtkSphereSource()
mapper = vtk.vtkPolyDataMapper()
mapper.SetInputConnection(source.GetOutputPort())
actor = vtk.vtkActor()
actor.SetMapper(mapper)
renderer = vtk.vtkRenderer()
renderer.AddActor(actor)
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.AddRenderer(renderer)
window.SetSize(64, 64)
window.Render()
grab = vtk.vtkWindowToImageFilter()
grab.SetInput(window)
grab.ReadFrontBufferOff()
grab.Update()
if vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).max() == 0:
    sys.exit("the picture stayed black")
