"""The HTTP API over presets, as an ASGI app; knows neither Ray nor any model."""

from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from serve_app.config import LimitArgs
from serve_app.errors import UnknownPreset
from serve_app.jobs.desk import Desk
from serve_app.presets import Presets
from serve_app.wire.answers import Health, Model, Models, Ready, document, errors
from serve_app.wire.audio import audio
from serve_app.wire.body_limit import BodyLimit
from serve_app.wire.jobs import add_jobs, lifespan
from serve_app.wire.preset_pages import preset_pages
from serve_app.wire.problems import install_handlers
from serve_app.wire.realtime import realtime
from serve_app.wire.uploads import Uploads

TITLE = "rayscribe"
CREATED = 1_767_225_600
"""OpenAI's model objects carry a creation time; presets have none, so it is the same for all."""


def create_api(presets: Presets, limits: LimitArgs, preset: str | None = None, desk: Desk | None = None) -> FastAPI:
    """Build the API over all presets, or over one alone (`preset`), under whatever path it is mounted; with jobs."""
    title = f"{TITLE}: {preset}" if preset else TITLE
    app = FastAPI(title=title, docs_url=None, redoc_url=None, lifespan=lifespan(desk) if desk else None)
    app.add_middleware(BodyLimit, most_bytes=int(limits.max_upload_mb * 1_000_000))
    install_handlers(app)
    uploads = Uploads(limits)
    app.include_router(audio(presets, uploads))
    if desk:
        add_jobs(app, desk, presets, uploads)
    app.include_router(preset_pages(presets))
    app.include_router(realtime(presets, limits))
    _add_models(app, presets)
    _add_health(app, presets)
    _add_docs(app)
    document(app)
    return app


def _add_models(app: FastAPI, presets: Presets) -> None:
    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": CREATED, "owned_by": TITLE}

    @app.get("/v1/models", tags=["models"], response_model=None, responses={200: {"model": Models}, **errors()})
    async def models() -> dict[str, Any]:
        """List the presets."""
        return {"object": "list", "data": [model(name) for name in presets.names]}

    @app.get(
        "/v1/models/{name}", tags=["models"], response_model=None, responses={200: {"model": Model}, **errors(404)}
    )
    async def one_model(name: str) -> dict[str, Any]:
        """Return one preset."""
        if name not in presets.names:
            raise UnknownPreset(f"no preset is named '{name}'; there are: {', '.join(presets.names)}", "model")
        return model(name)


def _add_health(app: FastAPI, presets: Presets) -> None:
    @app.get("/health", tags=["health"], response_model=None, responses={200: {"model": Health}, **errors()})
    async def health() -> dict[str, str]:
        """Live: this process answers."""
        return {"status": "ok"}

    @app.get(
        "/ready",
        tags=["health"],
        response_model=None,
        responses={200: {"model": Ready}, 503: {"model": Ready, "description": "not yet"}, **errors()},
    )
    async def ready() -> JSONResponse:
        """Ready: every stage of every awake preset has loaded its model; 503 until then."""
        states = await presets.status()
        waiting = any(status.state not in ("ready", "asleep") for status in states.values())
        detail = {name: {"state": status.state, "message": status.message} for name, status in states.items()}
        return JSONResponse({"ready": not waiting, "presets": detail}, status_code=503 if waiting else 200)


def _add_docs(app: FastAPI) -> None:
    """Serve the API's page from files of this installation: it works with no way out."""
    assets = files("fastapi_offline") / "static"
    app.mount("/docs/assets", StaticFiles(directory=str(assets)))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=app.title,
            swagger_js_url=f"{root}/docs/assets/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/assets/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/assets/favicon.png",
        )

    @app.get("/", include_in_schema=False)
    async def home(request: Request) -> RedirectResponse:
        return RedirectResponse(f"{request.scope.get('root_path', '').rstrip('/')}/docs")
