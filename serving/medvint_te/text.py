"""Questions as MedVInT-TE reads them: `<s>`, the words, one mask for each token of the answer, the end.

The original splits its prompt at white space and joins it with single spaces; its last words are "The Answer is:".
Masks and end are LLaMA's `</s>` there, so that what stands behind a question only tells how long the answer is.

    text = QuestionText(tokenizer, config)
    text.masked(text.blank("Which plane is this?"), slots=1)        # [1, 894, ..., 2, 2]
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

import prompts
from serving.medvint_te.configuration import MedVInTTEConfig


class QuestionTooLongError(ValueError):
    """The question and its answer's places are more tokens than the model reads."""


class QuestionText:
    """A tokenizer with the model's own ids for masks and ends; what a person typed never becomes one of them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: MedVInTTEConfig) -> None:
        self.tokenizer, self.config = tokenizer, config
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
        self.first_id = int(first)
        self.pad_id = int(tokenizer.pad_token_id or 0)

    @property
    def longest(self) -> int:
        """Tokens of a question with its answer's places, `<s>` and the end."""
        return self.config.text_length or int(self.config.text_config.max_position_embeddings)

    def blank(self, question: str) -> list[int]:
        """An open question's tokens, without `<s>`."""
        return self.tokens(prompts.load("blank").render(question=question))

    def choice(self, question: str, choices: Sequence[str]) -> list[int]:
        """A question's tokens with its choices, each as PMC-VQA writes it: " A:Lateral view "."""
        return self.tokens(prompts.load("medvint_te_choice").render(question=question, choices=choices))

    def answer(self, answer: str) -> list[int]:
        """An answer's tokens; none of an answer without words."""
        return self.tokens(answer)

    def masked(self, prompt: Sequence[int], slots: int) -> list[int]:
        """The model's input for an answer of `slots` tokens.

        Raises:
            QuestionTooLongError: it is longer than the model reads.
        """
        ids = [self.first_id, *prompt, *[self.config.mask_token_id] * slots, self.config.end_token_id]
        if len(ids) > self.longest:
            raise QuestionTooLongError(
                f"The question has {len(ids)} tokens with the places for its answer; the model reads {self.longest}."
            )
        return ids

    def batch(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """`input_ids` and `attention_mask` [n, length], padded behind."""
        length = self.config.text_length or max(map(len, rows))
        ids = torch.full((len(rows), length), self.pad_id)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        return ids, mask

    def words(self, tokens: Sequence[int]) -> str:
        """An answer's words."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def tokens(self, text: str) -> list[int]:
        """As the model reads a prompt, without `<s>`: words with single spaces between them, no special token."""
        printable = "".join(letter if letter.isprintable() else " " for letter in text)
        encoded = self.tokenizer(" ".join(printable.split()), add_special_tokens=False, split_special_tokens=True)
        return list(encoded.input_ids)
