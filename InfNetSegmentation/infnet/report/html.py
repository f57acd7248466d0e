"""A report as one HTML page that needs nothing else: pictures and style are within it."""

import base64

from jinja2 import Environment, PackageLoader, StrictUndefined

from infnet.report.content import NOTICE, Report
from infnet.report.pictures import Picture


def render_html(report: Report) -> str:
    """The page; every text of the report is escaped."""
    environment = Environment(
        loader=PackageLoader("infnet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html").render(report=report, notice=NOTICE)


def _data_uri(picture: Picture) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.data).decode('ascii')}"
