"""python .ci/audit.py LOCK [OPTIONS OF pip-audit]: fails on a pinned package with a known vulnerability.

pip-audit says `no known vulnerabilities` also where it could ask about none: here that is said aloud.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROBE_SECONDS = 60  # no network ends it within a few; a busy machine needs more to start it
AUDIT_SECONDS = 120  # where the service answers; some 70 questions, kept between runs
OPTIONS = ("--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off", "--timeout", "4")


def main(lock: Path, options: list[str]) -> int:
    """Returns the exit code; what could not be asked about is no failure, but it is named."""
    pins = [line for line in lock.read_text().splitlines() if "==" in line]
    if not _audited(found := _audit(pins[:1], options, PROBE_SECONDS)):
        return _unknown(f"of {len(pins)} packages: the vulnerability service does not answer here")
    if (found := _audit(pins, options, AUDIT_SECONDS)) is None:
        return _unknown(f"of {len(pins)} packages: the vulnerability service broke off")
    bad = [package for package in found if package.get("vulns")]
    for package in bad:
        for fault in package["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}", file=sys.stderr)
    if skipped := [package["name"] for package in found if "skip_reason" in package]:
        _unknown(", ".join(skipped))
    if not bad:
        print(f"{len(_audited(found))} packages without a known vulnerability")
    return 1 if bad else 0


def _audit(pins: list[str], options: list[str], seconds: float) -> list[dict[str, Any]] | None:
    """What pip-audit says of each; None where it gave up."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "requirements.txt"
        chosen.write_text("\n".join(pins))
        command = [sys.executable, "-m", "pip_audit", "-r", str(chosen), *OPTIONS, *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
            return json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return None


def _audited(found: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [package for package in found or [] if "skip_reason" not in package]


def _unknown(what: str) -> int:
    print(f"NOT AUDITED: {what}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python .ci/audit.py LOCK [OPTIONS OF pip-audit]")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
