"""Does the report say what the run found, safely, on full, partial, one-seed, and GAN-only runs?"""

import json
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest

from bench.findings import Finding, findings, headline
from bench.report import duration, escape_markdown, write_report
from bench.statistics import paired_difference, pick, t_interval
from bench.store import StoreError, load
from tests.synthetic import write_run

EVIL = '<script>alert("x")</script> | a\nb [c](http://example.org)'


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    not_done = {3: ("diverged", "first non-finite loss at step 120"), 30: ("crashed", EVIL)}
    arms = (("bce", "sigmoid"), ("l1", "raw"), ("l2", "raw"))
    path = write_run(tmp_path_factory.mktemp("full") / "run", 3, sr_arms=arms, not_done=not_done, title="Which <loss>?")
    write_report(path)
    return path


@pytest.fixture(scope="module")
def gan_only(tmp_path_factory):
    path = write_run(tmp_path_factory.mktemp("gan") / "run", seeds=2, tasks=("gan",), samples=False)
    write_report(path)
    return path


def test_the_report_is_written_with_its_figures_and_summary(full):
    names = {file.name for file in (full / "figures").iterdir()}
    assert names == {f"{n}.png" for n in ("robustness", "sr_crops", "gan_quality", "gan_samples", "gan_losses",
                                          "convergence", "step_time")}  # fmt: skip
    assert 0 < (full / "report.html").stat().st_size < 3_000_000
    summary = pd.read_csv(full / "summary.csv")
    assert {"n", "n_done", "metric", "mean", "ci_low", "ci_high", "predicted"} <= set(summary.columns)
    assert len(summary) == len(load(full).summary)


def test_the_page_loads_nothing_from_anywhere(full):
    page = _parse(full)
    assert not [url for _, url in page.urls if not url.startswith(("data:", "#"))]
    assert page.images == 8  # seven figures and the frame that enlarges them
    assert "@import" not in (full / "report.html").read_text(encoding="utf-8")


