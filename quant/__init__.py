"""Weight quantization: a leaf package that knows tensors and schemes, not models."""
