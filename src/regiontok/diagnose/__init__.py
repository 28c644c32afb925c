"""Measures of features and regions: tensors -> numbers."""
