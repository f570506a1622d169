"""Reading a service's output as log collectors do: line by line, and by CloudWatch's filter patterns."""

from __future__ import annotations

import json
import re
from typing import Any


def parsed(output: str) -> list[dict[str, Any]]:
    """Each line as the object that it must be."""
    lines = []
    for text in output.splitlines():  # which also splits where some collectors do and JSON does not, as at U+2028
        try:
            line = json.loads(text)
        except ValueError:
            raise AssertionError(f"not one JSON object on one line: {text!r}") from None
        assert isinstance(line, dict), text
        lines.append(line)
    return lines


def matches(pattern: str, event: str) -> bool:
    """Whether CloudWatch Logs' filter `pattern` of plain terms finds `event`.

    Its rules: terms are separated by spaces and all must be there, in any order; what double quotes enclose must be
    there as it is; letter case counts. A term without quotes may hold letters, digits and underscores only; it is
    looked for here as a whole word, which is the strictest reading of what the manual calls a match.
    """
    for quoted, term in re.findall(r'"([^"]*)"|(\S+)', pattern):
        if quoted:
            if quoted not in event:
                return False
            continue
        assert re.fullmatch(r"\w+", term), f"CloudWatch refuses the pattern {pattern}: quote {term}"
        if not re.search(rf"(?<!\w){term}(?!\w)", event):
            return False
    return True
