"""The mask store: pixel masks computed once and kept, run-length coded, in sorted Parquet files.

    STORE/store.json                whose masks these are: the segmenter's full spec, its identity,
                                    and the fingerprint of both
    STORE/set_aside.json            the images that `regiontok masks` could not do, and why
    STORE/<fingerprint>/ab.parquet  a shard: the images whose key begins with "ab", sorted by key
                                    (`all.parquet` while there are few images)
    STORE/<fingerprint>/parts/      what runs have finished and nobody has sorted into shards yet

The key of an image is the hash of its bytes (`Picture.key`), so masks are found whatever a file is
called. The fingerprint stands in the path, in `store.json` and in every file, and is compared
whenever one is opened: a changed parameter never reads a stale mask.

| module | what it holds |
| --- | --- |
| `layout` | `SegmenterRecord` and the marker `store.json`; which files are shards, which parts |
| `store` | `MaskStore`: read masks by key, also while others write |
| `writer` | `MaskWriter`: add masks; `compact`: sort parts into shards |
| `maintenance` | `verify`, `set_aside_corrupt`, `merge` |
| `parquet_file` | the columns of one file, and its reading and writing |
| `codes` | the check that run-length codes fit their image |
"""
