"""Functions of torch.nn.functional in the form that bounds want, row by row of the batch; used while a module is traced.

PyTorch's own versions answer the same and decompose into something that has no bounds: attention moves the batch behind
the tokens and masks rows that are all -inf, instance normalisation folds the batch into the channels, circular padding
writes in place.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

NOTHING = -1e30
"""In the place of -inf, with which 0 times a bound would be NaN."""


class Rewritten(TorchFunctionMode):
    """While it is entered, calls of the functions in REWRITES go to the versions here, where those know the case."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        own = REWRITES.get(func)
        answer = NotImplemented if own is None else own(*args, **kwargs)
        return func(*args, **kwargs) if answer is NotImplemented else answer


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """F.scaled_dot_product_attention: softmax(q k^T scale + mask) v over the last two dimensions."""
    if dropout_p or enable_gqa:
        return NotImplemented
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return torch.softmax(_masked((query * scale) @ key.mT, attn_mask, is_causal), -1) @ value


def _masked(scores: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    """Scores with a very negative number, whose exp is zero, where the mask says False or -inf."""
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores
    return scores.masked_fill(~mask, NOTHING) if mask.dtype == torch.bool else scores + mask.clamp_min(NOTHING)


_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def attend_with_heads(*args: Any, **kwargs: Any) -> Any:
    """F.multi_head_attention_forward with the batch in front all the way; inputs (tokens, n, width) as there."""
    given = _SIGNATURE.bind(*args, **kwargs)
    given.apply_defaults()
    of = given.arguments
    odd = ("bias_k", "bias_v", "static_k", "static_v", "key_padding_mask")
    if any(of[name] is not None for name in odd) or of["add_zero_attn"] or of["query"].ndim != 3:
        return NotImplemented
    if of["training"] and of["dropout_p"]:
        return NotImplemented
    q, k, v = _projected(of)
    mask = of["attn_mask"]
    if mask is not None and mask.ndim == 3:
        return NotImplemented  # one for each input: its rows go with those of the batch
    mask = ~mask if mask is not None and mask.dtype == torch.bool else mask  # here True is what is left out
    shares = torch.softmax(_masked((q / math.sqrt(q.shape[-1])) @ k.mT, mask, mask is None and of["is_causal"]), -1)
    joined = (shares @ v).transpose(1, 2).flatten(2)
    answer = F.linear(joined, of["out_proj_weight"], of["out_proj_bias"]).transpose(0, 1)
    if not of["need_weights"]:
        return answer, None
    return answer, shares.mean(1) if of["average_attn_weights"] else shares


def _projected(of: dict[str, Any]) -> list[Tensor]:
    """Queries, keys and values, each (n, heads, tokens, width of a head)."""
    if of["use_separate_proj_weight"]:
        weights = [of[f"{name}_proj_weight"] for name in "qkv"]
    else:
        weights = of["in_proj_weight"].chunk(3)
    biases = [None] * 3 if of["in_proj_bias"] is None else of["in_proj_bias"].chunk(3)
    inputs = [of[name].transpose(0, 1) for name in ("query", "key", "value")]
    made = [F.linear(x, weight, bias) for x, weight, bias in zip(inputs, weights, biases, strict=True)]
    return [x.unflatten(2, (of["num_heads"], -1)).transpose(1, 2) for x in made]


def instance_norm(
    input: Tensor,  # noqa: A002 (PyTorch's own name)
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """F.instance_norm: group normalisation of one channel a group, or batch normalisation by running statistics."""
    if use_input_stats:
        return F.group_norm(input, input.shape[1], weight, bias, eps)
    return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)


def pad(
    input: Tensor,  # noqa: A002
    pad: Any,
    mode: str = "constant",
    value: float | None = None,
) -> Any:
    """F.pad, mode "circular": the far end of each dimension in front of the near one."""
    if mode != "circular" or any(amount < 0 for amount in pad):
        return NotImplemented
    x = input
    for at, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        dim, size = x.ndim - 1 - at, x.shape[-1 - at]
        parts = [x.narrow(dim, size - before, before), x, x.narrow(dim, 0, after)]
        x = torch.cat([part for part in parts if part.shape[dim]], dim)
    return x


REWRITES: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: attend,
    F.multi_head_attention_forward: attend_with_heads,
    F.instance_norm: instance_norm,
    F.pad: pad,
}
