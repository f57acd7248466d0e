"""The Slicer side of InfNetTraining. The process that trains is run by InfNetSegmentationLib.BackendProcess."""
