"""From features and labels to a trained fusion head: heads, cross-validation, metrics, predictions."""
