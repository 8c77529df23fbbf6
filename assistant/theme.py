"""The look that Gradio's own parts take: system fonts, two neutrals, one teal, hairlines, no shadows.

The colours are named in `screen.css`; here they are only handed to Gradio's variables.
"""

import gradio as gr

SYSTEM_FONTS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
MONOSPACE_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
BOTH_THEMES: dict[str, str] = {
    "body_background_fill": "var(--page)",
    "body_text_color": "var(--ink)",
    "body_text_color_subdued": "var(--quiet)",
    "background_fill_primary": "var(--surface)",
    "background_fill_secondary": "var(--page)",
    "block_background_fill": "var(--surface)",
    "block_border_color": "var(--hairline)",
    "border_color_primary": "var(--hairline)",
    "border_color_accent": "var(--teal)",
    "color_accent_soft": "var(--teal-soft)",
    "input_background_fill": "var(--surface)",
    "input_border_color": "var(--hairline)",
    "input_placeholder_color": "var(--quiet)",
    "link_text_color": "var(--teal)",
    "link_text_color_hover": "var(--teal)",
    "link_text_color_active": "var(--teal)",
    "link_text_color_visited": "var(--teal)",
    "button_primary_background_fill": "var(--teal)",
    "button_primary_background_fill_hover": "var(--teal)",
    "button_primary_text_color": "var(--on-teal)",
    "button_secondary_background_fill": "var(--surface)",
    "button_secondary_background_fill_hover": "var(--teal-soft)",
    "button_secondary_border_color": "var(--hairline)",
    "button_secondary_text_color": "var(--ink)",
}
ONE_FOR_BOTH: dict[str, str] = {
    "block_shadow": "none",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "block_radius": "8px",
    "button_large_radius": "8px",
    "button_small_radius": "8px",
    "input_radius": "8px",
    "block_border_width": "1px",
    "button_transition": "none",
}


def make_theme() -> gr.themes.Base:
    """Light and dark in one theme; the variables behind the colours switch with the page's class `dark`."""
    theme = gr.themes.Base(font=SYSTEM_FONTS, font_mono=MONOSPACE_FONTS, text_size="lg", radius_size="sm")
    dark = {f"{name}_dark": value for name, value in BOTH_THEMES.items()}
    return theme.set(**BOTH_THEMES, **dark, **ONE_FOR_BOTH)
