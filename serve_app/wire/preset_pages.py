"""`GET /v1/presets`: what each preset is made of, whether it can answer, how quick it was."""

import asyncio
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from serve_app.errors import UnknownPreset
from serve_app.facts import PresetFacts
from serve_app.presets import Presets, PresetStatus
from serve_app.strict import did_you_mean


def preset_pages(presets: Presets) -> APIRouter:
    """Build the routes over presets."""
    router = APIRouter(prefix="/v1/presets", tags=["presets"])

    @router.get("")
    async def pages() -> dict[str, Any]:
        """List the presets with their stages, models, replicas and speed; of those asleep only that they are."""
        return {"object": "list", "data": list((await _pages(presets)).values())}

    @router.get("/{name}")
    async def page(name: str) -> dict[str, Any]:
        """Return one preset's facts."""
        if name not in presets.names:
            raise UnknownPreset(f"no preset is named '{name}'{did_you_mean(name, presets.names)}", "name")
        return (await _pages(presets))[name]

    return router


async def _pages(presets: Presets) -> dict[str, dict[str, Any]]:
    states, facts = await asyncio.gather(presets.status(), presets.facts())
    return {name: _page(name, status, facts.get(name)) for name, status in states.items()}


def _page(name: str, status: PresetStatus, facts: PresetFacts | None) -> dict[str, Any]:
    page: dict[str, Any] = {
        "id": name,
        "object": "preset",
        "state": status.state,
        "message": status.message,
        "replicas": dict(status.replicas),
    }
    if facts:
        heard = {code for model in facts.stages["transcription"].models for code in model.languages}
        page |= {
            "stages": {stage: asdict(about) for stage, about in facts.stages.items()},
            "borrowed": dict(facts.borrowed),
            "languages": sorted(heard),
            "real_time_factor": facts.real_time_factor and round(facts.real_time_factor, 4),
            "files": facts.files,
        }
    return page
