"""What a library computes in, given what the config asks for and the device that the model runs on."""

from serve_app.config import TranscriptionArgs

HALF = ("float16", "bfloat16")


def torch_type(device: str, wanted: str) -> str:
    """Return torch's name of the type: `auto` keeps what the snapshot was saved as; CPUs take float32."""
    if device == "cpu" and wanted in (*HALF, "default", "auto"):
        return "float32"
    return "auto" if wanted in ("default", "auto") else wanted


def ctranslate2_type(device: str, args: TranscriptionArgs) -> str:
    """Return CTranslate2's type: what was meant for a GPU becomes what this CPU computes in, half floats float32."""
    wanted = args.compute_type
    if device != "cpu" or args.device == "cpu" or wanted in ("default", "auto"):
        return wanted
    import ctranslate2

    supported = ctranslate2.get_supported_compute_types("cpu")
    without_halves = wanted.replace("bfloat16", "float32").replace("float16", "float32")
    return next((each for each in (wanted, without_halves) if each in supported), "float32")
