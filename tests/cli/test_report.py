"""`ckptload report`: the page, in a real browser, and what stands in it."""

from __future__ import annotations

import html.parser
import json
import os
import re
import subprocess
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
import cli_program
from ckptload.__main__ import main
from ckptload.cli import stats
from cli_program import FIXTURES, KEY
from strategies import floats, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import browser

CAPTURE = pytest.CaptureFixture[str]
#: Names that end scripts, begin markup, call for pictures, and hide text.
HOSTILE = (
    "</script><img src=x onerror=document.title='owned'>",
    "<!--<script>",
    "--></title></style><svg onload=document.title='owned'>",
    "';document.title='owned';//",
    "@DATA@",
    "\u202eweights\x00\x1b[31m",
    "${document.title='owned'}",
    '"><a href="https://example.com">a</a>',
)


def report(*arguments: object) -> int:
    return main(["report", "-q", *map(str, arguments)])


def saved(path: Path, values: dict[str, Any]) -> Path:
    ckptload.save_checkpoint(values, path)
    return path


def data_of(page: Path) -> dict[str, Any]:
    """Return what the page draws, read as a browser reads it."""

    class Parser(html.parser.HTMLParser):
        found = ""
        inside = False

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.inside = tag == "script" and ("id", "data") in attrs

        def handle_data(self, data: str) -> None:
            if self.inside:
                self.found += data

        def handle_endtag(self, tag: str) -> None:
            self.inside = self.inside and tag != "script"

    parser = Parser()
    parser.feed(page.read_text("utf-8"))
    found: dict[str, Any] = json.loads(parser.found)
    return found


@pytest.fixture
def network() -> dict[str, Any]:
    """Return entries with everything that the page marks."""
    random = np.random.default_rng(0)
    values: dict[str, Any] = {
        f"encoder.{layer}.{part}": random.standard_normal((16 * (layer + 1), 8)).astype(np.float32)
        for layer in range(12)
        for part in ("query.weight", "value.weight")
    }
    values["head.weight"] = np.array([1, np.nan, np.inf, 3], np.float32)
    values["head.bias"] = np.zeros(10, np.float16)
    values["norm.gamma"] = np.ones(10, np.float32)
    values["steps"] = np.array(5, np.int64)
    values["note"] = "a text"
    return values


# -- what stands in the page ------------------------------------------------------------------------------


def test_the_page_is_one_file_that_names_no_other(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert report(FIXTURES / "adam.ckpt", "-o", page) == 0
    text = page.read_text("utf-8")
    text_without_data = re.sub(r"<script type=.*?</script>", "", text)
    # The one address is that of the page's own CSV.
    elsewhere = r"(src|href)\s*=(?! URL\.createObjectURL\(new Blob)|url\(|@import|https?://"
    assert not re.search(elsewhere, text_without_data)
    assert "default-src 'none'" in text


def test_statistics_and_histograms_stand_in_it(tmp_path: Path, network: dict[str, Any]) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "net.ckpt", network), "-o", page)
    entries = {entry[0]: entry for entry in data_of(page)["entries"]}
    assert list(entries) == list(network)
    values = network["encoder.3.query.weight"]
    dtype, shape, nbytes, elements, _, numbers, histogram, _, problem = entries["encoder.3.query.weight"][1][0]
    assert (dtype, shape, nbytes, elements, problem) == ("Float32", "(64, 8)", 2048, 512, None)
    expected = [values.min(), values.max(), values.mean(), values.std(), np.linalg.norm(values.astype(np.float64))]
    assert numbers[:5] == pytest.approx(expected, rel=1e-5)
    assert histogram[:2] == [values.min(), values.max()]
    counts = np.histogram(values.astype(np.float64), stats.BINS)[0]
    assert np.abs(np.cumsum(histogram[2]) - np.cumsum(counts)).max() <= 2
    sides = {name: entry[1][0] for name, entry in entries.items()}
    assert sides["head.weight"][5][5:7] == [1, 1]
    assert sum(sides["head.weight"][6][2]) == 2
    assert sides["head.bias"][5][8] == 1
    assert sides["note"][7] == "a text"


