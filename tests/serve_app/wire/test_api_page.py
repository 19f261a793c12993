"""docs/api.md tells of every field and every route that there is."""

from pathlib import Path

from fakes import FakePresets

from serve_app.config import LimitArgs
from serve_app.wire.api import create_api
from serve_app.wire.formats import FORMATS
from serve_app.wire.schemas import TranscriptionForm

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


def test_every_field_and_format_is_told_of() -> None:
    fields = [field.alias or name for name, field in TranscriptionForm.model_fields.items()]
    assert [name for name in [*fields, *FORMATS] if f"`{name}`" not in PAGE] == []


def test_every_route_is_told_of() -> None:
    paths = create_api(FakePresets(), LimitArgs()).openapi()["paths"]
    assert [path for path in paths if path not in PAGE] == []
