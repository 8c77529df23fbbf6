"""Counts and times for Prometheus, of the web's own turns and, passed through, of the model's server.

GET /metrics
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import httpx
from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from assistant.chat import Assistant, QuestionError, Turn
from assistant.figure_search import FigureSearch
from assistant.model import HEALTH_TIMEOUT_S, ModelClient, ModelError
from assistant.region import Region
from assistant.settings import Settings
from assistant.uploads import CleanImage

SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class TurnMetrics:
    """What is counted; no label ever holds words of a question."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.turns = Counter(
            "medvint_turns",
            "Chat turns by how they ended and whether they had an image",
            ("outcome", "image"),
            registry=self.registry,
        )
        self.running = Gauge("medvint_turns_running", "Chat turns that are being answered", registry=self.registry)
        self.seconds = Histogram(
            "medvint_turn_seconds",
            "From the question to a stage's end",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.hits = Histogram(
            "medvint_turn_hits", "Similar figures of a turn", buckets=(0, 1, 2, 4, 8, 16), registry=self.registry
        )


class MeteredAssistant(Assistant):
    """The chat turn, counted."""

    def __init__(self, model: ModelClient, figures: FigureSearch, settings: Settings, metrics: TurnMetrics) -> None:
        super().__init__(model, figures, settings)
        self._metrics = metrics

    async def ask(
        self,
        question: str,
        image: CleanImage | None = None,
        history: Sequence[Turn] = (),
        *,
        temperature: float = 0.0,
        region: Region | None = None,
    ) -> AsyncGenerator[Turn, None]:
        """As the chat turn's, which see."""
        began = time.monotonic()
        outcome, last = "stopped", None
        with self._metrics.running.track_inprogress():
            try:
                asked = super().ask(question, image, history, temperature=temperature, region=region)
                async with aclosing(asked) as turns:
                    async for turn in turns:
                        last = turn
                        yield turn
                outcome = "answered"
            except (QuestionError, ModelError) as error:
                outcome = error.code
                raise
            finally:
                self._metrics.turns.labels(outcome, "yes" if image else "no").inc()
                if outcome == "answered" and last:
                    for stage, seconds in last.timings.items():
                        self._metrics.seconds.labels(stage).observe(seconds)
                    self._metrics.seconds.labels("whole").observe(time.monotonic() - began)
                    self._metrics.hits.observe(len(last.hits))


def metrics_router(metrics: TurnMetrics, settings: Settings) -> APIRouter:
    """`GET /metrics`: ours, then those of the model's server where it has any."""
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    async def exposition() -> Response:
        own = generate_latest(metrics.registry)
        return Response(own + await _of_model(settings), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


async def _of_model(settings: Settings) -> bytes:
    key = settings.model_api_key.get_secret_value()
    try:
        async with httpx.AsyncClient(timeout=HEALTH_TIMEOUT_S, trust_env=not settings.model_is_here) as http:
            answer = await http.get(f"{settings.model_root_url}/metrics", headers={"Authorization": f"Bearer {key}"})
    except httpx.HTTPError:
        return b"# the model's server does not answer\n"
    if not answer.is_success or not answer.headers.get("content-type", "").startswith("text/plain"):
        return b"# the model's server has no metrics\n"
    return answer.content
