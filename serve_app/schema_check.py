"""Documents checked against pydantic models that by themselves let unknown keys pass, as Ray Serve's do."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from serve_app.strict import did_you_mean
from serve_app.yaml_source import Place, Problem

Model = TypeVar("Model", bound=BaseModel)


@dataclass(slots=True)
class SchemaCheck:
    """Collects what is wrong with a document; `sound` says that mappings and lists stand where they should."""

    problems: list[Problem] = field(default_factory=list)
    sound: bool = True

    def known(self, model: type[BaseModel], value: Any, place: Place) -> Any:
        """Return a mapping without the keys that the model, or a model below it, does not know; report those."""
        fields = _fields(model)
        if not isinstance(value, dict):
            self.sound = False
            self._report(place, f"must be a mapping with keys such as {', '.join(list(fields)[:4])}")
            return value
        for key in value:
            if key not in fields:
                self._report((*place, key), f"unknown key{did_you_mean(key, list(fields))}")
        return {key: self._below(fields[key], item, (*place, key)) for key, item in value.items() if key in fields}

    def validate(self, model: type[Model], value: Any, place: Place) -> Model | None:
        """Return the value as the model; None, with the reasons reported, when the model refuses it."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                self._report(*_explain(details, value, place))
        except (ImportError, NotImplementedError, TypeError) as error:  # of Ray's own, which pydantic lets through
            if not any(problem.message == str(error) for problem in self.problems):
                self._report(place, str(error))
        return None

    def _below(self, annotation: Any, value: Any, place: Place) -> Any:
        """Go on with whatever models an annotation holds, as they are or in a list."""
        kinds = list(_alternatives(annotation))
        if value is None and type(None) in kinds:
            return None
        items = next((get_args(kind) for kind in kinds if get_origin(kind) is list), None)
        if items:
            return self._list(items[0], value, place)
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if model is None:
            return value
        kept = self.known(model, value, place)
        if isinstance(kept, dict) and any(kind is dict or get_origin(kind) is dict for kind in kinds):
            self.validate(model, kept, place)  # `Dict | Model` takes any mapping as it is
        return kept

    def _list(self, annotation: Any, value: Any, place: Place) -> Any:
        if not isinstance(value, list):
            self.sound = False
            self._report(place, "must be a list")
            return value
        return [self._below(annotation, item, (*place, index)) for index, item in enumerate(value)]

    def _report(self, place: Place, message: str) -> None:
        problem = Problem(place, message)
        if problem not in self.problems:
            self.problems.append(problem)


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the keys that a model knows, with what each may hold."""
    return {key: info.annotation for name, info in model.model_fields.items() for key in (info.alias or name, name)}


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


def _explain(details: ErrorDetails, value: Any, place: Place) -> tuple[Place, str]:
    """Return the place in the document, without pydantic's names of union members, and the message in plain words."""
    steps = list(_existing(value, details["loc"]))
    if details["type"] == "missing":
        return (*place, *steps, details["loc"][-1]), "is missing; it must be given"
    message = details["msg"].removeprefix("Value error, ")
    if message.startswith("Input should be "):
        message = message.replace("Input should be", "must be", 1)
    given = details["input"]
    return (*place, *steps), message if isinstance(given, dict | list) else f"{message}; it is {given!r}"


def _existing(value: Any, location: Place) -> Iterator[str | int]:
    for step in location:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return
        yield step
