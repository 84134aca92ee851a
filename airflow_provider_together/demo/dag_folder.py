"""
A folder of DAGs in which each DAG file finds its neighbours, while Airflow reads only the files asked for.

A DAG may import a module or read data that lie beside it. Its folder is therefore mirrored by links, and an
ignore file hides all but the DAG itself from the DAG processor. It imports nothing of the package.
"""

from __future__ import annotations

from pathlib import Path


class DagFolder:
    """
    A folder of links.

    :param path: made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shown: list[str] = []
        path.mkdir(parents=True, exist_ok=True)
        self._write_ignore_file()

    def link(self, dag_file: Path) -> None:
        """
        Show a DAG file to Airflow, with its neighbours in reach.

        :raises FileNotFoundError: if there is no such file.
        """
        dag_file = dag_file.resolve(strict=True)
        for neighbour in dag_file.parent.iterdir():
            link = self.path / neighbour.name
            if not neighbour.name.startswith((".", "__pycache__")) and not link.exists():
                link.symlink_to(neighbour)
        self._show(dag_file.name)

    def write(self, name: str, text: str) -> None:
        """Write a DAG file of that name; a text that is written again replaces the first."""
        (self.path / name).write_text(text)
        self._show(name)

    def _show(self, name: str) -> None:
        if name not in self._shown:
            self._shown.append(name)
        self._write_ignore_file()

    def _write_ignore_file(self) -> None:
        lines = ["*", *(f"!{name}" for name in self._shown)]
        (self.path / ".airflowignore").write_text("\n".join(lines) + "\n")
