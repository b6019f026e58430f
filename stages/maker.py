"""What makes the outputs of a stage: its code, the machine, the libraries and their settings."""

import hashlib
import json

from pipeline.machine import describe_machine
from pipeline.portable_bits import read_settings
from stages.stage_code import fingerprint_code


def fingerprint_maker(stage: str, bits: str) -> str:
    """Return 16 hex digits that change with all that may change the bits that `stage` writes from
    the same files and params.

    bits: of params.yaml.
    """
    about = {"code": fingerprint_code(stage), **describe_machine(bits), **read_settings()}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
