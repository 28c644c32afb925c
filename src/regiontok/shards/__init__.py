"""Pretraining shards: images in tars, with their regions and labels in Parquet side-cars.

    FOLDER/NAME.tar                  images, as whoever made the data set wrote them
    FOLDER/NAME.regions.parquet      the side-car: one row an image, with its regions
    FOLDER/NAME.regions.json         the side-car's report, written last
    FOLDER/regions.manifest.json     all reports in one file, to begin faster
    FOLDER/NAME.tar.index.json       where each image lies in the tar, if the side-car does not say

docs/reference/shards.md is the format. Images are never written again, and several side-cars may
exist for one tar.

| module | what it holds |
| --- | --- |
| `tar` | `TarIndex`: the images of a tar at random; `ShardError` |
| `image_regions` | `ImageRegions`: the regions of an image |
| `sidecar` | the side-car's writer and reader |
| `token_sidecar` | `ImageTokens`: the tokens of a tar's images, one file a tar |
| `report` | `SidecarReport`: the JSON beside a side-car |
| `manifest` | the reports of a folder of side-cars in one file |
| `sources` | `ShardSource`: folders of shards; `find_shards` |
| `order` | `StreamOrder`: which image stands at which position of an endless stream |
| `decode` | `decode_crop`: the part of an encoded image that a view shows |
| `device_decode` | `decode_crops`: crops that are decoded on a GPU |
| `shares` | `mask_shares`: how much of each patch a mask covers |
| `views` | `View`: a crop of an image with exactly N of its regions; `ViewSettings`, `LabelSpace` |
| `random_view` | `draw_view`: a random view of an image |
| `stream` | `ShardViews`: the views of several sources |
| `batch` | `RegionBatch`: views as tensors |
| `loading` | `load_parts`: a rank's batches, read by its workers |
"""
