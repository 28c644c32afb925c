"""Curation: from raw images to labelled regions, piece by piece, resumable at any of them.

    OUT/curation.json               the tars, as they were when the curation began
    OUT/NAME.tar.index.json         where each image lies in a tar
    OUT/NAME.STAGE.parquet          what a stage found out, one row an image
    OUT/NAME.STAGE.json             its report, written last: a file without it does not count
    OUT/pieces/NAME.STAGE.N.parquet a piece of about 1,024 images, merged into the above and removed
    OUT/keep.parquet, keep.json     the images that stay, and what they were chosen by

Tars stay as they are. Each report has the hash of its stage's settings, over the hashes of what the
stage has read: a stage whose settings have changed is done anew, and so is all that comes after it.

| module | what it holds |
| --- | --- |
| `plan` | `CurationPlan`: the settings, a TOML file |
| `tars` | `Curation`: an output folder and its tars; `Piece` |
| `stage_files` | pieces, their merging, and the reports of stages |
| `run` | `run_pieces`: the pieces that are missing, in this process or in several |
| `phash` | `perceptual_hash`: 64 bits by which near-duplicates are found |
| `filter` | the stage that reads every image once: small, corrupt, hashes |
| `duplicates` | groups of near-duplicates among all images; the keep-list |
"""
