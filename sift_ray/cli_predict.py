"""`sift-ray predict`: what an audio language model says to the questions of a release."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from sift_ray.cli_options import JOB_FAILED, Debug, Overrides, told
from sift_ray.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from sift_ray.config import Config
    from sift_ray.config_instruct import OpenAIConfig
    from sift_ray.evaluate.audio_llm import AudioLLM
    from sift_ray.evaluate.predict import Asked
    from sift_ray.evaluate.predict_outcome import Outcome

_EVERY: Final = 100  # questions between lines of progress
_IN_FLIGHT: Final = 256  # vLLM orders its own queue; this only bounds what waits in memory


@dataclass(frozen=True, slots=True)
class _Model:
    """Which model is asked, and where it runs."""

    name: str | None
    url: str | None
    concurrency: int | None
    timeout_s: float | None
    config: Config | None


def predicting(app: typer.Typer) -> None:
    """Give `app` the command `predict`."""
    app.command()(predict)


def predict(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="folder of a release, s3:// too")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="as the server at --url names it; else a folder or hub id, which vLLM loads here"),
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", help="a server of OpenAI's chat API, such as http://127.0.0.1:8000/v1")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="where predictions go; one that is there is gone on with")
    ] = Path("predictions.jsonl"),
    split: Annotated[str, typer.Option("--split", help="train, validation or EvalSIFT")] = "EvalSIFT",
    tasks: Annotated[list[str] | None, typer.Option("--task", help="only this task; may be given again")] = None,
    languages: Annotated[list[str] | None, typer.Option("--language", help="only this; may be given again")] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option(
            "--audio-root", metavar="DIR", help="folder of the audio, found by path or by stem", file_okay=False
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", help="paper (0.1, top-p 0.95, penalty 1.1, no 3-gram twice) or greedy")
    ] = "paper",
    temperature: Annotated[float | None, typer.Option("--temperature", help="in place of the preset's")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="in place of the preset's")] = None,
    repetition_penalty: Annotated[
        float | None, typer.Option("--repetition-penalty", help="in place of the preset's; 1 is off")
    ] = None,
    no_repeat_ngram: Annotated[
        int | None,
        typer.Option(
            "--no-repeat-ngram",
            help="in place of the preset's; 0 is off. A server applies it only if it was started with "
            "--logits-processors sift_ray.evaluate.audio_llm_ngrams:NoRepeatNGrams; where not, that is said and "
            "recorded",
        ),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", help="of an answer; default 512")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="of the sampler; default 0")] = None,
    one_audio: Annotated[
        bool, typer.Option("--one-audio", help="join the two audios of a comparison with 1 s of silence")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many of each task and language")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="questions asked at the same time")] = None,
    timeout_s: Annotated[float | None, typer.Option("--timeout", min=1, help="seconds that a call may take")] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="a job's YAML, whose instruct.vllm, instruct.openai and storage are used"),
    ] = None,
    overrides: Overrides = None,
    debug: Debug = False,
) -> None:
    """Ask an audio LLM the questions of a release; score its answers with `evaluate`.

    The model is in a server (--url; its key, if it wants one, is taken from
    the variable OPENAI_API_KEY), or vLLM loads it here (--model alone). An
    answer is written as soon as it is there, and the same command goes on
    after an interruption. FILE.meta.json says what the predictions were made
    with, FILE.rejects.jsonl what failed. The exit code is 0 only if every
    question has its prediction.
    """
    with told(debug):
        if not debug:
            logging.getLogger("httpx").setLevel(logging.WARNING)  # else it tells of every call
        if model is None and url is None:
            raise ConfigError("name a --model to load here, or the --url of a server, or both")
        if overrides and config is None:
            raise ConfigError("--set overrides keys of --config; name its file")
        checked = None if config is None else load_config(config, overrides or (), check_paths=False)
        from sift_ray.evaluate.decoding_settings import decoding_settings
        from sift_ray.evaluate.predict import Asked
        from sift_ray.evaluate.samples import split_of
        from sift_ray.storage import open_root

        try:
            settings = decoding_settings(
                preset,
                temperature=temperature,
                top_p=top_p,
                repetition_penalty=repetition_penalty,
                no_repeat_ngram=no_repeat_ngram,
                max_tokens=max_tokens,
                seed=seed,
            )
            ours = split_of(split)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if out.is_dir():
            raise ConfigError(f"--out {out}: that is a folder; name a file")
        if audio_root is not None and not audio_root.is_dir():
            raise ConfigError(f"--audio-root {audio_root}: no such folder")
        storage = None if checked is None else checked.storage
        asked = Asked(
            root=open_root(release, storage),
            split=ours,
            settings=settings,
            tasks=_tasks(tasks),
            languages=_languages(languages),
            one_audio=one_audio,
            limit=limit,
            audio_root=audio_root,
            **({} if storage is None else {"storage": storage}),
        )
        outcome = asyncio.run(_predicted(asked, _Model(model, url, concurrency, timeout_s, checked), out))
    if not outcome.complete:
        raise typer.Exit(JOB_FAILED)


def _tasks(given: list[str] | None) -> tuple[str, ...]:
    from sift_ray.evaluate.samples import ANSWERED, GENERATION
    from sift_ray.schema import TASKS

    for name in given or ():
        if name not in TASKS:
            raise ConfigError(f"--task {name}: there is no such task; there are {', '.join(ANSWERED)}")
    if given and set(given) == {GENERATION}:
        raise ConfigError(
            f"--task {GENERATION}: its answers are audio, which models that write can't give; generate it elsewhere, "
            "and let `sift-ray evaluate` measure it"
        )
    return tuple(task for task in TASKS if not given or task in given)


def _languages(given: list[str] | None) -> tuple[str, ...]:
    from sift_ray.schema import LANGUAGES

    for name in given or ():
        if name not in LANGUAGES:
            raise ConfigError(f"--language {name}: there is no such language; there are {', '.join(LANGUAGES)}")
    return tuple(given or ())


async def _predicted(asked: Asked, model: _Model, out: Path) -> Outcome:
    """Start the model, ask it, and tell what came of it."""
    from sift_ray.evaluate.audio_llm_server import ServedAudioLLM
    from sift_ray.evaluate.predict import header_of, predict
    from sift_ray.evaluate.predict_file import PredictionFile
    from sift_ray.evaluate.predict_outcome import readable
    from sift_ray.instruct.models import model_revision

    def progress(so_far: Outcome) -> None:
        if so_far.tried % _EVERY == 0:
            failed = so_far.missing.total()
            told = f", {failed:,} questions failed" if failed else ""
            typer.echo(f"{so_far.before + so_far.predicted:,} predictions{told}", err=True)

    started: AudioLLM | None = None
    try:
        if model.url is not None:
            server = _server_config(model)
            concurrency = server.concurrency
            started = await ServedAudioLLM.serve(model.name, server, asked.settings)
            for name, note in started.notes.items():
                typer.echo(f"{name}: {note}", err=True)
            header = header_of(asked, started.name, started.notes, told={"engine": "server", "url": server.base_url})
        else:
            name = model.name or ""
            concurrency = model.concurrency or _IN_FLIGHT
            revision = await asyncio.to_thread(model_revision, name, asked.storage)
            header = header_of(asked, name, {}, revision=revision, told={"engine": "vllm"})
        with PredictionFile(out, header) as file:
            # (loading takes minutes: whatever may be wrong has been looked at before)
            started = started or await _loaded(asked, model, revision)
            outcome = await predict(asked, started, file, concurrency=concurrency, progress=progress)
            typer.echo(readable(outcome, file, started.notes))
            return outcome
    finally:
        if started is not None:
            await started.close()


async def _loaded(asked: Asked, model: _Model, revision: str) -> AudioLLM:
    from sift_ray.config_instruct import InstructConfig
    from sift_ray.evaluate.audio_llm_vllm import VllmAudioLLM

    instruct = InstructConfig() if model.config is None else model.config.instruct
    return await VllmAudioLLM.start(
        model.name or "",
        instruct.vllm,
        asked.settings,
        one_audio=asked.one_audio,
        cache=None if instruct.model_cache is None else Path(instruct.model_cache),
        storage=asked.storage,
        revision=revision or None,
    )


def _server_config(model: _Model) -> OpenAIConfig:
    from sift_ray.config_instruct import OpenAIConfig

    given = OpenAIConfig() if model.config is None else model.config.instruct.openai
    changed: dict[str, Any] = {"base_url": model.url}
    if model.concurrency is not None:
        changed["concurrency"] = model.concurrency
    if model.timeout_s is not None:
        changed["timeout_s"] = model.timeout_s
    try:
        return OpenAIConfig.model_validate({**given.model_dump(), **changed})
    except ValueError as error:
        raise ConfigError(f"--url {model.url}: {error}") from error
