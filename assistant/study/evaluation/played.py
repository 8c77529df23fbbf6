"""What is played to measure: leaks over the API and in a browser, kills at the commit, and how long things take."""

import multiprocessing
import os
import random
import re
import signal
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI

from assistant.study import schedule
from assistant.study.evaluation.leaks import in_picture, positions, told
from assistant.study.gate import Gate
from assistant.study.items import Commitment, Item, Mode
from assistant.study.log import Log
from assistant.study.packs import Shelf

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Response

_TRIED: tuple[tuple[str, dict[str, Any]], ...] = (
    *[("hint", {})] * 4,
    ("reading", {}),
    ("ask", {"words": "What is the answer?"}),
    ("mistake", {"words": "x"}),
    ("commit", {"answer": "", "certainty": 9}),
)
"""What is asked for before the commitment; hints alone may be given."""
LEARNERS = 5
PAST = 500
_CHOICES = re.compile(r'"(?:choices|options|suggestions)": ?\[(?:[^\[\]]|\[[^\[\]]*\])*\]')
_VISIBLE_LISTS = "[role=listbox], [role=radiogroup], #practise-options, #practise-answer"


def right_answer(item: Item, attempt_id: str, certainty: int = 3) -> Commitment:
    """An answer that is right."""
    if item.kind == "place":
        x, y, wide, high = item.gold.boxes[0]
        return Commitment(attempt_id, "", certainty, (x + wide / 2, y + high / 2))
    return Commitment(attempt_id, item.gold.answer, certainty)


async def crawl_api(app: FastAPI, gate: Gate, number: int) -> dict[str, Any]:
    """Play items over HTTP, with every hint, and look for the key in all that came before the commitment."""
    leaks: list[str] = []
    asked: list[tuple[Item, tuple[str, ...]]] = []
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://study", timeout=60) as client:
        for at in range(number):
            mode: Mode = "look-alikes" if at % 5 == 4 else "practise"
            learner = f"crawler-{at % LEARNERS}"
            answer = await client.post("/api/study/next", json={"learner": learner, "mode": mode})
            answer.raise_for_status()
            body = answer.json()
            item = gate.log.served(body["attempt_id"]).item  # type: ignore[union-attr]
            asked.append((item, tuple(body["options"])))
            picture = await client.get(body["image"])
            seen = [str(answer.headers), str(picture.headers), str(picture.url)]
            leaks += [f"{item.item_id}: {leak}" for leak in in_picture(picture.content)]
            own = {"learner": learner, "attempt_id": body["attempt_id"]}
            for path, more in _TRIED:
                refused = await client.post(f"/api/study/{path}", json={**own, **more})
                seen += [_CHOICES.sub("", refused.text) if path == "hint" else refused.text, str(refused.headers)]
                if path != "hint" and refused.status_code < 400:
                    leaks.append(f"{item.item_id}: {path} was answered before the commitment")
            compared = await client.get(f"/study/example/{body['attempt_id']}.png")
            if compared.status_code < 400:
                leaks.append(f"{item.item_id}: a picture for comparison before the commitment")
            leaks += [f"{item.item_id}: {leak}" for leak in told(item, body, " ".join(seen))]
            done = await client.post("/api/study/commit", json={**own, "gave_up": True})
            done.raise_for_status()
    return {"items": number, "leaks": leaks, "positions of the key": positions(asked)}


