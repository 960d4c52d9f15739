"""JupyterLab as `make lab` opens it: the whole repository, on nbs/README.md, and no request to any other
machine."""
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

c = get_config()  # noqa: F821
# figures/ lies beside nbs/: with nbs/ as the root, a notebook's ../figures/fig2.svg would not be served
c.ServerApp.root_dir = str(ROOT)
c.LabApp.default_url = "/lab/workspaces/collapse_nb/tree/nbs/README.md"
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"
