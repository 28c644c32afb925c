"""The battery that every method must pass, for methods of other packages too.

Each check takes a built method, runs it on empty, tiny, oblong and overlapping inputs, in several
dtypes, twice, and in a batch, and holds it to what its contract promises. What is wrong raises an
AssertionError that says so; pytest is not needed.

>>> from regiontok.steps.merge import Merge
>>> check_step(Merge(0.7), refuses={"overlap": "resolve='smallest'"})
"""

from regiontok.testing.benches import check_bench
from regiontok.testing.connectors import check_connector
from regiontok.testing.encoders import check_encoder
from regiontok.testing.methods import check_method
from regiontok.testing.places import check_place
from regiontok.testing.pools import check_pool
from regiontok.testing.segmenters import check_segmenter
from regiontok.testing.steps import check_step
from regiontok.testing.transforms import check_transform

__all__ = [
    "check_bench",
    "check_connector",
    "check_encoder",
    "check_method",
    "check_place",
    "check_pool",
    "check_segmenter",
    "check_step",
    "check_transform",
]
