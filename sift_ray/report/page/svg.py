"""SVG and HTML elements as text: whatever is put into one is escaped, unless it is an element itself."""

from __future__ import annotations

from markupsafe import Markup, escape

Value = str | int | float | None


def tag(name: str, *children: str, **attributes: Value) -> Markup:
    """Return an element.

    Args:
        name: such as `rect`.
        children: texts, which are escaped, or elements made by this function.
        attributes: numbers are written with two decimals at most; None leaves one out. `_` stands for `-`, and one at
            the end is dropped, so that Python's own words can be named (`class_`).
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(escape(child) for child in children)
    return Markup(f"<{name}{told}>{inner}</{name}>")  # noqa: S704 (all its parts are escaped)


def number(value: float) -> str:
    """Return a number as coordinates are written: two decimals at most, and no zeros behind them."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text
