"""Fine-tuning on a network small enough to know what must come out."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline import backbones
from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.params import build
from pipeline.training import loop
from pipeline.training.affine import AffineMap
from pipeline.training.batches import Batch
from pipeline.training.device import make_fabric
from pipeline.training.fine_tuning import FineTuning, Tuner
from pipeline.training.loop import train
from pipeline.training.schedule import learning_rate
from tests.tiny import bars, batch_of, schedule

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def network(seed: int = 0) -> Network:
    return backbones.create("resnet", {"depth": 8, "width": 4}, 1, 3, seed)


def all_but_the_head(made: Network) -> set[str]:
    return {name for name in made.state_dict() if not name.startswith("head.")}


def tuner(made: Network, *, frozen: bool = False, started: set[str] | None = None, **options: Any) -> Tuner:
    started = all_but_the_head(made) if started is None else started
    return Tuner(made, FineTuning(**options), started, frozen=frozen, seed=0)


class Task(nn.Module):
    """A tuned network under cross-entropy, or under no loss at all."""

    def __init__(self, made: Network, tuned: Tuner, *, blind: bool = False) -> None:
        super().__init__()
        self.network, self.tuner, self._blind = made, tuned, blind

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"it": list(self.network.parameters())}

    def groups(self, _player: str) -> list[dict[str, Any]]:
        return self.tuner.groups(self.network)

    def loss(self, _player: str, batch: Batch, progress: float) -> torch.Tensor:
        self.tuner.prepare(self.network, progress)
        data = nn.functional.cross_entropy(self.network(batch.images), batch.labels)
        return (0 * data if self._blind else data) + self.tuner.penalty(self.network)


def batch_at(step: int) -> Batch:
    return batch_of(bars(LABELS.numpy(), seed=step), LABELS.numpy())


def trained(made: Network, tuned: Tuner, steps: int = 4, **changes: Any) -> Network:
    values = {"steps": steps, "batch_size": 6, "lr": 0.05} | changes
    result, _ = train(Task(made, tuned), batch_at, schedule(**values), seed=0, label="test", show=False)
    tuned_network: Network = result.network
    result.tuner.settle(tuned_network)
    return tuned_network


def moved(before: dict[str, torch.Tensor], after: Network) -> set[str]:
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}


def copy_of(made: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


# ------------------------------------------------------------ off by default


def test_with_every_option_off_training_is_bit_for_bit_what_it_is_without_a_tuner() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def players(self) -> dict[str, list[nn.Parameter]]:
            return {"it": list(self.network.parameters())}

        def loss(self, _player: str, batch: Batch, _progress: float) -> torch.Tensor:
            return nn.functional.cross_entropy(self.network(batch.images), batch.labels)

    plan = schedule(steps=5, batch_size=6, weight_decay=0.05)
    plain, _ = train(Plain(), batch_at, plan, seed=0, label="test", show=False)
    made = network()
    other = trained(made, tuner(made), steps=5, lr=plan.lr, weight_decay=0.05)
    assert moved(copy_of(plain.network), other) == set()


# ------------------------------------------------------------ learning rates


def test_the_rate_of_each_stage_is_the_schedule_s_times_a_power_of_the_decay() -> None:
    made = network()
    plan = schedule(steps=10, batch_size=6, lr=0.01, warmup=0.5)
    run = loop._Run(Task(made, tuner(made, layer_decay=0.5)), plan, make_fabric("32"), "test")
    run.step(2, batch_at(2))
    rates = {id(p): group["lr"] for group in run.optimisers["it"].param_groups for p in group["params"]}
    own = {name: rates[id(parameter)] for name, parameter in made.named_parameters()}
    assert learning_rate(plan, 2) == pytest.approx(0.006)
    for number, stage in enumerate(made.stages):  # four of them, then the head
        assert [own[name] for name in stage] == pytest.approx([0.006 * 0.5 ** (4 - number)] * len(stage))
    assert own["head.weight"] == own["head.bias"] == pytest.approx(0.006)
    assert len(own) == len(rates)


# ------------------------------------------------------------ what moves, and when


def test_what_has_not_joined_does_not_move_nor_do_its_statistics() -> None:
    made = network()
    before = copy_of(made)
    after = trained(made, tuner(made, unfreeze_every=0.5), steps=4, weight_decay=0.1)  # at steps 2 and 3 of 0 to 3
    last = {name for name in before if name.startswith("trunk.5.")}
    assert moved(before, after) == last | {"head.weight", "head.bias"}


@pytest.mark.parametrize(("progress", "joined"), [(0.0, 0), (0.29, 0), (0.3, 1), (0.6, 2), (0.95, 3)])
def test_stages_join_one_after_the_other_the_last_one_first(progress: float, joined: int) -> None:
    made = network()
    tuner(made, unfreeze_every=0.3).prepare(made, progress)
    moving = [{made.get_parameter(name).requires_grad for name in stage} for stage in made.stages]
    assert moving == [{False}] * (4 - joined) + [{True}] * joined
    assert made.head.weight.requires_grad


def test_frozen_the_trunk_is_the_source_s_to_the_last_statistic() -> None:
    made = network()
    before = copy_of(made)
    after = trained(made, tuner(made, frozen=True), weight_decay=0.1)
    assert moved(before, after) == {"head.weight", "head.bias"}
    assert all(parameter.requires_grad for parameter in after.parameters())


@pytest.mark.parametrize("taken", [True, False])
def test_frozen_hidden_layers_of_the_head_learn_unless_they_are_the_source_s(taken: bool) -> None:
    made = backbones.create("resnet", {"depth": 8, "width": 4}, 1, 3, 0, "mlp", {"hidden": [5], "dropout": 0.0})
    before = copy_of(made)
    started = {name for name in all_but_the_head(made) if taken or name.startswith("trunk.")}
    after = trained(made, tuner(made, frozen=True, started=started))
    assert moved(before, after) == {"head.weight", "head.bias"} | (set() if taken else {"neck.0.weight", "neck.0.bias"})


# ------------------------------------------------------------ L2-SP


def test_the_pull_has_the_gradient_of_the_paper_and_leaves_the_head_alone() -> None:
    made = network()
    tuned = tuner(made, l2_sp=0.3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5)
    tuned.penalty(made).backward()
    for name, parameter in made.named_parameters():
        if name.startswith("head."):
            assert parameter.grad is None
        else:  # alpha (w - w_0)
            torch.testing.assert_close(parameter.grad, torch.full_like(parameter, 0.3 * 0.5))
    numbers = sum(p.numel() for name, p in made.named_parameters() if not name.startswith("head."))
    assert tuned.penalty(made).item() == pytest.approx(0.3 / 2 * 0.25 * numbers, rel=1e-5)


def test_it_takes_the_place_of_the_decay_of_the_weights_that_it_pulls() -> None:
    made = network()
    before = copy_of(made)
    plan = schedule(steps=3, batch_size=6, weight_decay=0.1)
    result, _ = train(Task(made, tuner(made, l2_sp=0.3), blind=True), batch_at, plan, seed=0, label="test", show=False)
    changed = {name for name in moved(before, result.network) if "running" not in name and "num_batches" not in name}
    assert changed == {"head.weight", "head.bias"}


def test_a_stronger_pull_ends_nearer_to_the_source() -> None:
    def distance(l2_sp: float) -> float:
        made = network()
        before = copy_of(made)
        after = trained(made, tuner(made, l2_sp=l2_sp), steps=8, lr=0.01)
        names = [name for name, _ in made.named_parameters() if not name.startswith("head.")]
        return sum((after.get_parameter(name) - before[name]).square().sum().item() for name in names)

    assert distance(10.0) < 0.5 * distance(1e-6)


def test_only_what_is_the_source_s_is_pulled() -> None:
    made = network()
    tuned = tuner(made, l2_sp=1.0, started={"trunk.0.weight", "trunk.1.running_mean"})
    with torch.no_grad():
        made.get_parameter("trunk.3.conv1.weight").add_(1)
    assert tuned.penalty(made).item() == 0


# ------------------------------------------------------------ the affine map


def test_the_map_by_hand() -> None:
    affine = AffineMap(2, 1)
    with torch.no_grad():
        for name, value in {"U": [[1.0], [0.0]], "V": [[0.0], [2.0]], "b": [[0.5], [-0.5]]}.items():
            getattr(affine, name).copy_(torch.tensor(value))
        theta = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 2, 1, 1)
        # I + U V^T = [[1, 2], [0, 1]]
        expected = [[1 + 2 * 3 + 0.5, 2 + 2 * 4 + 0.5], [3 - 0.5, 4 - 0.5]]
        assert affine(theta).view(2, 2).tolist() == expected


def test_at_the_start_the_network_is_the_source_s_and_settled_it_is_an_ordinary_one() -> None:
    made, plain = network(), network()
    tuned = tuner(made, affine_rank=2)
    images = batch_at(0).images
    with torch.no_grad():
        torch.testing.assert_close(made.eval()(images), plain.eval()(images), rtol=0, atol=1e-6)  # another layout
    tuned.settle(made)
    assert list(made.state_dict()) == list(plain.state_dict())
    assert moved(copy_of(plain), made) == set()
    assert [type(module) for module in made.modules()] == [type(module) for module in plain.modules()]


def test_each_weight_ends_as_a_map_of_low_rank_of_the_source_s() -> None:
    made = network()
    before = copy_of(made)
    after = trained(made, tuner(made, affine_rank=1), steps=6)
    assert list(after.state_dict()) == list(before)
    for name, parameter in after.named_parameters():
        assert parameter.requires_grad
        assert not torch.equal(parameter, before[name])  # the others, norms among them, are trained as they are
        if parameter.ndim == 4:
            old, new = before[name].flatten(1).double(), parameter.detach().flatten(1).double()
            offsets = torch.ones(1, old.shape[1], dtype=torch.float64)
            # new - old = U V^T old + b 1^T has rank 2 at most
            values = torch.linalg.svdvals(new - old)
            assert float(values[2:].sum()) < 1e-5 * float(values[0])
            rows = torch.cat([old, offsets])
            residual = (new - old) - (new - old) @ torch.linalg.pinv(rows) @ rows
            assert float(residual.norm()) < 1e-5 * float((new - old).norm())


def test_weights_that_are_not_the_source_s_are_trained_as_they_are() -> None:
    made = network()
    tuner(made, affine_rank=1, started={"trunk.0.weight"})
    mapped = {name for name, module in made.named_modules() if nn.utils.parametrize.is_parametrized(module)}
    assert mapped == {"trunk.0"}


def test_it_has_far_fewer_numbers_to_learn() -> None:
    made = network()
    tuned = tuner(made, affine_rank=1)
    learned = sum(p.numel() for group in tuned.groups(made) for p in group["params"])
    assert learned < 0.5 * sum(parameter.numel() for parameter in network().parameters())


# ------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"layer_decay": 0.0}, "x.layer_decay should be greater than 0, got 0.0"),
        ({"unfreeze_every": 1.5}, "x.unfreeze_every should be less than or equal to 1, got 1.5"),
        ({"affine_rank": 0}, "x.affine_rank should be greater than or equal to 1, got 0"),
        ({"l2_sp": 0.1, "affine_rank": 4}, "l2_sp must be 0 where affine_rank is given"),
    ],
)
def test_a_wrong_option_is_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        build(FineTuning, options, "x")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
