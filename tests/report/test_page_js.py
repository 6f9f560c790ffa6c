"""The page in a real browser: the plots draw, follow their switch and the reader's style, and nothing complains."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vitesse.report import write_report

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--virtual-time-budget=6000",
    "--window-size=1200,900",
)
LIGHT, DARK = "rgb(10, 125, 116)", "rgb(63, 195, 180)"  # --winner in page.css, as browsers write it

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH: nothing checked that the plots draw")


def shown(path: Path, *flags: str) -> str:
    """The page's DOM after its scripts ran; fails where the browser's console got a message."""
    assert BROWSER is not None
    command = [BROWSER, *FLAGS, f"--user-data-dir={path.parent / 'profile'}", *flags, "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert messages == []
    return done.stdout


def test_the_plots_draw(folder: Path) -> None:
    dom = shown(write_report(folder))
    plots = dom.split('data-figure="')[1:]
    assert len(plots) == 4
    for plot in plots:
        assert 'class="main-svg"' in plot
    assert len(re.findall(r'class="point[ "]', plots[0])) >= 96 + 3  # the candidates, the winner twice, the teacher
    for plot in plots[1:]:
        assert 'class="js-line"' in plot
    assert LIGHT in dom and DARK not in dom
    assert "modebar-btn" in plots[0] and "Cloud" not in plots[0]


def test_the_switch_shows_another_cost(folder: Path) -> None:
    path = write_report(folder)
    click = "<script>document.querySelector('input[value=latency_ms]').click()</script></body>"
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", click), encoding="utf-8")
    titles = re.findall(r'class="xtitle"[^>]*>([^<]*)<', shown(path))
    assert titles[0] == "latency"


def test_the_plots_follow_the_reader_s_style(folder: Path) -> None:
    dom = shown(write_report(folder), "--blink-settings=preferredColorScheme=0")
    assert DARK in dom and LIGHT not in dom


def test_hostile_names_run_nothing(hostile_folder: Path) -> None:
    dom = shown(write_report(hostile_folder))
    assert 'class="main-svg"' in dom
    assert "<img" not in re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
