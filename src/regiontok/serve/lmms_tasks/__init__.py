"""Task files for lmms-eval: ARO, ConMe and PixCV-Bench's questions; `--include_path` names them."""
