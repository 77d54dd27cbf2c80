"""Speech corpora in, verified speech-instruction data out, as a distributed job on Ray."""

__version__ = "0.1.0"
