"""How the package's own YAML files are parsed."""

from __future__ import annotations

from typing import Any

import yaml


def parse_data(text: str) -> Any:
    """Parse one of the package's YAML files, in C where PyYAML was built with it, which is faster.

    Raises:
        yaml.YAMLError: it is no YAML of plain values.
    """
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
