"""The Hugging Face hub and its cache, through `huggingface_hub`: one listing a repository, files when they are asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import CheckpointNotFoundError, SaveError
from .atomic import atomic_write_text
from .locations import Location
from .paths import check_name, safe_join

__all__ = ["HubLocation", "is_repository_id", "upload_folder"]


def is_repository_id(name: str) -> bool:
    """Whether the hub could have a repository of that name: `owner/name` or `name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


class HubLocation(Location):
    """A repository of the hub at one commit: one request lists its files and fixes it; offline the cache's snapshot serves."""

    source = "hub"

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        subfolder: str = "",
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> None:
        from huggingface_hub import constants

        self.name = name
        self._prefix = f"{subfolder.strip('/')}/" if subfolder else ""
        self._token = token
        self._cache = Path(cache_dir) if cache_dir is not None else Path(constants.HF_HUB_CACHE)
        self._repository = self._cache / ("models--" + name.replace("/", "--"))
        self._force = force_download
        wanted = check_name(revision, name) if revision is not None else constants.DEFAULT_REVISION
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
        why = "the cache alone was asked for" if local_files_only else why or self._list_online(wanted)
        self._offline = bool(why)
        if self._offline and force_download:
            raise CheckpointNotFoundError(f"{why}, and `force_download=True` needs the hub", name=name)
        if self._offline:
            self._list_cache(wanted, why)
        if not any(file.startswith(self._prefix) for file in self._files):
            raise CheckpointNotFoundError(f"`{name}` has no files in subfolder `{subfolder}`", name=name)

    def _list_online(self, wanted: str) -> str:
        """List the repository; returns why the hub can't be reached, or nothing."""
        from huggingface_hub import HfApi
        from huggingface_hub import errors as hub

        try:
            info = HfApi(token=self._token).model_info(self.name, revision=wanted, timeout=10)
        except (hub.HTTPError, OSError) as error:
            known = {
                hub.GatedRepoError: f"`{self.name}` is gated: accept its terms on its page, then pass `token=` or run `hf auth login`",
                hub.RepositoryNotFoundError: f"the hub has no repository `{self.name}`, or it is private and the token does not open it",
                hub.RevisionNotFoundError: f"`{self.name}` has no revision `{wanted}`",
            }
            for kind, reason in known.items():
                if isinstance(error, kind):
                    raise CheckpointNotFoundError(reason, name=self.name) from error
            return f"the hub could not be reached ({type(error).__name__}: {_first_line(error)})"
        self.revision = str(info.sha)
        self._files = tuple(sorted(sibling.rfilename for sibling in info.siblings or ()))
        self._remember(wanted)
        return ""

    def _remember(self, wanted: str) -> None:
        """Note which commit the revision stands for, as the hub's own library does, so that it is found offline."""
        if wanted == self.revision:
            return
        note = self._repository / "refs" / wanted
        try:
            if not note.exists() or note.read_text() != self.revision:
                note.parent.mkdir(parents=True, exist_ok=True)
                atomic_write_text(note, str(self.revision))
        except OSError:  # a read-only cache serves as well
            return

    def _list_cache(self, wanted: str, why: str) -> None:
        note = self._repository / "refs" / wanted
        commit = note.read_text().strip() if note.is_file() else wanted
        snapshot = self._repository / "snapshots" / check_name(commit, str(note))
        if not snapshot.is_dir():
            raise CheckpointNotFoundError(
                f"{why}, and the cache in `{self._cache}` has no `{self.name}` at revision `{wanted}`", name=self.name
            )
        self.revision = commit
        self._files = tuple(sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()))

    def names(self) -> tuple[str, ...]:
        return tuple(file[len(self._prefix) :] for file in self._files if file.startswith(self._prefix))

    def fetch(self, name: str) -> Path | None:
        full = self._prefix + check_name(name, self.name)
        if full not in self._files:
            return None
        if not self._offline:
            self._download(full)
        return safe_join(self._repository / "snapshots" / str(self.revision), full)

    def _download(self, full: str) -> None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HTTPError

        arguments: dict[str, Any] = {"revision": self.revision, "cache_dir": self._cache, "token": self._token}
        try:
            hf_hub_download(self.name, full, force_download=self._force, **arguments)
        except (HTTPError, OSError) as error:
            raise CheckpointNotFoundError(
                f"`{full}` of `{self.name}` could not be downloaded: {_first_line(error)}. Try again, or use what the cache has "
                "with `local_files_only=True`.",
                name=self.name,
            ) from error


def upload_folder(
    folder: str | os.PathLike[str],
    *,
    repo_id: str,
    token: str | bool | None = None,
    private: bool | None = None,
    commit_message: str | None = None,
    revision: str | None = None,
) -> str:
    """Create the model repository where it is missing, upload the folder, and return the page of the commit.

    Raises:
        SaveError: the hub refuses or can't be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    api = HfApi(token=token)
    message = commit_message or "Upload model"
    try:
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return str(
            api.upload_folder(
                repo_id=repository,
                folder_path=os.fspath(folder),
                commit_message=message,
                revision=revision,
                ignore_patterns=[".*.tmp"],
            )
        )
    except (HTTPError, OSError, ValueError) as error:
        raise SaveError(f"`{repo_id}` could not be uploaded: {_first_line(error)}", name=repo_id) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
