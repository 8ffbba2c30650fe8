"""Does the report show the results of the run, safely, for full, partial, one-seed, and GAN-only runs?"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from markupsafe import escape
from matplotlib.figure import Figure
from PIL import Image

from bench.analysis.claims import DOCUMENT
from bench.analysis.comparison import NOT_TESTED, t_interval
from bench.analysis.staleness import warnings_of
from bench.analysis.summary import comparable, paired_difference, pick, summary_of
from bench.analysis.verdicts import judge
from bench.reports import UnknownFigure
from bench.reports.build import redraw, write_report
from bench.reports.contents import duration
from bench.reports.figures import style
from bench.reports.figures.registry import FIGURES
from bench.reports.findings import Finding, findings, sentences
from bench.reports.glossary import GLOSSARY, explained
from bench.reports.rendering import escape_markdown
from bench.reports.tables.export import as_csv, as_latex
from bench.reports.tables.results import claims_table, gan_tables, location_table, unit_table
from bench.reports.tables.table import Table, TableCell
from bench.store import StoreError
from bench.store.reader import load, read_table
from bench.training.code import code_fingerprint
from tests.support.synthetic import RECONSTRUCTIONS, write_large_run, write_run

TWO = {name: FIGURES[name] for name in ("robustness", "gan_quality")}
NO_FIGURE = {"claim_procedure"}  # a proof has no seeds to draw
EVIL = '<script>alert("x")</script> | a\nb [c](http://example.org)'


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    not_done = {3: ("diverged", "first non-finite loss at step 120"), 30: ("crashed", EVIL)}
    arms = (("bce", "sigmoid"), ("l1", "raw"), ("l2", "raw"))
    path = write_run(
        tmp_path_factory.mktemp("full") / "run",
        3,
        (*RECONSTRUCTIONS, "gan", "location"),
        varied=True,
        sr_arms=arms,
        not_done=not_done,
        title="Which <loss>?",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.reports.figures.style.save", save_one_as_it_is)
        patch.setattr("bench.reports.build.FIGURES", {name: stands_for(name) for name in FIGURES})
        write_report(path)
    return path


def stands_for(name):
    """The line of a figure in the registry. All but two draw nothing, which takes most of the time: test_figures.py
    looks at each of them."""
    return FIGURES[name] if name in ("three_db", *NO_FIGURE) else FIGURES[name]._replace(draw=lambda run: Figure())


def save_one_as_it_is(figure, file, save=style.save):
    if file.stem == "three_db":
        save(figure, file)
    else:
        file.parent.mkdir(exist_ok=True)
        Image.new("P", (2, 2)).save(file)


@pytest.fixture(scope="module")
def judged(full):
    return judge(load(full))


@pytest.fixture
def no_figures(monkeypatch):
    """For tests of the text: figures take most of a report's time."""
    monkeypatch.setattr("bench.reports.build.FIGURES", {})


