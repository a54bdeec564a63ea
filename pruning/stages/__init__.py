"""What methods are made of: ADMM rounds, masked retraining, the two as a stage, quantization, the search for a rate."""
