"""Calibration measured: expected calibration error, reliability, risk against coverage, and the fit of a temperature.

measure([0.9, 0.6], [True, False])["ece"]
fit([0.9, 0.6, ...], [True, False, ...])           # Calibration(temperature=1.7, ...)
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize

from serving.evaluation.calibration import EDGE, Calibration

BINS = 15
CURVE_POINTS = 50
FEWEST_TO_FIT = 50
BIAS_IS_WORTH = 3.84 / 2
"""Gain in log-likelihood that a bias must bring to be kept: the 5 % point of the likelihood-ratio test."""


def measure(probabilities: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """How well probabilities tell right from wrong.

    `ece` after Guo et al. (2017), 15 bins of equal width; `aurc` is the mean risk over all coverages (Geifman and
    El-Yaniv, 2017); `risk_coverage` are points (coverage, risk), most certain answers first.
    """
    p, hit = np.asarray(probabilities, float), np.asarray(right, float)
    place = np.minimum((p * BINS).astype(int), BINS - 1)
    bins = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            bins.append(
                {"n": int(inside.sum()), "probability": _short(p[inside].mean()), "right": _short(hit[inside].mean())}
            )
    coverage, risk = _risk_coverage(p, hit)
    shown = np.unique(np.linspace(0, len(p) - 1, min(CURVE_POINTS, len(p))).round().astype(int))
    return {
        "n": len(p),
        "ece": _short(sum(b["n"] * abs(b["probability"] - b["right"]) for b in bins) / len(p)),
        "brier": _short(((p - hit) ** 2).mean()),
        "mean_probability": _short(p.mean()),
        "accuracy": _short(hit.mean()),
        "aurc": _short(risk.mean()),
        "bins": bins,
        "risk_coverage": [[_short(coverage[i]), _short(risk[i])] for i in shown],
    }


def _risk_coverage(p: np.ndarray, hit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers of one probability come in as one: their order among themselves must not matter."""
    order = np.argsort(-p, kind="stable")
    values, start, size = np.unique(-p[order], return_index=True, return_counts=True)
    shared = np.repeat(np.add.reduceat(1 - hit[order], start) / size, size) if len(values) else p
    count = np.arange(1, len(p) + 1)
    return count / len(p), np.cumsum(shared) / count


def fit(probabilities: Sequence[float], right: Sequence[bool]) -> Calibration:
    """The temperature with the least log loss, and a bias where it earns its place.

    Needs right and wrong answers, else every temperature would do.
    """
    p = np.clip(np.asarray(probabilities, float), EDGE, 1 - EDGE)
    logits, hit = np.log(p / (1 - p)), np.asarray(right, float)

    def loss(values: np.ndarray) -> float:
        z = logits * np.exp(-values[0]) + (values[1] if len(values) > 1 else 0.0)
        return float(np.logaddexp(0, np.where(hit > 0, -z, z)).sum())

    # Between 1/20 and 20: beyond, a probability is a step or a constant.
    bounds = [(-3.0, 3.0), (-10.0, 10.0)]
    alone = minimize(loss, np.zeros(1), bounds=bounds[:1])
    both = minimize(loss, np.array([alone.x[0], 0.0]), bounds=bounds)
    best = both if alone.fun - both.fun > BIAS_IS_WORTH else alone
    return Calibration(round(float(np.exp(best.x[0])), 4), round(float(best.x[1]), 4) if len(best.x) > 1 else 0.0)


def in_fitting_half(image: str) -> bool:
    """Which half of the images a calibration is fitted on; the other half measures it."""
    return hashlib.sha256(image.encode()).digest()[0] % 2 == 0


def calibration_report(
    probabilities: Sequence[float | None], right: Sequence[bool], images: Sequence[str], stored: Calibration | None
) -> dict[str, Any]:
    """Raw, as the product shows it (with the model's stored calibration), and fitted on half the images.

    `fitted` holds temperature and bias with `before` and `after`, both of the other half; `not_run` says why not.
    """
    known = [(p, hit, image) for p, hit, image in zip(probabilities, right, images, strict=True) if p is not None]
    report: dict[str, Any] = {"n": len(known), "without_probability": len(probabilities) - len(known)}
    if not known:
        return report | {"not_run": "no answer came with the probability of the whole of it"}
    report["raw"] = measure([p for p, _, _ in known], [hit for _, hit, _ in known])
    if stored:
        shown = measure([stored.apply(p) for p, _, _ in known], [hit for _, hit, _ in known])
        report["as_shown"] = {"temperature": stored.temperature, "bias": stored.bias, **shown}
    ours = [(p, hit) for p, hit, image in known if in_fitting_half(image)]
    rest = [(p, hit) for p, hit, image in known if not in_fitting_half(image)]
    if min(len(ours), len(rest)) < FEWEST_TO_FIT or len({hit for _, hit in ours}) < 2:
        report["fitted"] = {
            "not_run": f"a fit needs {FEWEST_TO_FIT} questions in either half of the images, right and wrong ones"
        }
        return report
    fitted = fit([p for p, _ in ours], [hit for _, hit in ours])
    hits = [hit for _, hit in rest]
    report["fitted"] = {
        "temperature": fitted.temperature,
        "bias": fitted.bias,
        "n_fit": len(ours),
        "n_measured": len(rest),
        "before": measure([p for p, _ in rest], hits),
        "after": measure([fitted.apply(p) for p, _ in rest], hits),
    }
    return report


def _short(value: float) -> float:
    return round(float(value), 4)
