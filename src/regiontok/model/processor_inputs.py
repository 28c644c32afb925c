"""What a processor is called with: options of its tokenizer, and images by row."""

from __future__ import annotations

from typing import Any

# what this processor answers for itself, and the tokenizer does not get
PROCESSOR_OPTIONS = (
    "return_tensors",
    "return_text_replacement_offsets",
    "return_mm_token_type_ids",
)


def tokenizer_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The options that the tokenizer gets."""
    options = {key: value for key, value in kwargs.items() if not key.endswith("_kwargs")}
    options |= dict(kwargs.get("text_kwargs") or {})
    options = {key: value for key, value in options.items() if key not in PROCESSOR_OPTIONS}
    if options.get("truncation"):
        raise ValueError(
            "text is never cut here, and a picture's tokens are not counted yet: shorten the text, "
            "not by truncation=True"
        )
    if kwargs.get("return_tensors"):
        options.setdefault("padding", True)
    return options


def check_counts(placeholders: list[int], images: list[int], by_row: bool) -> None:
    """Refuse another number of images than of placeholders, row by row if they came so."""
    if sum(placeholders) != sum(images) or (by_row and placeholders != images):
        image_rows = f" (by row: {images})" if by_row else ""
        raise ValueError(
            f"the prompts hold {sum(placeholders)} image placeholders (by row: {placeholders}), "
            f"but {sum(images)} images were given{image_rows}"
        )


def is_nested(images: Any) -> bool:
    return isinstance(images, list | tuple) and any(
        isinstance(image, list | tuple) for image in images
    )


def rows_of(images: Any) -> list[list[Any]]:
    """Images by row; without rows, all in one."""
    if images is None:
        return []
    if is_nested(images):
        return [
            list(row) if isinstance(row, list | tuple) else [] if row is None else [row]
            for row in images
        ]
    return [list(images)] if isinstance(images, list | tuple) else [[images]]
