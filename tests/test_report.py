"""Does the report say what the run found, safely, on full, partial, one-seed, and GAN-only runs?"""

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from markupsafe import escape

from bench.claims import DOCUMENT, judge
from bench.figures import FIGURES
from bench.findings import Finding, findings, headline, in_short
from bench.report import comparable, duration, escape_markdown, write_report
from bench.statistics import paired_difference, pick, t_interval
from bench.store import StoreError, load, read_table
from bench.tables import claims_table, location_table, unit_table
from bench.verdicts import NOT_TESTED
from tests.synthetic import write_run

EVIL = '<script>alert("x")</script> | a\nb [c](http://example.org)'


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    not_done = {3: ("diverged", "first non-finite loss at step 120"), 30: ("crashed", EVIL)}
    arms = (("bce", "sigmoid"), ("l1", "raw"), ("l2", "raw"))
    path = write_run(tmp_path_factory.mktemp("full") / "run", 3, ("sr", "gan", "location"), varied=True, sr_arms=arms,
                     not_done=not_done, title="Which <loss>?")  # fmt: skip
    write_report(path)
    return path


@pytest.fixture
def two_figures(monkeypatch):
    """For tests of the text: the other figures take most of a report's time."""
    monkeypatch.setattr("bench.report.FIGURES", {name: FIGURES[name] for name in ("robustness", "gan_quality")})


@pytest.fixture(scope="module")
def gan_only(tmp_path_factory):
    path = write_run(tmp_path_factory.mktemp("gan") / "run", seeds=2, tasks=("gan",), samples=False)
    write_report(path)
    return path


def test_the_report_is_written_with_its_figures_and_summary(full):
    assert {file.stem for file in (full / "figures").iterdir()} == set(FIGURES)
    assert 0 < (full / "report.html").stat().st_size < 3_000_000
    summary = pd.read_csv(full / "summary.csv")
    assert {"n", "n_done", "metric", "mean", "ci_low", "ci_high", "predicted"} <= set(summary.columns)
    assert len(summary) == len(load(full).summary)


def test_claims_csv_is_the_judgement_of_the_rows(full):
    table, judged = read_table(full, "claims"), judge(load(full))
    assert list(table.columns) == list(judged.columns)
    assert table["verdict"].tolist() == judged["verdict"].tolist()
    assert table["estimate"].to_numpy() == pytest.approx(judged["estimate"].to_numpy(), nan_ok=True)


def test_every_tested_claim_is_in_the_table_and_in_its_chapter(full):
    claims = judge(load(full))
    tested = claims[claims["verdict"] != NOT_TESTED]
    assert {"l1-robust/sr-salt-0.2", "l1-robust/location-far-0.2", "l1-needs-decay/helps"} <= set(tested["claim"])
    table = claims_table(claims)
    assert [row[0].notes for row in table.rows] == [(name,) for name in tested["claim"]]
    salt = next(row for row in table.rows if row[0].notes == ("l1-robust/sr-salt-0.2",))
    row = pick(claims, claim="l1-robust/sr-salt-0.2").iloc[0]
    # 20 % salt costs the synthetic L2 some 12 dB and L1 0.4, and scatter over seeds is 0.05 dB per image
    assert [salt[1].text, salt[2].text, salt[3].text] == ["✓ SUPPORTED", f"+{row['estimate']:.2f} dB", "3"]
    html = (full / "report.html").read_text(encoding="utf-8")
    for claim in tested.itertuples():
        assert html.count(f"<code>{claim.claim}</code>") == 1
        assert html.count(escape(claim.rule)) >= 1
        assert escape(claim.may_conclude) in html
    for sentence in DOCUMENT.values():
        assert escape(sentence) in html


def test_what_a_run_does_not_test_is_said_and_why(gan_only):
    html = (gan_only / "report.html").read_text(encoding="utf-8")
    claims = judge(load(gan_only))
    untested = claims[claims["verdict"] == NOT_TESTED]
    assert f"{len(untested)} of {len(claims)} statements are not tested by this run" in html
    assert all(escape(reason) in html for reason in untested["cells"])


