"""Acoustic measurements of a clip: pitch, intensity, noise, reverberation, quality, and per-word prosody."""

from sift_ray.features.extract import ClipFeatures, FeatureExtractor
from sift_ray.features.rate import speaking_rate
from sift_ray.features.tracks import ProsodyTracks
from sift_ray.features.words import word_prosody

__all__ = ["ClipFeatures", "FeatureExtractor", "ProsodyTracks", "speaking_rate", "word_prosody"]
