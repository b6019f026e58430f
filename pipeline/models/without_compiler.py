"""torchvision and timm without torch's compiler, which they import and nothing here uses.

It takes longer to import than torch, torchvision and timm together, in every process that embeds.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch.compiler

ASKED = "torch._dynamo.utils"  # by torchvision.ops.roi_align, for one function


@contextmanager
def without_compiler() -> Iterator[None]:
    """Import libraries in this context so that they do not import the compiler.

    They get stand-ins for what they import of it. One asks the compiler when it is called. The
    other leaves a function as it is where the compiler would be told not to compile it; so what
    is imported here cannot be compiled (torch.compile) as a whole. A compiler that was imported
    before stays.
    """
    if ASKED in sys.modules:
        yield
        return
    stand_in, disable = ModuleType(ASKED), torch.compiler.disable
    stand_in.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules[ASKED], torch.compiler.disable = stand_in, _leave  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[ASKED]
        torch.compiler.disable = disable


def _is_compile_supported(device_type: str) -> bool:
    from torch._dynamo.utils import is_compile_supported

    return bool(is_compile_supported(device_type))


def _leave(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return _leave if function is None else function
