import json

import pytest

from assistant.evidence.evaluation.baselines import tuned
from assistant.evidence.evaluation.measure import judged, measured, table
from assistant.evidence.evaluation.rows import HALVES, LABELS, Row
from assistant.evidence.evaluation.sets import labelled_rows
from assistant.evidence.evaluation.written_rows import FILE

CAPTIONS = [
    "CT of the chest showing a left pleural effusion.",
    "Axial MRI demonstrating a 3 cm renal mass.",
    "Chest radiograph showing right pneumothorax and left consolidation.",
    "Abdominal ultrasound: no hydronephrosis and no fluid collection.",
    "CT scan showing two hepatic nodules.",
    "Radiograph of the spine with a compression fracture of L3.",
    "CT with possible splenic infarction in the abdomen.",
]
ANSWERS = [
    ("Modality", "What modality is used to take this image?", "X-Ray"),
    ("Organ", "Does the picture contain lung?", "Yes"),
    ("Abnormality", "What diseases are included in the picture?", "Pneumothorax"),
    ("Position", "Where is/are the abnormality located?", "Upper Left Lung"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """ROCO and SLAKE as they are laid out, with other articles and images in each half."""
    folder = tmp_path_factory.mktemp("data")
    for half, first in (("validation", 1), ("test", 101)):
        place = folder / "roco-captions" / half / "radiology"
        place.mkdir(parents=True)
        ids = [(f"ROCO_{first + at:05}", f"PMC{first + at}") for at in range(len(CAPTIONS))]
        captions = [f"{key}\t {caption}" for (key, _), caption in zip(ids, CAPTIONS, strict=True)]
        (place / "captions.txt").write_text("\n".join(captions), encoding="utf-8")
        licences = [f"{key},{pmc}_f1.jpg,CC BY" for key, pmc in ids]
        (place / "licences.txt").write_text("\n".join(["ROCO_ID,PMC_ID,CC", *licences]), encoding="utf-8")
        links = [f"{key}\twget ftp://x/{pmc}.tar.gz\tf1.jpg" for key, pmc in ids]
        (place / "dlinks.txt").write_text("\n".join(links), encoding="utf-8")
    (folder / "slake").mkdir()
    for name, image in (("train", "xmlab1"), ("validate", "xmlab2")):
        rows = [
            {"img_name": f"{image}/source.jpg", "modality": "X-Ray", "location": "Lung", "content_type": kind}
            | {"question": question, "answer": answer}
            for kind, question, answer in ANSWERS
        ]
        (folder / "slake" / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def test_the_same_seed_gives_the_same_rows_and_halves_share_nothing(data):
    halves = {half: labelled_rows(data, half, seed=3) for half in HALVES}
    assert halves["held_out"] == labelled_rows(data, "held_out", seed=3)
    origins = [{row.origin for row in rows} for rows in halves.values()]
    assert origins[0] and origins[1] and not origins[0] & origins[1]
    assert {row.label for row in halves["development"]} == set(LABELS)


def test_a_swapped_side_is_not_the_captions(data):
    sided = [row for row in labelled_rows(data, "development") if row.label == "side"]
    assert sided
    for row in sided:
        said = f"{row.question} {row.answer}".lower().replace("left or right", "")
        assert ("left" in said) != ("right" in said)


def test_what_is_only_possible_is_no_support(data):
    assert [row.answer for row in labelled_rows(data, "development") if row.made == "only possible"] == [
        "There is a splenic infarction."
    ]


def test_evidence_is_right_where_words_alone_are_not(data):
    rows = labelled_rows(data, "development")
    overlap, _ = tuned(rows, cues=False)
    results = {"evidence": measured(rows, judged), "overlap": measured(rows, overlap)}
    figures = {name: result["figures"] for name, result in results.items()}
    assert (
        figures["evidence"]["precision of supported"]["value"] > figures["overlap"]["precision of supported"]["value"]
    )
    assert figures["evidence"]["side flagged"]["value"] > figures["overlap"]["side flagged"]["value"] == 0
    assert "goal >= 90" in table(results)


def test_figures_are_of_their_own_rows():
    def row(label, answer):
        return Row("roco", "development", label, "made", "Is there a mass?", answer, "A mass.", answer)

    said = {"a": "supported", "b": "not_found", "c": "supported", "d": "negation"}
    rows = [row("supported", "a"), row("supported", "b"), row("unrelated", "c"), row("negation", "d")]
    figures = measured(rows, lambda item: said[item.answer])["figures"]
    shares = {name: figure["value"] for name, figure in figures.items() if figure}
    assert shares["precision of supported"] == 50
    assert shares["recall of supported"] == 50
    assert shares["unrelated called supported"] == 100
    assert shares["negation flagged"] == 100
    assert figures["side flagged"] is None


def test_claims_by_hand_are_whole():
    claims = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
    assert {claim["label"] for claim in claims if claim["half"] == "held_out"} == set(LABELS)
    assert all(claim["question"] and claim["answer"] and claim["figure_id"] for claim in claims)
    halves = [{claim["figure_id"] for claim in claims if claim["half"] == half} for half in HALVES]
    assert not halves[0] & halves[1]
