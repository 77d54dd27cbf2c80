"""What a model made of each sample, as JSON lines: a text, or the audio that it generated."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

_EXAMPLES: Final = 5  # examples in a message


class PredictionError(ValueError):
    """A file of predictions can't be used; the message names the file, the line and what is wrong with it."""


class Prediction(NamedTuple):
    """The outcome of one sample.

    Attributes:
        sample_id: of the release's sample.
        prediction: the answer in text, None where there is none.
        audio: path of the generated audio as it stands in the file, None where there is none. A relative one starts at
            the folder of the file, or at the folder of audio that `sift-ray evaluate` is given.
    """

    sample_id: str
    prediction: str | None = None
    audio: str | None = None


def read_predictions(path: str | Path) -> dict[str, Prediction]:
    """Return the predictions of a JSON-lines file by sample id, in the file's order; blank lines count for nothing.

    Each line is `{"sample_id": …, "prediction": …}` or `{"sample_id": …, "audio": …}`, or has both; what else is there
    is ignored. Paths of audio stay as they are.

    Raises:
        PredictionError: the file can't be read, a line is no such object, or a sample occurs twice.
    """
    path = Path(path)
    read: dict[str, Prediction] = {}
    lines: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                made = _prediction(line, f"{path}:{number}")
                if made.sample_id in read:
                    raise PredictionError(
                        f"{path}:{number}: sample_id {made.sample_id} stands on line {lines[made.sample_id]} already; "
                        "keep one of them"
                    )
                read[made.sample_id], lines[made.sample_id] = made, number
    except OSError as error:
        raise PredictionError(f"{path}: cannot be read: {error.strerror or error}") from error
    return read


def check_known(predictions: Collection[str], known: Collection[str], source: str | Path) -> None:
    """Refuse predictions of samples that are not there.

    Raises:
        PredictionError: some are unknown; how many, and the first of them.
    """
    unknown = [sample_id for sample_id in predictions if sample_id not in known]
    if unknown:
        more = ", …" if len(unknown) > _EXAMPLES else ""
        raise PredictionError(
            f"{source}: {len(unknown)} of {len(predictions)} predictions are of samples that the release's split does "
            f"not have: {', '.join(unknown[:_EXAMPLES])}{more}; is this the right release and --split?"
        )


def write_prediction(file: TextIO, prediction: Prediction, **more: Any) -> None:
    """Append one line in a single write and flush it, so that an interruption leaves at most the last one cut short.

    `file` is open for text, to write or append, in UTF-8; `more` are further keys, such as the model's name.

    Raises:
        ValueError: there is neither a text nor audio, or `more` has a key of a prediction.
    """
    file.write(_line(prediction, more))
    file.flush()


def _line(prediction: Prediction, more: Mapping[str, Any]) -> str:
    if prediction.prediction is None and prediction.audio is None:
        raise ValueError(f"{prediction.sample_id}: a prediction has a text or audio")
    if taken := sorted(set(more) & set(Prediction._fields)):
        raise ValueError(f"{taken[0]} is a key of the prediction itself")
    row = {key: value for key, value in prediction._asdict().items() if value is not None}
    return f"{json.dumps(row | dict(more), ensure_ascii=False)}\n"


def _prediction(line: bytes, place: str) -> Prediction:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PredictionError(f"{place}: not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise PredictionError(f"{place}: not a JSON object but a {type(row).__name__}")
    values = {key: row.get(key) for key in Prediction._fields}
    for key, value in values.items():
        if value is not None and not isinstance(value, str):
            raise PredictionError(f"{place}: {key} must be a text, not {json.dumps(value)[:80]}")
    sample_id = values["sample_id"]
    if not sample_id:
        raise PredictionError(f"{place}: no sample_id")
    made = Prediction(sample_id, values["prediction"], values["audio"])
    if made.prediction is None and not made.audio:
        raise PredictionError(f"{place}: sample_id {sample_id} has neither prediction nor audio")
    return made
