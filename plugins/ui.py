"""The bridge's part of Airflow's UI: pages among a run's outs, such as the report, straight from the DVC remote.

Airflow loads this file by itself where its plugins folder is this one; `.airflowignore` hides the others from it.
"""

import mimetypes
import re

from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI, HTTPException, Response

from plugins.airflow_settings import CONNECTIONS, PAGES, aws_keys
from plugins.objects import read_file
from plugins.run_store import open_store, s3_credentials
from plugins.settings import Settings

CHECKSUM = re.compile(r"[0-9a-f]{32}(\.dir)?")
SHOWN = {"text/html", "text/plain", "text/css", "image/png", "image/svg+xml", "application/json"}
# A page is data: class names and pictures come from outside. It may draw, but runs nothing and calls nobody.
HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=86400, immutable",
}

app = FastAPI(title="Counterweight", docs_url=None, redoc_url=None, openapi_url=None)


@app.get("/{checksum}/{path:path}")
def page(checksum: str, path: str, user: GetUserDep) -> Response:  # noqa: ARG001 (only who is logged in may look)
    """A file of an out, for whoever is logged in to Airflow."""
    kind = mimetypes.guess_type(path)[0]
    if not CHECKSUM.fullmatch(checksum) or kind not in SHOWN:
        raise HTTPException(404, "no such page")
    settings = Settings.from_environment()
    remote = open_store(settings.remote, s3_credentials(aws_keys(CONNECTIONS["aws_conn_id"]), settings.endpoint))
    content = read_file(remote, checksum, path)
    if content is None:
        raise HTTPException(404, "the DVC remote does not hold this page (any more)")
    return Response(content, media_type=kind, headers=HEADERS)


class CounterweightPlugin(AirflowPlugin):
    """Mounts the pages in Airflow's API server."""

    name = "counterweight"
    fastapi_apps = [{"app": app, "url_prefix": PAGES, "name": "counterweight pages"}]  # noqa: RUF012 (as Airflow has it)
