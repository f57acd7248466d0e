"""The Slicer side of InfNetSegmentation. Nothing here imports torch: the backend runs in a process of its own."""
