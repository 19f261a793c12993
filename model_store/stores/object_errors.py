"""What obstore's errors mean, in ours: which server was asked, what it answered, which setting mends it."""

import re
from dataclasses import dataclass

from obstore.exceptions import InvalidPathError

from model_store.errors import ModelStoreError, StoreFull, StoreReadOnly, StoreUnreachable

KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
FULL = ("QuotaExceeded", "StorageFull", "InsufficientStorage", "EntityTooLarge")
DENIED = ("AccessDenied", "AllAccessDisabled", "AccountProblem", "MethodNotAllowed")
MENDS = {
    "NoSuchBucket": "Create the bucket, or correct its name; AWS_ENDPOINT_URL says which server is asked.",
    "InvalidBucketName": "Correct the bucket's name.",
    "SignatureDoesNotMatch": "Set AWS_SECRET_ACCESS_KEY to the secret that belongs to AWS_ACCESS_KEY_ID.",
    "InvalidAccessKeyId": f"Set {KEYS} to a key that this server knows; AWS_ENDPOINT_URL says which server is asked.",
    "ExpiredToken": "Get new credentials: AWS_SESSION_TOKEN has expired.",
    "InvalidToken": "Set AWS_SESSION_TOKEN to the token that belongs to the key, or unset it.",
    "RequestTimeTooSkewed": "Set this machine's clock: it differs from the server's.",
    "AuthorizationHeaderMalformed": "Set AWS_REGION to the bucket's region.",
    "PermanentRedirect": "Set AWS_REGION to the bucket's region.",
    "AccessDenied": "Let this key read the bucket: s3:GetObject and s3:ListBucket (without it a missing object looks "
    "like this too).",
}
_NO_CREDENTIALS = re.compile(r"169\.254\.|[Cc]redential|/latest/|AssumeRole|sts\.|InstanceMetadata")
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CAUSES = (
    (re.compile(r"certificate|UnknownIssuer|InvalidCertificate|CaUsedAsEndEntity", re.I), "its certificate is refused"),
    (re.compile(r"InvalidContentType|InvalidMessage|WRONG_VERSION"), "it does not speak TLS (https)"),
    (re.compile(r"dns error|failed to lookup|Name or service", re.I), "its name is not known"),
    (re.compile(r"ConnectionRefused|Connection refused"), "connection refused"),
    (re.compile(r"TimedOut|timed out|Elapsed"), "no answer in time"),
    (re.compile(r"IncompleteMessage|UnexpectedEof|ConnectionReset|IncompleteBody|error decoding|error reading"), "cut"),
)


@dataclass(frozen=True)
class Place:
    """Where a store or source is, for its errors: its URL, the server asked, and its bucket (empty: a web server)."""

    url: str
    endpoint: str
    bucket: str = ""
    what: str = "store"


def code_of(error: Exception) -> str:
    """S3's own word for what is wrong (`NoSuchKey`), or an empty string where it sent none."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def status_of(error: Exception) -> int:
    """The HTTP status of the answer, or 0."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def explain(error: Exception, place: Place, *, writing: bool = False) -> ModelStoreError:
    """The error to raise for one of obstore's."""
    code, status = code_of(error), status_of(error)
    where = f"The {place.what} at {place.url}" + (f" ({place.endpoint})" if place.bucket else "")
    if any(word in code for word in FULL) or status == 507:
        return StoreFull(f"{where} takes no more: {code or status}.", "Free some space or raise its quota.")
    if writing and (code in DENIED or (status in (403, 405) and not code)):
        return StoreReadOnly(
            f"{where} cannot be written: {code or status}.",
            "Let this key write (s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload), or give another --store.",
            url=place.url,
        )
    problem, mend = _unreachable(error, place, code, status)
    return StoreUnreachable(f"{where} {problem}.", mend, url=place.url, endpoint=place.endpoint, code=code)


def _unreachable(error: Exception, place: Place, code: str, status: int) -> tuple[str, str]:
    """What is wrong, to follow the store's name, and the mend."""
    text = str(error)
    if place.bucket and place.endpoint not in text and _NO_CREDENTIALS.search(text):
        return f"cannot be asked: no credentials were found ({_brief(error)})", (
            f"Set {KEYS}, or run where a role is given (web identity, container or instance); profiles in ~/.aws are "
            "not read. For a public bucket set AWS_SKIP_SIGNATURE=true."
        )
    if isinstance(error, InvalidPathError):  # obstore cannot even list what is beside it
        return f"holds an object whose name is no path: {_brief(error)}", "Remove it, or choose another prefix."
    if code == "NoSuchBucket":
        return f"fails: there is no bucket {place.bucket}", MENDS[code]
    if code or status:
        return f"answers {_answer(code, status)}", MENDS.get(code) or _mend_status(status, place)
    return f"cannot be reached: {_cause(error)}", _mend_connection(text, place)


def _answer(code: str, status: int) -> str:
    return f"{code} ({status})" if code and status else code or str(status)


def _mend_status(status: int, place: Place) -> str:
    if status in (401, 403):
        return MENDS["AccessDenied"] if place.bucket else "Let this machine read there; passwords are not supported."
    if status == 429 or status >= 500:
        return "Try again later; the server is overloaded or broken."
    return (
        "AWS_ENDPOINT_URL says which server is asked; correct it or the bucket."
        if place.bucket
        else "Correct the address."
    )


def _mend_connection(text: str, place: Place) -> str:
    if _CAUSES[0][0].search(text):
        return "Set AWS_CA_BUNDLE to the file of its certificate authority (PEM)."
    if place.bucket:
        return "Check the network, and that AWS_ENDPOINT_URL and AWS_REGION name the right server."
    return "Check the network and the address."


def _cause(error: Exception) -> str:
    text = str(error)
    return next((words for pattern, words in _CAUSES if pattern.search(text)), _brief(error))


def _brief(error: Exception) -> str:
    """The first line, without the dump that follows it."""
    return str(error).partition("\n")[0].strip().rstrip(".")[:300]
