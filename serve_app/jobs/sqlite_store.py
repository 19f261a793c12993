"""Jobs in one SQLite file: for all processes of one machine; on a network's file system its locks do not hold."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from serve_app.errors import JobsUnavailable
from serve_app.jobs.job import FINISHED, REUSED, Job, State
from serve_app.jobs.steps import Step
from serve_app.jobs.store import for_key, unknown

VERSION = 1
BUSY_S = 10
"""How long one process waits for another's transaction."""

SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, upload TEXT NOT NULL, content TEXT NOT NULL, request TEXT NOT NULL,
    due_at REAL, webhook_due_at REAL, finished_at REAL, job TEXT NOT NULL
);
CREATE INDEX due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_due ON jobs (webhook_due_at) WHERE webhook_due_at IS NOT NULL;
CREATE INDEX finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX content ON jobs (content);
CREATE INDEX request ON jobs (request);
CREATE INDEX upload ON jobs (upload);
CREATE TABLE results (id TEXT PRIMARY KEY REFERENCES jobs ON DELETE CASCADE, result TEXT NOT NULL);
CREATE TABLE keys (key TEXT PRIMARY KEY, id TEXT NOT NULL REFERENCES jobs ON DELETE CASCADE);
CREATE INDEX keys_of ON keys (id);
"""
COLUMNS = "id, state, upload, content, request, due_at, webhook_due_at, finished_at, job"


class SqliteStore:
    """A `JobStore` in a file; what it has acknowledged is on the disk. The file is opened when it is first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def submit(self, job: Job, key: str | None = None, *, reuse: bool = True) -> Job:
        """Add a job, or return the one that answers for it."""
        with self._transaction():
            if key and (found := self._one("id = (SELECT id FROM keys WHERE key = ?)", key)):
                return for_key(key, found, job)
            found = self._one(f"request = ? AND state IN {REUSED} ORDER BY id DESC", job.request) if reuse else None
            if not found:
                self._write(job)
            if key:
                self._db.execute("INSERT INTO keys VALUES (?, ?)", (key, (found or job).id))
            return found or job

    def get(self, job_id: str) -> Job:
        """Return one job."""
        with self._reading():
            return self._known(job_id)

    def page(self, limit: int, after: str | None = None, state: State | None = None) -> Sequence[Job]:
        """Return jobs, newest first."""
        where, values = ["1"], []
        for clause, value in (("id < ?", after), ("state = ?", state)):
            if value is not None:
                where.append(clause)
                values.append(value)
        with self._reading():
            query = f"SELECT job FROM jobs WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
            return [Job.model_validate_json(row[0]) for row in self._db.execute(query, (*values, limit))]

    def change(self, job_id: str, step: Step, result: str | None = None) -> Job:
        """Apply a step."""
        with self._transaction():
            job = step(self._known(job_id))
            self._write(job)
            if result is not None:
                self._db.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (job_id, result))
            return job

    def take(self, now: float, step: Step) -> Job | None:
        """Apply a step to the job that is due."""
        return self._take("due_at <= ? ORDER BY due_at", now, step)

    def take_webhook(self, now: float, step: Step) -> Job | None:
        """Apply a step to the job whose webhook is due."""
        return self._take("webhook_due_at <= ? ORDER BY webhook_due_at", now, step)

    def _take(self, where: str, now: float, step: Step) -> Job | None:
        with self._reading():  # most of the time nothing is due, and nobody need wait for that
            if self._one(where, now) is None:
                return None
        with self._transaction():
            if (job := self._one(where, now)) is None:
                return None
            self._write(job := step(job))
            return job

    def result(self, job_id: str) -> str | None:
        """Return a result."""
        with self._reading():
            self._known(job_id)
            return self._text("SELECT result FROM results WHERE id = ?", job_id)

    def same_content(self, content: str) -> str | None:
        """Return the result of the same work."""
        with self._reading():
            return self._text(
                "SELECT result FROM jobs JOIN results USING (id) WHERE content = ? AND state = 'succeeded'", content
            )

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        with self._transaction():
            self._known(job_id)
            self._db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    def finished_before(self, then: float) -> Sequence[str]:
        """Return jobs whose time is over."""
        with self._reading():
            return [row[0] for row in self._db.execute("SELECT id FROM jobs WHERE finished_at <= ?", (then,))]

    def in_use(self, upload: str) -> bool:
        """Whether an upload is needed."""
        with self._reading():
            return self._one(f"upload = ? AND state NOT IN {FINISHED}", upload) is not None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened:
                self._opened.close()
            self._opened = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.opening", timeout=BUSY_S):  # two that set WAL at once both fail
                self._opened = _open(self._path)
        return self._opened

    def _known(self, job_id: str) -> Job:
        if (job := self._one("id = ?", job_id)) is None:
            raise unknown(job_id)
        return job

    def _one(self, where: str, value: Any) -> Job | None:
        text = self._text(f"SELECT job FROM jobs WHERE {where} LIMIT 1", value)
        return Job.model_validate_json(text) if text else None

    def _text(self, query: str, value: Any) -> str | None:
        row = self._db.execute(query, (value,)).fetchone()
        return row and str(row[0])

    def _write(self, job: Job) -> None:
        hook = job.webhook and job.webhook.due_at
        due = (job.due_at, hook, job.finished_at)
        values = (job.id, job.state, job.upload, job.content, job.request, *due)
        changes = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[1:])
        marks = ", ".join("?" * (len(values) + 1))
        self._db.execute(
            f"INSERT INTO jobs ({COLUMNS}) VALUES ({marks}) ON CONFLICT (id) DO UPDATE SET {changes}",
            (*values, job.model_dump_json()),
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._told_in_our_words():
            yield

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Hold the only right to write, in this process and any other."""
        with self._lock, self._told_in_our_words():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told_in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise unwritable(self._path, error) from error


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            db.execute(f"PRAGMA {pragma}")
        _prepare(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")  # of several processes one makes the tables
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JobsUnavailable(
            f"{path} was written by a newer version of rayscribe (schema {version}, this one reads {VERSION}); "
            "run that version, or set jobs.folder to another place"
        )
    if version == 0:
        for statement in filter(str.strip, SCHEMA.split(";")):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def unwritable(path: Path, error: Exception) -> JobsUnavailable:
    """Return the error of a place that cannot be read or written."""
    return JobsUnavailable(f"jobs cannot be kept in {path}: {error}; free space, mend its rights, or set jobs.folder")
