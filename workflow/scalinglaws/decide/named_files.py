"""The files that a config names must be there before anything is trained: texts of kind ``files``, a tokenizer.json, tables.

Of texts and tokenizers only what is still to be read is looked at. Text that a corpus or token files were already made of may
have moved away since.
"""

from __future__ import annotations

import contextlib
import glob
import os
from fnmatch import fnmatchcase
from pathlib import Path

from scalinglaws.common.errors import StudyError
from scalinglaws.data import local_files, pinned
from scalinglaws.study.paths import evaluation_path, has_run, study_folder
from scalinglaws.study.spec import Source, TokenizerSpec
from scalinglaws.study.study import Study

HASHED_BYTES = 1 << 26  # of files of one source, up to which their hash is checked, too; the stage corpus checks it in any case


def check(study: Study, results: Path = Path("results")) -> None:
    """Check the folder of a study, the tables of its ``external_runs``, and the files that its unfinished runs are made from.

    Parameters
    ----------
    study
        The study.
    results
        The folder of results, which tells what is made already.

    Raises
    ------
    StudyError
        A pattern matches no file, a file cannot be read, the content is not the one that the config pins by its sha256, a
        tokenizer.json is none, a table lacks a column that is needed or named, or the folder of another study has nearly the
        study's name.
    """
    _check_folder(study.name, study_folder(results, study.name).parent)
    if study.external:
        from scalinglaws.tables import external  # few studies have such tables, and pyarrow takes time to import

        external.check([(table.path, table.columns) for table in study.external])
    missing = {folder for folder in _token_folders(study, results) if not (results / "tokens" / folder / "meta.json").exists()}
    tokenizers = {folder.partition("/")[2] for folder in missing}
    corpora = {folder.partition("/")[0] for folder in missing}
    for spec in (study.tokenizers[name] for name in sorted(tokenizers) if name in study.tokenizers):
        if (results / "tokenizers" / spec.id / "tokenizer.json").exists():
            continue
        if spec.kind == "file":
            _check_tokenizer(spec)
        corpora |= {spec.corpus.id} if spec.corpus else set()
    texts = {spec.id: spec for name in corpora & set(study.corpora) for spec in study.corpora[name].shares}
    for name, text in sorted(texts.items()):
        if (results / "corpora" / name / "report.json").exists():
            continue
        for number, source in enumerate(text.sources):
            if source.kind == "files":
                _check_source(source, f"corpora.{study.corpus_names.get(name, name)}.sources[{number}]")


def _check_folder(name: str, studies: Path) -> None:
    """Refuse a name that differs from that of another study by case only: some file systems would give both the same folder."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for other in sorted(os.listdir(studies)):
            if other != name and other.casefold() == name.casefold():
                raise StudyError(
                    f"study: {name} differs from study {other}, whose results are in {studies}, only in small and capital "
                    "letters, and some file systems take both for one folder: choose another name"
                )


def _token_folders(study: Study, results: Path) -> set[str]:
    """Return the token folders that what is not made yet is made from."""
    found = {spec.tokens_id for run, spec in study.runs.items() if not has_run(results, run)}
    for run, evaluation in study.evaluations.items():
        if not evaluation_path(results, run, evaluation).exists():
            found.update(study.evaluate[run])
    return found


def _check_source(source: Source, where: str) -> None:
    size = left = 0
    for pattern in source.files:
        paths = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
        if not paths:
            told = f"is a folder: write {pattern.rstrip('/')}/*.txt" if os.path.isdir(pattern) else "matches no file"
            raise StudyError(f"{where}: files: {pattern!r} {told} (paths are relative to the working directory)")
        if closed := [path for path in paths if not os.access(path, os.R_OK)]:
            raise StudyError(f"{where}: files: {closed[0]!r} cannot be read: its permissions do not allow it")
        taken = [path for path in paths if not any(fnmatchcase(Path(path).as_posix(), p) for p in source.exclude)]
        left += len(taken)
        size += sum(os.path.getsize(path) for path in taken)
    if not left:
        raise StudyError(f"{where}: exclude: {list(source.exclude)} leaves none of the files that `files` matches")
    if source.sha256 is None or size <= HASHED_BYTES:
        try:
            local_files.files(source, Path())
        except StudyError as error:
            raise StudyError(f"{where}: {error}") from None


def _check_tokenizer(spec: TokenizerSpec) -> None:
    path = Path(spec.path or "")
    if not path.is_file():
        told = "is a folder" if path.is_dir() else "is no file"
        raise StudyError(f"tokenizer.path: {spec.path} {told} (it is relative to the working directory)")
    if not os.access(path, os.R_OK):
        raise StudyError(f"tokenizer.path: {spec.path} cannot be read: its permissions do not allow it")
    if path.stat().st_size > HASHED_BYTES:
        return
    if (computed := pinned.sha256([path])) != spec.sha256:
        raise StudyError(f"tokenizer.sha256: {spec.path} has sha256 {computed}, not {spec.sha256}: get the file that is meant")
    from scalinglaws.data.tokenizer import Encoder  # few studies have such a tokenizer, and numpy takes time to import

    try:
        Encoder(path)
    except StudyError as error:
        raise StudyError(f"tokenizer.path: {error}") from None
