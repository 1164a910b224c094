"""The page of `ckptload report` as a person uses it: mouse, keyboard, address, tree, lines, export."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import browser
import ckptload
from ckptload.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.once]

#: Codes of keys whose events Chromium makes only with them.
CODES = {
    "ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "PageDown": 34,
    "PageUp": 33, "Enter": 13, "Escape": 27,
}  # fmt: skip


def written(folder: Path, *states: dict[str, Any], against: bool = False) -> Path:
    """Write the report on checkpoints, the earliest first, and return its path."""
    paths = []
    for number, state in enumerate(states, 1):
        path = folder / f"epoch_{number}.ckpt"
        ckptload.save_checkpoint(state, path)
        paths.append(str(path))
    page = folder / "page.html"
    files = [paths[1], "--against", paths[0]] if against else paths
    assert main(["report", "-q", *files, "-o", str(page)]) == 0
    return page


def net(layers: int = 3) -> dict[str, Any]:
    """Return entries in modules: one with NaN, one all zero, and others without a mark."""
    values: dict[str, Any] = {}
    for layer in range(layers):
        for part in ("query", "value"):
            values[f"encoder.{layer}.{part}.weight"] = np.arange(1, 9 + layer, dtype=np.float32)
    values["encoder.1.value.weight"] = np.array([1, np.nan, 2], np.float32)
    values["head.weight"] = np.full(40, 0.5, np.float32) + np.arange(40, dtype=np.float32)
    values["head.bias"] = np.zeros(10, np.float32)
    values["steps"] = np.array(5, np.int64)
    return values


def press(page: browser.Page, *keys: str) -> None:
    """Press keys one after the other, as a person would."""
    for key in keys:
        code = CODES.get(key, 0)
        text = {} if key in CODES else {"text": key}
        if key == "Enter":
            text = {"text": "\r"}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            page.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)


def names(page: browser.Page) -> list[str]:
    found: list[str] = page.run("[...document.querySelectorAll('#rows .name')].map((cell) => cell.title)")
    return found


def chosen(page: browser.Page) -> str | None:
    """Return the name in the row that is selected."""
    found: str | None = page.run("document.querySelector('.row.chosen .name')?.title ?? null")
    return found


def panel(page: browser.Page) -> str:
    """Return the name that the panel shows, or its sentence if it shows none."""
    found: str = page.run("(document.querySelector('#detail h2') ?? document.querySelector('#detail p')).textContent")
    return found


def click(page: browser.Page, selector: str) -> None:
    """Click in the middle of an element."""
    place = page.run(
        f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
        f"(document.querySelector({selector!r}).getBoundingClientRect())"
    )
    page.click(*place)


def search(page: browser.Page, text: str) -> None:
    page.run("document.getElementById('search').focus(); document.getElementById('search').select()")
    page.enter(text)


def pick(page: browser.Page, select: str, value: str) -> None:
    page.run(
        f"(() => {{ const node = document.getElementById({select!r}); node.value = {value!r};"
        " node.dispatchEvent(new Event('change')); })()"
    )


def focus(page: browser.Page) -> None:
    page.run("document.getElementById('table').focus()")


# -- titles and words --------------------------------------------------------------------------------------


def test_the_title_is_the_name_of_the_file_and_its_path_is_below(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    assert chromium.run("document.title") == "epoch_1.ckpt - ckptload"
    assert chromium.run("document.querySelector('h1').textContent") == "epoch_1.ckpt"
    assert str(tmp_path / "epoch_1.ckpt") in chromium.run("document.getElementById('facts').textContent")


def test_two_files_are_before_and_after_everywhere(chromium: browser.Page, tmp_path: Path) -> None:
    after = {**net(), "encoder.0.query.weight": np.ones(8, np.float32) * 3, "new.weight": np.ones(4, np.float32)}
    del after["steps"]
    chromium.open(written(tmp_path, net(), after, against=True))
    assert chromium.run("document.querySelector('h1').textContent") == "epoch_2.ckpt against epoch_1.ckpt"
    facts = chromium.run("document.getElementById('facts').innerText").splitlines()
    assert [line.split(" ")[0:2] for line in facts if line] == [
        ["before:", "epoch_1.ckpt"],
        ["after:", "epoch_2.ckpt"],
    ]
    said = {}
    for status in ("changed", "added", "removed"):
        pick(chromium, "mark", status)
        chromium.run("document.querySelector('.row').click()")
        said[names(chromium)[0]] = chromium.run("document.querySelector('#detail .s-" + status + "').textContent")
    assert said == {
        "encoder.0.query.weight": "changed from epoch_1.ckpt to epoch_2.ckpt",
        "new.weight": "added: not in epoch_1.ckpt",
        "steps": "removed: not in epoch_2.ckpt",
    }
    heads = chromium.run("[...document.querySelectorAll('#detail thead th')].map((cell) => cell.textContent)")
    assert heads == ["before", "after"]
    legend = chromium.run("document.getElementById('legend').innerText")
    assert all(word in legend for word in ("changed", "added", "removed", "NaN or Inf", "all zero"))


# -- over time ---------------------------------------------------------------------------------------------


def test_lines_show_each_tensor_over_the_files(chromium: browser.Page, tmp_path: Path) -> None:
    states = []
    for number in range(1, 6):
        state = net()
        state["head.weight"] = np.full(4, number, np.float32)
        if number == 4:
            state["head.weight"][1] = np.nan
        states.append(state)
    del states[2]["head.weight"]
    chromium.open(written(tmp_path, *states))
    assert chromium.run("document.querySelector('h1').textContent") == "epoch_1.ckpt to epoch_5.ckpt, 5 checkpoints"
    search(chromium, "head.weight")
    chromium.run("document.querySelector('.row').click()")
    lines = chromium.run(
        "Object.fromEntries([...document.querySelectorAll('#detail [data-line]')]"
        ".map((node) => [node.dataset.line, node.getAttribute('aria-label')]))"
    )
    assert lines["norm"] == "norm (L2) over 5 files: 2, 4, none, 6.928, 10"
    assert lines["mean"] == "mean over 5 files: 1, 2, none, 4, 5"
    assert lines["nan"] == "share of NaN over 5 files: 0, 0, none, 0.25, 0"
    # Something is drawn in the lines of the panel and of the row.
    for selector in ("#detail [data-line=norm]", "#rows canvas"):
        drawn = chromium.run(
            f"(() => {{ const n = document.querySelector({selector!r}); const p = n.getContext('2d')"
            ".getImageData(0, 0, n.width, n.height).data; return new Set(new Uint32Array(p.buffer)).size; })()"
        )
        assert drawn > 3
    files = chromium.run("[...document.querySelectorAll('#detail .by-file tbody th')].map((cell) => cell.title)")
    assert files == [f"epoch_{number}.ckpt" for number in range(1, 6)]
    # Pointing at a line names the file.
    place = chromium.run(
        "(({x, y}) => [x + 8, y + 20])(document.querySelector('#detail canvas').getBoundingClientRect())"
    )
    chromium.point(*place)
    assert chromium.run("document.getElementById('tip').textContent") == "epoch_1.ckpt\nnorm (L2): 2"


# -- the tree ----------------------------------------------------------------------------------------------


def test_modules_fold_and_say_what_is_in_them(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    click(chromium, "#view-tree")
    assert chromium.run("document.getElementById('table').getAttribute('role')") == "treegrid"
    click(chromium, "#close-all")
    assert names(chromium) == ["encoder", "head", "steps"]
    rows = chromium.run(
        "[...document.querySelectorAll('.row')].map((row) => row.innerText.split(/\\s*\\n\\s*/).join(' '))"
    )
    assert "6" in rows[0]
    assert "NaN or Inf" in rows[0]
    assert "200" in rows[1]
    assert "all zero" in rows[1]
    click(chromium, ".row .arrow")
    assert names(chromium)[:4] == ["encoder", "encoder.0", "encoder.1", "encoder.2"]
    assert chromium.run("document.querySelector('.row').getAttribute('aria-expanded')") == "true"
    assert chromium.run("document.querySelectorAll('.row')[1].getAttribute('aria-level')") == "2"
    click(chromium, "#open-all")
    assert len(names(chromium)) == 9 + 2 + 3 + 6


def test_a_module_says_what_changed_in_it(chromium: browser.Page, tmp_path: Path) -> None:
    same = {"kept.weight": np.ones(3, np.float32)}
    before = {**same, "old.weight": np.ones(3, np.float32), "part.weight": np.ones(3, np.float32)}
    after = {**same, "new.weight": np.ones(3, np.float32), "part.weight": np.array([1, np.nan, 1], np.float32)}
    chromium.open(written(tmp_path, before, {**after, "part.bias": np.ones(3, np.float32)}, against=True))
    click(chromium, "#view-tree")
    click(chromium, "#close-all")
    cells = chromium.run("[...document.querySelectorAll('.row > [class^=s-]')].map((cell) => cell.textContent)")
    assert dict(zip(names(chromium), cells, strict=True)) == {
        "kept": "same",
        "old": "removed",
        "part": "changed",
        "new": "added",
    }


def test_arrow_keys_fold_and_walk_the_tree(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    click(chromium, "#view-tree")
    click(chromium, "#close-all")
    focus(chromium)
    press(chromium, "Home")
    assert (chosen(chromium), panel(chromium)) == ("encoder", "encoder")
    press(chromium, "ArrowRight", "ArrowRight")
    assert chosen(chromium) == "encoder.0"
    press(chromium, "Enter", "ArrowDown", "ArrowRight", "ArrowRight")
    assert (chosen(chromium), panel(chromium)) == ("encoder.0.query.weight", "encoder.0.query.weight")
    press(chromium, "ArrowLeft")
    assert chosen(chromium) == "encoder.0.query"
    press(chromium, "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    assert chosen(chromium) == "encoder"
    press(chromium, "ArrowLeft")
    assert chosen(chromium) == "encoder"
    assert names(chromium) == ["encoder", "head", "steps"]


def test_a_module_that_closes_over_the_selected_entry_is_selected(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    click(chromium, "#view-tree")
    search(chromium, "encoder.1")
    focus(chromium)
    press(chromium, "End")
    assert panel(chromium) == "encoder.1.value.weight"
    click(chromium, ".row .arrow")
    assert (chosen(chromium), panel(chromium)) == ("encoder", "encoder")


def test_a_search_opens_the_modules_of_what_it_finds(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    click(chromium, "#view-tree")
    click(chromium, "#close-all")
    search(chromium, "1.value")
    assert names(chromium) == ["encoder", "encoder.1", "encoder.1.value", "encoder.1.value.weight"]


def test_a_name_can_be_an_entry_and_a_module(chromium: browser.Page, tmp_path: Path) -> None:
    values = {name: np.ones(2, np.float32) for name in ("a", "a.b", ".", "..c", "x" * 200 + ".y" * 40)}
    chromium.open(written(tmp_path, values))
    click(chromium, "#view-tree")
    click(chromium, "#open-all")
    first = names(chromium)
    focus(chromium)
    press(chromium, "End")
    assert set(values) <= {*first, *names(chromium)}


# -- the map -----------------------------------------------------------------------------------------------


def corner(page: browser.Page) -> str:
    """Return the colour of the map near its upper left corner, where its largest module is."""
    pixel: list[int] = page.run(
        "[...document.getElementById('treemap').getContext('2d').getImageData(3, 16, 1, 1).data]"
    )
    return "#" + "".join(f"{part:02x}" for part in pixel[:3])


@pytest.mark.parametrize(
    ("marked", "mark"),
    [
        ({"big.bad": np.array([np.nan, 1], np.float32), "big.dead": np.zeros(4, np.float32)}, "bad"),
        ({"big.dead": np.zeros(4, np.float32)}, "dead"),
        ({}, "none"),
    ],
)
def test_a_module_has_the_colour_of_the_worst_mark_inside(
    marked: dict[str, Any], mark: str, chromium: browser.Page, tmp_path: Path
) -> None:
    values = {"big.weight": np.arange(900, dtype=np.float32), **marked, "small": np.arange(9, dtype=np.float32)}
    chromium.open(written(tmp_path, values))
    expected = chromium.run(f"getComputedStyle(document.documentElement).getPropertyValue('--f-{mark}').trim()")
    assert corner(chromium) == expected


@pytest.mark.parametrize(
    ("before", "after", "mark"),
    [
        ([1, 2], [1, 3], "changed"),
        (None, [1, 3], "added"),
        ([1, 2], None, "removed"),
        ([1, 2], [0, 0], "dead"),
        ([1, 2], [1, 2], "none"),
    ],
)
def test_the_map_shows_changes_where_nothing_is_worse(
    before: list[int] | None, after: list[int] | None, mark: str, chromium: browser.Page, tmp_path: Path
) -> None:
    states: list[dict[str, Any]] = []
    for values in (before, after):
        state: dict[str, Any] = {"steps": np.array(3, np.int32)}
        if values is not None:
            state["big.weight"] = np.tile(np.array(values, np.float32), 400)
        states.append(state)
    chromium.open(written(tmp_path, *states, against=True))
    expected = chromium.run(f"getComputedStyle(document.documentElement).getPropertyValue('--f-{mark}').trim()")
    assert corner(chromium) == expected


def test_the_map_frames_what_is_selected(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, {"a": np.arange(90, dtype=np.float32), "b": np.arange(90, dtype=np.float32)}))
    # The pixels of one line, after the next pictures on the screen.
    framed = (
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))).then(() => {"
        " const map = document.getElementById('treemap'), copy = document.createElement('canvas');"
        " copy.width = map.width; copy.height = map.height;"
        " const pen = copy.getContext('2d', {willReadFrequently: true}); pen.drawImage(map, 0, 0);"
        " const frame = getComputedStyle(document.body).color.match(/[0-9]+/g).join();"
        " const line = pen.getImageData(0, 60, map.width, 1).data;"
        " const at = (x) => [...line.slice(4 * x, 4 * x + 8)].join().includes(frame);"
        " return [at(1), at(map.width - 3)]; })"
    )
    assert chromium.run(framed) == [True, False]
    focus(chromium)
    press(chromium, "End")
    assert chromium.run(framed) == [False, True]


# -- table and panel ---------------------------------------------------------------------------------------


def test_the_panel_says_that_the_selected_entry_is_hidden(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    focus(chromium)
    press(chromium, "ArrowDown")
    assert (chosen(chromium), panel(chromium)) == ("encoder.0.value.weight", "encoder.0.value.weight")
    search(chromium, "head")
    hidden = "'encoder.0.value.weight' is selected, and not among the entries that are shown; Escape clears."
    assert (chosen(chromium), panel(chromium)) == (None, hidden)
    press(chromium, "Escape")
    assert (chosen(chromium), panel(chromium)) == ("encoder.0.value.weight", "encoder.0.value.weight")
    pick(chromium, "kind", "Int64")
    assert (chosen(chromium), panel(chromium)) == (None, hidden)
    pick(chromium, "kind", "")
    chromium.run("document.querySelector('[data-key=bytes] button').click()")
    assert (chosen(chromium), panel(chromium)) == ("encoder.0.value.weight", "encoder.0.value.weight")


def test_what_finds_nothing_says_so(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    for view in ("list", "tree"):
        click(chromium, f"#view-{view}")
        search(chromium, "nothing here")
        text = chromium.run("document.getElementById('none').innerText")
        assert text == "No entry matches 'nothing here'; Escape clears."
        assert "0 of 9 entries" in chromium.run("document.getElementById('count').textContent")
        press(chromium, "Escape")
        assert chromium.run("document.getElementById('none').hidden")
        assert chromium.run("document.getElementById('search').value") == ""
    pick(chromium, "mark", "dead")
    search(chromium, "encoder")
    text = chromium.run("document.getElementById('none').innerText")
    assert text == "No entry matches 'encoder' and the filters; Escape clears."


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (1400, True), (390, False), (390, True)])
def test_numbers_can_be_seen_beside_long_names(width: int, dark: bool, tmp_path: Path) -> None:
    if browser.find() is None:
        pytest.skip("there is no Chromium here")
    start, end = "model.decoder.layer.", ".self_attention.projection.weight"
    long = start + "x" * (120 - len(start) - len(end)) + end
    page = written(tmp_path, {long: np.array([1, np.nan], np.float32), "b": np.zeros(3, np.float32)})
    with browser.Page(width, 900, dark=dark) as chromium:
        chromium.open(page)
        shown = chromium.run("document.querySelector('#rows .label').textContent")
        assert shown.startswith("mo")
        assert shown.endswith("ght")
        assert "\u2026" in shown
        assert names(chromium) == [long, "b"]
        # The page itself never scrolls sideways; on a phone the table does, and the name stays.
        assert chromium.run("document.documentElement.scrollWidth") <= width
        table = "document.getElementById('table')"
        if width == 1400:
            assert chromium.run(f"{table}.scrollWidth <= {table}.clientWidth")
        else:
            chromium.run(f"{table}.scrollLeft = 200")
            left = chromium.run(
                "document.querySelector('#rows .name').getBoundingClientRect().left"
                f" - {table}.getBoundingClientRect().left"
            )
            assert 0 <= left < 30
        assert chromium.complaints == []


def test_the_name_is_no_wider_than_it_needs(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, {"w": np.ones(3, np.float32), "bias": np.arange(3, dtype=np.float32)}))
    assert chromium.run("document.querySelector('#rows .name').getBoundingClientRect().width") <= 150


# -- keys --------------------------------------------------------------------------------------------------


def test_keys_move_through_the_table(chromium: browser.Page, tmp_path: Path) -> None:
    values = {f"layer.{n}.weight": np.ones(2, np.float32) for n in range(300)}
    chromium.open(written(tmp_path, values))
    focus(chromium)
    press(chromium, "End")
    assert (chosen(chromium), panel(chromium)) == ("layer.299.weight", "layer.299.weight")
    active = chromium.run("document.getElementById('table').getAttribute('aria-activedescendant')")
    assert chromium.run(f"document.getElementById({active!r}).classList.contains('chosen')")
    press(chromium, "PageUp")
    there = int(str(chosen(chromium)).split(".")[1])
    assert 270 < there < 299
    press(chromium, "PageDown", "Home", "ArrowDown", "ArrowUp", "ArrowUp")
    assert chosen(chromium) == "layer.0.weight"
    press(chromium, "Enter")
    assert chromium.run("document.activeElement.id") == "detail"
    press(chromium, "/")
    assert chromium.run("document.activeElement.id") == "search"
    press(chromium, "2", "Escape")
    assert chromium.run("document.activeElement.id") == "table"
    press(chromium, "t")
    assert chromium.run("document.getElementById('view-tree').getAttribute('aria-pressed')") == "true"
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert chromium.run(outline) == "solid"


def test_a_question_mark_lists_the_keys(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    focus(chromium)
    press(chromium, "?")
    assert chromium.run("document.getElementById('help').open")
    shown = chromium.run("document.getElementById('help').innerText")
    assert all(key in shown for key in ("Home", "Page Up", "Enter", "Escape", "/", "?"))
    press(chromium, "Escape")
    assert not chromium.run("document.getElementById('help').open")


def test_roles_and_counts_are_those_of_a_grid(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    roles = chromium.run("[...document.querySelector('.row').children].map((cell) => cell.getAttribute('role'))")
    assert set(roles) == {"gridcell", "rowheader"}
    table = "document.getElementById('table')"
    assert chromium.run(f"{table}.getAttribute('aria-rowcount')") == "10"
    assert chromium.run(f"{table}.getAttribute('aria-colcount')") == str(len(roles))
    assert chromium.run("document.querySelector('.row').getAttribute('aria-rowindex')") == "2"
    assert chromium.run("document.querySelectorAll('#columns [role=columnheader]').length") == len(roles)


# -- the address -------------------------------------------------------------------------------------------


def seen(page: browser.Page) -> tuple[Any, ...]:
    """Return everything that the address keeps."""
    controls = page.run("['search', 'kind', 'mark'].map((id) => document.getElementById(id).value)")
    order = page.run("document.querySelector('[aria-sort]')?.dataset.key")
    crumbs = page.run("document.getElementById('crumbs').textContent")
    return names(page), chosen(page), panel(page), controls, order, crumbs


def test_reloading_restores_what_was_chosen(chromium: browser.Page, tmp_path: Path) -> None:
    page = written(tmp_path, net())
    chromium.open(page)
    click(chromium, "#view-tree")
    click(chromium, "#close-all")
    click(chromium, ".row .arrow")
    focus(chromium)
    press(chromium, "Home", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight", "ArrowDown")
    chromium.run("document.querySelector('[data-key=bytes] button').click()")
    folded = seen(chromium)
    assert folded[2] == "encoder.1.value.weight"
    for change in ("", "encoder.1"):
        if change:
            search(chromium, change)
            pick(chromium, "mark", "bad")
        before = seen(chromium)
        chromium.run("document.documentElement.dataset.ready = 'no'")
        chromium.send("Page.reload")
        chromium.wait("document.documentElement?.dataset.ready === 'yes'")
        assert seen(chromium) == before


def test_the_back_button_goes_back(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    first = seen(chromium)
    place = chromium.run("(({x, y}) => [x + 12, y + 8])(document.getElementById('treemap').getBoundingClientRect())")
    chromium.click(*place)
    inside = seen(chromium)
    assert inside != first
    click(chromium, "#view-tree")
    chromium.run("history.back()")
    chromium.wait("document.getElementById('view-list').getAttribute('aria-pressed') === 'true'")
    assert seen(chromium) == inside
    chromium.run("history.back()")
    chromium.wait("document.getElementById('crumbs').textContent === 'all'")
    assert seen(chromium) == first


@pytest.mark.parametrize(
    "fragment",
    ["%", "q=%00%ff&sort=x&view=y&fold=a&chosen=z&module=__proto__&show=constructor", "modules=toString", "&&=="],
)
def test_any_address_opens_the_page(fragment: str, chromium: browser.Page, tmp_path: Path) -> None:
    page = written(tmp_path, net())
    chromium.send("Page.navigate", url=page.absolute().as_uri() + "#" + fragment)
    chromium.wait("document.documentElement?.dataset.ready === 'yes'")
    press(chromium, "Escape", "Escape", "Escape")
    assert len(names(chromium)) == 9


# -- copying and saving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("clipboard", [True, False])
def test_a_name_is_copied(clipboard: bool, chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, net()))
    if not clipboard:
        chromium.run("Object.defineProperty(navigator, 'clipboard', {value: undefined}); 0")
    chromium.run(
        "document.addEventListener('copy', () => { window.copied = document.activeElement.value; });"
        "if (navigator.clipboard) navigator.clipboard.writeText = async (text) => { window.copied = text; }; 0"
    )
    click(chromium, "#detail button")
    chromium.wait("window.copied !== undefined")
    assert chromium.run("window.copied") == "encoder.0.query.weight"
    chromium.wait("document.querySelector('#detail [role=status]').textContent === 'copied'")


def saved_csv(page: browser.Page, folder: Path) -> list[list[str]]:
    """Press the button and return the rows of the file that was saved."""
    folder.mkdir()
    page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    click(page, "#csv")
    found: list[Path] = []

    def there() -> bool:
        found[:] = folder.glob("*.csv")
        return bool(found) and found[0].read_bytes().endswith(b"\r\n")

    for _ in range(3000):
        if there():
            break
        page.run("new Promise((done) => setTimeout(done, 20))")
    return list(csv.reader(io.StringIO(found[0].read_bytes().decode("utf-8-sig"), newline="")))


def test_the_table_is_saved_as_filtered_and_sorted(chromium: browser.Page, tmp_path: Path) -> None:
    values = {
        "net.a": np.array([0.1, 1 / 3], np.float64),
        "net.b": np.array([2**60 + 1, -5], np.int64),
        'net.=cmd("x"),y': np.ones(2, np.float32),
        "other": np.ones(2, np.float32),
        "net.note": '=HYPERLINK("https://example.com")\n',
    }
    chromium.open(written(tmp_path, values))
    search(chromium, "net.")
    chromium.run("document.querySelector('[data-key=name] button').click()")
    order = names(chromium)
    head, *rows = saved_csv(chromium, tmp_path / "list")
    assert [row[0] for row in rows] == order
    assert len(order) == 4
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert float(found["net.a"]["max"]) == 1 / 3
    assert found["net.b"]["max"] == str(2**60 + 1)
    assert found["net.b"]["min"] == "-5"
    assert found["net.note"]["value"].startswith("'=")
    click(chromium, "#view-tree")
    click(chromium, "#close-all")
    assert {row[0] for row in saved_csv(chromium, tmp_path / "tree")[1:]} == set(order)


def test_names_that_begin_like_formulas_are_guarded_in_csv(chromium: browser.Page, tmp_path: Path) -> None:
    values = {name: np.ones(2, np.float32) for name in ("=1+1", "+x", "-x", "@x", 'a"b,c', "plain")}
    chromium.open(written(tmp_path, values))
    rows = saved_csv(chromium, tmp_path / "all")
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'+x", "'-x", "'@x", 'a"b,c', "plain"]


def test_two_files_have_both_sides_in_csv(chromium: browser.Page, tmp_path: Path) -> None:
    chromium.open(written(tmp_path, {"w": np.array([1.0, 2.0])}, {"w": np.array([1.0, 4.0])}, against=True))
    head, row = saved_csv(chromium, tmp_path / "all")
    found = dict(zip(head, row, strict=True))
    assert (found["status"], found["before max"], found["after max"], found["max diff"]) == ("changed", "2", "4", "2")
