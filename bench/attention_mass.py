"""How much attention m copies of one visual row draw, against the log m of the paper.

    python bench/attention_mass.py

After: OG-LLaVA, section 5.2.2 (row O12): a group of m equal keys has the logit l + log m; under
rotary positions each copy has its own phase, and the group's logit is
log sum_j exp(q R(p_j - p_i) k / sqrt(d)).

A language model with random weights reads text, visual rows and text; one row stands m times among
the others, evenly spread. The bench measures the log-odds of the attention that the last token pays
to all copies, as an offset against m = 1 (nats): with equal keys it is log m exactly, whatever the
other keys are. There are three ways of placing: `none` (every position is 0, so nothing is
rotated), `rope` (0, 1, 2 ...), and `shared` (all copies have the first one's position, and the
others stand where they stood for m = 1). It prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from regiontok.draw.plot import Line, Panel, draw_panels
from regiontok.model.attention import watch
from regiontok.model.mini import mini_language_model

PLACES = ("none", "rope", "shared")
COPIES = (1, 2, 4, 8, 16, 32)
TEXT = 16  # tokens before the picture, and as many behind it


def predicted(mass: float, copies: int) -> float:
    """The attention on m equal keys, from that on a single one: m e^s / (m e^s + rest).

    >>> round(predicted(0.2, 4), 4)
    0.5
    """
    return copies * mass / (copies * mass + 1 - mass)


def log_odds(rows: Tensor, group: Tensor) -> Tensor:
    """The log of the attention on the columns `group` over that on the others, `[...]` float64.

    Args:
        rows: attention rows, `[... s]`.
        group: the columns that count, `[s]` bool.

    >>> float(log_odds(torch.tensor([0.25, 0.25, 0.5]), torch.tensor([True, True, False])))
    0.0
    """
    rows = rows.double()
    return rows[..., group].sum(-1).log() - rows[..., ~group].sum(-1).log()


@dataclass(frozen=True)
class Layout:
    """A sequence of rows with their positions.

    Attributes:
        rows: which of the rows stands in each column, `[s]`.
        positions: the position of each column, `[s]`.
        copies: the columns that are copies of the repeated row, `[s]` bool.
    """

    rows: Tensor
    positions: Tensor
    copies: Tensor


def lay(rows: int, repeated: int, copies: int, place: str) -> Layout:
    """Lay out text, `rows` visual rows of which row `repeated` stands `copies` times, and text.

    >>> layout = lay(4, 1, 3, "shared")
    >>> layout.rows.tolist()[TEXT:-TEXT]
    [16, 17, 17, 18, 17, 19]
    >>> layout.positions.tolist()[TEXT:-TEXT]
    [16, 17, 17, 18, 17, 19]
    """
    visual = list(range(rows))
    later = list(range(repeated + 1, rows))
    for copy in range(1, copies):  # behind the first, evenly spread over what follows it
        successor = later[(copy - 1) * len(later) // max(copies - 1, 1)]
        visual.insert(visual.index(successor), repeated)
    order = [*range(-TEXT, 0), *visual, *range(rows, rows + TEXT)]
    index = torch.tensor(order) + TEXT
    dense = {"none": torch.zeros_like(index), "rope": torch.arange(len(index)), "shared": index}
    return Layout(index, dense[place], index == repeated + TEXT)


def middle_language_model(seed: int) -> LlamaForCausalLM:
    """A model of 29 million random parameters, with Llama-3's base of rotation.

    It has 8 layers of 8 query heads over 4 key heads.
    """
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def sharpen(model: Any, spread: float, embeds: Tensor) -> None:
    """Scale all layers' queries so that layer 1's logits have the standard deviation `spread`.

    Fresh weights attend to all columns alike.
    """
    with torch.no_grad():
        query, key = _unrotated(model, embeds)
        scores = (query @ key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        factor = spread / float(scores.std())
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight *= factor


def _unrotated(model: Any, embeds: Tensor) -> tuple[Tensor, Tensor]:
    """Layer 1's queries and keys before rotation `[heads s d]`, keys repeated for grouped heads."""
    layer = model.model.layers[0]
    x = layer.input_layernorm(embeds)
    d = layer.self_attn.head_dim
    query = layer.self_attn.q_proj(x).view(len(embeds), -1, d).transpose(0, 1)
    key = layer.self_attn.k_proj(x).view(len(embeds), -1, d).transpose(0, 1)
    return query, key.repeat_interleave(len(query) // len(key), 0)


def rotated_logits(model: Any, embeds: Tensor, positions: Tensor) -> Tensor:
    """The last token's logits in layer 1 by the paper's formula, q R(p_j - p_i) k / sqrt(d).

    Returns:
        Logits, `[heads s]` float64.
    """
    with torch.no_grad():
        query, key = (vectors.double() for vectors in _unrotated(model, embeds))
    half = query.shape[-1] // 2
    angle = (positions - positions[-1])[:, None] * model.model.rotary_emb.inv_freq.double()
    cos, sin = angle.cos(), angle.sin()
    (a, b), (c, e) = (
        (key[..., :half], key[..., half:]),
        (query[:, -1:, :half], query[:, -1:, half:]),
    )
    # the plane of coordinates f and f + d/2 is turned by its frequency times the distance
    return (c * (a * cos - b * sin) + e * (b * cos + a * sin)).sum(-1) / math.sqrt(2 * half)


def measure(
    model: Any, table: Tensor, repeated: int, place: str, copies: Sequence[int] = COPIES
) -> dict[str, Tensor]:
    """Log-odds of the attention on all copies.

    Returns:
        "observed" `[m layers heads]` of the model, and "formula" `[m heads]` of layer 1 by
        `rotated_logits`.
    """
    rows = len(table) - 2 * TEXT
    observed, formula = [], []
    for m in copies:
        laid = lay(rows, repeated, m, place)
        embeds = table[laid.rows]
        with torch.no_grad(), watch(model) as watched:
            # the mask is given: without one, transformers takes repeated positions for packed
            # samples
            whole = torch.ones(1, len(embeds), dtype=torch.int64)
            model(
                inputs_embeds=embeds[None],
                position_ids=laid.positions[None],
                attention_mask=whole,
                use_cache=False,
            )
        observed.append(log_odds(watched.attention()[:, 0, :, 0], laid.copies))
        formula.append(
            log_odds(rotated_logits(model, embeds, laid.positions).softmax(-1), laid.copies)
        )
    return {"observed": torch.stack(observed), "formula": torch.stack(formula)}


def study(name: str, rows: int, spread: float, seeds: int, repeats: int) -> dict[str, Any]:
    """Offsets against m = 1 of one kind of model, by place.

    Returns:
        For each place, "observed" `[samples m layers heads]`, and "formula" `[samples m heads]`.
    """
    offsets: dict[str, Any] = {place: {"observed": [], "formula": []} for place in PLACES}
    for seed in range(seeds):
        model = mini_language_model(seed) if name == "mini" else middle_language_model(seed)
        model.eval()
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(rows + 2 * TEXT, model.config.hidden_size, generator=generator)
        text = torch.randint(4, 260, (2 * TEXT,), generator=generator)
        table[:TEXT], table[-TEXT:] = model.get_input_embeddings()(text).detach().split(TEXT)
        sharpen(model, spread, table)
        for place in PLACES:
            for repeated in range(rows // (2 * repeats), rows, rows // repeats):
                for key, value in measure(model, table, repeated, place).items():
                    offsets[place][key].append(value - value[:1])
    return {
        place: {key: torch.stack(values) for key, values in group.items()}
        for place, group in offsets.items()
    }


def summary(name: str, offsets_by_place: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a place and layer (first, second, last).

    It holds the mean offset by m, and how far single heads lie from log m.
    """
    ideal = torch.tensor(COPIES).double().log()
    lines = []
    for place, group in offsets_by_place.items():
        observed = group["observed"]  # [n m layers heads]
        layers = observed.shape[2]
        for layer in sorted({0, 1, layers - 1}):
            offsets = observed[:, :, layer]
            beyond = offsets - ideal[None, :, None]
            line = {"model": name, "positions": place, "layer": layer + 1}
            line |= {
                "offset": {
                    str(m): round(float(offsets[:, i].mean()), 3) for i, m in enumerate(COPIES)
                }
            }
            line |= {
                "spread": {
                    str(m): round(float(beyond[:, i].std()), 3) for i, m in enumerate(COPIES)
                }
            }
            line |= {"worst": float(beyond.abs().max())}
            if layer == 0:
                line |= {"worst_against_formula": float((offsets - group["formula"]).abs().max())}
            lines.append(line)
    return lines


def plot(rows: list[dict[str, Any]]) -> Any:
    """Draw offsets against m: for each model a panel of means and one of how far heads differ."""
    names = {
        "none": "no rotation",
        "rope": "positions 0, 1, 2 ...",
        "shared": "copies share a position",
    }
    models = list(dict.fromkeys(row["model"] for row in rows))
    panels = []
    for model in models:
        model_rows = [row for row in rows if row["model"] == model]
        last = max(row["layer"] for row in model_rows)
        lines = [Line("log m", COPIES, tuple(math.log(m) for m in COPIES), bold=True)]
        spreads = []
        for row in model_rows:
            if row["layer"] in (1, last):
                title = (
                    f"{names[row['positions']]}, {'first' if row['layer'] == 1 else 'last'} layer"
                )
                lines.append(Line(title, COPIES, tuple(row["offset"].values())))
                spreads.append(Line(title, COPIES[1:], tuple(row["spread"].values())[1:]))
        panels.append(
            Panel(
                f"{model}: mean over heads",
                "copies m",
                "offset of the log-odds, nats",
                tuple(lines),
            )
        )
        panels.append(
            Panel(f"{model}: standard deviation over heads", "copies m", "nats", tuple(spreads))
        )
    note = (
        "log-odds of the last token's attention on all copies, less those for m = 1; random weights"
    )
    return draw_panels(panels, title="Attention on m copies of one visual row", subtitle=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=144, help="visual rows, the one that is repeated counted once"
    )
    parser.add_argument(
        "--spread", type=float, default=2.0, help="standard deviation of layer 1's logits"
    )
    parser.add_argument("--seeds", type=int, default=3, help="models")
    parser.add_argument(
        "--each", type=int, default=4, help="rows that are repeated, one at a time, in each model"
    )
    parser.add_argument("--plot", type=Path, help="a picture to write")
    options = parser.parse_args()
    rows = []
    for name in ("mini", "middle"):
        rows += summary(
            name, study(name, options.rows, options.spread, options.seeds, options.each)
        )
    print(
        f"{'model':8} {'positions':9} {'layer':>5} "
        + " ".join(f"{f'm={m}':>13}" for m in COPIES[1:])
        + "      worst  formula"
    )
    print(f"{'':8} {'log m':9} {'':5} " + " ".join(f"{math.log(m):13.3f}" for m in COPIES[1:]))
    for row in rows:
        cells = " ".join(
            f"{row['offset'][str(m)]:6.3f} ±{row['spread'][str(m)]:5.3f}" for m in COPIES[1:]
        )
        formula = f"{row['worst_against_formula']:8.1e}" if row["layer"] == 1 else ""
        head = f"{row['model']:8} {row['positions']:9} {row['layer']:5}"
        print(f"{head} {cells} {row['worst']:10.1e} {formula}")
    if options.plot:
        picture = plot(rows)
        picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS).save(
            options.plot, quality=86
        )
    settings = {key: value for key, value in vars(options).items() if key != "plot"}
    result = {"bench": "attention_mass", **settings, "torch": torch.__version__}
    print(json.dumps(result | {"rows_of_the_table": rows}))


if __name__ == "__main__":
    main()
