"""What the child and its models print: read, so that it fills no disk, and forgotten but for the end."""

import os
from types import TracebackType
from typing import Self

_KEPT = 4096
_PIECE = 65536


class Printed:
    """A pipe for standard output and standard error. Nothing here waits: others may hold the pipe open for ever."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._end = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._reader)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._reader

    def drain(self) -> bool:
        """Whether more may come; what was there, or a part of it, is read."""
        try:
            piece = os.read(self._reader, _PIECE)
        except BlockingIOError:
            return True
        self._end = (self._end + piece)[-_KEPT:]
        return bool(piece)

    def last_words(self) -> str:
        """The last lines, as one line without control characters."""
        self.drain()
        lines = self._end.decode(errors="replace").split("\n")
        texts = ["".join(filter(str.isprintable, line)).strip() for line in lines]
        return " | ".join(list(filter(None, texts))[-5:])
