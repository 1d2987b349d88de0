"""Values → a page: jinja2, which escapes all that it is given, and the file that is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrain.core.text import one_line
from retrain.effects import files
from retrain.errors import ConfigError, RetrainError, file_errors

LONGEST = 500
"""Characters of one text on a page."""
HTML, MARKDOWN = ".html", ".md"


def check(flag: str, file: Path, *suffixes: str) -> None:
    """Raise RetrainError where no page can be written to this file, before anything is done."""
    if file.suffix not in suffixes:
        raise ConfigError(f"{flag}: {file} must end in {' or '.join(suffixes)}")
    if not file.parent.is_dir():
        raise ConfigError(f"{flag}: there is no directory {file.parent}")
    _jinja2(flag)


def render(template: str, scrub: Callable[[str], str], /, **values: Any) -> str:
    """The page. Each text of the values is without secrets, on one line, of bounded length, and escaped."""
    jinja2 = _jinja2("this page")
    is_markdown = template.endswith(MARKDOWN)

    def shown(value: Any) -> Any:
        if type(value) is not str:
            return value
        text = scrub(value).encode(errors="backslashreplace").decode()
        return in_markdown(text) if is_markdown else one_line(text, LONGEST)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=not is_markdown,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return str(environment.get_template(template).render(**values)).strip() + "\n"


def write(file: Path, page: str) -> None:
    """Replace the file by this page. Raises RetrainError."""
    with file_errors(file):
        files.replace(file, page.encode(errors="backslashreplace"))


def written(file: Path, name: str, scrub: Callable[[str], str], **values: Any) -> str:
    """Write the page of this name after something was done; return why that could not be, in a clause."""
    try:
        write(file, render(f"{name}{file.suffix}", scrub, **values))
    except RetrainError as error:
        return f"what was done stands, but there is no report: {error}"
    return ""


def _jinja2(flag: str) -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise RetrainError(f"{flag} needs jinja2", "pip install 'retrain-controller[report]'") from error
    return jinja2


_PLAIN = frozenset(" .,:;=%+-/?'()")


def in_markdown(text: str) -> str:
    """The text as one line with entities for all that Markdown or HTML gives a meaning; it mentions no user."""
    line = one_line(text, LONGEST)
    signs = (sign if sign.isalnum() or sign in _PLAIN else f"&#{ord(sign)};" for sign in line)
    return "".join(signs).replace("&#64;", "&#64;&#8203;").replace("://", ":&#47;&#47;")
