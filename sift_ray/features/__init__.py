"""Acoustic measurements of a clip: pitch, intensity, noise, reverberation, quality, and per-word prosody.

`extract` is where a batch of clips is measured. Nothing is imported here, so that a worker that only needs
`words` or `rate` does not load Praat and onnxruntime.
"""