def test_entries_of_types_that_are_not_supported_are_shown_and_compared(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.ckpt", "b.ckpt")]
    for path, last in zip(paths, (b"3", b"4"), strict=True):
        path.write_bytes(record("same", (2,), "Foo", b"12") + record("other", (), "Foo", last) + floats("good", 1.0))
    page = tmp_path / "page.html"
    assert report(paths[0], "-o", page, "--against", paths[1]) == 0
    data = data_of(page)
    assert "not supported: type 'Foo' of 2 entries: 'same', 'other'" in data["files"][1]["about"]
    entries = {entry[0]: entry for entry in data["entries"]}
    assert entries["same"][1][0][:3] == ["Foo", "(2,)", 2]
    assert entries["same"][1][0][8] is None
    assert {name: entry[2] for name, entry in entries.items()} == {"same": "same", "other": "changed", "good": "same"}


def test_what_only_the_file_has_was_added_and_what_only_the_other_has_was_removed(tmp_path: Path) -> None:
    before = saved(tmp_path / "a.ckpt", {"w": np.array([0.0, 1.0]), "gone": np.ones(2), "same": np.ones(3)})
    after = saved(tmp_path / "b.ckpt", {"w": np.array([0.0, 4.0]), "new": np.ones(2), "same": np.ones(3)})
    page = tmp_path / "page.html"
    assert report(after, "--against", before, "-o", page) == 0
    data = data_of(page)
    assert [file["name"] for file in data["files"]] == ["a.ckpt", "b.ckpt"]
    statuses = {name: status for name, _, status, _ in data["entries"]}
    assert statuses == {"w": "changed", "gone": "removed", "same": "same", "new": "added"}
    sides = {name: [side is not None for side in both] for name, both, _, _ in data["entries"]}
    assert (sides["gone"], sides["new"]) == ([True, False], [False, True])


def test_two_files_share_the_range_of_their_histograms(tmp_path: Path) -> None:
    before = saved(tmp_path / "a.ckpt", {"w": np.array([0.0, 1.0])})
    after = saved(tmp_path / "b.ckpt", {"w": np.array([0.0, 4.0])})
    page = tmp_path / "page.html"
    assert report(after, "--against", before, "-o", page) == 0
    _, (a, b), _, distances = data_of(page)["entries"][0]
    assert a[6][:2] == b[6][:2] == [0, 4]
    assert [at for at, count in enumerate(a[6][2]) if count] == [0, stats.BINS // 4]
    assert [at for at, count in enumerate(b[6][2]) if count] == [0, stats.BINS - 1]
    assert distances == [[1, 3.0, 1.5, 1.0]]


def epochs(folder: Path, *numbers: int) -> list[Path]:
    """Return checkpoints of a training; one tensor of the first is dropped, one comes later, and a NaN at the end."""
    paths = []
    for number in numbers:
        values: dict[str, Any] = {
            "layer.weight": np.full(4, number, np.float32),
            "layer.bias": np.ones(2, np.float32),
            "count": np.array(number, np.int64),
        }
        if number == min(numbers):
            values["early"] = np.ones(1, np.float32)
        else:
            values["late"] = np.ones(1, np.float32)
        if number == max(numbers):
            values["layer.weight"][0] = np.nan
        paths.append(saved(folder / f"epoch_{number}.ckpt", values))
    return paths


def test_several_files_are_shown_over_time_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """A shell's pattern gives epoch_10 before epoch_2."""
    paths = epochs(tmp_path, 1, 10, 2)
    page = tmp_path / "page.html"
    assert report(*paths, "-o", page) == 0
    data = data_of(page)
    assert [file["name"] for file in data["files"]] == ["epoch_1.ckpt", "epoch_2.ckpt", "epoch_10.ckpt"]
    entries = {entry[0]: entry for entry in data["entries"]}
    assert {name: entry[2] for name, entry in entries.items()} == {
        "layer.weight": "changed",
        "layer.bias": "same",
        "count": "changed",
        "early": "removed",
        "late": "added",
    }
    numbers = [side[5] for side in entries["layer.weight"][1]]
    assert [side[4] for side in numbers] == pytest.approx([2, 4, 10 * 3**0.5])
    assert [side[5] for side in numbers] == [0, 0, 1]
    assert [distance[1] for distance in entries["layer.weight"][3]] == [1, 9]
    assert [side is None for side in entries["late"][1]] == [True, False, False]
    assert [side[7] for side in entries["count"][1]] == [1, 2, 10]


def test_a_missing_folder_is_said_before_anything_is_read(tmp_path: Path, capsys: CAPTURE) -> None:
    page = tmp_path / "none" / "page.html"
    assert report(tmp_path / "missing.ckpt", "-o", page) == 2
    assert f"mkdir -p {tmp_path / 'none'}" in capsys.readouterr().err
    assert not page.parent.exists()


def test_against_is_for_one_file(tmp_path: Path, capsys: CAPTURE) -> None:
    paths = epochs(tmp_path, 1, 2, 3)
    page = tmp_path / "page.html"
    assert report(*paths[:2], "--against", paths[2], "-o", page) == 2
    assert "--against" in capsys.readouterr().err
    assert not page.exists()


def test_a_directory_among_several_files_means_the_checkpoints_in_it(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    epochs(tmp_path / "more", 3, 4)
    page = tmp_path / "page.html"
    assert report(*epochs(tmp_path, 1, 2), tmp_path / "more", "-o", page) == 0
    names = [file["name"] for file in data_of(page)["files"]]
    assert names == [f"epoch_{number}.ckpt" for number in (1, 2, 3, 4)]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = []
    for folder in ("run_10", "run_9"):
        (tmp_path / folder).mkdir()
        paths.append(saved(tmp_path / folder / "net.ckpt", {"w": np.ones(2)}))
    page = tmp_path / "page.html"
    assert report(*paths, "-o", page) == 0
    assert [file["name"] for file in data_of(page)["files"]] == [str(path) for path in reversed(paths)]


def test_a_page_is_named_after_the_latest_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = epochs(tmp_path, 1, 2)
    assert report(*reversed(paths)) == 0
    assert report(paths[0], "--against", paths[1]) == 0
    assert {path.name for path in tmp_path.glob("*.html")} == {"epoch_2.ckpt.html", "epoch_1.ckpt.html"}


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
def test_a_page_about_standard_input_has_a_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [*cli_program.PROGRAM, "report", "-q", "-", "--against", FIXTURES / "lenet5.ckpt"],
        input=(FIXTURES / "lenet5.ckpt").read_bytes(), check=False, env=cli_program.environment(), cwd=tmp_path,
        timeout=cli_program.PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["stdin.html"]
    assert [file["name"] for file in data_of(tmp_path / "stdin.html")["files"]] == ["lenet5.ckpt", "standard input"]


def test_standard_input_is_read_only_once(tmp_path: Path, capsys: CAPTURE) -> None:
    assert report("-", "--against", "-", "-o", tmp_path / "page.html") == 2
    assert "only once" in capsys.readouterr().err


def test_integers_without_an_exact_float_are_exact(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "a.ckpt", {"n": np.array([2**60 + 1, 5], np.int64)}), "-o", page)
    assert data_of(page)["entries"][0][1][0][5][:2] == [5, str(2**60 + 1)]


def test_large_tensors_are_measured_in_pieces(tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal((1, 5_000_000)).astype(np.float32)
    first = saved(tmp_path / "a.ckpt", {"w": values})
    second = saved(tmp_path / "b.ckpt", {"w": values + 1})
    page = tmp_path / "page.html"
    report(first, "--against", second, "-o", page)
    _, (a, b), status, distances = data_of(page)["entries"][0]
    assert sum(a[6][2]) == sum(b[6][2]) == values.size
    assert status == "changed"
    assert distances[0][2] == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_memory_stays_flat_with_several_files(tmp_path: Path) -> None:
    """Of tensors of 96 MiB in three files, no more than some pieces of 8 MiB are in memory."""
    paths = [saved(tmp_path / f"{number}.ckpt", {"w": np.ones((1, 24 << 20), np.float32)}) for number in range(3)]
    tracemalloc.start()
    try:
        assert report(*paths, "-o", tmp_path / "page.html") == 0
        assert tracemalloc.get_traced_memory()[1] < 56 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("plain_*.ckpt")), ids=lambda path: path.stem)
def test_every_fixture_has_its_page_and_is_the_same_as_itself(path: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert report(path, "--against", path, "-o", page) == 0
    assert {entry[2] for entry in data_of(page)["entries"]} == {"same"}


def test_an_encrypted_file_has_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTLOAD_KEY", KEY)
    page = tmp_path / "page.html"
    assert report(FIXTURES / "enc_sm4.ckpt", "-o", page) == 3
    assert not page.exists()
    assert report(FIXTURES / "enc_sm4.ckpt", "-o", page, "--key-env", "CKPTLOAD_KEY", "--key-format", "raw") == 0
    assert KEY not in page.read_text("utf-8")


def test_only_a_report_is_replaced(tmp_path: Path, capsys: CAPTURE) -> None:
    page = tmp_path / "page.html"
    assert report(FIXTURES / "adam.ckpt", "-o", page) == 0
    assert report(FIXTURES / "lenet5.ckpt", "-o", page) == 0
    page.write_text("precious")
    assert report(FIXTURES / "lenet5.ckpt", "-o", page) == 2
    assert page.read_text() == "precious"
    assert "is not a report" in capsys.readouterr().err
    assert report(FIXTURES / "lenet5.ckpt", "-o", page, "--force") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
def test_the_umask_says_who_may_read_a_page(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        assert report(FIXTURES / "adam.ckpt", "-o", tmp_path / "page.html") == 0
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640


# -- in a browser -----------------------------------------------------------------------------------------


@pytest.fixture
def chromium(chromium: browser.Page) -> Iterator[browser.Page]:
    """Return a page in Chromium that, in the end, was the only thing that was asked for."""
    yield chromium
    assert len(chromium.requests) == len(set(chromium.requests)) == 1


def names(page: browser.Page) -> list[str]:
    """Return the names in the rows that exist."""
    found: list[str] = page.run("[...document.querySelectorAll('#rows .name')].map((cell) => cell.title)")
    return found


def sort(page: browser.Page, key: str) -> None:
    page.run(f"document.querySelector('[data-key={key}] button').click()")


def colors(page: browser.Page, canvas: str) -> int:
    """Return how many different colours are in a canvas."""
    count: int = page.run(
        f"""(() => {{
            const node = document.querySelector({canvas!r});
            const pixels = node.getContext("2d").getImageData(0, 0, node.width, node.height).data;
            return new Set(new Uint32Array(pixels.buffer)).size;
        }})()"""
    )
    return count


def test_the_table_sorts_and_filters(chromium: browser.Page, tmp_path: Path, network: dict[str, Any]) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "net.ckpt", network), "-o", page)
    chromium.open(page)
    assert names(chromium)[:3] == list(network)[:3]
    sort(chromium, "bytes")
    assert names(chromium)[0] == "encoder.11.query.weight"
    assert chromium.run("document.querySelector('[data-key=bytes]').getAttribute('aria-sort')") == "descending"
    sort(chromium, "bytes")
    assert names(chromium)[0] == "steps"
    sort(chromium, "name")
    assert names(chromium)[:5] == [
        "encoder.0.query.weight",
        "encoder.0.value.weight",
        "encoder.1.query.weight",
        "encoder.1.value.weight",
        "encoder.2.query.weight",
    ]
    chromium.run("document.getElementById('search').focus()")
    chromium.enter("query 1")
    assert names(chromium) == ["encoder.1.query.weight", "encoder.10.query.weight", "encoder.11.query.weight"]
    assert "3 of 29 entries" in chromium.run("document.getElementById('count').textContent")
    chromium.run("document.getElementById('search').select()")
    chromium.enter("*.bias")
    assert names(chromium) == ["head.bias"]
    chromium.run("document.getElementById('search').select()")
    chromium.enter("no such name")
    assert names(chromium) == []
    assert chromium.run("document.getElementById('none').textContent") == (
        "No entry matches 'no such name'; Escape clears."
    )


@pytest.mark.parametrize(
    ("select", "value", "expected"),
    [
        ("mark", "bad", ["head.weight"]),
        ("mark", "dead", ["head.bias"]),
        ("mark", "constant", ["norm.gamma"]),
        ("kind", "Int64", ["steps"]),
        ("kind", "string", ["note"]),
    ],
)
def test_marked_entries_are_found(
    select: str, value: str, expected: list[str], chromium: browser.Page, tmp_path: Path, network: dict[str, Any]
) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "net.ckpt", network), "-o", page)
    chromium.open(page)
    script = "const node = document.getElementById({0!r}); node.value = {1!r}; node.dispatchEvent(new Event('change'))"
    chromium.run("(() => {" + script.format(select, value) + "})()")
    assert names(chromium) == expected


