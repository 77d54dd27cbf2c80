"""EvalSIFT: what audio models make of a release's samples, and how good that is."""
