"""Class centres: values and gradients are those of plain autograd.

Rows that were not sampled rest, ranks agree, and checkpoints reshard.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.nn import functional as F

from regiontok.rice import rank_share
from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres
from regiontok.rice.initial_centres import centred
from regiontok.rice.loss import RegionLoss
from regiontok.rice.negatives import Negatives
from regiontok.rice.row_adam import RowAdam

K, WIDTH = 53, 6


def batch(regions: int = 9, slots: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Regions of any length, and labels.

    Labels repeat in a region, are shared by regions, have gaps, and one region has none.
    """
    draw = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(regions, WIDTH, dtype=torch.float64, generator=draw)
    labels = torch.randint(-1, K, (regions, slots), generator=draw)
    labels[0], labels[1], labels[2] = torch.tensor([[7, 7, 3], [3, -1, -1], [-1, -1, -1]])
    return x, labels


def plain(x, w, labels, chosen, loss, excluded=()):
    """The mean loss over regions with a label, straight from the equations.

    `chosen` [K] are the step's negatives; a region's row of `excluded` are none of it.
    """
    cosines = F.normalize(x, dim=1) @ F.normalize(w, dim=1).T
    losses = []
    for number, (cosine, positive_classes) in enumerate(zip(cosines, labels, strict=True)):
        positive_classes = positive_classes[positive_classes >= 0].unique()
        if len(positive_classes) == 0:
            continue
        against = chosen.clone()
        against[positive_classes] = False
        if len(excluded):
            against[excluded[number][excluded[number] >= 0]] = False
        as_negative = torch.where(cosine > loss.filter, 0.0, cosine) if loss.filter else cosine
        terms = (loss.scale * as_negative).exp()
        negatives, positives = terms[against].sum(), cosine[positive_classes]
        positives = (
            torch.cos(torch.acos(positives) + loss.margin)
            if loss.angular
            else positives - loss.margin
        )
        if loss.kind == "softmax_rivals":
            rivals = terms[positive_classes].sum() - terms[positive_classes]
            scores = (loss.scale * positives).exp()
            losses.append((1 + (negatives + rivals) / scores).log().mean())
        elif loss.kind == "softmax":
            losses.append((1 + negatives * (-loss.scale * positives).exp()).log().mean())
        else:
            losses.append((1 + (-loss.scale * positives).exp().sum()).log() + (1 + negatives).log())
    return torch.stack(losses).mean()


