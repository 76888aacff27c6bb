"""The arms of the experiment by name, and which of them are compared."""

COMPLETED = "completed"
AUGMENTED = "augmented"
FEATURES = "feature_completed"
BASELINES = {"baseline_cross_entropy": "cross-entropy", "baseline_balanced_softmax": "Balanced Softmax"}
ARMS = (*BASELINES, AUGMENTED, COMPLETED)
APART = (FEATURES,)  # arms that the verdict does not look at
RIVALS = {
    "over_cross_entropy": "baseline_cross_entropy",
    "over_balanced_softmax": "baseline_balanced_softmax",
    "over_augmented": AUGMENTED,
}
BASELINE_RIVALS = {key: over for key, over in RIVALS.items() if over in BASELINES}
