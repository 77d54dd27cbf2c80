"""What the readers of lists share: where audio may lie that a row names, and how its address is read."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol

from sift_ray.corpora.audio_uri import AudioUri, parse_audio_uri
from sift_ray.corpora.reading import Reading, place_audio
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import Utterance
from sift_ray.corpora.values import damaged, printable
from sift_ray.corpora.web import may_fetch


class ListConfig(Protocol):
    """The keys of a list's config that matter here."""

    @property
    def root(self) -> str | None:
        """Folder that audio must lie under."""


def list_root(config: ListConfig, folder: Tree, reading: Reading) -> Tree:
    """Return the folder that audio must lie under: the config's `root`, or the list's own folder.

    Raises:
        CorpusError: it is not there.
    """
    return folder if config.root is None else reading.tree(config.root, "audio")


def listed_audio(utterance: Utterance, root: Tree, audio: str, https_hosts: tuple[str, ...], **part: Any) -> None:
    """Set the address of audio as a row names it, or reject the row.

    Args:
        utterance: Changed in place.
        root: The folder that it must lie under.
        audio: A path, absolute or relative to the root, or a URL; it may carry a part (`#t=1.5,3`, `#member=…`).
        https_hosts: Hosts that `https://` may name.
        **part: Fields of `AudioUri` that the row tells beside the path (start_s, end_s, channel).
    """
    where = utterance.where
    if not audio:
        utterance.reject("missing_audio", f"{where}: no audio is named")
        return
    if damaged(audio):
        utterance.reject("not_utf8", f"{where}: the audio's name is not UTF-8")
        return
    address = AudioUri(audio)
    if "#" in audio and not part:
        with suppress(ValueError):  # a file whose name holds a #
            address = parse_audio_uri(audio)
    fields = {
        name: getattr(address, name) for name in ("member", "bytes", "row", "column", "start_s", "end_s", "channel")
    }
    fields.update(part)
    scheme = address.scheme
    if scheme in ("http", "https"):
        if may_fetch(address.file, https_hosts):
            utterance.audio_uri = str(AudioUri(address.file, **fields))
        else:
            utterance.reject(
                "web_refused",
                f"{where}: {printable(address.file)}: audio on the web is read over https from hosts that the config "
                "names (https_hosts), and from no others",
            )
        return
    if scheme not in ("", "s3"):
        utterance.reject("path_outside_root", f"{where}: {audio}: nothing is read from {scheme}://")
        return
    place_audio(utterance, root, address.file, **fields)