@pytest.fixture(scope="module")
def gan_only(tmp_path_factory):
    path = write_run(tmp_path_factory.mktemp("gan") / "run", seeds=2, tasks=("gan",), samples=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.reports.build.FIGURES", TWO)
        write_report(path)
    return path


def test_the_report_is_written_with_its_figures_and_summary(full):
    assert {file.stem for file in (full / "figures").iterdir()} == set(FIGURES) - NO_FIGURE
    assert 0 < (full / "report.html").stat().st_size < 3_000_000
    summary = pd.read_csv(full / "summary.csv")
    assert {"n", "n_done", "metric", "mean", "ci_low", "ci_high", "predicted"} <= set(summary.columns)
    assert len(summary) == len(summary_of(load(full)))


def test_claims_csv_is_the_judgement_of_the_rows(full, judged):
    table = read_table(full, "claims")
    assert list(table.columns) == list(judged.columns)
    assert table["verdict"].tolist() == judged["verdict"].tolist()
    assert table["estimate"].to_numpy() == pytest.approx(judged["estimate"].to_numpy(), nan_ok=True)


def test_every_tested_claim_is_in_the_table_and_in_its_chapter(full, judged):
    claims = judged
    tested = claims[claims["verdict"] != NOT_TESTED]
    assert {
        "l1-robust/sr-salt-0.2/loses-less",
        "l1-robust/location-far-0.2/ends-better",
        "l1-needs-decay/helps",
    } <= set(tested["claim"])
    table = claims_table(claims)
    assert [row[0].notes for row in table.rows] == [(name,) for name in tested["claim"]]
    salt = next(row for row in table.rows if row[0].notes == ("l1-robust/sr-salt-0.2/loses-less",))
    row = pick(claims, claim="l1-robust/sr-salt-0.2/loses-less").iloc[0]
    # 20 % salt costs the synthetic L2 some 12 dB and L1 0.4, and scatter over seeds is 0.05 dB per image
    assert [salt[1].text, salt[2].text, salt[3].text] == ["✓ SUPPORTED", f"+{row['estimate']:.2f} dB", "3"]
    html = (full / "report.html").read_text(encoding="utf-8")
    for claim in tested.itertuples():
        assert html.count(f"<code>{claim.claim}</code>") == 1
        assert html.count(f'href="#statement-{re.sub("[^a-z0-9]+", "-", claim.claim)}"') == 1  # on the first screen
        assert html.count(escape(claim.rule.partition("; ")[0])) >= 1
        assert escape(claim.may_conclude) in html
        assert claim.population in html
    for sentence in DOCUMENT.values():
        assert escape(sentence) in html


def test_untested_claims_are_reported_with_reasons(gan_only):
    html = (gan_only / "report.html").read_text(encoding="utf-8")
    claims = judge(load(gan_only))
    untested = claims[claims["verdict"] == NOT_TESTED]
    assert f"{len(untested)} of {len(claims)} statements are not tested by this run" in html
    assert all(escape(reason) in html for reason in untested["cells"])


def test_claims_with_unusual_text_are_escaped(gan_only, tmp_path, monkeypatch, no_figures):
    path = shutil.copytree(gan_only, tmp_path / "run")
    evil = judge(load(path)).assign(statement=EVIL, rule=EVIL, may_conclude=EVIL, cells=EVIL, document=EVIL)
    monkeypatch.setattr("bench.reports.build.judge", lambda run: evil)
    write_report(path)
    assert "<script>alert" not in (path / "report.html").read_text(encoding="utf-8")
    markdown = (path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert not re.search(r"(?<!\\)\| a b", markdown)


def test_the_chapters_come_in_order(full):
    html = (full / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'<h2 id="([\w-]+)"', html)
    assert ids == [
        "verdicts",
        "ran",
        "use",
        "robustness",
        "claims",
        "dynamics",
        "convergence",
        "cost",
        "tuning",
        "failed",
        "methods",
        "from",
        "words",
    ]
    targets = set(re.findall(r'href="#([\w-]+)"', html))
    assert targets <= set(re.findall(r'id="([\w-]+)"', html))


def test_figures_are_numbered_as_they_come_and_each_has_its_command(full):
    for name, pattern in (
        ("report.html", r"<strong>Figure (\d+)\.</strong>.*?--figure (\w+)"),
        ("report.md", r"\*\*Figure (\d+)\.\*\*.*?--figure (\w+)"),
    ):
        found = re.findall(pattern, (full / name).read_text(encoding="utf-8"))
        assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
        assert [name for _, name in found] == [name for name in FIGURES if name not in NO_FIGURE]


def test_a_single_figure_is_redrawn_as_the_report_drew_it(full, tmp_path):
    before = (full / "figures" / "three_db.png").read_bytes()
    (full / "figures" / "three_db.png").unlink()
    assert redraw(full, ["three_db"]) == [full / "figures" / "three_db.png"]
    assert (full / "figures" / "three_db.png").read_bytes() == before
    with pytest.raises(UnknownFigure, match="did you mean 'three_db'"):
        redraw(full, ["thre_db"])


def test_every_table_is_there_for_papers(full):
    tables = full / "tables"
    assert {file.suffix for file in tables.iterdir()} == {".csv", ".tex"}
    salt = pd.read_csv(tables / "robustness-photos-2-salt.csv")
    known = salt.loc[salt["loss and head"] == "L1 raw", "20 %"].iloc[0]
    mine = pick(
        summary_of(comparable(load(full))), task="sr", loss="l1", head="raw", metric="psnr_y_db", outlier="salt"
    )
    assert known == pytest.approx(pick(mine, rate=0.2)["mean"].iloc[0], abs=1e-6)
    for file in tables.glob("*.tex"):
        text = file.read_text(encoding="utf-8")
        assert text.isascii()
        assert r"\toprule" in text
        assert text.count(r"\begin") == text.count(r"\end")


def test_latex_and_csv_of_a_table_worked_out_by_hand():
    table = Table(
        "my table", "a & b", ["loss", "dB"], [[TableCell("L1_x", "L1_x"), TableCell("−0.5", -0.4999, ("n = 3",))]]
    )
    assert as_csv(table) == "loss,dB,dB: details\nL1_x,-0.4999,n = 3\n"
    latex = as_latex(table)
    below = r"L1\_x & \begin{tabular}[t]{@{}l@{}}$-$0.5 \\ {\scriptsize n = 3}\end{tabular} \\"
    for part in (r"\caption{a \& b}", r"\label{tab:my-table}", below, r"\begin{tabular}{ll}"):
        assert part in latex


def test_terms_are_explained_once_and_text_stays_text():
    html = str(explained("<PSNR> of a seed, and another seed; d_loss_x"))
    assert html.startswith("&lt;<a")
    assert html.count("</a>") == 2
    assert html.endswith(" of a <a" + html.split(" of a <a")[1])
    assert len({word.anchor for word in GLOSSARY}) == len(GLOSSARY)


def test_the_unit_of_a_pixel_is_compared_at_equal_training(full):
    # the synthetic unit changes nothing but the noise: adam and cosine have both units, the other settings one
    table = unit_table(load(full))
    assert [(row[0].text, row[1].text) for row in table.rows] == [
        ("adam, cosine", "0 to 1"),
        ("adam, cosine", "0 to 255"),
    ]
    assert unit_table(replace(load(full), cells=pick(load(full).cells, value_range=1))) is None


def test_the_location_table_compares_losses_with_estimators_and_equilibrium(full):
    table = location_table(comparable(load(full)))
    row = next(row for row in table.rows if row[0].text == "BCE sigmoid" and row[1].text == "far 20 %")
    columns = dict(zip(table.header, row, strict=True))
    assert columns["d_loss, equilibrium"].text == "0.618"  # science.md section 4
    assert columns["of the median"].text == "3.20"
    assert columns["of the plain mean"].text == "10.00"
    biased = {(row[0].text, row[1].text): row[2].notes[-1] for row in table.rows if "bias" in row[2].line}
    assert {condition for _, condition in biased} == {"near 20 %"}  # far outliers are not mistaken for samples
    assert biased["BCE sigmoid", "near 20 %"] == "bias in theory 0.016"
    assert biased["L1 sigmoid", "near 20 %"] == "bias in theory 0.088"


def test_a_table_cell_has_one_kind_of_minus(full, monkeypatch):
    row = pick(summary_of(comparable(load(full))), task="gan", metric="d_loss").head(1)
    below = row.assign(mean=-0.25, ci_low=-0.5, ci_high=-0.0001, predicted=-0.2, n=3, n_done=3)
    monkeypatch.setattr("bench.reports.tables.results.summary_of", lambda run: below)
    (table,) = gan_tables(comparable(load(full)))
    assert table.rows[0][2].line == "−0.250 (−0.500 to 0.000, n = 3; theory −0.200)"


def test_the_location_finding_starts_with_the_headline_rate(full):
    found = [finding for finding in findings(comparable(load(full))) if finding.topic == "location"]
    assert found[0].lead.startswith("Location GAN, far 20 %")
    assert "median 3.2; mean 10)" in found[0].lead
    assert [part.split(" 0.")[0] for part in found[0].parts] == ["BCE sigmoid", "L1 sigmoid", "L2 sigmoid"]


def test_the_page_loads_nothing_from_anywhere(full):
    page = _parse(full)
    assert not [url for _, url in page.urls if not url.startswith(("data:", "#"))]
    assert page.images == len(FIGURES) - len(NO_FIGURE) + 1  # the frame that enlarges them
    assert "@import" not in (full / "report.html").read_text(encoding="utf-8")


def test_every_figure_has_a_text_and_headings_come_in_order(full):
    page = _parse(full)
    assert all(len(alt) > 30 for alt in page.alts[:-1])
    assert page.headings[0] == 1
    assert all(later - earlier <= 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    assert page.headings.count(1) == 1


def test_user_text_is_escaped(full):
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
    assert f"{total - 2} of {total} cells done</span>, 1 diverged, 1 crashed" in html
    assert "first non-finite loss at step 120" in html


def test_markdown_links_its_figures(full):
    links = re.findall(r"\]\((figures/\w+\.png)\)", (full / "report.md").read_text(encoding="utf-8"))
    assert len(links) == len(FIGURES) - len(NO_FIGURE)
    assert all((full / link).exists() for link in links)


def test_markdown_tables_are_well_formed(full):
    lines = (full / "report.md").read_text(encoding="utf-8").splitlines()
    for header, rule, first in zip(lines, lines[1:], lines[2:], strict=False):
        if rule.startswith("| ---"):
            widths = {len(re.findall(r"(?<!\\)\|", line.strip())) for line in (header, rule, first)}
            assert len(widths) == 1


def test_reports_are_reproducible_and_figures_of_an_earlier_one_do_not_linger(gan_only, monkeypatch):
    monkeypatch.setattr("bench.reports.build.FIGURES", TWO)
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


def test_one_seed_has_no_interval(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.reports.build.FIGURES", {})
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
    assert "0 of 67 cells done" in html
    assert "not finished" in html
    assert "Nothing to report yet" in html


def test_a_bare_manifest_is_enough(tmp_path, gan_only, no_figures):
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
    assert verdicts <= {"no difference worth having", "worse", "not settled"}


def test_dead_discriminators_are_counted(gan_only):
    dead = next(f for f in findings(load(gan_only)) if "dead" in f.lead)
    # the synthetic L1 dies at seed 0 under each of the 4 conditions: 4 of 3 losses x 4 conditions x 2 seeds
    assert dead.text == "Discriminators dead at the end: 4 of 24 GAN cells: 4 with L1 sigmoid."


def test_the_first_screen_has_three_sentences():
    robust = Finding("robustness", "With salt", ("L1 loses 1 dB", "L2 loses 9 dB"), "With salt L1 1 dB, L2 9 dB.")
    found = [robust, robust._replace(brief="other"), Finding("clean", "x"), Finding("gan", "y", ("z",))]
    assert sentences(found, "Of 2 statements one.") == ["With salt L1 1 dB, L2 9 dB.", "x.", "Of 2 statements one."]
    assert sentences(found) == ["With salt L1 1 dB, L2 9 dB.", "x.", "y: z."]
    assert sentences([]) == []


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


def test_edited_mixed_and_stale_rows_are_flagged(gan_only, tmp_path, no_figures):
    path = shutil.copytree(gan_only, tmp_path / "run")
    cells = (path / "cells.csv").read_text().splitlines(keepends=True)
    cells[1] = cells[1].replace(",c0de,", ",0ther,")
    (path / "cells.csv").write_text("".join(cells))
    write_report(path)
    for name in ("report.html", "report.md"):
        text = (path / name).read_text()
        assert "cells.csv is not as the run wrote it" in text  # its hash is in the manifest
        assert "rows of 2 versions of the code are mixed (23 cells of code c0de, 1 cells of code 0ther; in gan)" in text
        assert "stale: the cells were trained by code 0ther, c0de, while the checkout" in text
    assert "the cells of this task were not all trained by the same code" in (path / "report.html").read_text()


def test_commands_repeat_the_additions_to_the_suite(gan_only, tmp_path, no_figures):
    path = shutil.copytree(gan_only, tmp_path / "run")
    added = ["--loss", "mine:Own", "--data", "folder:/home/me/photos"]
    for suite, more in (("quick", []), ("quick", added), ("mine", [])):
        manifest = json.loads((path / "manifest.json").read_text())
        file = suite if suite == "quick" else f"{suite}.toml"
        changed = {"argv": ["run", file, *more], "suite": manifest["suite"] | {"name": suite}}
        (path / "manifest.json").write_text(json.dumps(manifest | changed))
        write_report(path)
        whole = suite == "quick" and not more
        started = f"python -m bench run {file}" + (" --loss mine:Own --data folder:photos" if more else "")
        html, text = ((path / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
        assert f"<code>{started}</code>" in html
        assert f"- Started as: `{started}`\n" in text
        for page in (html, text):
            commands = page.rpartition("Where it comes from")[2]
            assert ("make bench" in commands) is whole  # alone it would train something else
            assert re.search(rf"^ *(<pre><code>)?{started}(    #.*)?$", commands, re.MULTILINE)


def test_metrics_beside_a_recommendation_have_their_names(full):
    text = (full / "report.md").read_text(encoding="utf-8")
    assert "by mean disparity error (px) over " in text
    assert "DISPARITY_ERROR" not in text


def test_what_is_not_reported_as_tuned_is_said_first_and_wherever_it_is_compared(tmp_path, bench_main, monkeypatch):
    monkeypatch.setattr("bench.reports.build.FIGURES", {})
    path = write_run(tmp_path / "run", 3, ("sr",), varied=True, samples=False)
    cells = pd.read_csv(path / "cells.csv", keep_default_na=False)
    raw = (cells["loss"] == "l2") & (cells["head"] == "raw")
    assert "not as tuned" not in bench_main("report", path)[2]
    cells.loc[raw & (cells["role"] == "report") & (cells["lr"] == 0.001), "lr"] = 0.003
    cells.to_csv(path / "cells.csv", index=False)
    code, _, err = bench_main("report", path)
    assert code == 0, err
    said = "L2 raw is reported at 0.003, while this run&#39;s tuning found 0.001"
    assert "adam, cosine: L2 raw is reported at 0.003, while this run's tuning found 0.001" in err
    html = (path / "report.html").read_text(encoding="utf-8").replace("&#x27;", "&#39;")
    text = (path / "report.md").read_text(encoding="utf-8")
    assert html.index(said) < html.index('<ul class="headline">')
    assert "not as tuned: L2 raw at 0.003, while its tuning found 0.001" in text
    claims = pd.read_csv(path / "claims.csv", keep_default_na=False).set_index("claim")
    assert "L2 raw is reported at 0.003" in claims.loc["l2-reconstruction/sr-raw", "rates"]
    assert claims.loc["l2-reconstruction/sr-sigmoid", "rates"] == ""
    assert "(not at tuned rates)" in text


def test_restoration_tests_are_not_called_clean(full):
    for name in ("report.html", "report.md"):
        text = (full / name).read_text(encoding="utf-8")
        assert not re.search("Test data are always clean|test pictures are clean|tested on were not", text)
        assert "Test inputs are spoiled as well" in text


def test_a_run_of_this_checkout_is_not_stale(gan_only, tmp_path):
    run = load(gan_only)
    now = code_fingerprint("cpu")
    assert warnings_of(replace(run, cells=run.cells.assign(code=now))) == []
    assert [doubt.split(":")[0] for doubt in warnings_of(run)] == ["stale"]


def test_a_report_of_twice_the_seeds_is_hardly_larger(tmp_path, monkeypatch):
    """Ten thousand cells must fit 10 MB: what grows is the number of conditions, not of cells."""
    monkeypatch.setattr("bench.reports.build.FIGURES", {})
    sizes = []
    for seeds in (2, 4):
        path = write_run(tmp_path / str(seeds), seeds, ("sr",), sr_arms=(("l1", "raw"), ("l2", "raw")), samples=False)
        write_report(path)
        sizes.append((path / "report.html").stat().st_size)
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.skipif("BENCH_LARGE" not in os.environ, reason="takes minutes; BENCH_LARGE=1 runs it")
def test_ten_thousand_cells_fit_a_minute_a_gigabyte_and_a_half_and_ten_megabytes(tmp_path):
    path = write_large_run(tmp_path / "large", 10_000)
    measured = "import resource, sys; from bench.reports.build import write_report; write_report(sys.argv[1]);"
    measured += "used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime, used.ru_maxrss)"
    out = subprocess.run([sys.executable, "-c", measured, str(path)], capture_output=True, text=True, check=True).stdout
    seconds, kilobytes = map(float, out.split()[-2:])
    assert seconds < 60
    assert kilobytes < 1.5e6
    assert (path / "report.html").stat().st_size < 10_000_000
