"""`doctor`: whether the default job can run here, on what, and what to install otherwise."""

import dataclasses
import json

from dream3d.commands.parser import Parser
from dream3d.doctor import Check, examine, lacking

MARKS = {"ok": "ok", "missing": "--", "broken": "!!", "note": "??"}


def main(words: list[str]) -> int:
    """Print a table; 0 where the default job can run, else 1."""
    parser = Parser("doctor", "What is installed, which backend each part will use and why, what to install. Exit code 0 where the "
                    "default job can run, else 1.", ["doctor", "doctor --json"])  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(words)
    checks = examine()
    bad = lacking(checks)
    if options.json:
        rows = [dataclasses.asdict(check) for check in checks]
        print(json.dumps({"ready": not bad, "checks": rows}, indent=1, ensure_ascii=False))
    else:
        print("\n".join(table(checks)))
        print("\nThe default job can run." if not bad else f"\nThe default job cannot run: {'; '.join(_said(c) for c in bad)}.")
    return 1 if bad else 0


def table(checks: list[Check]) -> list[str]:
    """Rows by group; below a row what to do about it."""
    lines: list[str] = []
    width = max(len(check.name) for check in checks)
    for group in dict.fromkeys(check.group for check in checks):
        lines += ["", group] if lines else [group]
        for check in (check for check in checks if check.group == group):
            lines.append(f"  {MARKS[check.state]} {check.name:{width}}  {check.detail}")
            if check.fix:
                lines.append(f"     {'':{width}}  {check.fix}")
    return lines


def _said(check: Check) -> str:
    return f"{check.name} is {check.state}" + (f" ({check.fix})" if check.fix else "")
