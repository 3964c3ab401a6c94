"""What LeRobot needs before it is imported where torchvision is built for another torch.

torchvision's wheel from the index is built for CUDA and does not load its compiled part beside a
CPU torch: naming the operators that its import asks for is enough, as no picture needs them. Runs
in a peer's environment: it imports nothing of this project.
"""

import sys

import torch

try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        library.define(schema)
    import torchvision  # noqa: F401
