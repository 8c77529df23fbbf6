"""Measure evidence on the labelled set and write report.json.

python -m assistant.evidence.evaluation --data ../shared/data --out data/reports/evidence
python -m assistant.evidence.evaluation --data ../shared/data --out data/reports/evidence --half development --wrong 20
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from assistant.evidence.evaluation.baselines import tuned
from assistant.evidence.evaluation.measure import Judge, judged, measured, table
from assistant.evidence.evaluation.rows import HALVES, LABELS, Half, Row
from assistant.evidence.evaluation.sets import labelled_rows


def main() -> None:
    """Print a table for each source of one half and write everything to `OUT/report.json`."""
    parser = argparse.ArgumentParser(description="How often evidence is right, beside word overlap.")
    parser.add_argument("--data", type=Path, required=True, help="folder with roco-captions and slake")
    parser.add_argument("--out", type=Path, required=True, help="folder for report.json and rows.jsonl")
    parser.add_argument("--half", choices=HALVES, default="held_out", help="development is for tuning")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--wrong", type=int, default=0, help="print so many wrong rows of each label (development only)"
    )
    options = parser.parse_args()
    rows = labelled_rows(options.data, options.half, options.seed)
    tuning = rows if options.half == "development" else labelled_rows(options.data, "development", options.seed)
    report = _report(rows, tuning, options.half, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    with (options.out / "rows.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row.to_dict() | {"said": judged(row)}, ensure_ascii=False) + "\n" for row in rows)
    if options.half == "development":
        _print_wrong(rows, options.wrong, options.seed)


def _report(rows: list[Row], tuning: list[Row], half: Half, seed: int) -> dict[str, Any]:
    judges: dict[str, Judge] = {"evidence": judged}
    shares = {}
    for name, cues in (("word overlap", False), ("overlap and cue words", True)):
        judges[name], shares[name] = tuned(tuning, cues=cues)
    sources: dict[str, list[Row]] = {"all": rows}
    for row in rows:
        sources.setdefault(row.source, []).append(row)
    report: dict[str, Any] = {"half": half, "seed": seed, "overlap_shares": shares, "sources": {}}
    for source, chosen in sources.items():
        results = {name: measured(chosen, judge) for name, judge in judges.items()}
        made = Counter(row.label for row in chosen)
        print(f"\n{source}: " + ", ".join(f"{made[label]} {label}" for label in LABELS if made[label]))
        print(table(results))
        report["sources"][source] = {"rows": dict(made), "results": results}
    return report


def _print_wrong(rows: list[Row], most: int, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    for label in LABELS:
        right = "not_found" if label == "unrelated" else label
        wrong = [(row, said) for row in rows if row.label == label and (said := judged(row)) != right]
        print(f"\n{label}: {len(wrong)} wrong")
        for row, said in draw.sample(wrong, min(most, len(wrong))):
            print(f"  {row.source}/{row.made} said {said}: {row.question} | {row.answer} | {row.caption[:300]}")


if __name__ == "__main__":
    main()
