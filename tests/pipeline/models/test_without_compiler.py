import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

SCRIPT = """
import sys
import torch
from pipeline.models import timm_library, torchvision_library
from pipeline.training import augmentation

def imported():
    return "torch._dynamo" in sys.modules

timm_library.timm.create_model("tf_efficientnet_lite0").eval()(torch.zeros(1, 3, 64, 64))
print(imported())

# What torchvision asks the compiler where it may compile, it is told.
asked = sys.modules["torchvision.ops.roi_align"].is_compile_supported
print(asked("meta"), imported())
from torch._dynamo.utils import is_compile_supported
print(all(asked(device) == is_compile_supported(device) for device in ("cpu", "cuda", "mps")))

# The compiler itself is as ever.
marked = torch.compiler.disable(lambda x: x)
print(hasattr(marked, "_torchdynamo_disable"))
"""


@pytest.mark.slow
def test_the_libraries_come_without_a_compiler_that_works_when_it_is_asked() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["False", "False True", "True", "True"]
