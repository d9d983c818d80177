"""Self-attention across a clip's modality tokens, for K members at once."""

from __future__ import annotations

from torch import Tensor, nn

from mer_pipeline.heads.layers import LayerNorm, Linear, Noise, drop, masked_softmax


class Attention(nn.Module):
    """Multi-head self-attention, initialised as `torch.nn.MultiheadAttention`."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values, self.out = Linear(d, 3 * d), Linear(d, d)
        for layer in (self.queries_keys_values, self.out):
            nn.init.zeros_(layer.bias)
        nn.init.xavier_uniform_(self.queries_keys_values.weight[0])

    def forward(self, h: Tensor, present: Tensor, noise: Noise | None) -> Tensor:
        """Return the attended tokens (K, n, M, d) for tokens of the same shape.

        Only tokens that `present`, bool (K, n, M), marks are attended to.
        """
        split = self.queries_keys_values(h).unflatten(3, (3, self.heads, -1))
        query, key, value = split.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (K, n, heads, M, d / heads)
        scores = query @ key.transpose(3, 4) / query.shape[4] ** 0.5
        attended = drop(masked_softmax(scores, present[:, :, None, None], dim=4), noise) @ value
        out: Tensor = self.out(attended.transpose(2, 3).flatten(3))
        return out


class Block(nn.Module):
    """One post-LN transformer block."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(d, heads)
        self.widen, self.narrow = Linear(d, 2 * d), Linear(2 * d, d)
        self.norm_attention, self.norm_feed_forward = LayerNorm(d), LayerNorm(d)

    def forward(self, h: Tensor, present: Tensor, noise: Noise | None) -> Tensor:
        """Return contextual tokens (K, n, M, d) for tokens of the same shape; `present` is bool (K, n, M)."""
        h = self.norm_attention(h + drop(self.attention(h, present, noise), noise))
        inner = self.narrow(drop(self.widen(h).relu(), noise))
        out: Tensor = self.norm_feed_forward(h + drop(inner, noise))
        return out
