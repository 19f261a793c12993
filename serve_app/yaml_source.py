"""YAML read strictly: a key given twice, or one that YAML reads as no text, is a problem; every place has a line."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Where something stands in a document: keys of mappings and indexes of lists, from the top."""

STRING, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a place, and how to mend it."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Source:
    """A YAML document: its value without unusable keys, its nodes, and what is wrong with it as YAML."""

    value: Any
    root: yaml.Node | None
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read one document; raises yaml.YAMLError when it is none."""
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        return cls(_with_text_keys(yaml.safe_load(text)), root, list(_key_problems(root, (), set())))

    def line(self, place: Place) -> int:
        """Return the line, from 1, of a place, or of the nearest one around it that the file has."""
        node, line = self.root, 1
        for step in place:
            if (found := _child(node, step)) is None:
                break
            node, line = found
        return line

    def name(self, place: Place) -> str:
        """Write a place as `applications[high].args.device`: list items by their `name`, where they have one."""
        text, value = "", self.value
        for step in place:
            value = _item(value, step)
            name = value.get("name", step) if isinstance(value, dict) else step
            text += f"[{name}]" if isinstance(step, int) else f".{step}"
        return text.removeprefix(".")


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_text_keys(item) for key, item in value.items() if isinstance(key, str)}
    return [_with_text_keys(item) for item in value] if isinstance(value, list) else value


def _item(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node, int] | None:
    """Return the node one step down, with the line on which its key or its dash stands."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark.line + 1
    return None


def _key_problems(node: yaml.Node | None, place: Place, seen: set[int]) -> Iterator[Problem]:
    """Find keys that YAML drops without a word; `seen` holds the nodes of anchors, which are looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _key_problems(item, (*place, index), seen)
    elif isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            here = (*place, str(key.value))
            if key.tag not in (STRING, MERGE):
                yield Problem(here, f"YAML reads this key as {_kind(key)}, not as text; write it in quotes")
            elif key.value in keys:
                yield Problem(here, "given twice, and YAML keeps only the last; remove one")
            keys.add(str(key.value))
            yield from _key_problems(value, here, seen)


def _kind(key: yaml.Node) -> str:
    return {"bool": "a boolean", "int": "a number", "float": "a number", "null": "nothing"}.get(
        key.tag.rpartition(":")[2], "something else"
    )
