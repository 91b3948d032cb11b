"""Installs a locked environment into the venv ``/opt/fti``: runs while an image is built, by the image's own Python.

``install.py requirements.txt [pattern ...]``: the patterns, below site-packages, name what no program reads.

An image's files never change, so bytecode is made once, here, and checked against nothing at run time. Only what this
call brought is compiled: bytecode of a lower layer would be stored a second time.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import venv
from concurrent.futures import ProcessPoolExecutor
from importlib.util import cache_from_source
from pathlib import Path

VENV = Path("/opt/fti")
UV = "/tools/bin/uv"
CACHE = "/var/cache/uv"  # mounted: nothing there gets into the image


def main(requirements: str, *patterns: str) -> None:
    if not VENV.exists():
        venv.create(VENV, symlinks=True)
    subprocess.run(
        [UV, "pip", "install", "--quiet", "--python", VENV / "bin" / "python", "--require-hashes", "-r", requirements],
        check=True,
        env=os.environ
        | {"UV_CACHE_DIR": CACHE, "UV_LINK_MODE": "copy", "UV_PYTHON_DOWNLOADS": "never", "TMPDIR": CACHE},
    )
    (packages,) = VENV.glob("lib/python3*/site-packages")
    for pattern in patterns:
        for path in packages.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    sources = [path for path in packages.rglob("*.py") if not Path(cache_from_source(str(path))).exists()]
    with ProcessPoolExecutor() as pool:  # some packages carry templates that are no Python: they stay uncompiled
        list(pool.map(compiled, sources, chunksize=50))


def compiled(source: Path) -> bool:
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    return bool(compileall.compile_file(source, quiet=2, invalidation_mode=mode))


if __name__ == "__main__":
    main(*sys.argv[1:])
