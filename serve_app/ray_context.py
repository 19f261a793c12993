"""The request in whose name Serve and Ray see work done."""

import contextvars
import uuid

from ray.serve import context as serve_context


def detached() -> contextvars.Context:
    """Return a context in which calls of handles outlive the request that made them.

    When a request is cancelled, Serve cancels what it has called, by its own id of the request, and Ray the tasks that
    were begun in its task's context. A new context has neither; only the id that stands in logs is kept.
    """
    request_id = serve_context._get_serve_request_context().request_id
    context = contextvars.Context()
    context.run(serve_context._set_request_context, request_id=request_id, _internal_request_id=uuid.uuid4().hex)
    return context