def dense(centres: ClassCentres, name: str) -> torch.Tensor:
    """A head's gradient as [K d]."""
    gradient = centres.gradients[name]
    return torch.zeros_like(centres.local(name)).index_add_(0, gradient.rows, gradient.values)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kept_logits", [0, 100]
)  # logits: none, or those of the first two of several chunks
@pytest.mark.parametrize("kind", ["uniform", "in_batch", "both"])
@pytest.mark.parametrize(
    "loss",
    [
        RegionLoss(),
        RegionLoss("softmax"),
        RegionLoss(scale=100.0),
        RegionLoss(angular=True, scale=8.0),
        RegionLoss("softmax", angular=True, margin=0.2),
        RegionLoss(filter=0.4),
        RegionLoss("softmax_rivals", scale=8.0, filter=0.2),
    ],
    ids=lambda loss: (
        f"{loss.kind}-{loss.scale:.0f}{'-angular' * loss.angular}{'-filter' * (loss.filter > 0)}"
    ),
)
def test_value_and_gradients_are_those_of_plain_autograd(loss, kind, kept_logits, monkeypatch):
    monkeypatch.setitem(rank_share._KEPT_LOGITS, "cpu", kept_logits)
    monkeypatch.setitem(rank_share._CHUNK_LOGITS, "cpu", 1)  # the smallest chunks, ...
    monkeypatch.setattr(rank_share, "_SMALLEST_CHUNK", 5)  # ... several of them
    head = ClassHead("object", K, loss, Negatives(kind, rho=0.4, seed=2))
    centres = ClassCentres([head], WIDTH, dtype=torch.float64)
    # the length must not matter
    centres.local("object").mul_(torch.linspace(0.5, 2, K, dtype=torch.float64)[:, None])
    x, labels = batch()
    w = centres.local("object").clone().requires_grad_()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()

    result = centres(ours, {"object": labels}, step=3)
    chosen = head.negatives.chosen(3, 0, K, labels[labels >= 0], "object")
    expected = plain(theirs, w, labels, chosen, loss)
    (2 * result.loss).backward()
    (2 * expected).backward()

    torch.testing.assert_close(result.loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(dense(centres, "object"), w.grad, rtol=1e-10, atol=1e-12)
    report = result.heads["object"]
    assert report.regions == 8
    assert report.rho.item() == pytest.approx(chosen.double().mean().item())


@pytest.mark.parametrize("kind", ["uniform", "both"])
def test_the_other_tokens_of_a_text_are_no_negatives_of_it(kind):
    head = ClassHead("text", K, negatives=Negatives(kind, rho=0.6, seed=2))
    centres = ClassCentres([head], WIDTH, dtype=torch.float64)
    x, labels = batch()
    excluded = torch.randint(-1, K, (9, 20), generator=torch.Generator().manual_seed(5))
    w = centres.local("text").clone().requires_grad_()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    result = centres(ours, {"text": labels}, 3, {"text": excluded})
    chosen = head.negatives.chosen(3, 0, K, labels[labels >= 0], "text")
    expected = plain(theirs, w, labels, chosen, head.loss, excluded)
    result.loss.backward()
    expected.backward()
    assert expected < plain(x, w, labels, chosen, head.loss) - 0.1  # some of them were drawn
    torch.testing.assert_close(result.loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(dense(centres, "text"), w.grad, rtol=1e-10, atol=1e-12)


def test_heads_of_disjoint_regions_hold_each_region_once(monkeypatch):
    """Objects and texts are a partition of the regions: no head copies its own."""
    lengths = []
    saved = rank_share.RankShare.forward
    monkeypatch.setattr(
        rank_share.RankShare,
        "forward",
        lambda share, x, exact: (lengths.append((len(x), x._is_view())), saved(share, x, exact))[1],
    )
    heads = [ClassHead("object", K), ClassHead("text", K)]
    x, labels = batch()
    is_text = torch.arange(9)[:, None] % 2 == 0
    tables = {
        "object": torch.where(is_text, -1, labels),
        "text": torch.where(is_text, labels, -1),
    }
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    ClassCentres(heads, WIDTH, dtype=torch.float64)(ours, tables, 1).loss.backward()
    assert lengths == [(4, True), (4, True)]  # one text has no label
    for head in heads:
        alone = ClassCentres([head], WIDTH, dtype=torch.float64)
        alone(theirs, {head.name: tables[head.name]}, 1).loss.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-14)


def test_all_classes_take_the_path_without_gathering(monkeypatch):
    monkeypatch.setattr(torch, "index_select", None)
    head = ClassHead("object", K, negatives=Negatives(rho=1.0))
    centres = ClassCentres([head], WIDTH, dtype=torch.float64)
    x, labels = batch()
    loss = centres(x, {"object": labels}, 0).loss
    expected = plain(x, centres.local("object"), labels, torch.ones(K, dtype=torch.bool), head.loss)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_two_heads_are_the_weighted_sum_and_labels_may_be_flat():
    heads = [
        ClassHead("object", K, weight=0.5),
        ClassHead("ocr", 11, RegionLoss(scale=20.0), Negatives(rho=1.0), weight=2.0),
    ]
    x, labels = batch()
    objects, words = labels[:, 0], labels.clamp_max(10)
    together = ClassCentres(heads, WIDTH, dtype=torch.float64)(
        x, {"object": objects, "ocr": words}, 1
    )
    alone = [
        ClassCentres([head], WIDTH, dtype=torch.float64)(x, {head.name: head_labels}, 1).loss
        for head, head_labels in zip(heads, (objects, words), strict=True)
    ]
    assert together.loss.item() == pytest.approx(sum(loss.item() for loss in alone), rel=1e-12)
    assert [together.heads[name].regions for name in ("object", "ocr")] == [
        int((objects >= 0).sum()),
        8,
    ]


def test_backward_passes_add_up():
    centres = ClassCentres([ClassHead("object", K)], WIDTH, dtype=torch.float64)
    alone = ClassCentres([ClassHead("object", K)], WIDTH, dtype=torch.float64)
    expected = torch.zeros(K, WIDTH, dtype=torch.float64)
    for step in (0, 1):
        x, labels = batch(seed=step)
        centres(x.requires_grad_(), {"object": labels}, step).loss.backward()
        alone.gradients.clear()
        alone(x, {"object": labels}, step).loss.backward()
        expected += dense(alone, "object")
    torch.testing.assert_close(dense(centres, "object"), expected, rtol=1e-12, atol=1e-14)


def test_a_second_backward_pass_of_one_step_gives_the_same_again():
    """What was kept for the first is used up."""
    centres = ClassCentres([ClassHead("object", K)], WIDTH, dtype=torch.float64)
    x, labels = batch()
    loss = centres(x.requires_grad_(), {"object": labels}, 0).loss
    loss.backward(retain_graph=True)
    once, regions = dense(centres, "object"), x.grad.clone()
    loss.backward()
    torch.testing.assert_close(dense(centres, "object"), 2 * once, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(x.grad, 2 * regions, rtol=1e-12, atol=1e-14)


def test_no_labels_no_loss_and_no_gradient():
    centres = ClassCentres([ClassHead("object", K)], WIDTH)
    x = torch.randn(4, WIDTH, requires_grad=True)
    result = centres(x, {"object": torch.full((4,), -1)}, 0)
    result.loss.backward()
    assert result.loss.item() == 0
    assert not x.grad.any()
    assert not dense(centres, "object").any()


@pytest.mark.parametrize("shape", [(0,), (0, 2), (0, 0)])
def test_a_batch_without_regions_has_no_loss_and_no_gradient(shape):
    centres = ClassCentres([ClassHead("object", K)], WIDTH)
    regions = torch.zeros(0, WIDTH, requires_grad=True)
    result = centres(regions, {"object": torch.zeros(shape, dtype=torch.long)}, 0)
    result.loss.backward()
    assert (float(result.loss.detach()), result.heads["object"].regions) == (0.0, 0)
    assert regions.grad.shape == regions.shape
    assert not centres.gradients["object"].values.any()


def test_bfloat16_products_are_near_and_leave_the_rest_in_float32():
    x, labels = batch(64)
    losses, grads = [], []
    for products in (None, torch.bfloat16):
        centres = ClassCentres(
            [ClassHead("object", K, negatives=Negatives(rho=1.0))], WIDTH, products=products
        )
        regions = x.float().requires_grad_()
        result = centres(regions, {"object": labels}, 0)
        result.loss.backward()
        losses.append(result.loss.item())
        grads.append(torch.cat([regions.grad.flatten(), dense(centres, "object").flatten()]))
    assert grads[1].dtype == torch.float32
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert losses[1] != losses[0]
    assert F.cosine_similarity(*grads, dim=0) > 0.999


def test_a_region_that_is_not_finite_gives_a_loss_that_says_so():
    x, labels = batch()
    x[4, 0] = math.nan
    assert ClassCentres([ClassHead("object", K)], WIDTH)(x, {"object": labels}, 0).loss.isnan()


def test_rows_that_were_not_sampled_do_not_move_and_the_others_stay_unit():
    centres = ClassCentres([ClassHead("object", K, negatives=Negatives(rho=0.2))], WIDTH)
    optimizer = RowAdam(centres, lr=0.05)
    moved = torch.zeros(K, dtype=torch.bool)
    for step in range(5):
        x, labels = batch(seed=step)
        centres(x.requires_grad_(), {"object": labels[:, :1]}, step).loss.backward()
        before, rows = centres.local("object").clone(), centres.gradients["object"].rows
        untouched = torch.ones(K, dtype=torch.bool)
        untouched[rows] = False
        moved[rows] = True
        assert 0 < untouched.sum() < K
        optimizer.step()
        after = centres.local("object")
        assert torch.equal(after[untouched], before[untouched])
        assert not torch.equal(after[rows], before[rows])
        torch.testing.assert_close(after.norm(dim=1), torch.ones(K))
    assert not centres.gradients
    assert optimizer.usage("object").item() == pytest.approx(moved.double().mean().item())


def test_a_row_s_steps_are_those_of_torch_adam_without_decay():
    """Bias is corrected by the row's own steps.

    A row touched in every step goes as under Adam, with renormalisation in between.
    """
    centres = ClassCentres(
        [ClassHead("object", K, negatives=Negatives(rho=1.0))], WIDTH, dtype=torch.float64
    )
    row_adam = RowAdam(centres, lr=0.02, betas=(0.8, 0.9))
    w = centres.local("object").clone().requires_grad_()
    theirs = torch.optim.AdamW([w], lr=0.02, betas=(0.8, 0.9), weight_decay=0)
    for step in range(4):
        x, labels = batch(seed=step)
        centres(x.requires_grad_(), {"object": labels}, step).loss.backward()
        w.grad = dense(centres, "object")
        row_adam.step()
        theirs.step()
        w.data = F.normalize(w.data, dim=1)
        torch.testing.assert_close(centres.local("object"), w.detach(), rtol=1e-10, atol=1e-12)


def test_clipping_scales_the_centres_gradients_alone():
    centres = ClassCentres([ClassHead("object", K)], WIDTH)
    optimizer = RowAdam(centres)
    x, labels = batch()
    x = x.requires_grad_()
    centres(x, {"object": labels}, 0).loss.backward()
    before, gradient = dense(centres, "object"), x.grad.clone()
    assert optimizer.clip(0.01).item() == pytest.approx(before.norm().item(), rel=1e-5)
    assert dense(centres, "object").norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.equal(x.grad, gradient)


def test_centroids_start_a_head_centred():
    centres = ClassCentres([ClassHead("object", K)], WIDTH)
    centroids = torch.rand(K, WIDTH, generator=torch.Generator().manual_seed(1))
    centres.start_from("object", centroids)
    assert torch.equal(centres.local("object"), centred(centroids))
    with pytest.raises(ValueError, match="head 'object' has 53 centres of 6, got \\[52, 6\\]"):
        centres.start_from("object", centroids[1:])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"object": torch.tensor([0, K])}, "labels lie in 0 ... 52 \\(-1: none\\), got 0 ... 53"),
        ({"object": torch.tensor([-2, 0])}, "got -2 ... 0"),
        ({"object": torch.tensor([0])}, "labels of 1 regions for 2 regions"),
        ({"text": torch.tensor([0, 0])}, "labels are for \\['text'\\], heads are \\['object'\\]"),
    ],
)
def test_wrong_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        ClassCentres([ClassHead("object", K)], WIDTH)(torch.ones(2, WIDTH), labels, 0)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="identifier"):
        ClassHead("object.one", 3)
    with pytest.raises(ValueError, match="at least one class"):
        ClassHead("object", 0)
    with pytest.raises(ValueError, match="each of its own name"):
        ClassCentres([ClassHead("object", 3), ClassHead("object", 4)], 2)
    with pytest.raises(ValueError, match=r"regions are \[n 6\], got \[2, 5\]"):
        ClassCentres([ClassHead("object", K)], WIDTH)(
            torch.ones(2, 5), {"object": torch.zeros(2)}, 0
        )
    with pytest.raises(ValueError, match="no head 'ocr'; there are object"):
        ClassCentres([ClassHead("object", K)], WIDTH).span("ocr")


