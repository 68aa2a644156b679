"""Convolutions in bfloat16 for training on CPUs."""
