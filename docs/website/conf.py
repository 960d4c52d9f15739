"Sphinx settings of the site; __main__.py copies this file beside the pages it writes."
project, author, copyright = "collapse_nb", "The collapse_nb authors", "2026, the collapse_nb authors"
root_doc = "index"
extensions = ["myst_parser", "sphinx_copybutton", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_inline", "colon_fence", "fieldlist", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"] # a notebook's cells may open at any depth
smartquotes_action = "D" # the dash behind a parameter
add_module_names = False
maximum_signature_line_length = 88
html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = [("charts.js", {"defer": "defer"})]
html_use_index = False # search finds every name
html_show_sourcelink = False
html_show_sphinx = False
html_copy_source = False
mathjax_path = "tex-svg.js"
mathjax_options = {"defer": "defer"}
mathjax3_config = {"options": {"enableMenu": False}}
# bright enough on dark, dark enough on light for WCAG AA
_light, _dark = "#00568a", "#7cc4f5"
_blue = ("color-brand-primary", "color-brand-content", "color-api-name", "color-api-pre-name")
html_theme_options = {"light_css_variables": dict.fromkeys(_blue, _light)
                      | {"color-brand-visited": "#6b3fa0"},
                      "dark_css_variables": dict.fromkeys(_blue, _dark) | {"color-brand-visited": "#c9a6f0"}}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"


def levelled(app, pagename, templatename, context, doctree):
    "Captions of the sidebar are headings; Sphinx does not say of which level, which WAI-ARIA asks for."
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')

def setup(app):
    app.connect("html-page-context", levelled, priority=900) # after the theme has made the tree
    return {"parallel_read_safe": True, "parallel_write_safe": True}
