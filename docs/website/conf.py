"Sphinx settings of the site; __main__.py copies this file beside the pages it writes."
import re

from sphinx.util.osutil import relative_uri

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



TOKEN = re.compile(r'</?ul>|<li class="(?P<level>[^"]*)">|</li>'
                   r'|<a class="reference internal" href="(?P<to>[^"]*)">')

def navigation(whole: str, uri: str) -> str:
    """The sidebar's tree as Sphinx makes it for a page, out of the root page's: links are relative to the
    page, its own leads to its top, and what it stands in is current.

    Sphinx copies every heading of every page for each page's tree, which is half the time of a build.
    """
    tokens, opened, current = list(TOKEN.finditer(whole)), [], set()
    for at, token in enumerate(tokens):
        if token[0].startswith("</"): opened.pop()
        elif token["to"] is None: opened.append(at)
        elif token["to"] == uri: current |= {at, *opened}
    numbers = iter(range(len(tokens)))
    def written(token: re.Match) -> str:
        here = next(numbers) in current
        if token["level"]: return f'<li class="{token["level"]}{" current" * here}">'
        if token["to"] is None: return '<ul class="current">' if here else token[0]
        if here: return '<a class="current reference internal" href="#">'
        return f'<a class="reference internal" href="{relative_uri(uri, token["to"])}">'
    return TOKEN.sub(written, whole)

def setup(app):
    known = {}
    def sidebar(app, pagename, templatename, context, doctree):
        "Gives the theme the page's tree; the captions in it are headings, of which WAI-ARIA asks the level."
        def toctree(**options):
            key = repr(sorted(options.items()))
            if key not in known: known[key] = app.builder._get_local_toctree(app.config.root_doc, **options)
            tree = navigation(known[key], app.builder.get_target_uri(pagename))
            return tree.replace('role="heading"', 'role="heading" aria-level="2"')
        if "toctree" in context: context["toctree"] = toctree
    app.connect("html-page-context", sidebar, priority=400) # before the theme asks for the tree
    return {"parallel_read_safe": True, "parallel_write_safe": True}
