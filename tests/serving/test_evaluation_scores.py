"""Scores, intervals, the baseline, calibration and paired tests."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from assistant.confidence import Confidence, stored_calibration
from assistant.settings import Settings
from serving.evaluation.baseline import question_only_answers
from serving.evaluation.benchmarks import VqaRow
from serving.evaluation.calibration import Calibration, CalibrationError
from serving.evaluation.comparison import compare, in_words
from serving.evaluation.intervals import interval, mcnemar
from serving.evaluation.metrics import bleu_1, chosen, exact_match, nearest_choice, original_right, right, token_f1
from serving.evaluation.reliability import calibration_report, fit, measure
from serving.evaluation.report import ReportError, write_scores
from serving.evaluation.tables import OTHER, confusion, scores

CHOICES = (" A:PA view ", " B:Lateral view ", " C:Oblique view ", " D:CT ")


def row(number, question, answer, closed=False, image="a.png", **more):
    return VqaRow(f"q{number}", "slake", Path(image), question, answer, closed, "Organ", "CT", **more)


def choice_row(correct=1, shown=True):
    texts = ["PA view", "Lateral view", "Oblique view", "CT"]
    return row(1, "Which view?", texts[correct], shown, choices=CHOICES, correct=correct, choices_shown=shown)


@pytest.mark.parametrize(
    ("answer", "gold", "equal"),
    [
        ("The left lung.", "left lung", True),
        ("X-Ray", "x-ray", True),
        ("Left Lung", "Right Lung", False),
        ("no pleural effusion", "pleural effusion", False),
        ("T1", "T2", False),
        ("", "yes", False),
    ],
)
def test_exact_match(answer, gold, equal):
    assert exact_match(answer, gold) is equal


def test_words_in_common():
    assert token_f1("left lower lobe", "left lung") == pytest.approx(0.4)
    assert token_f1("yes", "no") == 0
    assert bleu_1("left lower lobe", "left lung") == pytest.approx(1 / 3)
    assert bleu_1("left", "left lung") == pytest.approx(math.exp(-1))  # too short
    assert bleu_1("lung lung lung", "left lung") == pytest.approx(1 / 3)  # counted once
    assert bleu_1("", "yes") == 0


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("B", 1), ("b.", 1), ("(C)", 2), (" B:Lateral view ", 1), ("B: PA view", 1), ("a", 0),
        ("Lateral view", 1), ("the lateral view.", 1), ("a lateral view", 1), ("CT", 3),
        ("Lateral", None), ("Both PA and lateral", None), ("E", None), ("", None),
    ],
)  # fmt: skip
def test_a_choice_is_named_by_letter_or_whole_text(answer, index):
    assert chosen(answer, CHOICES) == index


def test_the_originals_scoring_is_reproduced_with_its_quirk():
    # A lone letter goes to the shortest choice that holds it: "A" is nearer to " A:PA view " here, "C" to " D:CT ".
    assert nearest_choice("A", CHOICES) == 0
    assert nearest_choice("C", CHOICES) == 3
    assert nearest_choice("lateral", CHOICES) == 1
    assert nearest_choice("", CHOICES) is None
    assert right(choice_row(2), "C") and not original_right(choice_row(2), "C")
    assert original_right(choice_row(1, shown=False), "lateral projection")
    assert not right(choice_row(1, shown=False), "lateral projection")


def test_question_only_baseline_knows_the_question_or_else_the_type():
    train = [row(1, "Which organ?", "Lung"), row(2, "Which organ?", "Lung"), row(3, "Which organ?", "Liver")]
    train += [row(4, "Is it normal?", "No", closed=True)]
    asked = [row(5, "which ORGAN?", "Liver"), row(6, "Is it CT?", "Yes", closed=True)]
    assert question_only_answers(train, asked) == ["Lung", "No"]
    assert question_only_answers([choice_row(3), choice_row(3), choice_row(0)], [choice_row(1)]) == ["D"]


def test_open_and_closed_and_each_kind_have_a_row_of_their_own():
    rows = [row(1, "Which organ?", "Lung"), row(2, "Is it normal?", "No", closed=True, image="b.png")]
    table = scores(rows, {"image": ["lung", "yes"]})["image"]
    assert {name: cells["accuracy"]["value"] for name, cells in table.items()} == {
        "all": 50, "open": 100, "closed": 0, "yes or no": 0, "type: Organ": 50, "modality: CT": 50,
    }  # fmt: skip
    assert (table["all"]["n"], table["all"]["images"]) == (2, 2)
    with_choices = scores([choice_row()], {"image": ["B"]})["image"]["all"]
    assert (with_choices["token_f1"]["value"], with_choices["original"]["value"]) == (100, 100)


def test_what_is_taken_for_what_is_counted_and_sets_have_rows_of_their_own():
    rows = [row(number, "Healthy?", answer) for number, answer in enumerate(["Yes", "No", "No", "No"])]
    rows[0] = dataclasses.replace(rows[0], dataset="other")
    said = ["no", "No.", "yes", "perhaps"]
    assert confusion(rows, said)["counts"] == {
        "No": {"No": 1, "Yes": 1, OTHER: 1}, "Yes": {"No": 1, "Yes": 0, OTHER: 0},
    }  # fmt: skip
    table = scores(rows, {"image": said})["image"]
    assert (table["set: slake"]["n"], table["set: other"]["accuracy"]["value"]) == (3, 0)
    assert confusion([*rows, row(5, "Normal?", "No")], [*said, "no"]) is None, "two questions have no common classes"
    assert confusion(rows[1:], said[1:]) is None, "one answer is no class"


def test_intervals_draw_images_and_not_questions():
    values = [1.0] * 20 + [0.0] * 20
    together = interval(values, ["a"] * 20 + ["b"] * 20)
    apart = interval(values, [str(number) for number in range(40)])
    assert together["value"] == apart["value"] == 50
    assert (together["low"], together["high"]) == (0, 100)
    assert 25 < apart["low"] < 45
    assert apart == interval(values, [str(number) for number in range(40)]), "the same seed, the same interval"


@pytest.mark.parametrize(("only_a", "only_b", "p"), [(0, 0, 1), (5, 5, 1), (1, 9, 22 / 1024), (0, 10, 2 / 1024)])
def test_mcnemar_is_exact(only_a, only_b, p):
    assert mcnemar(only_a, only_b) == pytest.approx(p)


def too_sure(n=2000, temperature=3.0, bias=0.0):
    """Probabilities of a model whose logits are `temperature` times too large, and what was right."""
    draw = np.random.default_rng(3)
    logits = draw.normal(0.5, 1.5, n)
    hit = draw.random(n) < 1 / (1 + np.exp(-logits))
    return (1 / (1 + np.exp(-(logits - bias) * temperature))).tolist(), hit.tolist()


def test_calibration_error_of_known_answers():
    told = measure([0.9, 0.9, 0.1, 0.1], [True, False, False, False])
    assert told["ece"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    assert told["risk_coverage"][-1] == [1.0, 0.75]
    assert told["risk_coverage"][0] == [0.25, 0.5], "two equally sure answers share their risk"


def test_a_temperature_is_found_again_and_a_bias_only_where_it_is_needed():
    plain = fit(*too_sure())
    assert plain.temperature == pytest.approx(3, rel=0.15)
    assert plain.bias == 0
    shifted = fit(*too_sure(bias=-1.5))
    assert shifted.temperature == pytest.approx(3, rel=0.15)
    assert shifted.bias == pytest.approx(-1.5, abs=0.3)


def test_a_calibration_is_measured_on_images_that_it_has_not_seen():
    probabilities, hits = too_sure()
    images = [f"{number // 4}.png" for number in range(len(hits))]
    report = calibration_report([*probabilities, None], [*hits, True], [*images, "x"], Calibration(3.0))
    fitted = report["fitted"]
    assert report["without_probability"] == 1
    assert fitted["n_fit"] + fitted["n_measured"] == len(hits)
    assert fitted["after"]["ece"] < 0.05 < fitted["before"]["ece"]
    assert report["as_shown"]["ece"] < 0.05 < report["raw"]["ece"]
    few = calibration_report([0.5] * 10, [True] * 10, ["a"] * 10, None)
    assert "needs" in few["fitted"]["not_run"]
    assert "not_run" in calibration_report([None], [True], ["a"], None)


def test_the_product_shows_the_calibrated_number(tmp_path):
    settings = Settings(model=str(tmp_path))
    assert stored_calibration(settings) is None
    Calibration(2.0, -0.5, {"n": 1}).save(tmp_path)
    calibration = stored_calibration(settings)
    assert calibration == Calibration(2.0, -0.5, {"n": 1})
    shown = Confidence.of([-0.1, -0.1], calibration)
    said = math.exp(-0.2)
    assert shown.value == pytest.approx(1 / (1 + math.exp(-(math.log(said / (1 - said)) / 2 - 0.5))))
    assert shown.raw == pytest.approx(said)
    assert shown.to_dict()["calibrated"] is True
    long = Confidence.of([-0.1] * 50, calibration)
    assert long.value == pytest.approx(math.exp(-0.1)), "it was fitted on short answers"
    assert stored_calibration(Settings(model=str(tmp_path), model_url="http://elsewhere:8000")) is None


@pytest.mark.parametrize(
    "text", ["{", '{"schema": 1}', '{"schema": 9}', '{"schema": 1, "temperature": 0, "bias": 0, "measured": {}}']
)
def test_a_broken_calibration_is_named(tmp_path, text):
    (tmp_path / "calibration.json").write_text(text)
    with pytest.raises(CalibrationError, match=r"calibration\.json"):
        Calibration.load(tmp_path)


def run_of(folder, answers, data="same"):
    from serving.evaluation.answers import Answered

    rows = [row(number, "Which organ?", "Lung", image=f"{number // 2}.png") for number in range(len(answers))]
    folder.mkdir()
    write_scores(
        folder / "scores.jsonl",
        rows,
        {(r.question_id, "image"): Answered(a) for r, a in zip(rows, answers, strict=True)},
    )
    report = {"schema": "medvint-evaluation/2", "benchmark": "slake", "file": "validate.json", "split": "validate"}
    report |= {
        "n": len(rows),
        "model": {"model": folder.name},
        "metrics": ["accuracy", "token_f1"],
        "hashes": {"data": data},
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_two_runs_are_compared_question_by_question(tmp_path):
    a = run_of(tmp_path / "a", ["Lung"] * 6 + ["Liver"] * 6)
    b = run_of(tmp_path / "b", ["Liver"] + ["Lung"] * 9)
    found = compare(a, b)
    assert found["n"] == 10
    assert found["left_out"] == {"only in a": 2, "only in b": 0}
    assert (found["flips"]["only a right"], found["flips"]["only b right"]) == (1, 4)
    assert found["flips"]["mcnemar_p"] == pytest.approx(mcnemar(1, 4))
    assert found["flips"]["examples_only_a_right"][0] == {
        "question_id": "q0", "question": "Which organ?", "gold": "Lung", "a": "Lung", "b": "Liver",
    }  # fmt: skip
    difference = found["metrics"]["accuracy"]["difference"]
    assert difference["value"] == 30
    assert difference["low"] < 30 < difference["high"]
    assert "60.0 -> 90.0, +30.0" in in_words(found)
    assert compare(a, a)["metrics"]["accuracy"]["difference"] == {"value": 0, "low": 0, "high": 0}


def test_runs_that_do_not_pair_are_refused(tmp_path):
    a = run_of(tmp_path / "a", ["Lung"])
    with pytest.raises(ReportError, match="different data"):
        compare(a, run_of(tmp_path / "b", ["Lung"], data="other"))
    with pytest.raises(ReportError, match="no report"):
        compare(a, tmp_path / "nowhere")
