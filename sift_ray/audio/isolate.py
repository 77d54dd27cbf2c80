"""Decoding in a process of its own, so that a file that kills its decoder, or never lets go of it, harms nothing else.

The child is a plain subprocess that runs this module: `multiprocessing` would run the parent's main module again,
which in a Ray worker is Ray's own.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, Final, Self

from sift_ray.audio.decode import DecodedClip, decode
from sift_ray.audio.errors import DecodeError, DecoderStartError
from sift_ray.config import DecodeConfig
from sift_ray.config_storage import StorageConfig

_START_S: Final = 120.0
_ORPHAN_S: Final = 30.0
"""So much longer than its parent waits for it a child lives when it hangs, and the parent is gone."""


class IsolatedDecoder:
    """Decodes clips one after the other in a child, which is replaced when it dies. For one thread.

    The child is started with the first clip.
    """

    def __init__(
        self,
        storage: StorageConfig,
        config: DecodeConfig,
        *,
        timeout_s: float = 60.0,
        decode: Callable[..., DecodedClip] = decode,
    ) -> None:
        """Take what decoding needs.

        Args:
            storage: The object store of `s3://`.
            config: The bounds of a clip's length.
            timeout_s: How long a clip may take.
            decode: What the child calls, with the arguments of `sift_ray.audio.decode.decode`; a function that can be
                pickled by its name.
        """
        self._job = pickle.dumps((storage, config, timeout_s + _ORPHAN_S, decode))
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, uri: str) -> DecodedClip:
        """Return the clip.

        Raises:
            DecodeError: as `sift_ray.audio.decode.decode` does; decoder_crash where the child died of the clip (what
                it had to say stands on stderr), decoder_timeout where it took too long.
            DecoderStartError: no child can be started.
        """
        pipe = self._pipe or self._start()
        try:
            pipe.send_bytes(uri.encode("utf-8", "surrogatepass"))
            if not pipe.poll(self._timeout_s):
                self.close()
                raise DecodeError("decoder_timeout", f"{uri}: not decoded within {self._timeout_s:g} s")
            answer = pickle.loads(pipe.recv_bytes())  # noqa: S301 (from our own child)
        except (EOFError, OSError) as error:
            raise DecodeError("decoder_crash", f"{uri}: the decoder died, {self._fate()}") from error
        if isinstance(answer, DecodeError):
            raise answer
        clip: DecodedClip = answer
        return clip

    def close(self) -> None:
        """End the child, if there is one."""
        if self._pipe is not None:
            self._pipe.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child = self._pipe = None

    def _start(self) -> Connection:
        self.close()
        parent, child = Pipe()
        command = [sys.executable, "-P", "-m", "sift_ray.audio.isolate", str(child.fileno())]
        # the parent's folders of modules, in its order: it may run from a place that is not installed
        folders = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
        environment = {**os.environ, "PYTHONPATH": folders}
        with child:
            self._child = subprocess.Popen(  # noqa: S603 (ourselves)
                command, pass_fds=[child.fileno()], env=environment, stdin=subprocess.DEVNULL
            )
        self._pipe = parent
        try:
            parent.send_bytes(self._job)
            if not parent.poll(_START_S):
                raise DecoderStartError(f"a decoder's process did not start within {_START_S:g} s")
            parent.recv_bytes()
        except (EOFError, OSError) as error:
            raise DecoderStartError(f"a decoder's process does not start: it ended, {self._fate()}") from error
        except DecoderStartError:
            self.close()
            raise
        return parent

    def _fate(self) -> str:
        """Return how the child ended, for a person; there is none after this."""
        assert self._child is not None
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(5.0)
        code = self._child.poll()
        self.close()
        if code is None:
            return "its pipe broken"
        if code < 0:
            return f"killed by signal {-code} ({signal.strsignal(-code)})"
        return f"exit code {code}"


def _serve(pipe: Connection) -> None:
    """Decode what is asked for until the parent is gone."""
    storage, config, most_s, decode = pickle.loads(pipe.recv_bytes())  # noqa: S301 (from our own parent)
    from sift_ray.corpora.audio_source import audio_source

    options: dict[str, Any] = {"min_s": config.min_s, "max_s": config.max_s, "long_clips": config.long_clips}
    pipe.send_bytes(b"ready")
    while True:
        try:
            uri = pipe.recv_bytes().decode("utf-8", "surrogatepass")
        except EOFError:
            return
        # ends this process from a thread that needs no interpreter, should the parent not be there to do it
        faulthandler.dump_traceback_later(most_s, exit=True)
        answer: DecodedClip | DecodeError
        try:
            answer = decode(uri, audio_source(storage), **options)
        except DecodeError as error:
            answer = error
        faulthandler.cancel_dump_traceback_later()
        pipe.send_bytes(pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve(Connection(int(sys.argv[1])))
