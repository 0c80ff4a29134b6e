"""YAML as people mean it: version 1.2's core types, no more, and of bounded size.

YAML 1.1, which PyYAML reads, makes of ``12:34:56`` a number of base 60, of ``no`` a false, of ``2024-01-02`` a date,
and of an alias a copy that may fill the memory. Here plain words are null, true and false, whole numbers and decimal
fractions as YAML 1.2 has them; all else is text. Tags, aliases and merged keys are refused, and a key that stands
twice.

Source:
    YAML 1.2.2, section 10.3.2, Tag Resolution of the core schema.
"""

import re
from typing import Any

import yaml

MAX_DEPTH = 10
MAX_TOKENS = 20_000
MAX_DIGITS = 18  # of a whole number
_OPENS = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSES = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_REFUSED = {
    yaml.AliasToken: "an alias or anchor",
    yaml.AnchorToken: "an alias or anchor",
    yaml.TagToken: "a tag",
}

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class PlainYamlError(ValueError):
    """Text that is not YAML, or more than plain values.

    Attributes:
        line: from 1.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class _TextLoader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML is untyped
    """Composes nodes whose scalars are all text; what they mean is decided here."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # of PyYAML's


def read_plain(data: bytes) -> tuple[Any, Any]:
    """Return the values of a YAML document (None of an empty one) and its node, for lines.

    Raises:
        PlainYamlError: with the line.
    """
    try:
        text = data.decode("utf-8-sig")
        _check_tokens(text)
        node = yaml.compose(text, Loader=_TextLoader)
    except UnicodeDecodeError as error:
        raise PlainYamlError(data[: error.start].count(b"\n") + 1, "expected text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not YAML"
        raise PlainYamlError(mark.line + 1 if mark else 1, " ".join(str(problem).split())) from None
    return (None if node is None else _value(node)), node


def _check_tokens(text: str) -> None:
    depth = 0
    for number, token in enumerate(yaml.scan(text)):
        line = token.start_mark.line + 1
        if type(token) in _REFUSED:  # a few nested aliases fill the memory
            raise PlainYamlError(line, f"{_REFUSED[type(token)]}, expected plain values")
        depth += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
        if depth > MAX_DEPTH:  # PyYAML takes minutes for a few thousand brackets
            raise PlainYamlError(line, f"more than {MAX_DEPTH} lists or keys inside each other")
        if number > MAX_TOKENS:
            raise PlainYamlError(line, f"more than {MAX_TOKENS} words and signs")


def _value(node: Any) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    values: dict[str, Any] = {}
    for key, item in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise PlainYamlError(line, "a list or keys in place of a key, expected a word")
        if key.value in values:
            raise PlainYamlError(line, f"the key {key.value[:80]!a} stands there twice")
        values[key.value] = _value(item)
    return values


def _scalar(node: Any) -> Any:
    """Return what a word means; quoted words and blocks are text."""
    word: str = node.value
    if node.style is not None:
        return word
    if word in _WORDS:
        return _WORDS[word]
    if _WHOLE.fullmatch(word):
        if len(word) > MAX_DIGITS + 1:
            raise PlainYamlError(node.start_mark.line + 1, f"a number of {len(word)} digits, expected {MAX_DIGITS}")
        return int(word, {"0o": 8, "0x": 16}.get(word[:2], 10))
    if _FRACTION.fullmatch(word):
        return float(word)
    return float(word.replace(".", "", 1)) if _NO_NUMBER.fullmatch(word) else word
