"""Answers of MedVInT-TE: free ones from one pass or by unmasking step by step, and choices by their likelihood.

answerer = Answerer.load(Path("data/models/te"))
seen = answerer.look([image])                                   # the tower once for all questions of an image
answerer.answer([Asked(seen[0], "Which plane is this?")])[0].text
answerer.choose(Asked(seen[0], "Which plane is this?"), ["Axial", "Coronal"])
"""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerBase

from serving.choices import Choice, ChoiceError
from serving.medvint.processing import MedVInTImageProcessor
from serving.medvint_te.modeling import MedVInTTEForMaskedLM
from serving.medvint_te.text import QuestionText

MOST_TOKENS = 12
"""Of an answer whose length nobody tells: so many lengths are tried. PMC-VQA's answers have two to eight."""
ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Asked:
    """A question and what the tower saw of its image: `image_features` [num_queries, embed_dim]."""

    image_features: torch.Tensor
    question: str


@dataclass(frozen=True)
class TEAnswer:
    """`logprobs` are of `tokens`, and of the end behind them where the model itself says where that is."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def mean_logprob(self) -> float:
        return sum(self.logprobs) / max(len(self.logprobs), 1)


@dataclass(frozen=True)
class _Row:
    """One input of the model: the places of an answer begin at `start` of `ids` and are `count`."""

    ids: list[int]
    start: int
    count: int
    image_features: torch.Tensor


class Answerer:
    """A model with its tokenizer and image processor."""

    def __init__(
        self, model: MedVInTTEForMaskedLM, tokenizer: PreTrainedTokenizerBase, processor: MedVInTImageProcessor
    ) -> None:
        self.model, self.processor = model.eval(), processor
        self.config = model.config
        self.text = QuestionText(tokenizer, model.config)

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype | None = None) -> "Answerer":
        """From the folder that `medvint convert` wrote; on the GPU where there is one.

        Raises:
            OSError, ValueError: the folder does not hold one.
        """
        model = MedVInTTEForMaskedLM.from_pretrained(folder, dtype=dtype or "auto")
        model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
        return cls(model, AutoTokenizer.from_pretrained(folder), AutoImageProcessor.from_pretrained(folder))

    @property
    def most_slots(self) -> int:
        """Places of the longest answer that is tried."""
        return self.config.answer_slots or MOST_TOKENS

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Image features [n, num_queries, embed_dim]."""
        pixels = self.processor.preprocess(images).pixel_values
        return self.model.get_image_features(pixels.to(self.model.device))

    def answer(self, asked: Sequence[Asked], *, length: int | None = None, rounds: int = 1) -> list[TEAnswer]:
        """Free answers.

        Args:
            length: tokens of the answers, which the original's evaluation takes from the true one. None: as the model
                was trained, up to its `answer_slots`; a model without them gets every length up to `MOST_TOKENS`, and
                the one whose tokens are the most probable on average is the answer.
            rounds: 1: all tokens from one pass; else the surest are filled in and the rest is read again, so often.

        Raises:
            QuestionTooLongError: of one of the questions.
        """
        if not asked:
            return []
        slots = length or self.config.answer_slots
        lengths = [slots] if slots else list(range(1, MOST_TOKENS + 1))
        prompts = [self.text.blank(each.question) for each in asked]
        rows = [
            _Row(self.text.masked(prompt, count), len(prompt) + 1, count, each.image_features)
            for each, prompt in zip(asked, prompts, strict=True)
            for count in lengths
        ]
        filled = self._fill(rows, rounds)
        cut = length is None and self.config.answer_slots is not None
        answers = [self._finished(tokens, logprobs, cut) for tokens, logprobs in filled]
        groups = [answers[start : start + len(lengths)] for start in range(0, len(answers), len(lengths))]
        return [max(group, key=lambda answer: answer.mean_logprob) for group in groups]

    def choose(self, asked: Asked, choices: Sequence[str]) -> list[Choice]:
        """Every choice with its letter and probability among them, in the order given; `config.choice_by` says how.

        By letter: the prompt holds the choices, as in PMC-VQA, and one mask. By text: each choice takes the places of
        an answer to the question alone, and its log-probability is a token's on average, or with its end the whole
        one's where the model says itself where an answer ends.

        Raises:
            ChoiceError: none, more than there are letters, or a letter that is no token.
            QuestionTooLongError: with the choices it is longer than the model reads.
        """
        letters = string.ascii_uppercase[: len(choices)]
        if not 0 < len(choices) == len(letters):
            raise ChoiceError(f"{len(choices)} choices: it takes 1 to {len(string.ascii_uppercase)}.")
        scores = (
            self._letters(asked, choices, letters) if self.config.choice_by == "letter" else self._texts(asked, choices)
        )
        shares = torch.tensor(scores).softmax(0).tolist()
        return [Choice(*each) for each in zip(letters, choices, shares, scores, strict=True)]

    def _letters(self, asked: Asked, choices: Sequence[str], letters: str) -> list[float]:
        ids = [self.text.answer(letter) for letter in letters]
        split = [letter for letter, tokens in zip(letters, ids, strict=True) if len(tokens) != 1]
        if split:
            raise ChoiceError(f"In this model's tokenizer {', '.join(split)} is no token of its own.")
        shown = [f" {letter}:{choice} " for letter, choice in zip(letters, choices, strict=True)]
        prompt = self.text.choice(asked.question, shown)
        (logprobs,) = self._logprobs([_Row(self.text.masked(prompt, 1), len(prompt) + 1, 1, asked.image_features)])
        return [logprobs[0, tokens[0]].item() for tokens in ids]

    def _texts(self, asked: Asked, choices: Sequence[str]) -> list[float]:
        prompt = self.text.blank(asked.question)
        answers = [self.text.answer(choice) for choice in choices]
        slots = self.config.answer_slots
        rows = []
        for answer in answers:
            count = max(slots or 0, len(answer), 1)
            # The end stands behind the masks, and is learned as they are.
            rows.append(_Row(self.text.masked(prompt, count), len(prompt) + 1, count + 1, asked.image_features))
        scores = []
        for places, answer in zip(self._logprobs(rows), answers, strict=True):
            told = [*answer, *([self.config.end_token_id] if slots or not answer else [])]
            each = places[: len(told)].gather(1, torch.tensor(told, device=places.device)[:, None])
            scores.append((each.sum() if slots else each.mean()).item())
        return scores

    def _fill(self, rows: Sequence["_Row"], rounds: int) -> list[tuple[list[int], list[float]]]:
        """Tokens and log-probabilities of every row's masked places, the surest places first where there are rounds."""
        filled = [([-1] * row.count, [0.0] * row.count) for row in rows]
        for left_rounds in range(rounds, 0, -1):
            waiting = [number for number, (tokens, _) in enumerate(filled) if -1 in tokens]
            for number, places in zip(waiting, self._logprobs([rows[n] for n in waiting]), strict=True):
                row, (tokens, logprobs) = rows[number], filled[number]
                values, best = (tensor.tolist() for tensor in places.max(-1))
                left = [place for place in range(row.count) if tokens[place] == -1]
                left.sort(key=lambda place: -values[place])
                for place in left[: -(-len(left) // left_rounds)]:
                    tokens[place], logprobs[place] = best[place], values[place]
                    row.ids[row.start + place] = best[place]
        return filled

    @torch.inference_mode()
    def _logprobs(self, rows: Sequence["_Row"]) -> list[torch.Tensor]:
        """Of every row's places: [count, vocabulary]."""
        found: list[torch.Tensor] = []
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[begin : begin + ROWS_AT_ONCE]
            ids, mask = self.text.batch([row.ids for row in part])
            asked = torch.zeros_like(ids, dtype=torch.bool)
            for number, row in enumerate(part):
                asked[number, row.start : row.start + row.count] = True
            logits = self.model(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                image_features=torch.stack([row.image_features for row in part]),
                positions=asked.to(self.model.device),
            ).logits
            found += logits.float().log_softmax(-1).split([row.count for row in part])
        return found

    def _finished(self, tokens: list[int], logprobs: list[float], cut: bool) -> TEAnswer:
        """What stands before the end, where the model says itself where that is."""
        told = tokens.index(self.config.end_token_id) if cut and self.config.end_token_id in tokens else len(tokens)
        return TEAnswer(self.text.words(tokens[:told]), tuple(tokens[:told]), tuple(logprobs[: told + 1]))
