"""What importing the package drags in."""

import subprocess
import sys


def test_import_stays_light():
    code = "import sys, mindefense.data; print(*{name.partition('.')[0] for name in sys.modules}, *sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(run.stdout.split())
    assert "mindefense.data" in modules
    assert not modules & {"mindspore", "mindarmour", "sklearn", "scipy", "rich", "urllib.request", "http.client"}
