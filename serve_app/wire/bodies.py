"""What a form's body may come as: a form, the same fields as JSON, or the bare file with the fields in the query."""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from serve_app.errors import BadRequest, UnsupportedBody
from serve_app.wire.spool import spooled

MOST_FIELDS = 200
MOST_FIELD_BYTES = 16_000_000
"""Of all fields besides the file, which are held in memory: four references of 10 s are 10 MB at most."""
FORMS = ("multipart/form-data", "application/json")
ENCODED = "application/x-www-form-urlencoded"
FILES = ("audio/*", "video/*", "application/octet-stream")
IGNORED_QUERY = frozenset({"api-version"})
"""Sent along by clients of other services."""

Fields = list[tuple[str, Any]]


def content_types(form: type[BaseModel]) -> dict[str, Any]:
    """Document the bodies that `AnyBodyRoute` takes instead of multipart/form-data, as `openapi_extra`."""
    fields = {"schema": {"$ref": f"#/components/schemas/{form.__name__}"}}
    file = {"schema": {"type": "string", "format": "binary"}}
    content = {**dict.fromkeys((FORMS[1], ENCODED), fields), **dict.fromkeys(FILES, file)}
    description = "A bare file has its options in the query, by the names of the form's fields."
    return {"requestBody": {"description": description, "required": True, "content": content}}


class AnyBodyRoute(APIRoute):
    """A route with a form, which takes it in any of the ways."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of FastAPI's over a request that reads its form our way."""
        handle, arrays = super().get_route_handler(), _arrays(self.body_field)

        async def read(request: Request) -> Response:
            return await handle(_Request(request, arrays))

        return read


def _arrays(field: Any) -> frozenset[str]:
    """Return the names of a form's fields that may be given several times, as they stand on the wire."""
    form = field.field_info.annotation if field else None
    names = (each.alias or name for name, each in getattr(form, "model_fields", {}).items())
    return frozenset(name for name in names if name.endswith("[]"))


class _Request(Request):
    def __init__(self, request: Request, arrays: frozenset[str]) -> None:
        super().__init__(request.scope, request.receive)
        self._arrays = arrays

    async def form(self, **limits: Any) -> FormData:  # type: ignore[override]  # it is only ever awaited
        if self._form is None:
            self._form = FormData(self._named(await self._fields()))
            try:
                self._check_counts(self._form)
            except BadRequest:
                await self._form.close()
                raise
        return self._form

    def _named(self, fields: Fields) -> Fields:
        """Return the fields by their names on the wire: arrays with brackets."""
        return [(f"{name}[]" if f"{name}[]" in self._arrays else name, value) for name, value in fields]

    def _check_counts(self, form: FormData) -> None:
        for name, times in Counter(name for name, _ in form.multi_items()).items():
            if times > 1 and name not in self._arrays:
                raise BadRequest(f"'{name}' is given more than once", name)

    async def _fields(self) -> Fields:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        async with aclosing(self.stream()) as stream:
            if kind in FORMS:
                self._check_query()
            if kind == "multipart/form-data":
                return await _multipart(self, stream)
            if kind == "application/json":
                return _members(await _bounded(stream))
            if kind == ENCODED:
                return await self._encoded(stream)
            if kind and kind != "application/octet-stream" and not kind.startswith(("audio/", "video/")):
                raise UnsupportedBody(
                    f"a body of type '{kind}' is not heard; send {FORMS[0]}, {FORMS[1]}, or the bare file as audio/*, "
                    "video/* or application/octet-stream"
                )
            return await self._of_a_file(stream)

    async def _encoded(self, stream: AsyncGenerator[bytes]) -> Fields:
        """Read a form, or what `curl --data-binary` calls one: a form is nothing but printable ASCII, no file is."""
        first = await anext(stream, b"")
        if not all(32 < byte < 127 for byte in first[:64]):
            return await self._of_a_file(_again(first, stream))
        self._check_query()
        text = (await _bounded(_again(first, stream))).decode("latin-1")
        try:
            return list(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError as error:
            raise BadRequest(f"the form has more than {MOST_FIELDS} fields") from error

    def _check_query(self) -> None:
        """See that no option stands where a form has none: it would be overlooked."""
        for name, _ in self._query():
            raise BadRequest(f"'{name}' stands in the query; put it into the body, with the other fields", name)

    async def _of_a_file(self, stream: AsyncGenerator[bytes]) -> Fields:
        file = spooled()
        try:
            async for chunk in stream:
                await file.write(chunk)
            await file.seek(0)
        except BaseException:
            await file.close()
            raise
        return [*self._query(), ("file", file)]

    def _query(self) -> Iterator[tuple[str, str]]:
        return (pair for pair in self.query_params.multi_items() if pair[0] not in IGNORED_QUERY)


async def _again(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _bounded(stream: AsyncGenerator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in stream:
        body += chunk
        if len(body) > MOST_FIELD_BYTES:
            raise _too_much()
    return bytes(body)


def _too_much() -> BadRequest:
    megabytes = MOST_FIELD_BYTES / 1_000_000
    return BadRequest(f"the fields besides the file are larger than {megabytes:g} MB together; send less in them")


async def _multipart(request: Request, stream: AsyncGenerator[bytes]) -> Fields:
    parser = _Parser(request.headers, stream, max_files=1, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES)
    try:
        return (await parser.parse()).multi_items()
    except MultiPartException as error:
        raise BadRequest(f"the form cannot be read: {error.message}") from error


class _Parser(MultiPartParser):
    """Starlette's, which puts files to the disk; what it may hold in memory is of all fields together."""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        try:
            super().on_part_data(data, start, end)
        except MultiPartException:
            raise _too_much() from None

    def on_part_end(self) -> None:
        super().on_part_end()
        value = self.items[-1][1]
        if isinstance(value, str):
            self.max_part_size -= len(value)


def _members(body: bytes) -> Fields:
    """Return the members of a JSON object as fields: an array of words is several, one of numbers is a list of them."""
    try:
        read = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {error}") from None
    if not isinstance(read, dict):
        raise BadRequest('the body is no JSON object; send {"url": "https://…", "model": "…"}')
    return [(name, each) for name, value in read.items() for each in _values(value)]


def _values(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        return (value,)
    numbers = value and all(isinstance(each, int | float) for each in value)
    return (",".join(map(str, value)),) if numbers else value
