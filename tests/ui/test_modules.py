"""Modules put together in one script: what may stand in them, in which order they run, and the way back to them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from studio.web.page import modules, serving

OWN = {path.relative_to(serving.FOLDER).as_posix(): path.read_text() for path in serving.FOLDER.rglob("*.js")
       if "vendor" not in path.relative_to(serving.FOLDER).parts}
VENDOR = "../vendor/uplot/uPlot.esm.js"


@pytest.mark.parametrize("line", [
    'import whole from "./b.js";', 'import * as all from "./b.js";', 'import { b } from "b";',
    "import { b } from './b.js';",
    'import { b } from "https://evil.example/b.js";', 'export { b } from "./b.js";', 'export * from "./b.js";',
    "export default 1;", "export let b = 1;", "export var b = 1;", "const b = 1;\nexport { b };",
    "export const { b: { c } } = {};", "export const [b] = [1];", "console.log(import.meta.url);", "await 1;",
    'const b = import("./b.js");', 'const b = async () => await import("./b.js");', "export async function* b() {}",
    'import { missing } from "./b.js";', 'import "./nowhere.js";', 'import { a } from "./a.js";'])
def test_a_form_that_cannot_be_put_together_is_refused_where_it_stands(line: str) -> None:
    texts = {"kit/a.js": f"// @ts-check\n{line}\n", "kit/b.js": "export const b = 1;\nexport const c = 2;\n"}
    with pytest.raises(modules.ScriptError, match=r"^kit/a\.js: "):
        modules.join(texts, ["kit/a.js"])


def test_two_that_import_each_other_are_refused() -> None:
    texts = {"a.js": 'import { b } from "./b.js";\nexport const a = 1;',
             "b.js": 'import { a } from "./a.js";\nexport const b = 1;'}
    with pytest.raises(modules.ScriptError, match=r"a\.js: .* by way of a\.js and b\.js"):
        modules.join(texts, ["a.js"])


def test_they_run_as_they_would_apart(browser: Browser) -> None:
    """In a real browser: names, other names, one's own names, each once and after what it imports; strict; a library
    when it is needed."""
    texts = {
        "app.js": 'import "./kit/side.js";\nimport { one as two, Thing } from "./kit/a.js";\nimport {\n  later,\n'
                  '  twice as double,\n} from "./kit/b.js";\nconst one = "mine";\n'
                  "export const seen = [one, two, new Thing().name, double(4), later];\n"
                  "function own() {\n  return this;\n}\nexport const strict = own() === undefined;\n",
        "kit/a.js": 'import { note } from "./side.js";\nnote("a");\nexport const one = 1;\nexport class Thing {\n'
                    '  name = "thing";\n}\n',
        "kit/b.js": 'import { note } from "./side.js";\nimport { one } from "./a.js";\nnote("b");\n'
                    'export const { then: later, twice } = { then: "later", twice: (n) => 2 * n * one };\n'
                    f'export async function fetched() {{\n  return (await import("{VENDOR}")).default;\n}}\n',
        "kit/side.js": "const notes = [];\nexport function note(word) {\n  notes.push(word);\n}\n"
                       "export const said = () => notes.join();\n",
    }
    text = modules.join(texts, ["app.js"]).module("app.js.map")
    assert 'await import("./vendor/uplot/uPlot.esm.js")' in text
    page = browser.new_page()
    answer = page.evaluate("""async (text) => {
      const { modules } = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
      const { seen, strict } = modules["app.js"];
      return { seen, strict, order: modules["kit/side.js"].said(), names: Object.keys(modules) };
    }""", text)
    page.close()
    assert answer["seen"] == ["mine", 1, "thing", 8, "later"] and answer["strict"]
    assert answer["order"] == "a,b" and answer["names"] == ["kit/side.js", "kit/a.js", "kit/b.js", "app.js"]


def test_every_line_leads_back_to_the_one_it_came_from() -> None:
    files = serving.files()
    lines = files.contents[serving.SCRIPT].decode().split("\n")
    told = json.loads(files.contents[serving.SCRIPT_MAP])
    sources = [OWN[name].split("\n") for name in told["sources"]]
    seen = 0
    for number, (source, line) in _decoded(told["mappings"]):
        original = sources[source][line]
        if not re.match(r"import|export|\}? from|\}", original) and "vendor" not in original and " as " not in original:
            assert lines[number] == original, (told["sources"][source], line + 1)
            seen += 1
    assert seen > 7000 and lines[-2] == f"//# sourceMappingURL={serving.SCRIPT_MAP}"
    assert all(name in files.contents for name in told["sources"])


def test_every_script_is_part_of_a_page() -> None:
    parts = [name for name, text in OWN.items() if "mount" in modules.exports(text)]
    used = {*modules.join(OWN, [serving.FRAME, *parts]).numbers, *modules.join(OWN, [serving.FIRST]).numbers}
    assert set(OWN) == used


def test_whatever_changes_has_another_address(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    shutil.copytree(serving.FOLDER, folder)
    before = serving.Files(folder)
    assert before.address("page.js") == serving.files().address("page.js"), "the same files, the same address"
    for name in ("kit/format.js", "pages.css", "vendor/uplot/uPlot.esm.js", "icon.svg"):
        with open(folder / name, "a") as file:
            file.write("\n")
        after = serving.Files(folder)
        assert after.address("page.js") != before.address("page.js"), name
        before = after


def _decoded(mappings: str) -> Iterator[tuple[int, tuple[int, int]]]:
    """The lines of a source map: of what was put together, and (source, line) there; read as the format says."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = [0, 0, 0, 0]
    for number, segment in enumerate(mappings.split(";")):
        if not segment:
            continue
        values, value, shift = [], 0, 0
        for digit in map(digits.index, segment):
            value |= (digit & 31) << shift
            shift += 5
            if not digit & 32:
                values.append(-(value >> 1) if value & 1 else value >> 1)
                value, shift = 0, 0
        at = [place + moved for place, moved in zip(at, values, strict=True)]
        assert at[0] == 0 and at[3] == 0
        yield number, (at[1], at[2])
