"""Train fusion heads on features and labels: cross-validation, search, ablation, pseudo-labels and predictions."""
