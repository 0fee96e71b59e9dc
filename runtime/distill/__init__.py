"""How the embedded model `nano` was made: data, distillation, task training, export, evaluation.

A small Jamba is distilled from SmolLM2-135M-Instruct, then taught to answer by quoting the
document with references.  Every step is a command of `python -m runtime.distill`.
"""
