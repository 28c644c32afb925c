"""Training data of the language model: from published records to batches, in an order that resumes.

| module | what it holds |
| --- | --- |
| `record` | `Record`: one conversation; `RecordError` |
| `records` | `Records`: conversations read from files in LLaVA's form |
| `generated` | `Miniworld`: such conversations about generated scenes |
| `world` | `WorldRecords`: such conversations about the pictures of the world |
| `chat_templates` | the jinja texts of templates, and their fixed date |
| `templates` | `Template`: a conversation as text, and which of it is supervised |
| `labels` | `Labeller`: a conversation as ids and labels |
| `visual_tokens` | `VisualTokens`: the number of visual tokens of images |
| `lengths` | `measure`: text and visual tokens of every record, before training |
| `mask_free` | `MaskFree`: a share of the samples shown without their masks |
| `cut` | `cut_row`: where a row ends that is too long |
| `pack` | `pack`: several samples in one row |
| `sampler` | `EpochOrder`: which records stand in which step |
| `cache` | `FeatureCache`: a frozen encoder's features, kept on disk |
| `conversations` | `Conversations`: examples by index, for a `DataLoader` |
| `collate` | `Collator`: examples as one batch |
| `collect` | images of a command line: files, folders, addresses |
"""
