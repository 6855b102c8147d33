"""How the engine's JavaScript complains of JSON that it cannot read."""

from __future__ import annotations

import json

_CONTEXT = 10
_LITERALS = ("true", "false", "null")


def parse_error(text: str) -> str:
    """Return the parser's complaint about `text`, as near as another parser can tell."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        at = error.pos
    except (ValueError, RecursionError):
        # Too deep, or digits without end.
        at = len(text)
    else:
        at = 0
    for literal in _LITERALS:
        # A word that begins like a literal is wrong where it stops being one.
        if text[at : at + 1] == literal[0]:
            at += next((i for i, (a, b) in enumerate(zip(text[at:], literal, strict=False)) if a != b), len(literal))
    if at >= len(text):
        return "Unexpected end of JSON input"
    before = "..." if at > _CONTEXT else ""
    after = "..." if at + _CONTEXT < len(text) else ""
    if len(text) <= 4 * _CONTEXT:
        shown = f'"{text}"'
    else:
        shown = f'{before}"{text[max(0, at - _CONTEXT) : at + _CONTEXT]}"{after}'
    return f"Unexpected token '{text[at]}', {shown} is not valid JSON"
