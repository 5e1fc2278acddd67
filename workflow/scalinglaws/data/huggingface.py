"""Text from a data set of the Hugging Face hub: the source kind ``huggingface``."""

from __future__ import annotations

from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.data.formats import File
from scalinglaws.data.pinned import check, file_at, matches, sha256
from scalinglaws.study.spec import Source


def files(source: Source, downloads: Path) -> list[File]:
    """Fetch the files of a data set's revision that match the patterns of a source into the hub's own cache, and return them.

    Raises StudyError where they cannot be had or their hash is another one.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        # Online and offline the files come from the hub's cache; those that are missing are fetched into it first.
        folder = Path(
            snapshot_download(
                source.repository or "",
                repo_type="dataset",
                revision=source.revision,
                allow_patterns=list(source.files),
                ignore_patterns=list(source.exclude) or None,
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StudyError(
            f"data set {source.repository}, revision {source.revision}, cannot be had from the hub: {reason}\n"
            "check `repository` and `revision`; with HF_HUB_OFFLINE=1 it must be in the cache (HF_HOME) already"
        ) from None
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found = {name: paths[name] for name in sorted(paths) if matches(name, source)}
    if source.sha256 and found:
        check(source, f"data set {source.repository}", sha256(found.values()))
    return [file_at(name, path) for name, path in found.items()]
