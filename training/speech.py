"""Synthetic speech with exact times: espeak-ng through ctypes, whose events say when each word and phoneme begins."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

SAMPLE_RATE = 16_000
LANGUAGES = ("en-us", "en-gb-x-rp")
HELD_OUT_VARIANTS = ("m5", "f4", "Michael", "linda")
"""Voices kept for tests: nothing is ever trained or tuned on them."""
TRAIN_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m6", "m7", "m8", "f1", "f2", "f3", "f5"),
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee"),
    *("Marco", "Mario", "Mike", "Nguyen", "Reed", "announcer", "aunty", "gustave", "ian", "klatt", "klatt2", "klatt3"),
    *("adam", "anika", "antonio", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "grandma"),
    *("grandpa", "iven", "john", "kaukovalta", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul"),
    *("pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac"),
)

_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT = 2, 0x0001, 0x8000
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8 = 1
_LAST_PHONES = {"the": 2, "of": 2, "a": 1, "not": 3, "some": 3, "have": 3, "one": 3, "any": 4}
"""How many phonemes end an event that espeak makes of two words, by the second word."""
_WORD, _END, _PHONEME = 1, 5, 7


@dataclass(frozen=True)
class Voice:
    """A speaker: espeak language, voice variant, words per minute, base pitch and pitch range (both 0 to 100)."""

    language: str
    variant: str
    rate: int
    pitch: int
    pitch_range: int


@dataclass(frozen=True)
class TimedWord:
    """A word and the seconds at which it starts and ends."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class TimedPhone:
    """A phoneme (espeak's mnemonic) and the seconds at which it starts and ends; pauses are left out."""

    text: str
    start: float
    end: float


@dataclass
class Utterance:
    """Speech: float32 mono samples at 16 kHz, the words and the phonemes, in order."""

    samples: NDArray[np.float32]
    words: list[TimedWord]
    phones: list[TimedPhone]


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_RawEvent = tuple[int, int, int, int, str]  # type, sample, text position, text length, phoneme


class Synthesizer:
    """espeak-ng, loaded into this process. It keeps global state, so make one per process and use it in one thread."""

    def __init__(self) -> None:
        self._library, self._rate = _load_espeak()
        self._lowpass = _lowpass(self._rate)
        self._audio: list[NDArray[np.int16]] = []
        self._events: list[_RawEvent] = []
        self._callback = _Callback(self._receive)  # must live as long as the library may call it
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice = ""

    def say(self, text: str, voice: Voice) -> Utterance:
        """Speak `text`; raises ValueError for a voice that espeak does not have."""
        self._select(voice)
        self._audio, self._events = [], []
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        native = np.concatenate(self._audio).astype(np.float32) / 32768
        samples = resample_poly(native, SAMPLE_RATE, self._rate, window=self._lowpass).astype(np.float32)
        phones = _phones(self._events, self._rate)
        return Utterance(samples, _words(text, self._events, phones, self._rate), phones)

    def _select(self, voice: Voice) -> None:
        name = f"{voice.language}+{voice.variant}"
        if name != self._voice and self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name!r}; `espeak-ng --voices` and `--voices=variant` list them")
        self._voice = name
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)

    def _receive(self, wav: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0:
            self._audio.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type:
            event = events[i]
            phone = event.id.string.decode() if event.type == _PHONEME else ""
            self._events.append((event.type, event.sample, event.text_position, event.length, phone))
            i += 1
        return 0


def _lowpass(rate: int) -> NDArray[np.float32]:
    """The filter that resample_poly would design anew in every call."""
    up, down = (value // gcd(SAMPLE_RATE, rate) for value in (SAMPLE_RATE, rate))
    longest = max(up, down)
    return firwin(20 * longest + 1, 1 / longest, window=("kaiser", 5.0)).astype(np.float32)


def _load_espeak() -> tuple[ctypes.CDLL, int]:
    """Load the library and its data, from the package espeakng-loader or else the system; also the sample rate."""
    try:
        import espeakng_loader

        path, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    except ImportError:
        path, data = ctypes.util.find_library("espeak-ng"), None
    if not path:
        raise RuntimeError("espeak-ng is missing: pip install espeakng-loader, or apt-get install libespeak-ng1")
    library = ctypes.CDLL(path)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DONT_EXIT)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng at {path} could not read its data: {data!r}")
    return library, rate


def _phones(events: Sequence[_RawEvent], rate: int) -> list[TimedPhone]:
    """The phonemes without pauses; a stop that opens a word begins with its closure, which is where the word begins."""
    marks = [event for event in events if event[0] in (_WORD, _PHONEME, _END)]
    phones, opening = [], 0
    for event, following in pairwise(marks):
        kind, sample, _, _, phone = event
        if kind == _PHONEME and phone and not phone.startswith("_") and following[1] > sample:
            phones.append(TimedPhone(phone, (opening or sample) / rate, following[1] / rate))
        opening = sample if kind == _WORD else 0
    return phones


def _words(text: str, events: Sequence[_RawEvent], phones: Sequence[TimedPhone], rate: int) -> list[TimedWord]:
    """The words; each lasts from its first phoneme to its last. Events with nothing said are dropped."""
    marks = [(sample / rate, position - 1) for kind, sample, position, _, _ in events if kind == _WORD]
    limits = [start for start, _ in marks[1:]] + [float("inf")]
    spoken = [[p for p in phones if a[0] <= p.start < b] for a, b in zip(marks, limits, strict=True)]
    said = [(_word_start(text, first), own) for (_, first), own in zip(marks, spoken, strict=True) if own]
    ends = [first for first, _ in said[1:]] + [len(text)]
    groups = (_share_out(text[first:end].split(), own) for (first, own), end in zip(said, ends, strict=True))
    return [word for group in groups for word in group]


def _word_start(text: str, position: int) -> int:
    """Where the event's word starts: espeak is at times ("had some") one letter into the word before it."""
    inside = position > 0 and not text[position - 1].isspace()
    return text.find(" ", position) + 1 if inside else position


def _share_out(texts: list[str], phones: list[TimedPhone]) -> list[TimedWord]:
    """Times of the words of one event: espeak says "in the", "out of", "did not" and the like as one."""
    words: list[TimedWord] = []
    while texts and phones:
        count = _LAST_PHONES.get(texts[-1], len(phones) // len(texts)) if texts[1:] else len(phones)
        own, phones = phones[-count:], phones[:-count]
        words.insert(0, TimedWord(texts.pop(), own[0].start, own[-1].end))
    return words


def random_voice(rng: np.random.Generator, variants: Sequence[str] = TRAIN_VARIANTS) -> Voice:
    """A voice with a random accent, variant, speed, pitch and pitch range."""
    return Voice(
        language=str(rng.choice(LANGUAGES)),
        variant=str(rng.choice(list(variants))),
        rate=int(rng.integers(125, 206)),
        pitch=int(rng.integers(25, 76)),
        pitch_range=int(rng.integers(20, 81)),
    )
