"""Exports the models that Mica is tested with as TorchScript, with fixed seeds."""
