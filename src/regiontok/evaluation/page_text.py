"""How near the text of a whole page, or a translation, comes to the right one.

After: OCRBench v2's eval_scripts/page_ocr_metric.py at commit 794c36d: the mean of BLEU, METEOR,
the F-measure over distinct words and one less the edit distance over the longer text's letters.
Differs: what has no words is worth 0 in each part, also where the published script ends at it.
"""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

from regiontok.evaluation.words import edit_distance
from regiontok.system.errors import RegiontokWarning
from regiontok.system.need import need

_CHINESE = re.compile("[\u4e00-\u9fa5]")
_ASK_WORDNET = "python -m nltk.downloader wordnet"


def page_likeness(reply: str, answer: str) -> float:
    """The mean of BLEU, METEOR, F-measure and likeness by letters of a reply and the right text.

    Returns:
        A number from 0 to 1; NaN where WordNet, which METEOR compares synonyms by, is not there: a
        warning then says which command gets it.

    Raises:
        MissingPackage: If the extra `ocr` is not installed.
    """
    if not _has_wordnet():
        return float("nan")
    if not reply and not answer:
        return 0.0
    bleu = need("nltk.translate.bleu_score", extra="ocr")
    meteor = need("nltk.translate.meteor_score", extra="ocr")
    is_chinese = bool(_CHINESE.search(reply + answer))
    said, right = (_words(text, is_chinese) for text in (reply, answer))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of n-grams that never agree
        agreements = (
            bleu.sentence_bleu([right], said),
            meteor.meteor_score([right], said),
            _f_measure(set(said), set(right)),
            1 - edit_distance(reply, answer) / max(len(reply), len(answer)),
        )
    return float(sum(agreements)) / len(agreements)


def _words(text: str, is_chinese: bool) -> list[str]:
    if not is_chinese:
        return text.split()
    return list(_chinese_tokenizer().lcut(text))


@cache
def _chinese_tokenizer() -> Any:
    """jieba's own tokenizer, from its dictionary; its cache among temporary files is not read."""
    tokenizer = need("jieba", extra="ocr").Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer


def _f_measure(said: set[str], right: set[str]) -> float:
    """The harmonic mean of precision and recall over distinct words.

    >>> _f_measure({"a", "b"}, {"a", "c", "d", "e"})
    0.3333333333333333
    """
    together = len(said) + len(right)
    return 2 * len(said & right) / together if together else 0.0


@cache
def _has_wordnet() -> bool:
    """True if nltk finds WordNet; else one warning is given."""
    try:
        need("nltk.corpus", extra="ocr").wordnet.ensure_loaded()
    except LookupError:
        warnings.warn(
            "METEOR needs WordNet, which nltk does not find: questions that it scores are counted "
            f"as unscored. Get it by `{_ASK_WORDNET}`, or name its folder in NLTK_DATA",
            RegiontokWarning,
            stacklevel=2,
        )
        return False
    return True
