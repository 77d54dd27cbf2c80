"""Audio as arrays: decoding to 16 kHz mono, and batches of clips of like lengths."""
