"""Secrets of a policy: named in the file, taken from the environment or another file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from poruwa.config.setting import Secret

_LONGEST_BYTES = 65_536


def read_secret(value: object, environ: Mapping[str, str] | None, folder: Path | None) -> Secret:
    """Return the secret that ``value``, ``"env:NAME"`` or ``"file:PATH"``, names.

    Args:
        environ: where variables are looked up; None resolves nothing.
        folder: where a relative PATH starts; None for the working directory.

    Raises:
        ValueError: a literal value (not repeated in the message), or one that is not there.
    """
    if not isinstance(value, str) or not value.startswith(("env:", "file:")):
        raise ValueError(
            'a secret does not belong in the file; write "env:NAME" or "file:PATH" and put it there'
        )
    kind, _, name = value.partition(":")
    if not name:
        raise ValueError(f'"{value}" names nothing; write "env:NAME" or "file:PATH"')
    if environ is None:
        return Secret(value)
    text = _from_environment(name, environ) if kind == "env" else _from_file(name, folder)
    if not text:
        raise ValueError(f"the secret {value} is empty; give it a value")
    return Secret(value, text)


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        raise ValueError(f"the environment variable {name} is not set; set it, or name a file")
    return environ[name].strip()


def _from_file(name: str, folder: Path | None) -> str:
    path = (folder or Path()) / name
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_BYTES + 1)
        if len(data) > _LONGEST_BYTES:
            raise ValueError(f"the file {path} is too long for a secret (64 KiB at most)")
        return data.decode().strip()
    except OSError as error:
        raise ValueError(f"the secret's file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the secret's file {path} is not UTF-8 text") from None
