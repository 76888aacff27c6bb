"""The JSON of the `evaluate` stage: every arm, every gain, the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics import bias, comparison, harm
from pipeline.metrics.arms import APART, ARMS, AUGMENTED, COMPLETED, baselines, gains_over, in_order
from pipeline.metrics.attribution import Fresh, attribute
from pipeline.metrics.bootstrap import Resamples, bootstrap, interval
from pipeline.metrics.figures import arm_entry, rounded, subgroup_entry
from pipeline.metrics.looks import Look
from pipeline.metrics.subgroups import find_groups
from pipeline.metrics.verdict import Verdict, decide, gain_shown, smallest_detectable_gain

Ints = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `summarise` is told by params.yaml.

    Attributes:
        num_resamples: B of the bootstrap.
        seed: of the bootstrap.
        max_class_loss: allowed loss of recall of a class, in [0, 1].
        min_test_images: a class with fewer is not judged alone.
        min_seeds: training seeds below which nothing ships.
        many_above: a class with more training images is in the group "many".
        few_up_to: a class with at most this many training images is in the group "few".
    """

    num_resamples: int
    seed: int
    max_class_loss: float
    min_test_images: int
    min_seeds: int
    many_above: int
    few_up_to: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What is known beside the probabilities; all of it may be left out.

    Attributes:
        look: how often these test images have been looked at, which the verdict's intervals heed.
        groups_of: [N] the group (patient, camera) of each test image; empty if the source names none.
        losses: arm -> the loss that it was trained under, for what each means brought.
        fresh: classifiers without the source's weights, for the same.
        temperatures: arm -> the one that its classifiers' mean probability is used with.
    """

    look: Look | None = None
    groups_of: Sequence[str | None] = ()
    losses: Mapping[str, str] = field(default_factory=dict)
    fresh: Fresh | None = None
    temperatures: Mapping[str, float] = field(default_factory=dict)


NOTHING = Known()


def summarise(
    labels: Ints,
    class_names: Sequence[str],
    train_counts: NDArray[np.int64],
    probs: Mapping[str, NDArray[np.floating]],
    settings: Settings,
    known: Known = NOTHING,
) -> dict[str, Any]:
    """Metrics of every arm with 95 % intervals, gains of the completed arm and the verdict, as plain numbers.

    Arms of `APART` need not be there; their gains over the baselines stand under "apart".

    Args:
        labels: [N] true classes of the test images.
        class_names: [C].
        train_counts: [C] real training images a class, which make the groups many/medium/few.
        probs: arm -> [S, N, C] probabilities; seed s and image n are the same in every arm. More baselines than the
            usual two are rivals like these.
        settings: thresholds and the bootstrap's size.
        known: what else there is.

    Raises:
        UserError: no test images, an arm's probabilities are not finite, or too few resamples.
    """
    _check(labels, class_names, probs)
    groups = bias.groups(train_counts, settings.many_above, settings.few_up_to)
    probs = {arm: probs[arm] for arm in in_order(probs)}
    rivals = baselines(probs)
    predictions = {arm: array.argmax(axis=2) for arm, array in probs.items()}
    resamples = bootstrap(labels, predictions, num_resamples=settings.num_resamples, seed=settings.seed)
    verdict = decide(
        resamples,
        class_names,
        max_class_loss=settings.max_class_loss,
        min_test_images=settings.min_test_images,
        min_seeds=settings.min_seeds,
        look=known.look,
    )
    names, heat = [class_names[index] for index in resamples.classes], known.temperatures
    gains = _Gains(labels, probs, resamples, names, verdict)
    return {
        "arms": {
            arm: arm_entry(labels, probs[arm], arm, resamples, names, groups, heat.get(arm, 1.0)) for arm in probs
        },
        "gain": gains.over(COMPLETED, (*rivals, AUGMENTED)),
        "apart": {arm: gains.over(arm, rivals) for arm in probs if arm in APART},
        "attribution": attribute(
            labels, predictions, resamples, groups["few"], known.losses, known.fresh, settings.seed
        ),
        **_verdict(verdict),
        "pooled": _pooled(resamples, class_names, verdict, settings),
        "look": None if known.look is None else _look(known.look),
        "seeds": resamples.num_seeds,
        "min_seeds": settings.min_seeds,
        "test_images": len(labels),
        "max_class_loss": rounded(settings.max_class_loss),
        "subgroups": subgroup_entry(labels, probs, find_groups(known.groups_of, settings.min_test_images)),
        "groups": {name: [class_names[index] for index in indices] for name, indices in groups.items()},
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "reason": verdict.reason,
        "harmed": list(verdict.harmed),
        "cannot_be_judged": list(verdict.cannot_be_judged),
    }


@dataclass(frozen=True, eq=False)
class _Gains:
    """Gains of one arm over another as entries of the metrics."""

    labels: Ints
    probs: Mapping[str, NDArray[np.floating]]
    resamples: Resamples
    names: Sequence[str]
    verdict: Verdict

    def over(self, arm: str, rivals: Sequence[str]) -> dict[str, Any]:
        """The gain of an arm over each of some others."""
        return {key: self._entry(arm, rival) for key, rival in gains_over(rivals).items()}

    def _entry(self, arm: str, over: str) -> dict[str, Any]:
        """Gain in balanced accuracy with all that is known of its error, and gain in the recall of each class."""
        shown = gain_shown(self.resamples, arm, over, self.verdict.level)
        detectable = smallest_detectable_gain(self.resamples, arm, over, self.verdict.level)
        return {
            "balanced_accuracy": {
                "mean": rounded(shown.mean),
                "ci95": list(interval(self.resamples.gain(arm, over))),
                "interval": [shown.low, shown.high],
                "detectable": rounded(detectable),
                "standard_error": self._standard_error(arm, over),
            },
            "mcnemar": self._mcnemar(arm, over),
            "per_class": self._per_class(arm, over),
        }

    def _standard_error(self, arm: str, over: str) -> dict[str, float]:
        new, old = (self.probs[name].argmax(axis=2) == self.labels for name in (arm, over))
        parts = comparison.error_parts(self.labels, new.astype(np.float64) - old)
        entry = {"seeds": parts.seeds, "images": parts.images, "both": parts.both, "total": parts.total}
        return {name: rounded(variance**0.5) for name, variance in entry.items()}

    def _mcnemar(self, arm: str, over: str) -> dict[str, Any]:
        votes = (comparison.vote(self.probs[name]) for name in (arm, over))
        found = comparison.mcnemar(self.labels, *votes)
        return {"only_new": found.only_new, "only_old": found.only_old, "p_value": float(f"{found.p_value:.6g}")}

    def _per_class(self, arm: str, over: str) -> dict[str, Any]:
        observed = self.resamples.observed_class_gain(arm, over)
        per_class = self.resamples.class_gain(arm, over)
        num_hypotheses = len(baselines(self.probs)) * len(self.verdict.findings)
        detectable = harm.smallest_detectable(self.resamples, arm, over, num_hypotheses)
        tested = arm == COMPLETED and over in baselines(self.probs)
        p_values = {
            finding.subject.classes[0]: rounded(finding.p_values[over])
            for finding in self.verdict.findings
            if tested and not finding.subject.is_pool
        }
        return {
            name: {
                "mean": rounded(observed[k]),
                "ci95": list(interval(per_class[:, k])),
                "detectable": rounded(detectable[k]),
                "loss_p_value": p_values.get(name),
            }
            for k, name in enumerate(self.names)
        }


def _pooled(
    resamples: Resamples, class_names: Sequence[str], verdict: Verdict, settings: Settings
) -> dict[str, Any] | None:
    """The classes too small to be judged alone, judged together; none where there are none."""
    pool = harm.pool_of(resamples, class_names, settings.min_test_images)
    if not pool.classes:
        return None
    finding = next((finding for finding in verdict.findings if finding.subject.is_pool), None)
    over = gains_over(baselines(resamples.recall))
    gains = {key: harm.gain_of(resamples, rival, pool) for key, rival in over.items()}
    return {
        "classes": list(pool.classes),
        "test_images": pool.size_in(resamples),
        "judged": finding is not None,
        "harmed": finding is not None and finding.against is not None,
        "gain": {
            key: {
                "mean": rounded(gain.mean),
                "ci95": [gain.low, gain.high],
                "loss_p_value": None if finding is None else rounded(finding.p_values[over[key]]),
            }
            for key, gain in gains.items()
        },
    }


def _look(look: Look) -> dict[str, Any]:
    alpha, spent = (float(f"{value:.6g}") for value in (look.alpha, look.spent))
    return {
        "number": look.number,
        "alpha": alpha,
        "spent": spent,
        "budget": look.budget,
        "test_split": look.test_split,
    }


def _check(labels: Ints, class_names: Sequence[str], probs: Mapping[str, NDArray[np.floating]]) -> None:
    assert set(ARMS) <= set(probs) <= set(in_order(probs)), f"arms must be {', '.join(ARMS)}, got {', '.join(probs)}"
    if len(labels) == 0:
        raise UserError("evaluate: the test split holds no images; raise the test share under ingest in params.yaml")
    for arm, array in probs.items():
        assert array.shape[1:] == (len(labels), len(class_names)), f"{arm}: probs must be [S, N, C], got {array.shape}"
        if not np.isfinite(array).all():
            raise UserError(
                f"evaluate: the probabilities of '{arm}' must be finite, got NaN or inf: its training diverged"
            )
        assert np.allclose(array.sum(axis=2), 1, atol=0.01), f"{arm}: probs must sum to 1 over the classes"
