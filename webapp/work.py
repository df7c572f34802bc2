"""Every kind of work that is claimed row by row, beside the reading of cases."""

from typing import Any

from webapp.assessments.leases import Kind
from webapp.bundles.services import KIND as INSTALLATIONS
from webapp.datasets.services import KIND as DATASETS
from webapp.explanations.services import KIND as EXPLANATIONS
from webapp.promotion.services import KIND as COMPARISONS
from webapp.reproductions.services import KIND as REPRODUCTIONS
from webapp.training.services import KIND as TRAINING_RUNS

KINDS: tuple[Kind[Any], ...] = (
    EXPLANATIONS,
    REPRODUCTIONS,
    INSTALLATIONS,
    DATASETS,
    TRAINING_RUNS,
    COMPARISONS,
)