def test_claims_with_unusual_text_are_escaped(gan_only, tmp_path, monkeypatch, two_figures):
    path = shutil.copytree(gan_only, tmp_path / "run")
    evil = judge(load(path)).assign(statement=EVIL, rule=EVIL, may_conclude=EVIL, cells=EVIL, document=EVIL)
    monkeypatch.setattr("bench.report.claims.judge", lambda run: evil)
    write_report(path)
    assert "<script>alert" not in (path / "report.html").read_text(encoding="utf-8")
    markdown = (path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert not re.search(r"(?<!\\)\| a b", markdown)


def test_the_chapters_come_in_order(full):
    html = (full / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'<h2 id="([\w-]+)"', html)
    assert ids == ["findings", "verdicts", "ran", "sr", "claims-one-by-one", "gan", "location", "speed", "tuning",
                   "failed", "methods", "again", "from"]  # fmt: skip
    targets = set(re.findall(r'href="#([\w-]+)"', html))
    assert targets <= set(re.findall(r'id="([\w-]+)"', html))


def test_the_unit_of_a_pixel_is_compared_at_equal_training(full):
    # the synthetic unit changes nothing but the noise: adam and cosine have both units, the other settings one
    table = unit_table(load(full))
    assert [(row[0].text, row[1].text) for row in table.rows] == [
        ("adam, cosine", "0 to 1"),
        ("adam, cosine", "0 to 255"),
    ]
    assert unit_table(replace(load(full), cells=pick(load(full).cells, value_range=1))) is None


def test_the_location_table_sets_estimators_and_equilibrium_beside_each_loss(full):
    table = location_table(comparable(load(full)))
    row = next(row for row in table.rows if row[0].text == "BCE sigmoid" and row[1].text == "far 20 %")
    columns = dict(zip(table.header, row, strict=True))
    assert columns["d_loss, equilibrium"].text == "0.618"  # science.md section 4
    assert columns["median's"].text == "3.20"
    assert columns["mean's"].text == "10.00"


def test_the_location_finding_speaks_of_the_headline_rate_first(full):
    found = [finding for finding in findings(comparable(load(full))) if finding.topic == "location"]
    assert found[0].lead.startswith("Location GAN, far 20 %")
    assert "median 3.2; mean 10)" in found[0].lead
    assert [part.split(" 0.")[0] for part in found[0].parts] == ["BCE sigmoid", "L1 sigmoid", "L2 sigmoid"]


def test_the_page_loads_nothing_from_anywhere(full):
    page = _parse(full)
    assert not [url for _, url in page.urls if not url.startswith(("data:", "#"))]
    assert page.images == len(FIGURES) + 1  # the frame that enlarges them
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
    assert len(links) == len(FIGURES)
    assert all((full / link).exists() for link in links)


def test_markdown_tables_are_well_formed(full):
    lines = (full / "report.md").read_text(encoding="utf-8").splitlines()
    for header, rule, first in zip(lines, lines[1:], lines[2:], strict=False):
        if rule.startswith("| ---"):
            widths = {len(re.findall(r"(?<!\\)\|", line.strip())) for line in (header, rule, first)}
            assert len(widths) == 1


def test_reports_are_reproducible_and_figures_of_an_earlier_one_do_not_linger(gan_only, two_figures):
    write_report(gan_only)
    stale = gan_only / "figures" / "robustness.png"
    stale.write_bytes(b"old")
    names = ("report.html", "report.md", "summary.csv", "claims.csv")
    before = {name: (gan_only / name).read_bytes() for name in names}
    write_report(gan_only)
    assert before == {name: (gan_only / name).read_bytes() for name in before}
    assert not stale.exists()


def test_a_gan_only_run_says_that_pictures_are_missing(gan_only):
    html = (gan_only / "report.html").read_text(encoding="utf-8")
    assert "No sample pictures of the GAN" in html
    assert 'id="sr"' not in html
    assert not (gan_only / "figures" / "robustness.png").exists()


def test_one_seed_has_no_interval(tmp_path, two_figures):
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


def test_a_bare_manifest_is_enough(tmp_path, gan_only, two_figures):
    path = shutil.copytree(gan_only, tmp_path / "run")
    cells = json.loads((path / "manifest.json").read_text())["cells"]
    (path / "manifest.json").write_text(json.dumps({"schema_version": 1, "cells": cells, "git": None}))
    write_report(path)
    assert "not from a git checkout" in (path / "report.html").read_text(encoding="utf-8")


def test_no_run_directory_is_one_clear_line(tmp_path):
    with pytest.raises(StoreError, match="manifest"):
        write_report(tmp_path)


def test_findings_are_computed_from_the_rows(full):
    run = comparable(load(full))
    salt = next(f for f in findings(run) if f.topic == "robustness" and "20 % salt outliers" in f.lead)
    arm = pick(run.cells, task="sr", loss="l2", head="raw")
    lost = t_interval(paired_difference(arm, "psnr_y_db", {"outlier": "clean"}, {"outlier": "salt", "rate": 0.2}))
    part = next(part for part in salt.parts if part.startswith("L2 raw"))
    assert part.startswith(f"L2 raw loses {lost.mean:.1f} dB ({lost.low:.1f} to {lost.high:.1f}, 3 seeds; theory ")


def test_findings_follow_the_rows_when_they_change(full):
    run = comparable(load(full))
    swapped = run.cells.replace({"loss": {"l1": "l2", "l2": "l1"}})
    first = next(f for f in findings(type(run)(run.path, run.manifest, swapped, run.images, run.curves, run.timing)))
    assert first.parts[0].startswith("L2")  # it is the rows, not the name, that make a loss robust


def test_the_clean_ranking_uses_the_margin(full):
    clean = next(f for f in findings(comparable(load(full))) if f.topic == "clean")
    verdicts = {re.search(r": ([a-z ]+)\)$", part).group(1) for part in clean.parts if "behind" in part}
    assert verdicts <= {"no difference worth having", "a real difference", "not settled"}


def test_dead_discriminators_are_counted(gan_only):
    dead = next(f for f in findings(load(gan_only)) if "dead" in f.lead)
    # the synthetic L1 dies at seed 0 under each of the 4 conditions: 4 of 3 losses x 4 conditions x 2 seeds
    assert dead.text == "Discriminators dead at the end: 4 of 24 GAN cells: 4 with L1 sigmoid."


def test_the_headline_contrasts_the_extremes():
    found = [Finding("clean", "x"), Finding("robustness", "With salt", ("L1 loses 1 dB", "BCE 2", "L2 loses 9 dB"))]
    assert headline(found) == "With salt: L1 loses 1 dB, while L2 loses 9 dB."
    assert in_short(found) == ["x."]
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


def test_files_that_are_not_as_the_run_wrote_them_are_flagged(tmp_path, two_figures):
    write_run(tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    manifest["files"] = {"images.csv": "0" * 64}
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    write_report(tmp_path / "run")
    for name in ("report.html", "report.md"):
        assert "images.csv is not as the run wrote it" in (tmp_path / "run" / name).read_text()