def test_a_state_of_another_k_is_refused(tmp_path):
    small, large = (ClassCentres([ClassHead("object", k)], WIDTH) for k in (K, K + 1))
    with pytest.raises(ValueError, match=r"of other centres; these differ.*object\.mean"):
        RowAdam(large).load_state_dict(RowAdam(small).state_dict())
    dcp.save(small.state_dict(), checkpoint_id=tmp_path, no_dist=True)
    with pytest.raises(dcp.api.CheckpointException, match="Size mismatch"):
        dcp.load(large.state_dict(), checkpoint_id=tmp_path, no_dist=True)


WORKER = """
import sys
import torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.nn.parallel import DistributedDataParallel
from regiontok.rice.class_head import ClassHead
from regiontok.rice.classes import ClassCentres
from regiontok.rice.loss import RegionLoss
from regiontok.rice.row_adam import RowAdam
from regiontok.rice.negatives import Negatives

folder = sys.argv[3]
rank, ranks, first, steps = (int(sys.argv[index]) for index in (1, 2, 4, 5))
mesh = None
if ranks > 1:
    meeting = f"file://{folder}/store{ranks}-{first}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    mesh = dist.device_mesh.init_device_mesh("cpu", (ranks,))
heads = [  # 1,003 classes are uneven on 2 and 3 ranks; of 4 classes the third rank of 3 holds none
    ClassHead("object", 1003, RegionLoss(), Negatives("both", rho=0.2)),
    ClassHead(
        "ocr", 4, RegionLoss("softmax", angular=True, scale=20.0),
        Negatives("uniform", rho=1.0), weight=0.5,
    ),
]
centres = ClassCentres(heads, 8, mesh=mesh, dtype=torch.float64)
optimizer = RowAdam(centres, lr=0.02)
torch.manual_seed(0)
trunk = torch.nn.Linear(5, 8).double()
wrapped = DistributedDataParallel(trunk) if ranks > 1 else trunk
sgd = torch.optim.SGD(trunk.parameters(), lr=0.05)
state = {"centres": centres.state_dict(), "adam": optimizer.state_dict()}
state["trunk"] = trunk.state_dict()
if first:
    dcp.load(state, checkpoint_id=f"{folder}/checkpoint")
    trunk.load_state_dict(state["trunk"])
results = {}
def whole(tensor):
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()
for step in range(first, first + steps):
    draw = torch.Generator().manual_seed(step)
    x = torch.randn(12, 5, dtype=torch.float64, generator=draw)
    labels = {"object": torch.randint(0, 1003, (12,), generator=draw)}
    labels["ocr"] = torch.randint(-1, 4, (12, 2), generator=draw)
    # one more a region: ranks bring tables of different widths
    excluded = torch.randint(0, 1003, (12, 12), generator=draw).tril(-1) - torch.ones(12, 12).triu()
    local = slice(rank * 12 // ranks, (rank + 1) * 12 // ranks)
    own = excluded.long()[local, : local.stop]
    sgd.zero_grad()
    labels = {name: ids[local] for name, ids in labels.items()}
    result = centres(wrapped(x[local]), labels, step, {"object": own})
    result.loss.backward()
    results[f"{step} loss"] = result.loss.detach()
    results[f"{step} trunk"] = trunk.weight.grad.clone()
    for name, report in result.heads.items():
        figures = [report.loss, report.rho, report.positive, torch.tensor(float(report.regions))]
        results[f"{step} {name} report"] = torch.stack(figures)
    results[f"{step} norm"] = optimizer.clip(3.0)
    sgd.step()
    optimizer.step()
    for name in ("object", "ocr"):
        results[f"{step} {name}"] = whole(centres.centres[name])
        results[f"{step} {name} usage"] = optimizer.usage(name)
        for kind in ("mean", "square", "steps"):
            results[f"{step} {name} {kind}"] = whole(optimizer.state_dict()[f"{name}.{kind}"])
if not first:
    state["trunk"] = trunk.state_dict()
    if ranks == 2:
        dcp.save(state, checkpoint_id=f"{folder}/checkpoint")
if rank == 0:
    torch.save(results, f"{folder}/results{ranks}-{first}.pt")
if ranks > 1:
    dist.barrier()
    dist.destroy_process_group()
"""