def test_treemap_and_histograms_are_drawn_and_answer(
    chromium: browser.Page, tmp_path: Path, network: dict[str, Any]
) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "net.ckpt", network), "-o", page)
    chromium.open(page)
    assert colors(chromium, "#treemap") > 10
    assert colors(chromium, "#rows canvas") > 2
    assert colors(chromium, "#histogram") > 2
    # A click into the map goes into a module, and the table follows.
    place = chromium.run("(({x, y}) => ({x, y}))(document.getElementById('treemap').getBoundingClientRect())")
    chromium.point(place["x"] + 20, place["y"] + 8)
    assert "encoder\n24 entries" in chromium.run("document.getElementById('tip').textContent")
    chromium.click(place["x"] + 20, place["y"] + 8)
    assert "24 of 29 entries" in chromium.run("document.getElementById('count').textContent")
    assert [part.strip() for part in chromium.run("document.getElementById('crumbs').textContent").split("\u203a")] == [
        "all",
        "encoder",
    ]
    chromium.run("document.querySelector('#crumbs button').click()")
    assert chromium.run("document.getElementById('count').textContent") == "29 entries"


def test_a_chosen_row_shows_its_numbers(chromium: browser.Page, tmp_path: Path, network: dict[str, Any]) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "net.ckpt", network), "-o", page)
    chromium.open(page)
    chromium.run("document.getElementById('table').focus()")
    for _ in range(2):
        chromium.send("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown", code="ArrowDown")
    shown = chromium.run("document.getElementById('detail').innerText")
    assert shown.startswith(list(network)[2])
    values = network[list(network)[2]]
    assert f"{values.max():.4g}" in shown


