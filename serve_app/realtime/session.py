"""A live session: a client's events in, ours out; utterances are transcribed side by side and told in their order."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from serve_app.errors import BadRequest, RayscribeError
from serve_app.events import Deltas, Done, Event, Spoken
from serve_app.models.live_vad import SpeechStarted, SpeechStopped
from serve_app.options import DecodeOptions, RequestOptions, hinted
from serve_app.presets import Presets
from serve_app.realtime.client_events import EVENTS, Append, Clear, Commit, Session, SessionUpdate
from serve_app.realtime.hearing import Found, Hearing, Utterance
from serve_app.strict import did_you_mean
from serve_app.transcript import Segment, Transcript
from serve_app.windows import SAMPLE_RATE
from serve_app.wire.formats import heard_languages, token_logprobs

MOST_WAITING = 32
"""Utterances that were not told yet; what comes beyond waits, and so does the client."""
ITEM = "conversation.item.input_audio_transcription"

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(eq=False)
class _Item:
    """An utterance on its way: what was heard of it, in order, and at last None or what went wrong."""

    id: str
    utterance: Utterance
    told: "asyncio.Queue[Event | RayscribeError | None]" = field(default_factory=asyncio.Queue)


class LiveSession:
    """One client's session; `run` tells what is heard until `close`, which gives up all that is under way."""

    def __init__(
        self,
        presets: Presets,
        send: Send,
        model: str | None,
        hearing: Callable[..., Hearing] = Hearing,
    ) -> None:
        self._presets, self._send = presets, send
        self._settings = Session()
        self._model = model
        self._id = f"sess_{uuid.uuid4().hex}"
        self._hearing = hearing(self._settings.audio.input)
        self._items: asyncio.Queue[_Item] = asyncio.Queue(MOST_WAITING)
        self._work: set[asyncio.Task[None]] = set()
        self._speaking: str | None = None
        self._last: str | None = None

    async def open(self) -> None:
        """Greet; raises UnknownPreset for a model that there is not."""
        if self._model is not None:
            self._presets.resolve(self._model)
        await self._say("session.created", session=self._described())

    async def run(self) -> None:
        """Tell of utterances in the order in which they were spoken, for ever."""
        while True:
            item = await self._items.get()
            await self._tell(item)

    def close(self) -> None:
        """Give up all that is under way."""
        for task in self._work:
            task.cancel()

    async def take(self, event: Any) -> None:
        """Act on a client's event; what is wrong with it is told, and the session goes on."""
        name = event.get("event_id") if isinstance(event, dict) else None
        try:
            await self._act(_read(event))
        except RayscribeError as error:
            await self.complain(error, name if isinstance(name, str) else None)

    async def complain(self, error: RayscribeError, event_id: str | None = None) -> None:
        """Tell what is wrong."""
        await self._say("error", error={**error.described(), "event_id": event_id})

    async def _act(self, event: SessionUpdate | Append | Commit | Clear) -> None:
        match event:
            case SessionUpdate():
                await self._update(event.session)
            case Append():
                self._preset()
                for found in await asyncio.to_thread(self._hearing.feed, event.audio):
                    await self._on(found)
            case Commit():
                utterance = await asyncio.to_thread(self._hearing.commit)
                if utterance is None:
                    raise BadRequest("nothing was sent that could be committed", "audio")
                await self._commit(utterance)
            case Clear():
                self._hearing.clear()
                self._speaking = None
                await self._say("input_audio_buffer.cleared")

    async def _update(self, settings: Session) -> None:
        wanted = settings.audio.input.transcription.model
        if wanted is not None:
            self._presets.resolve(wanted)
            self._model = wanted
        self._settings = settings
        self._hearing.configure(settings.audio.input)
        await self._say("session.updated", session=self._described())

    async def _on(self, found: Found) -> None:
        match found:
            case SpeechStarted(at):
                self._speaking = _new_id()
                await self._say("input_audio_buffer.speech_started", audio_start_ms=_ms(at), item_id=self._speaking)
            case SpeechStopped(at):
                await self._say("input_audio_buffer.speech_stopped", audio_end_ms=_ms(at), item_id=self._speaking)
            case Utterance():
                await self._commit(found)

    async def _commit(self, utterance: Utterance) -> None:
        item = _Item(self._speaking or _new_id(), utterance)
        before, self._last, self._speaking = self._last, item.id, None
        await self._say("input_audio_buffer.committed", item_id=item.id, previous_item_id=before)
        content = [{"type": "input_audio", "transcript": None}]
        spoken = {"id": item.id, "type": "message", "role": "user", "status": "completed", "content": content}
        await self._say("conversation.item.added", item=spoken, previous_item_id=before)
        await self._items.put(item)
        task = asyncio.create_task(self._hear(item))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _hear(self, item: _Item) -> None:
        """Transcribe an utterance; nothing that goes wrong with it ends the session."""
        try:
            async with aclosing(self._events(item)) as events:
                async for event in events:
                    item.told.put_nowait(event)
        except RayscribeError as error:
            item.told.put_nowait(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next utterance is heard
            item.told.put_nowait(RayscribeError(f"the utterance could not be heard: {type(error).__name__}"))
        item.told.put_nowait(None)

    def _events(self, item: _Item) -> AsyncGenerator[Event]:
        asked = self._settings.audio.input.transcription
        language, languages = hinted(asked.language, asked.languages or ())
        options = RequestOptions(
            decode=DecodeOptions(
                language=language,
                initial_prompt=asked.prompt,
                hotwords=", ".join(asked.keywords or ()) or None,
                token_probs=bool(self._settings.include),
            ),
            align=False,
            languages=languages,
            nonce=item.id,
        )
        return self._presets.stream(self._preset(), item.utterance.file, options)

    async def _tell(self, item: _Item) -> None:
        deltas = Deltas()
        while (event := await item.told.get()) is not None:
            match event:
                case Spoken():
                    for text, segment in deltas.of(event):
                        await self._item("delta", item, delta=text, **self._probable((segment,)))
                case Done(transcript):
                    await self._item("completed", item, **self._completed(item, transcript))
                case RayscribeError():
                    await self._item("failed", item, error=event.described())

    def _completed(self, item: _Item, transcript: Transcript) -> dict[str, Any]:
        seconds = (item.utterance.stop - item.utterance.start) / SAMPLE_RATE
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        return {
            "transcript": transcript.text,
            "usage": usage,
            **heard_languages(transcript),
            **self._probable(transcript.segments),
        }

    def _probable(self, segments: tuple[Segment, ...]) -> dict[str, Any]:
        return {"logprobs": token_logprobs(segments)} if self._settings.include else {}

    def _preset(self) -> str:
        return self._presets.resolve(self._model)

    def _described(self) -> dict[str, Any]:
        settings = self._settings.model_dump(mode="json", exclude_none=True)
        settings["audio"]["input"]["turn_detection"] = settings["audio"]["input"].get("turn_detection")
        if self._model is not None:
            settings["audio"]["input"]["transcription"]["model"] = self._model
        return {"id": self._id, "object": "realtime.transcription_session", **settings}

    async def _item(self, what: str, item: _Item, **body: Any) -> None:
        await self._say(f"{ITEM}.{what}", item_id=item.id, content_index=0, **body)

    async def _say(self, what: str, **body: Any) -> None:
        await self._send({"type": what, "event_id": f"event_{uuid.uuid4().hex}", **body})


def _read(event: Any) -> SessionUpdate | Append | Commit | Clear:
    """Read a client's event; raises BadRequest that names what is wrong."""
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        raise BadRequest("an event is a JSON object with a 'type'", "type")
    if kind not in EVENTS:
        raise BadRequest(f"no event '{kind}' is offered{did_you_mean(kind, list(EVENTS))}", "type")
    try:
        return EVENTS[kind].model_validate(event)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        with suppress(KeyError):
            raise BadRequest(first["ctx"]["message"], f"{place}.{first['ctx']['key']}".lstrip(".")) from None
        raise BadRequest(f"'{place}': {first['msg'].removeprefix('Value error, ')}", place) from None


def _new_id() -> str:
    return f"item_{uuid.uuid4().hex}"


def _ms(sample: int) -> int:
    return sample * 1000 // SAMPLE_RATE