def crawl_browser(page: "Page", address: str, gate: Gate, number: int) -> dict[str, Any]:
    """Play items on the page; look for the key in it and in all that the server sent before the commitment."""
    leaks: list[str] = []
    seen: list[str] = []

    rounds: dict[Request, int] = {}
    current = [0]

    def keep(response: "Response") -> None:
        kind = response.headers.get("content-type", "")
        if "/study/" not in response.url or not any(one in kind for one in ("json", "event")):
            return
        # The reveal before may still be arriving.
        if rounds.get(response.request) != current[0]:
            return
        # The policy is the same on every answer, and says 'none' of things that have nothing to do with a key.
        headers = {name: value for name, value in response.headers.items() if name != "content-security-policy"}
        seen.append(f"{response.url} {headers}")
        from playwright.sync_api import Error

        with suppress(Error):
            # A stream that the page has closed has no body left; what it brought is in the page.
            seen.append(response.body().decode("latin-1"))

    def number_it(request: "Request") -> None:
        rounds[request] = current[0]

    page.on("request", number_it)
    page.on("response", keep)
    page.goto(f"{address}/study/")
    page.click("#practise-start")
    for _ in range(number):
        page.wait_for_selector(".study-question img")
        source = page.get_attribute(".study-question img", "src") or ""
        served = gate.log.served(source.removeprefix("image/").removesuffix(".png"))
        assert served is not None
        text = page.evaluate(
            f"""() => {{ const copy = document.querySelector('body').cloneNode(true);
            copy.querySelectorAll('script, style, {_VISIBLE_LISTS}').forEach((part) => part.remove());
            copy.querySelectorAll('*').forEach((part) => ['style', 'fill', 'stroke'].forEach((name) =>
              part.removeAttribute(name)));
            return copy.outerHTML; }}"""
        )
        extra = " ".join(_CHOICES.sub("", part) for part in seen) + text
        # How a drawing is stretched is no answer either.
        extra = re.sub(r'preserveAspectRatio=\\*"none', "", extra)
        leaks += [f"{served.item.item_id}: {leak}" for leak in told(served.item, {}, extra)]
        page.click("#practise-give-up")
        page.wait_for_selector(".study-reveal")
        seen.clear()
        current[0] += 1
        page.click("#practise-next")
        page.wait_for_selector(f'.study-question img:not([src="{source}"])')
    page.remove_listener("response", keep)
    page.remove_listener("request", number_it)
    return {"items": number, "leaks": leaks}


def _commit_and_wait(gate: Gate, commitment: Commitment) -> None:
    gate.commit("killed", commitment)
    time.sleep(60)


def kills(shelf: Shelf, times: int, seed: int = 0) -> dict[str, int]:
    """Kill the committing process at some moment, send the answer again, and count."""
    draw, fork = random.Random(seed), multiprocessing.get_context("fork")  # noqa: S311
    lost = doubled = already = 0
    with tempfile.TemporaryDirectory() as folder:
        gate = Gate(shelf, Log(Path(folder) / "study.db"))
        for number in range(1, times + 1):
            question = gate.next("killed")
            item = gate.log.served(question.attempt_id).item  # type: ignore[union-attr]
            answer = right_answer(item, question.attempt_id)
            child = fork.Process(target=_commit_and_wait, args=(gate, answer))
            child.start()
            time.sleep(draw.uniform(0, 0.2))
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            already += gate.log.attempt(question.attempt_id) is not None
            gate.commit("killed", answer)
            kept = len(gate.log.attempts("killed"))
            lost += kept < number
            doubled += kept > number
        attempts = gate.log.attempts("killed")
        again = Gate(shelf, Log(Path(folder) / "study.db")).log.attempts("killed")
        same = schedule.replay(attempts) == schedule.replay(again)
    return {
        "times": times,
        "written before the kill": already,
        "lost": lost,
        "doubled": doubled,
        "cards differ": int(not same),
    }


def latencies(gate: Gate, rounds: int) -> dict[str, Any]:
    """Milliseconds of the gate's own work for a learner with a long past: next, picture and commit."""
    for _ in range(PAST):
        question = gate.next("slow")
        item = gate.log.served(question.attempt_id).item  # type: ignore[union-attr]
        gate.commit("slow", right_answer(item, question.attempt_id, 2))
    times: dict[str, list[float]] = {"next": [], "picture": [], "commit": []}
    for _ in range(rounds):
        started = time.perf_counter()
        question = gate.next("slow")
        times["next"].append(time.perf_counter() - started)
        item = gate.log.served(question.attempt_id).item  # type: ignore[union-attr]
        started = time.perf_counter()
        gate.image(question.attempt_id)
        times["picture"].append(time.perf_counter() - started)
        started = time.perf_counter()
        gate.commit("slow", right_answer(item, question.attempt_id, 2))
        times["commit"].append(time.perf_counter() - started)
    return {
        "past answers": PAST,
        "rounds": rounds,
        **{
            name: {
                "p50_ms": round(1000 * statistics.median(one), 1),
                "p95_ms": round(1000 * sorted(one)[int(0.95 * len(one))], 1),
            }
            for name, one in times.items()
        },
    }
