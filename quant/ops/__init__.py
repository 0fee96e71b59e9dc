"""Quantize and dequantize, each operation beside its PyTorch reference."""
