"""Errors on the wire, in OpenAI's one shape: `{"error": {"message", "type", "param", "code"}}`."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve_app.errors import BadRequest, RayscribeError

logger = logging.getLogger("ray.serve.rayscribe")


def body_of(error: RayscribeError) -> dict[str, Any]:
    """Return the one shape."""
    return {"error": error.described()}


def problem(error: RayscribeError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Write one error; one that may pass says when to try again."""
    later = {"Retry-After": "5"} if error.status == 503 else {}
    return JSONResponse(body_of(error), status_code=error.status, headers={**later, **(headers or {})})


def install_handlers(app: FastAPI) -> None:
    """Answer every exception in the one shape."""

    @app.exception_handler(RayscribeError)
    async def ours(request: Request, error: RayscribeError) -> JSONResponse:
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(_first_problem(error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, RayscribeError):  # FastAPI wraps what is raised while it reads a body
            return problem(error.__cause__)
        known = BadRequest(str(error.detail))
        known.status = error.status_code
        known.code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, known.code)
        return problem(known, {"Allow": _allowed(request)} if error.status_code == 405 else error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        logger.error("unforeseen error on %s %s", request.method, request.url.path, exc_info=error)
        return problem(RayscribeError("an internal error; the service's log has the details"))


def _allowed(request: Request) -> str:
    """Return the methods that the document offers of a path: a router knows only those of its first route of it."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    offered = request.app.openapi()["paths"].items()
    methods = {method for template, methods in offered if _is_of(path, template) for method in methods}
    return ", ".join(sorted(method.upper() for method in methods)) or "GET"


def _is_of(path: str, template: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None


def _first_problem(error: RequestValidationError) -> BadRequest:
    first: dict[str, Any] = error.errors()[0]
    place = [str(part) for part in first["loc"][1:]]  # the first one says where: body, query, path
    if first["type"] == "unknown_key":
        return BadRequest(first["ctx"]["message"], first["ctx"]["key"])
    param = place[0].removesuffix("[]") if place else None
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        message = "this field is required"
    return BadRequest(f"'{param}': {message}" if param else message, param)
