"""Pruning of ONNX models: the library, without web, queue or database."""
