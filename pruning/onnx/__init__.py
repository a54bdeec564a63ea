"""ONNX in and out: vetting, conversion to a trainable network, analysis, write-back."""