def test_two_files_are_shown_side_by_side(chromium: browser.Page, tmp_path: Path, network: dict[str, Any]) -> None:
    first = saved(tmp_path / "a.ckpt", network)
    changed = {**network, "encoder.3.query.weight": network["encoder.3.query.weight"] * 2, "new": np.ones(2)}
    del changed["steps"]
    page = tmp_path / "page.html"
    report(saved(tmp_path / "b.ckpt", changed), "--against", first, "-o", page)
    chromium.open(page)
    chromium.run(
        "(() => { const m = document.getElementById('mark'); m.value = 'different';"
        " m.dispatchEvent(new Event('change')); })()"
    )
    assert names(chromium) == ["encoder.3.query.weight", "steps", "new"]
    chromium.run("document.querySelector('.row').click()")
    shown = chromium.run("document.getElementById('detail').innerText")
    assert "changed from a.ckpt to b.ckpt" in shown
    assert "largest difference" in shown
    assert "1.0000000" in shown
    assert colors(chromium, "#histogram") > 4


@pytest.mark.parametrize("against", [False, True])
def test_nothing_in_a_file_becomes_markup_or_script(against: bool, chromium: browser.Page, tmp_path: Path) -> None:
    values: dict[str, Any] = {name: np.ones(3, np.float32) for name in HOSTILE}
    values.update({f"text{number}": name for number, name in enumerate(HOSTILE)})
    path = saved(tmp_path / "<b onload=alert(1)>&.ckpt", values)
    page = tmp_path / "page.html"
    report(path, "-o", page, *(["--against", path] if against else []))
    chromium.open(page)
    assert chromium.run("document.title").startswith(path.name)
    assert chromium.run("document.querySelector('h1').textContent").startswith(path.name)
    assert chromium.run("document.querySelectorAll('img, svg, a, b, iframe').length") == 0
    assert chromium.run("document.scripts.length") == 2
    shown = names(chromium)
    assert shown[0] == HOSTILE[0]
    assert shown[5] == r"\u202eweights\x00\x1b[31m"
    for row in range(len(HOSTILE)):
        chromium.run(f"document.querySelectorAll('.row')[{row}].click()")
        assert chromium.run("document.querySelector('#detail h2').textContent") == shown[row]
    assert chromium.run("document.title").startswith(path.name)
    assert chromium.run("document.querySelector('h1').textContent").startswith(path.name)


