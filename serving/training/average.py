"""A moving average of the trained weights: what is measured and kept, while the weights themselves move on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class WeightsError(RuntimeError):
    """Saved weights are not those of the parts that this recipe trains."""


@torch.no_grad()
def set_weights(parameters: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    """Copy `values` into the parameters of the same names.

    Raises:
        WeightsError: a name is only on one side, or a shape differs.
    """
    if odd := sorted(parameters.keys() ^ values.keys()):
        raise WeightsError(
            f"The saved weights are of other parts than the recipe trains: {', '.join(odd[:5])}"
            + (f" and {len(odd) - 5} more." if len(odd) > 5 else ".")
        )
    for name, parameter in parameters.items():
        if parameter.shape != values[name].shape:
            raise WeightsError(f"{name} was saved as {list(values[name].shape)}, not {list(parameter.shape)}.")
        parameter.copy_(values[name])


class Average(TrainerCallback):
    """Exponential, with a short memory in the first steps, when there is nothing to remember."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = dict(parameters), decay
        self.values = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        done = state.global_step
        for name, parameter in self.parameters.items():
            # Taken when the model may still have been on another device.
            self.values[name] = self.values[name].to(parameter.device)
            self.values[name].lerp_(parameter, 1 - min(self.decay, done / (done + 9)))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averaged weights for as long as the context lasts."""
        live = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        set_weights(self.parameters, self.values)
        try:
            yield
        finally:
            set_weights(self.parameters, live)
