"""Networks as folders and Hub repositories: `model.safetensors` with everything in it, `config.json` to read."""

from __future__ import annotations

from pathlib import Path

from vitesse.arch import to_data
from vitesse.errors import VitesseError
from vitesse.nets import Network
from vitesse.runs.files import write_json
from vitesse.saved import FILE, load_network, save_network

CONFIG = "config.json"


def save_pretrained(network: Network, folder: Path | str) -> Path:
    """Write `network` into `folder` and give the folder back.

    `model.safetensors` alone is enough to load it; `config.json` says the same to people and to the Hub.
    """
    folder = Path(folder)
    preprocess = None if network.preprocess is None else network.preprocess.to_dict()
    save_network(network, folder / FILE)
    write_json(
        folder / CONFIG,
        {
            "library_name": "vitesse",
            "arch": to_data(network.arch),
            "preprocess": preprocess,
            "classes": list(network.class_names),
        },
    )
    return folder


def from_pretrained(source: Path | str, *, revision: str | None = None) -> Network:
    """The network of a folder, of a `.safetensors` file, or of a repository of the Hugging Face Hub ("owner/name").

    It comes in evaluation mode. `revision` is a branch, tag or commit of the repository. VitesseError where there is no
    network, or where it is damaged.
    """
    return load_network(source if Path(source).exists() else _download(str(source), revision))


def push_to_hub(network: Network, repo: str, *, folder: Path | str, private: bool = False) -> str:
    """Save `network` into `folder` and upload that, with all else that lies in it (a model card, an ONNX file).

    Gives the address of the repository, which is made where it does not exist. Needs a login: `hf auth login`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    save_pretrained(network, folder)
    api = HfApi(library_name="vitesse")
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload a Vitesse network")
    except (HfHubHTTPError, LocalTokenNotFoundError, OSError, ValueError) as error:
        raise VitesseError(f"{folder} is written, but could not be uploaded to {repo}: {error}") from error
    return str(address)


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(repo, FILE, revision=revision, library_name="vitesse"))
    except HFValidationError:
        raise VitesseError(f"{repo} is neither a file, nor a folder, nor a repository's name (owner/name).") from None
    except (HfHubHTTPError, OSError) as error:
        raise VitesseError(
            f"{repo} is no folder here, and its {FILE} could not be fetched from the Hugging Face Hub: {error}"
        ) from error
