"""Curation: from raw images to labelled regions, piece by piece, resumable at any of them.

    OUT/curation.json               the images, as they were when the curation began
    OUT/NAME.photos.json            the listing of a part of a folder of photos
    OUT/NAME.tar.index.json         where each image lies in a tar
    OUT/NAME.STAGE.parquet          what a stage found out, one row an image
    OUT/NAME.STAGE.json             its report, written last: a file without it does not count
    OUT/pieces/NAME.STAGE.N.parquet a piece of about 1,024 images, merged into the above and removed
    OUT/pieces/NAME.STAGE.N.beat    touched every ten seconds while somebody works on a piece
    OUT/keep.parquet, keep.json     the images that stay, and what they were chosen by
    OUT/left_out.json               the tars without which the curation goes on, and why
    OUT/centroids.npy, .json        the centres of clusters, and what they were found on
    OUT/cluster.HASH/               a clustering that is under way; it is removed at its end
    OUT/shards/NAME.regions.parquet the side-cars of pretraining; for photos their tars, too

Tars and photos stay as they are; a part of a folder stands in the place of a tar. Each report has
the hash of its stage's settings, over the hashes of what the stage has read: a stage whose settings
have changed is done anew, and so is all that comes after it.

| module | what it holds |
| --- | --- |
| `plan` | `CurationPlan`: the settings, a TOML file |
| `sources` | what stages see of images: `Source`, `ImageIndex`, `ImageChanged` |
| `tars` | `Curation`: an output folder and its tars; `Piece` |
| `photos` | folders of photos, whose listing is frozen |
| `stage_files` | pieces, their merging, and the reports of stages |
| `steps` | a stage that goes piece by piece, a barrier, and one that still waits |
| `pipeline` | `Pipeline`: the stages in their order, and what each of them waits for |
| `left_out` | the tars without which a curation goes on |
| `run` | `run_steps`: the pieces that are missing, of several stages beside each other |
| `engines` | what does pieces: this process, several, or Ray |
| `phash` | `perceptual_hash`: 64 bits by which near-duplicates are found |
| `filter` | the stage that reads every image once: small, corrupt, hashes |
| `duplicates` | groups of near-duplicates among all images; the keep-list |
| `image_regions` | what the stages have found in an image, as regions of pretraining |
| `assemble` | the last stage: a side-car for each tar |
| `packing` | where side-cars lie; tars for images that lie in none |
| `verify_sidecars` | whether side-cars are whole and of these settings |
"""
