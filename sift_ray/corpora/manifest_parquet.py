"""Manifests in Parquet, whose audio lies in files that they name or in the table itself."""

from __future__ import annotations

from collections.abc import Iterator

from sift_ray.config import ManifestConfig
from sift_ray.corpora.listed import COLUMNS, ListRow, missing_column, texts_of
from sift_ray.corpora.parquet_shards import shard_footer, shard_rows
from sift_ray.corpora.reading import Reading
from sift_ray.corpora.tree import Tree
from sift_ray.corpora.utterance import CorpusError


def parquet_manifest_rows(
    config: ManifestConfig, folder: Tree, name: str, needed: tuple[str, ...], reading: Reading
) -> Iterator[ListRow]:
    """Yield the rows of a Parquet file, or of all that lie in and below a folder.

    Where the table has a column `duration`, headers of embedded audio are not read, also not of rows that leave it
    empty.

    Args:
        config: The manifest.
        folder: Where it lies.
        name: The file in it; empty: all of the folder.
        needed: Columns that must be there.
        reading: How headers are read.

    Raises:
        CorpusError: the folder holds no Parquet, or a table lacks a needed column.
    """
    paths = [name] if name else folder.walk((".parquet",))
    if not paths:
        raise CorpusError(f"{folder.uri}: no .parquet file is there; a folder is read as a manifest in Parquet")
    for path in paths:
        footer = shard_footer(folder, path)
        columns = () if footer is None else footer.columns
        for column in needed:
            if footer is not None and column not in columns:
                raise CorpusError(missing_column(f"{folder.uri}/{path}", column, columns))
        told = "duration" in columns
        for row in shard_rows(folder, path, COLUMNS, reading, read_header=not told, names_files=True):
            values, problem = texts_of(row.values)
            if row.audio_uri is None and row.audio_path is not None:
                values["audio"] = row.audio_path
            if row.reason is None and problem:
                row.reason, row.detail = "bad_column", problem
            yield ListRow(
                where=row.where,
                substitute_id=row.own_id(config.name, path),
                values=values,
                reason=row.reason,
                detail=row.detail.removeprefix(f"{row.where}: "),
                audio_uri=row.audio_uri,
                duration_s=row.duration_s,
            )
