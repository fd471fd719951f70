"""How the pages look: Gradio's theme on system fonts."""

from __future__ import annotations

from gradio.themes import Base, Color

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

EMBER = Color(
    c50="#fff4ed", c100="#ffe4d3", c200="#ffc7a8", c300="#ffa174", c400="#fb7a3f", c500="#e85d1f",
    c600="#c2410c", c700="#a1330a", c800="#7f2a0c", c900="#67250f", c950="#3a1104", name="ember")
STONE = Color(
    c50="#fafafa", c100="#f3f3f2", c200="#e6e6e4", c300="#d3d3d0", c400="#a3a39f", c500="#6f6f6b",
    c600="#555552", c700="#3c3c3a", c800="#262625", c900="#1a1a19", c950="#111110", name="stone")


def theme() -> Base:
    """Neutral greys around the pictures and one warm accent, light and dark; no font is fetched."""
    return Base(primary_hue=EMBER, neutral_hue=STONE, font=SANS, font_mono=MONO).set(
        body_background_fill="#f6f6f5", body_background_fill_dark="#141413",
        block_background_fill="transparent", block_background_fill_dark="transparent",
        block_border_width="0px", block_shadow="none", block_padding="0px", panel_border_width="0px",
        block_label_text_weight="600", block_title_text_weight="600", block_title_text_size="14px",
        block_info_text_size="13px", block_info_text_color="#5d5d59", block_info_text_color_dark="#a8a8a3",
        input_background_fill="#ffffff", input_background_fill_dark="#1b1b1a",
        input_border_color="#d0d0cc", input_border_color_dark="#3d3d3a", input_border_width="1px",
        input_border_color_focus="#c2410c", input_border_color_focus_dark="#ff9457",
        input_placeholder_color="#6f6f6b", input_placeholder_color_dark="#94948f",
        input_radius="8px", button_large_radius="10px", button_small_radius="8px",
        button_primary_background_fill="#c2410c", button_primary_background_fill_hover="#a1330a",
        button_primary_text_color="#ffffff", button_primary_background_fill_dark="#ff8a4c",
        button_primary_background_fill_hover_dark="#ffa174", button_primary_text_color_dark="#1d0b02",
        checkbox_background_color_selected="#c2410c", checkbox_background_color_selected_dark="#ff8a4c",
    )
