"""The planted dataset, as for cross-validation."""

from tests.training.conftest import params, planted, project

__all__ = ["params", "planted", "project"]
