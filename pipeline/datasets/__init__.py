"""Datasets by name. A new one is one file here, one line of DATASETS and a block in params.yaml.

`dataset.py` says what a `Dataset` is; each other file ends with one.
"""

from typing import Any

from pipeline.datasets.cars196 import CARS196
from pipeline.datasets.cifar10 import CIFAR10
from pipeline.datasets.coco import COCO
from pipeline.datasets.cub import CUB
from pipeline.datasets.dataset import Dataset
from pipeline.datasets.fashion_mnist import FASHION_MNIST
from pipeline.datasets.folder import FOLDER
from pipeline.datasets.huggingface import HUGGINGFACE
from pipeline.datasets.inshop import INSHOP
from pipeline.datasets.mit_split import MIT_SPLIT
from pipeline.datasets.products.products import PRODUCTS
from pipeline.datasets.sop import SOP

DATASETS: dict[str, Dataset[Any]] = {
    "cars196": CARS196,
    "cifar10": CIFAR10,
    "coco": COCO,
    "cub": CUB,
    "fashion_mnist": FASHION_MNIST,
    "folder": FOLDER,
    "huggingface": HUGGINGFACE,
    "inshop": INSHOP,
    "mit_split": MIT_SPLIT,
    "products": PRODUCTS,
    "sop": SOP,
}
