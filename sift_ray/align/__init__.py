"""Where the words of a transcript lie in its clip: a lexicon, backends behind one protocol, and a score."""

from sift_ray.align.lexicon import Lexicon
from sift_ray.align.protocol import (
    Aligner,
    AlignError,
    AlignmentFailure,
    AlignmentJob,
    TrainingClip,
    TrainingError,
    UtteranceAlignment,
    WordSpan,
)

__all__ = [
    "AlignError",
    "Aligner",
    "AlignmentFailure",
    "AlignmentJob",
    "Lexicon",
    "TrainingClip",
    "TrainingError",
    "UtteranceAlignment",
    "WordSpan",
]
