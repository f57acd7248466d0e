"""Models: safetensors with a JSON card beside them, shipped in this folder or anywhere on disk."""
