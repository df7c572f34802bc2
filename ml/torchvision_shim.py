"""Make ``import torchvision`` work beside a CPU-only torch. Import this before timm or Lightning.

The published torchvision wheel is built for CUDA. Beside a CPU-only torch its compiled operators
do not load, and the import dies on ``operator torchvision::nms does not exist``, taking timm,
Lightning and torchmetrics with it although none of them calls that operator here. Declaring the
two missing schemas lets the rest of torchvision load. The failure decides, not the kind of torch:
declaring a schema that exists would raise. ``torchvision.io`` and the detection operators stay out
of reach afterwards; nothing here needs them.
"""

import importlib
import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _load_torchvision() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", _SCHEMA)
        importlib.import_module("torchvision")


_load_torchvision()
