"""Tokens of tars: those of the tokenizer, one file a tar, the same bytes after a stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from regiontok import RegionTokenizer
from regiontok.core.picture import Picture
from regiontok.jobs.tars.job import open_tars
from regiontok.jobs.tars.tokens import TokenPlan, tokens_job
from regiontok.jobs.tokenize.tokenizer_set import TokenizerSet
from regiontok.settings.recipe import TokenizerSettings
from regiontok.shards.tar import ShardError, write_tar
from regiontok.shards.token_sidecar import read_token_sidecar
from samples.curation import contents, photo

ENCODER = "filters(size=112, fourier=0)"
PLAN = TokenPlan(TokenizerSettings(encoder=ENCODER).model_dump_json(), "merge(k=3)", batch=2)


@pytest.fixture
def tars(tmp_path):
    """A tar of four photos, of which one is cut off and one is low: few patches see it."""
    folder = tmp_path / "tars"
    folder.mkdir()
    files = [(f"{i}.jpg", photo(i)) for i in range(2)]
    write_tar(folder / "a.tar", [*files, ("x.jpg", photo(5)[:300]), ("y.jpg", photo(6, (8, 64)))])
    return folder


def job_of(tars, out, plan=PLAN):
    return tokens_job(open_tars([str(tars)], out, piece=2), plan)


def test_a_tar_has_the_tokens_of_its_images(tars, tmp_path):
    job = job_of(tars, tmp_path / "out")
    assert [outcome.error for outcome in job.run()] == [None, None]
    images = list(read_token_sidecar(tmp_path / "out" / "a.tokens.parquet"))
    assert [image.reason.split(":")[0] for image in images] == ["", "", "corrupt", ""]
    index, tokenizer = (
        job.curation.index(job.curation.tars[0]),
        RegionTokenizer(ENCODER, "merge(k=3)"),
    )
    for number in (0, 3):
        picture = Picture.of(index.read(number), index.key(number))
        expected = tokenizer.run([picture]).tokens[0]
        assert torch.equal(images[number].tokens.region, expected.region)
        torch.testing.assert_close(images[number].tokens.values, expected.values)
    assert (images[2].tokens, images[0].size) == (None, (48, 64))


def test_a_stopped_run_goes_on_and_other_settings_begin_anew(tars, tmp_path):
    list(job_of(tars, tmp_path / "whole").run())
    running = job_of(tars, tmp_path / "out").run()
    next(running)
    running.close()
    list(job_of(tars, tmp_path / "out").run())
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    other = TokenPlan(PLAN.settings, "merge(k=4)")
    assert len(job_of(tars, tmp_path / "out", other).pieces.missing) == 2


def test_one_image_that_cannot_be_tokenized_is_set_aside_alone(tars, tmp_path, monkeypatch):
    run = TokenizerSet.run

    def refuses_low_ones(self, pictures):
        if min(picture.size[0] for picture in pictures) < 10:
            raise ValueError("too low")
        return run(self, pictures)

    monkeypatch.setattr(TokenizerSet, "run", refuses_low_ones)
    list(job_of(tars, tmp_path / "out", replace(PLAN, batch=4)).run())
    images = list(read_token_sidecar(tmp_path / "out" / "a.tokens.parquet"))
    assert [image.tokens and len(image.tokens) for image in images] == [3, 3, None, None]
    assert (images[3].reason, images[3].size) == ("not tokenized: too low", (8, 64))


def test_what_cannot_be_made_or_read_is_said(tars, tmp_path):
    with pytest.raises(ValueError, match="segment"):
        job_of(tars, tmp_path / "out", TokenPlan(PLAN.settings, "segments(0.5)"))
    with pytest.raises(ShardError, match="no tokens here"):
        next(read_token_sidecar(tmp_path / "out" / "a.tokens.parquet"))
