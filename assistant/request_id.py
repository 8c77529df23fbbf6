"""The id of the request that is being worked on: in the answer's headers, in the log, and in the model's server."""

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