@pytest.mark.slow
def test_twenty_thousand_tensors_stay_usable(chromium: browser.Page, tmp_path: Path) -> None:
    """Only the rows that can be seen exist, and the last one can be reached."""
    values = {f"layer.{n // 40}.unit.{n % 40}.weight": np.full(4, n, np.float32) for n in range(20_000)}
    page = tmp_path / "page.html"
    report(saved(tmp_path / "many.ckpt", values), "-o", page)
    chromium.open(page)
    assert "20,000 entries" in chromium.run("document.getElementById('count').textContent")
    assert len(names(chromium)) < 60
    chromium.run("document.getElementById('table').scrollTop = 1e9")
    chromium.wait("document.querySelector('#rows').lastChild.querySelector('.name').title.includes('499.unit.39')")
    sort(chromium, "max")
    assert names(chromium)[0] == "layer.499.unit.39.weight"
    chromium.run("document.getElementById('search').focus()")
    chromium.enter("layer.77.unit.3.*")
    assert names(chromium) == ["layer.77.unit.3.weight"]
    assert len(names(chromium)) == 1


@pytest.mark.parametrize("values", [{"w": np.zeros((0, 3), np.float32)}, {"n": np.array([np.nan, np.inf])}, {"s": "x"}])
def test_files_with_nothing_to_draw_have_a_page(values: dict[str, Any], chromium: browser.Page, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    report(saved(tmp_path / "odd.ckpt", values), "-o", page)
    chromium.open(page)
    assert names(chromium) == list(values)
    chromium.run("document.querySelector('.row').click()")
