"""The pages that say what the model is and how it did: the real card and the reports that are in the repository."""

import json
import shutil
from pathlib import Path

import pytest

from assistant.about_screen import DEMO_DIR, leaderboard, model_card
from assistant.settings import Settings


def test_the_demos_reports_stand_beside_their_controls(tmp_path):
    table = leaderboard(Settings(data_dir=tmp_path))
    report = json.loads((DEMO_DIR / "reports" / "slake-validate.json").read_text())
    [row] = [line for line in table.splitlines() if line.startswith("| demo | slake")]
    assert f"{report['conditions']['image']['all']['accuracy']['value']:.1f}" in row
    assert f"{report['controls']['blank']['accuracy_lost']['value']:.1f}" in row
    assert "quoted: arXiv 2305.10415, without controls" in table


def test_a_new_report_appears_and_a_broken_one_is_named(tmp_path):
    settings = Settings(data_dir=tmp_path)
    for name in ("mine", "broken"):
        (settings.reports_dir / name).mkdir(parents=True)
    before = leaderboard(settings)
    shutil.copy(DEMO_DIR / "reports" / "slake-validate.json", settings.reports_dir / "mine" / "report.json")
    (settings.reports_dir / "broken" / "report.json").write_text("{")
    after = leaderboard(settings)
    assert after.count("| demo | slake") == before.count("| demo | slake") + 1
    assert "broken" in after


@pytest.mark.parametrize(
    ("card", "shown"),
    [("---\nlicense: mit\n---\n# Mine\n", "# Mine"), ("# Mine\n", "# Mine"), (None, "without a card")],
)
def test_the_card_is_that_of_the_model_that_answers(tmp_path: Path, card: str | None, shown: str):
    if card:
        (tmp_path / "README.md").write_text(card)
    text = model_card(Settings(model=str(tmp_path)))
    assert shown in text
    assert "license: mit" not in text
    assert "without a card" in model_card(Settings(model_url="http://127.0.0.1:9"))
    assert "SLAKE" in model_card(Settings())
