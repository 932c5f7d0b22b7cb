"""What the colours of a page are worth to its readers."""

from playwright.sync_api import Page


def contrast(page: Page, selector: str) -> float:
    """The contrast of a text with the page's ground, as WCAG 2 computes it."""
    ratio: float = page.evaluate(
        """(selector) => {
          const channel = (value) =>
            value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
          const luminance = (color) => {
            const [r, g, b] = color.match(/[\\d.]+/g).map((value) => channel(value / 255));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = luminance(getComputedStyle(document.body).backgroundColor);
          const text = luminance(getComputedStyle(document.querySelector(selector)).color);
          return (Math.max(ground, text) + 0.05) / (Math.min(ground, text) + 0.05);
        }""",
        selector,
    )
    return ratio
