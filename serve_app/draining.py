"""How much work a replica takes on, and how long it may take to finish it when it is told to stop.

A replica that is scaled down or rolled out takes nothing new and finishes what it has; after
`graceful_shutdown_timeout_s` it is killed with whatever is left. The bounds here are of a replica that is just as quick
as speech; a quicker one stops as soon as it is done. A replica that hangs keeps its share of the machine as long.
"""

from serve_app.config import GatewayArgs, PresetArgs

FILES_AT_ONCE = 32
"""A pipeline replica holds the upload of each file under way."""
REQUESTS_AT_ONCE = 200
"""A gateway replica only passes them on."""
WINDOWS_ON_HAND = 256
"""A transcription or alignment replica takes on this many windows: requests take turns there, not on the way to it."""
BLOCKS_ON_HAND = 64
"""A diarization replica takes on this many blocks of audio."""
BLOCK_S = 70
"""A block of a minute, with what of its neighbour its last chunk hears."""
LEAST_S = 600
"""Nobody has less: a language's aligner may have to be fetched first, a long file's speakers told apart at its end."""


def on_hand(deployment: str, args: PresetArgs | GatewayArgs) -> int:
    """Return the `max_ongoing_requests` of a deployment."""
    if isinstance(args, GatewayArgs):
        return REQUESTS_AT_ONCE
    return {"Pipeline": FILES_AT_ONCE, "Diarization": BLOCKS_ON_HAND}.get(deployment, WINDOWS_ON_HAND)


def longest_work_s(deployment: str, args: PresetArgs | GatewayArgs, taken_on: int | None = None) -> float:
    """Return the seconds that a replica may need for what it has taken on: its default, or so many requests.

    Files are in work side by side, so that many take no longer than the longest one; windows and blocks take turns.
    """
    if isinstance(args, GatewayArgs) or deployment == "Pipeline":
        return max(LEAST_S, args.limits.max_duration_s)
    each = BLOCK_S if deployment == "Diarization" else args.vad.window_s
    return max(LEAST_S, (taken_on or on_hand(deployment, args)) * each)