def run(folder, ranks: int, first: int, steps: int) -> dict[str, torch.Tensor]:
    """The results of `WORKER` on so many ranks."""
    (folder / "worker.py").write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [str(ranks), str(folder), str(first), str(steps)]
    workers = [
        subprocess.Popen(
            [sys.executable, str(folder / "worker.py"), str(rank), *words],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    errors = [worker.communicate(timeout=240)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * ranks, "\n".join(errors)
    return torch.load(folder / f"results{ranks}-{first}.pt")


@pytest.mark.slow
def test_ranks_agree_with_one_process_and_checkpoints_reshard(tmp_path):
    """Three steps: losses, the trunk's gradients through DDP, centres and moments.

    Saved on 2 ranks, the fourth runs on 3 and on 1.
    """
    alone = run(tmp_path, 1, 0, 4)
    for ranks in (2, 3):
        results = run(tmp_path, ranks, 0, 3)
        for key, value in results.items():
            torch.testing.assert_close(
                value,
                alone[key],
                rtol=1e-11,
                atol=1e-13,
                msg=lambda text, key=key: f"{key}: {text}",
            )
    for ranks in (3, 1):
        results = run(tmp_path, ranks, 3, 1)
        assert any(key.startswith("3 ") for key in results)
        for key, value in results.items():
            torch.testing.assert_close(
                value,
                alone[key],
                rtol=1e-11,
                atol=1e-13,
                msg=lambda text, key=key: f"{key}: {text}",
            )