def test_every_figure_has_a_text_and_headings_come_in_order(full):
    page = _parse(full)
    assert all(len(alt) > 30 for alt in page.alts[:-1])
    assert page.headings[0] == 1
    assert all(later - earlier <= 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    assert page.headings.count(1) == 1


def test_what_users_wrote_is_escaped(full):
    html = (full / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert "Which &lt;loss&gt;?" in html
    markdown = (full / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert r"\[c\](http" in markdown


def test_failed_cells_are_results(full):
    html = (full / "report.html").read_text(encoding="utf-8")
    total = len(load(full).cells)
    assert f"{total - 2} of {total} training runs done" in html
    assert "1 diverged" in html
    assert "1 crashed" in html
    assert "first non-finite loss at step 120" in html


def test_markdown_links_its_figures(full):
    links = re.findall(r"\]\((figures/\w+\.png)\)", (full / "report.md").read_text(encoding="utf-8"))
    assert len(links) == 7
    assert all((full / link).exists() for link in links)


def test_markdown_tables_are_well_formed(full):
    lines = (full / "report.md").read_text(encoding="utf-8").splitlines()
    for header, rule, first in zip(lines, lines[1:], lines[2:], strict=False):
        if rule.startswith("| ---"):
            widths = {len(re.findall(r"(?<!\\)\|", line.strip())) for line in (header, rule, first)}
            assert len(widths) == 1


def test_reports_are_reproducible_and_figures_of_an_earlier_one_do_not_linger(gan_only):
    stale = gan_only / "figures" / "robustness.png"
    stale.write_bytes(b"old")
    before = {name: (gan_only / name).read_bytes() for name in ("report.html", "report.md", "summary.csv")}
    write_report(gan_only)
    assert before == {name: (gan_only / name).read_bytes() for name in before}
    assert not stale.exists()


def test_a_gan_only_run_says_that_pictures_are_missing(gan_only):
    html = (gan_only / "report.html").read_text(encoding="utf-8")
    assert "No sample pictures of the GAN" in html
    assert 'id="sr"' not in html
    assert not (gan_only / "figures" / "robustness.png").exists()


def test_one_seed_has_no_interval(tmp_path):
    path = write_run(tmp_path / "run", seeds=1, tasks=("sr",), sr_arms=(("l1", "raw"), ("l2", "raw")), samples=False)
    write_report(path)
    html = (path / "report.html").read_text(encoding="utf-8")
    assert "(1 seed" in html
    assert "one seed settles nothing" in html
    assert not re.search(r"\bnan\b", re.sub(r'src="data:[^"]*"', "", html))


def test_a_run_with_nothing_done_still_reports(tmp_path):
    pending = {number: ("pending", "") for number in range(1000)}
    path = write_run(tmp_path / "run", seeds=1, not_done=pending, finished=False)
    (path / "timing.csv").write_text((path / "timing.csv").read_text().splitlines()[0] + "\n")
    write_report(path)
    html = (path / "report.html").read_text(encoding="utf-8")
    assert "0 of 67 training runs done" in html
    assert "not finished" in html
    assert "Nothing to report yet" in html


def test_a_bare_manifest_is_enough(tmp_path, gan_only):
    path = shutil.copytree(gan_only, tmp_path / "run")
    cells = json.loads((path / "manifest.json").read_text())["cells"]
    (path / "manifest.json").write_text(json.dumps({"schema_version": 1, "cells": cells, "git": None}))
    write_report(path)
    assert "not from a git checkout" in (path / "report.html").read_text(encoding="utf-8")


def test_no_run_directory_is_one_clear_line(tmp_path):
    with pytest.raises(StoreError, match="manifest"):
        write_report(tmp_path)


def test_findings_are_computed_from_the_rows(full):
    run = load(full)
    salt = next(f for f in findings(run) if f.topic == "robustness" and "20 % salt outliers" in f.lead)
    arm = pick(run.cells, task="sr", loss="l2", head="raw")
    lost = t_interval(paired_difference(arm, "psnr_y_db", {"outlier": "clean"}, {"outlier": "salt", "rate": 0.2}))
    part = next(part for part in salt.parts if part.startswith("L2 raw"))
    assert part.startswith(f"L2 raw loses {lost.mean:.1f} dB ({lost.low:.1f} to {lost.high:.1f}, 3 seeds; theory ")


def test_findings_follow_the_rows_when_they_change(full):
    run = load(full)
    swapped = run.cells.replace({"loss": {"l1": "l2", "l2": "l1"}})
    first = next(f for f in findings(type(run)(run.path, run.manifest, swapped, run.images, run.curves, run.timing)))
    assert first.parts[0].startswith("L2")  # it is the rows, not the name, that make a loss robust


def test_the_clean_ranking_uses_the_margin(full):
    clean = next(f for f in findings(load(full)) if f.topic == "clean")
    verdicts = {re.search(r": ([a-z ]+)\)$", part).group(1) for part in clean.parts if "behind" in part}
    assert verdicts <= {"no difference worth having", "a real difference", "not settled"}


def test_dead_discriminators_are_counted(gan_only):
    dead = next(f for f in findings(load(gan_only)) if "dead" in f.lead)
    # the synthetic L1 dies at seed 0 under each of the 4 conditions: 4 of 3 losses x 4 conditions x 2 seeds
    assert dead.text == "Discriminators dead at the end: 4 of 24 GAN cells: 4 with L1 sigmoid."


def test_the_headline_contrasts_the_extremes():
    found = [Finding("clean", "x"), Finding("robustness", "With salt", ("L1 loses 1 dB", "BCE 2", "L2 loses 9 dB"))]
    assert headline(found) == "With salt: L1 loses 1 dB, while L2 loses 9 dB."
    assert headline([]) == ""


def test_duration_in_words():
    assert duration({"wall_s": 3725.2, "finished": "x"}) == "1 h 2 min"
    assert duration({"wall_s": 59.6, "finished": None}) == "1 min 0 s so far, not finished"
    assert duration({"started": "2025-01-01T00:00:00+00:00", "finished": "2025-01-01T00:01:05+00:00"}) == "1 min 5 s"
    assert duration({}) == "not finished"


def test_markdown_escapes():
    assert escape_markdown("a_b\nc|d <i>") == r"a\_b c\|d &lt;i&gt;"


class _Page(HTMLParser):
    """What a page loads, its alternative texts, and the levels of its headings."""

    def __init__(self):
        super().__init__()
        self.urls, self.alts, self.headings, self.images = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.urls += [
            (tag, attributes[key]) for key in ("src", "href", "srcset", "data", "poster") if attributes.get(key)
        ]
        if tag == "img":
            self.images += 1
            self.alts.append(attributes["alt"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))


def _parse(path):
    page = _Page()
    page.feed((path / "report.html").read_text(encoding="utf-8"))
    return page
