"""Write the list of checks into docs/doctor.md, from their declarations.

python tools/doctor_page.py          write it
python tools/doctor_page.py --check  exit 1 if it is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

from strictarp.doctor.listing import entries, markdown
from strictarp.doctor.registry import CHECKS

PAGE = Path(__file__).parents[1] / "docs" / "doctor.md"
MARK = "<!-- From here on this page is made by tools/doctor_page.py; edit the checks instead. -->\n"


def page(text: str) -> str:
    """The page with the list as it is now. Raises ValueError for a page without the mark."""
    head, mark, _ = text.partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE}: the line {MARK!r} is missing")
    return head + mark + "\n" + "\n".join(markdown(entries(CHECKS))).rstrip("\n") + "\n"


def main(argv: list[str]) -> int:
    """Exit code: 0 written or up to date, 1 out of date."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text)
    if "--check" in argv:
        if text != wanted:
            print("docs/doctor.md is out of date: python tools/doctor_page.py", file=sys.stderr)
        return int(text != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
