"""The card of a model: what it is, what it was trained on, how it was measured, how it is used.

A section says what the project knows, and what it does not know it leaves out.
"""

from collections.abc import Iterable

from huggingface_hub import EvalResult, ModelCardData

from app.publishing.base_model import describe_first_weights, find_base_model
from app.publishing.model_facts import DataFacts, ModelFacts
from pipeline.data.metrics_files import POSTPROCESSING
from pipeline.errors import escape_unprintable
from pipeline.evaluation.intervals_over import INTERVALS_OVER
from pipeline.report.metric_meanings import meanings_of

LIBRARY, TASK = "lookalike", "image-retrieval"
TAGS = [TASK, "metric-learning", "image-feature-extraction"]
UNNAMED = "OWNER/NAME"  # where a card does not know its place on the Hub
ARTIFACTS = ("baseline", "finetuned")  # of dvc.yaml
RESAMPLED = {"classes": "other classes", "images": "other images of these classes"}
# As in pyproject.toml, which an installation does not have.
DESCRIPTION = (
    "One reproducible DVC pipeline from images to a measured, searchable image-retrieval index"
)
OWN_IMAGES = ("folder", "mit_split")  # datasets that are one's own files

USE = """\
`lookalike` is the project that made this model: {description}.
In a checkout of it, after `make install`:

```python
from huggingface_hub import snapshot_download

from pipeline.api import embed_images, load_model

model = load_model(snapshot_download("{repository}"))
vector = embed_images(model, ["photo.jpg"], hflip={hflip})[0]
```

{unnamed}The nearer the vectors of two photos (by the {distance}), the more alike they are.
"""
UNNAMED_PLACE = f"`{UNNAMED}` is where this folder is on the Hugging Face Hub. "
REMOTE = "The repository of the project is {remote}."
ARTIFACT = "From there DVC fetches the model too: `dvc artifacts get {remote} {name}`."


def write_card(facts: ModelFacts, *, title: str, repository: str | None) -> str:
    """Return README.md of a model: its metadata as YAML, and the text.

    repository: OWNER/NAME on the Hub, None where that is not known.
    """
    title = escape_unprintable(title)
    sections = {
        "What it is": _describe_model(facts),
        "What it was trained on": _describe_training(facts),
        "How it was measured": _describe_measuring(facts),
        "How to use it": _describe_use(facts, repository),
        "Limits": _describe_limits(facts),
    }
    text = [f"---\n{_metadata(facts, title).to_yaml()}\n---\n", f"# {title}\n"]
    text += [f"## {heading}\n\n{body.strip()}\n" for heading, body in sections.items()]
    return "\n".join(text)


def _metadata(facts: ModelFacts, title: str) -> ModelCardData:
    shown = {} if facts.measured is None else facts.measured.of_model
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=facts.dataset,
            dataset_name=facts.dataset,
            dataset_split="test",
            metric_type=name,
            metric_value=value,
        )
        for name, value in shown.items()
    ]
    return ModelCardData(
        library_name=LIBRARY,
        tags=TAGS,
        base_model=find_base_model(facts.spec.backbone, facts.first_weights),
        model_name=title if results else None,
        eval_results=results or None,  # an empty list is one that the Hub does not read
    )


def _describe_model(facts: ModelFacts) -> str:
    spec, head = facts.spec, facts.spec.head
    weights = describe_first_weights(spec.backbone, facts.first_weights)
    rows = {
        "backbone": f"`{spec.backbone}`, which began with {weights}",
        "head": "none: the network's own features" if head.name == "none" else f"`{head.name}`",
        "loss": f"`{facts.params.loss.name}`" if facts.was_trained else "none: it was not trained",
        "image": f"the square in the middle, {spec.image_size} × {spec.image_size} pixels",
        "vector": f"{facts.dim} numbers{', of length 1' if spec.normalize else ''}",
    }
    if facts.understands_text:
        rows["words"] = "understood too: `text.safetensors`, `lookalike query --text`"
    rows["digest"] = f"`{facts.digest}`, which its vectors and its index name"
    return (
        "It turns images into vectors: of images that look alike, they are near to each other. "
        f"Made by `{LIBRARY}`, a pipeline of image retrieval.\n\n"
        + _table(("part", "what it is"), rows.items())
    )


