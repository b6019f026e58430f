"""`lookalike push-to-hub`: a model, with its card, to the Hugging Face Hub."""

import logging
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.publishing.model_folder import OPTIONAL, write_model_folder
from app.searching.best_model import resolve_model
from pipeline.errors import UserError, one_line

REFUSED = (401, 403)  # the statuses of HTTP: no valid token, and no right
REMEDY = (
    "allowed: a token of the Hub that may write (https://huggingface.co/settings/tokens); set "
    "HF_TOKEN, or run: hf auth login"
)

logger = logging.getLogger(__name__)


def push_to_hub(root: Path, repository: str, *, model: str, private: bool) -> None:
    """Upload a model of the project at `root` to OWNER/NAME on the Hub, and print its address.

    The address of the Hub and the token are those that huggingface_hub knows: HF_ENDPOINT,
    HF_TOKEN, or what `hf auth login` has kept. Files of an earlier model that this one does not
    have are removed there.

    private: a new one is for its owner alone.

    Raises:
        UserError: the name is none, there is no token, the model cannot be read, or the Hub does
            not take it.
    """
    from huggingface_hub import HfApi  # half a second, which the other commands save

    _check_name(repository)
    token = _find_token()
    name = resolve_model(root, model).name
    with TemporaryDirectory() as folder:
        title = repository.partition("/")[2]
        write_model_folder(root, name, Path(folder), title=title, repository=repository)
        api = HfApi(token=token)
        _silence_hub()
        try:
            address = _upload(api, repository, Path(folder), name=name, private=private)
        except UserError:
            raise
        except Exception as error:  # which exceptions it raises depends on its version
            raise _tell(error, repository, endpoint=api.endpoint) from None
    logger.info("pushed the model %s to %s", name, repository)
    print(address)


def _upload(api: Any, repository: str, folder: Path, *, name: str, private: bool) -> str:
    """Upload the files in `folder` as one commit, and return the address of the repository."""
    # Without --private, what the owner's settings say.
    address = api.create_repo(repository, private=private or None, exist_ok=True)
    if private and not api.model_info(repository).private:
        raise UserError(
            f"--private: {repository} is there already, and all can read it; allowed: a new name, "
            "or one that is private; make it private in its settings on the Hub"
        )
    api.upload_folder(
        repo_id=repository,
        folder_path=folder,
        delete_patterns=list(OPTIONAL),
        commit_message=f"The model {name} of lookalike",
    )
    return str(address)


def _silence_hub() -> None:
    from huggingface_hub.utils import disable_progress_bars

    # Each attempt would be a warning; the error says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        disable_progress_bars()


def _check_name(repository: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    allowed = (
        "allowed: OWNER/NAME, of letters, digits, -, _ and ., such as me/birds; take another name"
    )
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise UserError(f"OWNER/NAME: found '{repository}'; {allowed}") from None
    if "/" not in repository:
        raise UserError(f"OWNER/NAME: found '{repository}'; {allowed}")


def _find_token() -> str:
    from huggingface_hub import get_token

    try:
        token = get_token()
    except Exception as error:  # of a login that is to be renewed
        raise UserError(f"HF_TOKEN: found none ({one_line(error)}); {REMEDY}") from None
    if not token:
        raise UserError(f"HF_TOKEN: found none; {REMEDY}")
    if not re.fullmatch(r"[!-~]+", token):  # an error of the request would print it
        raise UserError(f"HF_TOKEN: found one with characters that no token has; {REMEDY}")
    return str(token)


def _tell(error: Exception, repository: str, *, endpoint: str) -> UserError:
    """Return in one line what an upload to the Hub at `endpoint` has ended by."""
    from huggingface_hub.errors import HfHubHTTPError

    # Of a large file, the error that is raised only names the file.
    of_file = type(error) is RuntimeError and isinstance(error.__cause__, Exception)
    cause: Any = error.__cause__ if of_file else error
    if not isinstance(cause, HfHubHTTPError):
        return UserError(
            f"{endpoint}: {repository} was not pushed ({one_line(cause)}); check the connection, "
            "HF_ENDPOINT and HF_HUB_OFFLINE, and run it again"
        )
    status = cause.response.status_code
    reason = " ".join((cause.server_message or one_line(cause)).split())
    if status in REFUSED:
        return UserError(
            f"{endpoint}: refuses to write {repository} ({status}: {reason}); {REMEDY}"
        )
    return UserError(
        f"{endpoint}: did not take {repository} ({status}: {reason}); run it again later, or take "
        "another name"
    )
