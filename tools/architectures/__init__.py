"""Exports the architectures of torchvision, timm and transformers, and asks Mica to compile and verify each."""