def _describe_training(facts: ModelFacts) -> str:
    data, record = facts.data, facts.record
    if record is None:
        origin = "those that others have trained" if facts.spec.pretrained else "random ones"
        return f"Nothing: its weights are {origin}. It is what trained models are compared with."
    if record.best_epoch == 0:
        if record.val_map is None:
            return (
                "Nothing: the project had no images to train it with, so its weights are as before."
            )
        return "Nothing: no epoch of its training was better, so its backbone is as before."
    dataset = _name_dataset(facts)
    text = [f"{dataset[0].upper()}{dataset[1:]}."]
    if data is not None:
        text = [
            f"{text[0][:-1]} (fingerprint `{data.fingerprint}`): "
            f"{data.train_images:,} images of {data.train_classes:,} classes. "
            f"{data.val_images:,} other images, for validation, chose epoch {record.best_epoch}."
        ]
    better = "this model" if record.use == facts.name else f"`{record.use}`"
    text.append(f"By validation, {better} is the one to use: {record.because}.")
    text.append("All settings: `params.yaml`, without paths and addresses.")
    return " ".join(text)


def _name_dataset(facts: ModelFacts) -> str:
    """Return in words what the images are."""
    name = facts.params.data.name
    if facts.dataset_of_hub is not None:
        return f"the dataset `{facts.dataset_of_hub}` of the Hugging Face Hub"
    if name in OWN_IMAGES:
        return "a folder of images of one's own"
    if name == "products":
        return f"the dataset `{name}`, images that `{LIBRARY}` draws"
    return f"the dataset `{name}`"


def _describe_measuring(facts: ModelFacts) -> str:
    measured, data = facts.measured, facts.data
    if measured is None:
        return "It was not measured with the images of its project: how well it does is not known."
    numbers = measured.details
    text = [f"With test images of {_name_dataset(facts)}."]
    if "queries" in numbers and "gallery" in numbers:
        text.append(
            f"Each of {numbers['queries']:,} queries was looked for among {numbers['gallery']:,} "
            "images, the gallery; an image is never its own result."
        )
    if data is not None:
        text.append(_describe_split(data))
    if steps := measured.texts.get(POSTPROCESSING):
        text.append(f"Measured with post-processing that is not in this model: {steps}.")
    if facts.hflip:
        text.append("A vector is the mean of those of the image and of its mirror image.")
    over = RESAMPLED.get(measured.texts.get(INTERVALS_OVER, ""))
    if over is not None:
        text.append(f"An interval is the range in which its metric would probably be with {over}.")
    shown = measured.of_model
    rows = (
        (f"`{name}`", f"{value:.3f}, {_interval(numbers, name)}") for name, value in shown.items()
    )
    meanings = meanings_of(shown)
    listed = "\n".join(f"- `{name}`: {meaning}" for name, meaning in meanings)
    return f"{' '.join(text)}\n\n{_table(('metric', 'value, 95% interval'), rows)}\n\n{listed}"


def _describe_split(data: DataFacts) -> str:
    if data.train_images + data.val_images == 0:
        return f"Split `{data.protocol}`: no image is for training, all are for the test."
    if data.new_classes:
        return (
            f"Split `{data.protocol}`: no test class is one of the training or validation images, "
            "so the classes are new to the model."
        )
    return (
        f"Split `{data.protocol}`: no test image is one of training or validation, but other "
        "images of its class may be. With classes that it has never seen, the model may do worse."
    )


def _describe_use(facts: ModelFacts, repository: str | None) -> str:
    distance = facts.params.index.distance
    text = [
        USE.format(
            description=DESCRIPTION[0].lower() + DESCRIPTION[1:],
            repository=repository or UNNAMED,
            hflip=facts.hflip,
            unnamed=UNNAMED_PLACE if repository is None else "",
            distance=distance if distance == "cosine" else f"{distance} distance",
        )
    ]
    if facts.remote is not None:
        sources = [REMOTE.format(remote=facts.remote)]
        if facts.name in ARTIFACTS:
            sources.append(ARTIFACT.format(remote=facts.remote, name=facts.name))
        text.append(" ".join(sources))
    return "\n".join(text)


def _describe_limits(facts: ModelFacts) -> str:
    lines = [
        "It finds what looks alike. That two images are near is no proof that they show the same "
        "thing, and it was not made to recognize people.",
        "No license is named here: those of the backbone's weights and of the images hold.",
    ]
    if facts.measured is not None and facts.was_trained:
        seed = facts.params.train.seed
        lines.insert(
            0,
            f"They are of one training, with seed {facts.params.seed if seed is None else seed}. "
            "With another seed they would be others, and the intervals do not tell by how much.",
        )
    if facts.measured is not None:
        lines.insert(
            0,
            "Its numbers are of these images alone. On others it may do better or worse: measure "
            "it on your own before you rely on it.",
        )
    return "\n".join(f"- {line}" for line in lines)


def _interval(numbers: dict[str, float | int], name: str) -> str:
    low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
    return "unknown" if low is None or high is None else f"{low:.3f}–{high:.3f}"


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "\n".join(f"| {first} | {second} |" for first, second in lines)
