"""Compare the outputs of a cell with the stored ones, by the rules of nbval and of `sanitize.cfg`."""

import re
from typing import Any

from tests.notebooks.rewrite import rules

_NOT_COMPARED = ("metadata", "traceback", "output_type", "name", "execution_count", "data", "image/png")


def shown(outputs: list[Any]) -> dict[str, list[str]]:
    """Give what is compared of outputs: for each kind of content, its texts in their order."""
    found: dict[str, list[str]] = {}
    for output in outputs:
        for kind, value in {**output, **output.get("data", {})}.items():
            if kind not in _NOT_COMPARED:
                found.setdefault(kind, []).append("".join(value))
    if "text" in found:  # what is printed may come in pieces
        found["text"] = ["".join(found["text"])]
    return {kind: [_sanitized(text) for text in texts] for kind, texts in found.items()}


def _sanitized(text: str) -> str:
    for pattern, replacement in rules():
        text = re.sub(pattern, replacement, text)
    return text
