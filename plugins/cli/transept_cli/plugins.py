"""`transept plugins`: what is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from transept.discovery import registry

from .console import err, print_json, print_table

__all__ = ["plugins"]


def plugins(
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only this kind: models, attention, tokenizers, …")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the installed plugins: kind, key, dist, version, status. A broken one is a row with its error."""
    from transept_hookspecs import RECORD_KINDS

    kinds = {*RECORD_KINDS, "observers"}
    if kind is not None and kind not in kinds:
        raise typer.BadParameter(f"no kind `{kind}`: it is one of {', '.join(sorted(kinds))}.")
    rows = []
    for entry in registry.entries(kind):
        if entry.kind not in kinds:
            continue
        status, error = registry.status(entry)
        rows.append(
            {
                "kind": entry.kind,
                "key": entry.key,
                "dist": entry.dist,
                "version": entry.version,
                "module": entry.module,
                "status": status,
                "error": error,
            }
        )
    rows.sort(key=lambda row: (str(row["kind"]), str(row["key"]), str(row["dist"])))
    if as_json:
        print_json(rows)
        return
    columns = ("kind", "key", "dist", "version", "status")
    print_table(
        columns, [[row[c] for c in columns] for row in rows], styles={"broken": "red", "blocked": "yellow", "duplicate": "red"}
    )
    for row in rows:
        if row["error"]:
            err.print(
                f"{row['dist']} {row['version']}, {row['kind']} `{row['key']}`: {row['error']}",
                style="red",
                markup=False,
                soft_wrap=True,
            )
