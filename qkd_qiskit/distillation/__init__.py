"""Distillation: losses, the training loop, checkpoints. Imports torch only."""
